package subscription

import (
	"context"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// announcePage is how many subscriptions are announced at once.
const announcePage = 1000

// announce brings new and resumed subscriptions up to their waybills' present
// state, a page at a time.
func (w *worker) announce(ctx context.Context) error {
	matches, err := w.cfg.Matching.ToAnnounce(ctx, w.slots, w.announced, announcePage)
	if err != nil || len(matches) == 0 {
		if err == nil {
			w.announced = ""
		}
		return err
	}
	// Read after the rows: what is stored from now on is matched as a change.
	traces, late, err := w.present(ctx, matches)
	if err != nil {
		return err
	}
	if err := w.prepare(ctx, matches); err != nil {
		return err
	}
	p := w.newPushes(len(matches))
	defer func() { p.end(err) }()
	for i := range matches {
		m := &matches[i]
		if late[m.Waybill] {
			continue // the next sweep asks again
		}
		u := traces[m.Waybill]
		switch {
		case u != nil && u.trace.Revision == m.Pushed && m.Pushed > 0:
			// A push that delivery rendered anew brought what was held back.
			p.record(m.ID, u.trace)
			continue
		case u == nil || u.trace.Revision <= m.Pushed:
			// Nothing is known yet, or all of it was pushed as changes.
			p.done = append(p.done, pg.Pushed{ID: m.ID})
			continue
		}
		p.add(u.ctx, u.trace, m) //nolint:contextcheck // below the trace of its change
	}
	if err = p.publish(ctx, "announcement"); err != nil {
		return err
	}
	fault.Crash("announce.published")
	if len(p.done) > 0 {
		if err = w.cfg.Matching.Done(ctx, w.lease, p.done, true); err != nil {
			return err
		}
	}
	w.meters.announced.Add(ctx, int64(len(p.done)))
	w.announced = ""
	if len(matches) == announcePage {
		w.announced = matches[len(matches)-1].ID
		w.wake()
	}
	return nil
}

// present reads the newest traces of subscriptions' waybills. An unknown waybill
// is absent; late ones are those for which an older trace was read than has
// been matched.
func (w *worker) present(ctx context.Context, matches []pg.Match) (traces map[track.Waybill]*update, late map[track.Waybill]bool, err error) {
	wanted := make(map[track.Waybill]bool, len(matches))
	subjects := make([]string, 0, len(matches))
	waybills := make([]track.Waybill, 0, len(matches))
	for i := range matches {
		if id := matches[i].Waybill; !wanted[id] {
			wanted[id] = true
			waybills = append(waybills, id)
			subjects = append(subjects, subject.Trace(string(id.Carrier), string(id.Number)))
		}
	}
	found, err := w.cfg.Last(ctx, subjects)
	if err != nil {
		return nil, nil, err
	}
	traces, late = make(map[track.Waybill]*update, len(found)), make(map[track.Waybill]bool)
	var missing []track.Waybill
	for i, id := range waybills {
		stored, ok := found[subjects[i]]
		switch {
		case stored.Seq < w.recent.seq(subjects[i]):
			late[id] = true
		case !ok:
			missing = append(missing, id)
		default:
			w.read(ctx, id, stored, traces)
		}
	}
	return traces, late, w.project(ctx, missing, traces)
}

func (w *worker) read(ctx context.Context, id track.Waybill, stored stream.Stored, traces map[track.Waybill]*update) {
	t, err := wire.Decode(stored.Data, 0)
	if err != nil {
		w.unreadable(ctx, stored.Subject, stored.Seq, err)
		return
	}
	// The push belongs to the trace of what was reported, as one of a change does.
	traces[id] = &update{ctx: obs.Extract(ctx, stored.Header), trace: t}
}

// project adds waybills that left the stream, weeks after their last change.
func (w *worker) project(ctx context.Context, missing []track.Waybill, traces map[track.Waybill]*update) error {
	if len(missing) == 0 {
		return nil
	}
	projected, err := w.cfg.Projected(ctx, missing)
	if err != nil {
		return err
	}
	for id, u := range projected {
		t, err := wire.Trace(u)
		if err != nil {
			w.unreadable(ctx, "projection of "+string(id.Carrier), 0, err)
			continue
		}
		traces[id] = &update{ctx: ctx, trace: t}
	}
	return nil
}
