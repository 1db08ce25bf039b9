package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// watchSilence is how long a watch believes in a server that says nothing: two
// heartbeats, 15 s apart, may get lost.
const watchSilence = 45 * time.Second

// Update is a change of a waybill, seen by a watch.
type Update struct {
	// Waybill is the state after the change.
	Waybill trace.Waybill
	// Events are those that came or changed in the revisions (AfterRevision,
	// Waybill.Revision], in order.
	Events        []trace.Event
	AfterRevision uint64
	SendTime      time.Time
}

// Watch returns a waybill's changes as they happen, from a revision on: 0 for
// the present state first, or the newest that the caller has. When the
// connection breaks, or the server goes silent, it takes up from the last
// revision it returned, so nothing is missed and nothing comes twice, though
// several changes may come as one.
//
// It goes on until the loop is left, the context ends, or the server refuses;
// the last two give an error, as the last thing.
func (c *Client) Watch(ctx context.Context, id trace.ID, after uint64) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		w := watch{client: c, op: "watch " + id.String(), name: id.Name(), after: after, yield: yield}
		for failures := 0; ; {
			w.heard = false
			err := w.once(ctx)
			if errors.Is(err, errLeft) {
				return
			}
			if ctx.Err() != nil {
				err = fail(w.op, ctx.Err())
			}
			if ctx.Err() != nil || !passing(err) {
				yield(Update{}, err)
				return
			}
			if failures++; w.heard {
				failures = 0
			}
			select {
			case <-time.After(max(c.backoff(failures), retryAfter(err))):
			case <-ctx.Done():
			}
		}
	}
}

// Why a stream was given up, beside what the server says.
var (
	errLeft   = errors.New("the caller left the loop")
	errSilent = errors.New("the server went silent")
)

// watch is a watch over all its streams.
type watch struct {
	client   *Client
	op, name string
	after    uint64 // the newest revision that was given out
	heard    bool   // the present stream brought something
	yield    func(Update, error) bool
}

// once holds one stream until it breaks. It never returns nil.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := w.client.waybills.WatchWaybill(ctx, &trackingv1.WatchWaybillRequest{Name: w.name, AfterRevision: w.after})
	if err != nil {
		return fail(w.op, err)
	}
	silence := time.AfterFunc(w.client.silence, func() { cancel(errSilent) })
	defer silence.Stop()
	for {
		resp, err := stream.Recv()
		switch {
		case err == nil:
		case errors.Is(context.Cause(ctx), errSilent):
			return newError(w.op, codes.Unavailable, errSilent.Error())
		case errors.Is(err, io.EOF):
			// The server ends streams now and then, so that load spreads.
			return newError(w.op, codes.Unavailable, "the server ended the watch")
		default:
			return fail(w.op, err)
		}
		w.heard = true
		// Not while the caller is at work: that may take as long as it likes.
		silence.Stop()
		if err := w.take(resp); err != nil {
			return err
		}
		silence.Reset(w.client.silence)
	}
}

// take gives out what is new in a message; a heartbeat has nothing.
func (w *watch) take(resp *trackingv1.WatchWaybillResponse) error {
	m := resp.GetWaybill()
	if m.GetRevision() <= w.after {
		return nil
	}
	if resp.GetAfterRevision() > w.after {
		return newError(w.op, codes.DataLoss, fmt.Sprintf("the server left out the revisions between %d and %d", w.after, resp.GetAfterRevision()))
	}
	u := Update{
		Waybill: trace.FromWaybill(m), Events: trace.After(trace.FromEvents(resp.GetEvents()), w.after),
		AfterRevision: w.after, SendTime: fromTimestamp(resp.GetSendTime()),
	}
	w.after = m.GetRevision()
	if !w.yield(u, nil) {
		return errLeft
	}
	return nil
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// watchBackoff is how long to wait before watching again: soon after a stream
// that brought something, then longer, to 15 s, spread so that the watches of a
// server that went away don't come back as one.
func watchBackoff(failures int) time.Duration {
	const first, most = 100 * time.Millisecond, 15 * time.Second
	d := most
	if failures < 8 {
		d = min(first<<failures, most)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}
