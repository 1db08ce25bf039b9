package client_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
)

// step is what a server does with one stream of a watch.
type step struct {
	// sends are pairs of revisions: after, and up to. {0, 0} is a heartbeat.
	sends [][2]uint64
	// end is how the stream ends; errHang leaves it open.
	end error
}

var errHang = errors.New("never ends")

// scripted is a server that goes through steps, one stream each, and records
// from which revision each stream was asked for.
func scripted(steps []step) (f *fake, asked *[]uint64) {
	f, asked = &fake{}, new([]uint64)
	f.watch = func(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
		f.mu.Lock()
		n := len(*asked)
		*asked = append(*asked, req.GetAfterRevision())
		f.mu.Unlock()
		if n >= len(steps) {
			return status.Error(codes.NotFound, "the script has ended")
		}
		for _, send := range steps[n].sends {
			resp := &trackingv1.WatchWaybillResponse{AfterRevision: send[0]}
			if send[1] > 0 {
				u := update("SF100", send[1])
				resp.Waybill, resp.Events = u.GetWaybill(), u.GetEvents()[send[0]:]
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
		if errors.Is(steps[n].end, errHang) {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		return steps[n].end
	}
	return f, asked
}

func TestWatch_TakesUpWhereItStopped(t *testing.T) {
	t.Parallel()
	away := status.Error(codes.Unavailable, "away")
	for _, tt := range []struct {
		name  string
		after uint64
		steps []step
		want  []string // "after→revision: events"
		asked []uint64
		err   error
	}{
		{
			name:  "one stream",
			steps: []step{{sends: [][2]uint64{{0, 1}, {1, 3}}}},
			want:  []string{"0→1: 1", "1→3: 2"}, asked: []uint64{0, 3}, err: client.ErrNotFound,
		}, {
			name: "from a revision", after: 2,
			steps: []step{{sends: [][2]uint64{{2, 4}}}},
			want:  []string{"2→4: 2"}, asked: []uint64{2, 4}, err: client.ErrNotFound,
		}, {
			name:  "a server that goes away, and one that stays away for a while",
			steps: []step{{sends: [][2]uint64{{0, 1}}, end: away}, {end: away}, {sends: [][2]uint64{{1, 2}}}},
			want:  []string{"0→1: 1", "1→2: 1"}, asked: []uint64{0, 1, 1, 2}, err: client.ErrNotFound,
		}, {
			name:  "a repeat and an overlap",
			steps: []step{{sends: [][2]uint64{{0, 2}}}, {sends: [][2]uint64{{0, 2}, {1, 3}}}},
			want:  []string{"0→2: 2", "2→3: 1"}, asked: []uint64{0, 2, 3}, err: client.ErrNotFound,
		}, {
			name:  "heartbeats",
			steps: []step{{sends: [][2]uint64{{0, 0}, {0, 1}, {0, 0}}}},
			want:  []string{"0→1: 1"}, asked: []uint64{0, 1}, err: client.ErrNotFound,
		}, {
			name:  "a gap is an error",
			steps: []step{{sends: [][2]uint64{{0, 1}, {2, 3}}}},
			want:  []string{"0→1: 1"}, asked: []uint64{0}, err: client.ErrInternal,
		}, {
			name:  "a refusal is an error",
			steps: []step{{end: status.Error(codes.InvalidArgument, "name: it is required")}},
			asked: []uint64{0}, err: client.ErrInvalid,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, asked := scripted(tt.steps)
			// Retries of gRPC's own would ask once more than the watch does.
			c := dial(t, f, client.WithDialOptions(grpc.WithDisableRetry()))
			c.HurryWatches(time.Hour)
			var got []string
			var last error
			for u, err := range c.Watch(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, tt.after) {
				if last != nil {
					t.Error("something comes after an error")
				}
				if last = err; err == nil {
					got = append(got, fmt.Sprintf("%d→%d: %d", u.AfterRevision, u.Waybill.Revision, len(u.Events)))
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("updates are %q, want %q", got, tt.want)
			}
			if !errors.Is(last, tt.err) {
				t.Errorf("error is %v, want %v", last, tt.err)
			}
			if !reflect.DeepEqual(*asked, tt.asked) {
				t.Errorf("streams were asked for after %d, want %d", *asked, tt.asked)
			}
		})
	}
}

// TestWatch_LeavesASilentServer has a server that brings one change a stream and
// then hangs, as one whose connection broke without a word.
func TestWatch_LeavesASilentServer(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.watch = func(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
		after := req.GetAfterRevision()
		u := update("SF100", after+1)
		if err := stream.Send(&trackingv1.WatchWaybillResponse{Waybill: u.GetWaybill(), Events: u.GetEvents()[after:], AfterRevision: after}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	c := dial(t, f)
	c.HurryWatches(20 * time.Millisecond)
	var got []uint64
	for u, err := range c.Watch(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, u.Waybill.Revision); len(got) == 3 {
			break
		}
	}
	if !reflect.DeepEqual(got, []uint64{1, 2, 3}) {
		t.Errorf("revisions are %v", got)
	}
}

func TestWatch_EndsWhenTheLoopIsLeft(t *testing.T) {
	t.Parallel()
	f, _ := scripted([]step{{sends: [][2]uint64{{0, 1}, {1, 2}}, end: errHang}})
	ended := make(chan struct{})
	inner := f.watch
	f.watch = func(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
		defer close(ended)
		return inner(req, stream)
	}
	for _, err := range dial(t, f).Watch(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	<-ended // the server has seen it
}

func TestWatch_EndsWithTheContext(t *testing.T) {
	t.Parallel()
	f, _ := scripted([]step{{sends: [][2]uint64{{0, 1}}, end: errHang}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range dial(t, f).Watch(ctx, trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, 0) {
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("error is %v, want %v", last, context.Canceled)
	}
}

func TestWatchBackoff_GrowsToItsBound(t *testing.T) {
	t.Parallel()
	for failures := range 100 {
		if d := client.WatchBackoff(failures); d < 50*time.Millisecond || d > 15*time.Second {
			t.Errorf("after %d failures it waits %v", failures, d)
		}
	}
	if d := client.WatchBackoff(50); d < 7*time.Second {
		t.Errorf("after 50 failures it waits %v", d)
	}
}
