package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// present reads a waybill's trace, nil when nothing was ever reported. Unlike the
// other calls it never reads an older one than there is: the caller may have the
// newest already, and would be told that it is ahead.
func (w *Waybills) present(ctx context.Context, id track.Waybill) (*trackingv1.TraceUpdate, error) {
	m, err := w.cfg.Present(ctx, subject.Trace(string(id.Carrier), string(id.Number)))
	if err == nil {
		u := &trackingv1.TraceUpdate{}
		if err := proto.Unmarshal(m.Data, u); err != nil {
			return nil, fmt.Errorf("read the trace at sequence %d: %w", m.Seq, err)
		}
		return u, nil
	}
	if !errors.Is(err, stream.ErrNotFound) {
		return nil, w.unavailable(ctx, err)
	}
	found, err := w.cfg.Store.Traces(ctx, []track.Waybill{id})
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	return found[id], nil
}

// WatchWaybill streams a waybill's changes from a revision on. One of which
// nothing was reported yet can be watched too. A watcher that is
// slow gets fewer and larger steps, and no event less.
func (w *Waybills) WatchWaybill(req *trackingv1.WatchWaybillRequest, out grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
	ctx := out.Context()
	id, err := parse("name", req.GetName())
	if err != nil {
		return err
	}
	if seen, err := w.visible(ctx, []track.Waybill{id}); err != nil {
		return err
	} else if len(seen) == 0 {
		return rpc.NotFound(req.GetName())
	}
	// Followed before it is read, so that no change falls between.
	changes, stop, err := w.cfg.Tail(ctx, subject.Trace(string(id.Carrier), string(id.Number)))
	if err != nil {
		return w.unavailable(ctx, err)
	}
	defer stop()
	present, err := w.present(ctx, id)
	if err != nil {
		return err
	}
	have := req.GetAfterRevision()
	if newest := present.GetWaybill().GetRevision(); newest < have {
		return rpc.Invalid("after_revision", fmt.Sprintf("is %d, and the waybill is at revision %d: start anew", have, newest)).
			WithReason(rpc.ReasonResumeExpired)
	}
	send := func(u *trackingv1.TraceUpdate) error {
		if u.GetWaybill().GetRevision() <= have {
			return nil
		}
		u = w.shown(ctx, u)
		resp := &trackingv1.WatchWaybillResponse{
			Waybill: u.GetWaybill(), Events: after(u.GetEvents(), have), AfterRevision: have, SendTime: timestamppb.New(w.cfg.Now()),
		}
		have = u.GetWaybill().GetRevision()
		return out.Send(resp)
	}
	if err := send(present); err != nil {
		return err
	}
	beats := time.NewTicker(w.cfg.Heartbeat)
	defer beats.Stop()
	for {
		select {
		case m := <-changes:
			u := &trackingv1.TraceUpdate{}
			if err := proto.Unmarshal(m.Data, u); err != nil {
				w.cfg.Log.ErrorContext(ctx, "a trace can't be read and is not shown to a watcher", "sequence", m.Seq, obs.KeyError, err)
				continue
			}
			if err := send(u); err != nil {
				return err
			}
		case <-beats.C:
			if err := out.Send(&trackingv1.WatchWaybillResponse{AfterRevision: have, SendTime: timestamppb.New(w.cfg.Now())}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
