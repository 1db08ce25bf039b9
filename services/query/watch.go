package query

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// WatchWaybill streams a waybill's changes from a revision on. A watcher that is
// slow gets fewer and larger steps, and no event less.
func (w *Waybills) WatchWaybill(req *trackingv1.WatchWaybillRequest, out grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
	ctx := out.Context()
	id, err := parse("name", req.GetName())
	if err != nil {
		return err
	}
	// Followed before it is read, so that no change falls between.
	changes, stop, err := w.cfg.Tail(ctx, subject.Trace(string(id.Carrier), string(id.Number)))
	if err != nil {
		return w.unavailable(ctx, err)
	}
	defer stop()
	found, err := w.traces(ctx, []track.Waybill{id})
	if err != nil {
		return err
	}
	have := req.GetAfterRevision()
	present := found[id]
	if present.GetWaybill().GetRevision() < have && present != nil {
		return rpc.Invalid("after_revision", "is beyond the waybill's newest revision").WithReason(rpc.ReasonResumeExpired)
	}
	send := func(u *trackingv1.TraceUpdate) error {
		if u.GetWaybill().GetRevision() <= have {
			return nil
		}
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
