package subscription

import (
	"context"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// traceDestination names where changes come from, in spans.
const traceDestination = "posthaste.v1.trace.{slot}.{carrier}.{waybill}"

// match works on a batch of changes: publish, record, acknowledge. The latter
// two go on when it returns.
func (w *worker) match(ctx, owned context.Context, batch []*stream.Received) error {
	newest, waybills := w.coalesce(owned, batch)
	matches, err := w.cfg.Matching.Of(owned, waybills)
	if err != nil {
		return err
	}
	w.overlay(matches)
	if err := w.prepare(owned, matches); err != nil {
		return err
	}
	// Only what somebody wants is decoded.
	after := lacking(matches)
	traces := make(map[track.Waybill]*update, len(newest))
	p := w.newPushes(len(matches))
	defer func() { p.end(err) }()
	for i := range matches {
		m := &matches[i]
		u, ok := traces[m.Waybill]
		if !ok {
			u = p.begin(owned, newest[m.Waybill], after[m.Waybill])
			traces[m.Waybill] = u
		}
		if u != nil {
			p.add(u.ctx, u.trace, m) //nolint:contextcheck // below the span of its change
		}
	}
	fault.Crash("match.read")
	if fault.MatchBeforeCommit {
		if err = w.record(ctx, owned, p.done, batch); err != nil {
			return err
		}
		fault.Delay()
	}
	if err = p.publish(owned, "change"); err != nil {
		return err
	}
	fault.Crash("match.published")
	if fault.MatchBeforeCommit {
		return nil
	}
	if err = w.record(ctx, owned, p.done, batch); err != nil {
		return err
	}
	last := batch[len(batch)-1]
	w.seen = last.Time
	w.meters.batch.Record(owned, int64(len(batch)))
	w.meters.lag.Record(owned, w.cfg.Now().Sub(batch[0].Time).Seconds())
	return nil
}

// coalesce keeps the newest change of each waybill: it covers the older.
func (w *worker) coalesce(ctx context.Context, batch []*stream.Received) (map[track.Waybill]*stream.Received, []track.Waybill) {
	newest := make(map[track.Waybill]*stream.Received, len(batch))
	waybills := make([]track.Waybill, 0, len(batch))
	for _, r := range batch {
		w.recent.add(r.Subject, r.Seq)
		carrier, number, err := subject.ParseTrace(r.Subject)
		if err != nil {
			w.unreadable(ctx, r.Subject, r.Seq, err)
			continue
		}
		id := track.Waybill{Carrier: track.Carrier(carrier), Number: track.Number(number)}
		if newest[id] == nil {
			waybills = append(waybills, id)
		}
		newest[id] = r
	}
	return newest, waybills
}

// lacking is, by waybill, the revision after which its pushes need the events.
func lacking(matches []pg.Match) map[track.Waybill]track.Revision {
	after := make(map[track.Waybill]track.Revision, len(matches))
	for i := range matches {
		m := &matches[i]
		pushed := m.Pushed
		if m.IncludeTrace || push.Format(m.Format).Whole() {
			pushed = 0
		}
		if least, ok := after[m.Waybill]; !ok || pushed < least {
			after[m.Waybill] = pushed
		}
	}
	return after
}

// update is a change that is being worked on.
type update struct {
	ctx   context.Context // of the change's own trace context
	trace *track.Trace
}

// begin reads a change, with the events after a revision; nil if it can't be
// read.
func (p *pushes) begin(ctx context.Context, r *stream.Received, after track.Revision) *update {
	t, err := wire.Decode(r.Data, after)
	if err != nil {
		p.unreadable(ctx, r.Subject, r.Seq, err)
		return nil
	}
	ctx, span := p.cfg.Messaging.Process(ctx, r.Header, traceDestination, p.name)
	p.spans = append(p.spans, span)
	return &update{ctx: ctx, trace: t}
}

// unreadable says that a change can't be pushed. It stays in the stream.
func (w *worker) unreadable(ctx context.Context, name string, seq uint64, err error) {
	w.meters.unreadable.Add(ctx, 1)
	w.cfg.Log.ErrorContext(ctx, "a change can't be read and is not pushed; the waybill's next change covers it",
		obs.KeyStream, stream.Trace, "subject", name, "sequence", seq, obs.KeyError, err)
}
