package query_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/query"
)

// call is a watch as its caller sees it.
type call struct {
	grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]
	ctx    context.Context
	cancel context.CancelFunc
	got    chan *trackingv1.WatchWaybillResponse // unbuffered: a message is sent when it is taken
	ended  chan error
}

func (c *call) Context() context.Context { return c.ctx }

func (c *call) Send(m *trackingv1.WatchWaybillResponse) error {
	select {
	case c.got <- m:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// watch watches until end is called.
func watch(ctx context.Context, w *query.Waybills, number string, after uint64) *call {
	c := &call{got: make(chan *trackingv1.WatchWaybillResponse), ended: make(chan error, 1)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	go func() { //nolint:contextcheck // the call has it
		c.ended <- w.WatchWaybill(&trackingv1.WatchWaybillRequest{Name: name(number), AfterRevision: after}, c)
	}()
	return c
}

func (c *call) end(t testing.TB) {
	t.Helper()
	c.cancel()
	if err := <-c.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

// next waits for a message.
func (c *call) next(t testing.TB) *trackingv1.WatchWaybillResponse {
	t.Helper()
	select {
	case m := <-c.got:
		return m
	case err := <-c.ended:
		t.Fatalf("the watch ended with %v", err)
	case <-t.Context().Done():
		t.Fatal("the test ended before the watch said something")
	}
	return nil
}

// chain takes messages until a revision and checks that they hold each event
// after the first revision once.
func (c *call) chain(t testing.TB, have, until uint64) {
	t.Helper()
	for have < until {
		m := c.next(t)
		if m.GetAfterRevision() != have {
			t.Fatalf("a message starts from %d, and the one before ended at %d", m.GetAfterRevision(), have)
		}
		for _, e := range m.GetEvents() {
			if have++; e.GetRevision() != have {
				t.Fatalf("got event %d, want %d", e.GetRevision(), have)
			}
		}
		if m.GetWaybill() != nil && m.GetWaybill().GetRevision() != have {
			t.Fatalf("a message has events up to %d and is of revision %d", have, m.GetWaybill().GetRevision())
		}
	}
}

func TestWatchWaybill_IsGaplessWhileChangesComeIn(t *testing.T) {
	t.Parallel()
	const last = 150
	b := newBundle(t)
	published := make(chan error, 1)
	msgs := make([]stream.Message, 0, 2*last)
	for r := 1; r <= last; r++ {
		msgs = append(msgs, encode(t, updateAt("SF0001", r)), encode(t, updateAt("SF0002", r)))
	}
	go func() {
		for _, m := range msgs {
			if err := b.trace.Publish(t.Context(), m); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	// Watches that come, stop somewhere and resume from there.
	var have uint64
	for have < last {
		c := watch(t.Context(), b.Waybills, "SF0001", have)
		step := min(have+10, last)
		c.chain(t, have, step)
		c.end(t)
		have = step
	}
	c := watch(t.Context(), b.Waybills, "SF0002", 0)
	c.chain(t, 0, last)
	c.end(t)
	if err := <-published; err != nil {
		t.Fatal(err)
	}
}

func TestWatchWaybill_WaitsForWhatIsUnknown(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	c := watch(t.Context(), b.Waybills, "SF0001", 0)
	b.publish(updateAt("SF0001", 1), updateAt("SF0002", 1), updateAt("SF0001", 2))
	c.chain(t, 0, 2)
	c.end(t)
}

func TestWatchWaybill_BeginsWithTheProjectionOfWhatLeftTheStream(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	testkit.Project(t, b.pool, updateAt("SF0001", 3))
	c := watch(t.Context(), b.Waybills, "SF0001", 1)
	c.chain(t, 1, 3)
	b.publish(updateAt("SF0001", 4))
	c.chain(t, 3, 4)
	c.end(t)
}

// A caller that takes its time gets one step with all events.
func TestWatchWaybill_ConflatesForTheSlow(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.publish(updateAt("SF0001", 1))
	c := watch(t.Context(), b.Waybills, "SF0001", 0)
	c.chain(t, 0, 1)
	for r := 2; r <= 50; r++ {
		b.publish(updateAt("SF0001", r))
	}
	c.chain(t, 1, 50)
	c.end(t)
}

func TestWatchWaybill_RefusesACallerWhoIsAhead(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.publish(updateAt("SF0001", 2))
	for _, number := range []string{"SF0001", "SF9999"} {
		c := watch(t.Context(), b.Waybills, number, 3)
		if err := <-c.ended; reasonOf(err) != rpc.ReasonResumeExpired {
			t.Errorf("%s: got %v", number, err)
		}
		c.cancel()
	}
	// Nobody listens any more: the server keeps no consumer of theirs.
	s, err := b.js.Stream(t.Context(), stream.Trace)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left behind", n)
	}
}

func TestWatchWaybill_SaysThatItIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		changes := make(chan stream.Stored, 1)
		stopped := make(chan struct{})
		w := query.New(query.Config{
			Store:   nothing{},
			Present: func(context.Context, string) (stream.Stored, error) { return stream.Stored{}, stream.ErrNotFound },
			Tail: func(context.Context, string) (<-chan stream.Stored, func(), error) {
				return changes, func() { close(stopped) }, nil
			},
			Log: slog.New(slog.DiscardHandler), Now: time.Now,
		})
		began := time.Now()
		c := watch(t.Context(), w, "SF0001", 0)
		for i := range 2 {
			m := c.next(t)
			want := began.Add(time.Duration(i+1) * 15 * time.Second)
			if m.GetWaybill() != nil || !m.GetSendTime().AsTime().Equal(want) || m.GetAfterRevision() != 0 {
				t.Errorf("got %v, want a heartbeat at %s", m, want)
			}
		}
		changes <- stream.Stored{Data: encode(t, updateAt("SF0001", 2)).Data}
		c.chain(t, 0, 2)
		if m := c.next(t); m.GetWaybill() != nil || m.GetAfterRevision() != 2 {
			t.Errorf("got %v, want a heartbeat at revision 2", m)
		}
		c.end(t)
		<-stopped
	})
}

// nothing is a store without anything in it.
type nothing struct{ *pg.Query }

func (nothing) Traces(context.Context, []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	return nil, nil
}
