package delivery

import (
	"context"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// read reads a lane's due rows beside the shard's goroutine, and makes pushes of
// them.
func (s *shard) read(l *lane) {
	l.reading, l.touched = true, make(map[string]bool, len(l.queues))
	for sub := range l.queues {
		l.touched[sub] = true
	}
	limit := maxDue
	first := l.fresh
	if l.breaker.open() {
		limit = 1 // a probe
		first = first[:min(len(first), 1)]
	}
	l.fresh = nil
	id, now := l.id, l.settings
	s.running.Go(func() {
		d, err := s.cfg.Store.Due(s.owned, id, s.cfg.Now(), first, limit, maxOwed)
		var items []*item
		if err == nil {
			items, err = s.render(s.owned, d.Rows, now)
		}
		s.send(func() { s.rowsRead(l, d, items, err) })
	})
}

// rowsRead begins what was read, and opens the lane when little is left. A row
// that changed since the read began is left for the next.
func (s *shard) rowsRead(l *lane, d pg.DueOwed, items []*item, err error) {
	l.reading = false
	now := s.cfg.Now()
	if err != nil {
		s.cfg.Log.WarnContext(s.owned, "what an endpoint is owed can't be read; it is tried again", obs.KeyEndpointID, l.id, obs.KeyError, err)
		l.again = false
		s.dueAt(l, now.Add(retryPause))
		return
	}
	left := make(map[string]bool, len(d.Others)+len(l.touched)+len(items))
	for _, sub := range d.Others {
		left[sub] = true
	}
	for sub := range l.touched {
		left[sub] = true
	}
	skipped := false
	if l.breaker.open() && len(d.Rows) > 1 {
		d.Rows, items, skipped = d.Rows[:1], items[:1], true // one probe
	}
	for i := range d.Rows {
		row, it := &d.Rows[i], items[i]
		left[row.SubscriptionID] = true
		switch {
		case l.touched[row.SubscriptionID] || l.queues[row.SubscriptionID] != nil:
			skipped = true
		case row.Ended:
			s.pending.outcomes.Drop(row.SubscriptionID)
			s.change(l, row.SubscriptionID, now)
		case it == nil:
			s.pending.outcomes.Park(l.place(), row.SubscriptionID, reasonTrace, now)
			s.pending.tells = true
			s.change(l, row.SubscriptionID, now)
			s.cfg.Log.ErrorContext(s.owned, "a push is parked: its waybill's trace is nowhere", obs.KeySubscriptionID, row.SubscriptionID)
		default:
			q := l.queue(it.sub)
			q.waiting = append(q.waiting, it)
			l.waiting++
			l.rows = append(l.rows, it.sub)
		}
	}
	l.touched = nil
	if l.again {
		l.again = false
		s.dueAt(l, now)
	}
	if !l.open && l.settings.enabled() && !l.breaker.open() {
		if !d.More && len(left) <= maxOwed {
			l.open, l.draining, l.owed, l.fresh = true, false, left, nil
		} else {
			l.draining = true
		}
	}
	switch {
	case d.More, skipped:
		s.dueAt(l, now.Add(readAgain))
	case !d.Next.IsZero():
		s.dueAt(l, d.Next)
	}
	s.pump(l)
}

// render makes the pushes of rows: as it was, of one that was attempted; from
// the newest trace, of the others. Where there is no trace the push is nil.
func (s *shard) render(ctx context.Context, rows []pg.Owed, e settings) ([]*item, error) {
	items := make([]*item, len(rows))
	var waybills []track.Waybill
	for i := range rows {
		if rows[i].Attempts == 0 && !rows[i].Ended {
			waybills = append(waybills, rows[i].Waybill)
		}
	}
	traces, err := s.newest(ctx, waybills)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		r := &rows[i]
		it := &item{
			sub: r.SubscriptionID, tenant: r.TenantID, waybill: r.Waybill, after: r.After, revision: r.AttemptRevision, body: r.Body,
			receive: r.ReceiveTime, attempts: r.Attempts, first: r.FirstAttempt, owed: r.Revision,
		}
		if r.Attempts == 0 {
			n := traces[r.Waybill]
			if n == nil || n.trace.Revision <= r.After {
				continue
			}
			sub := push.Subscription{
				ID: r.SubscriptionID, TenantID: r.TenantID, Metadata: r.Metadata, AccountID: e.account.ID, Terms: r.Terms, IncludeTrace: e.includeTrace,
				Mask: s.cfg.Mask != nil && s.cfg.Mask(r.TenantID),
			}
			it.revision, it.body, it.header = n.trace.Revision, e.format.Render(sub, n.trace, r.After), n.header
		}
		items[i] = it
	}
	return items, nil
}

// stored is a trace, and the trace context of what made it.
type stored struct {
	trace  *track.Trace
	header map[string][]string
}

// newest reads waybills' newest traces: from the stream, and those that left it
// from PostgreSQL.
func (s *shard) newest(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*stored, error) {
	found := make(map[track.Waybill]*stored, len(waybills))
	if len(waybills) == 0 {
		return found, nil
	}
	subjects := make([]string, len(waybills))
	for i, w := range waybills {
		subjects[i] = subject.Trace(string(w.Carrier), string(w.Number))
	}
	last, err := s.cfg.Last(ctx, subjects)
	if err != nil {
		return nil, err
	}
	var missing []track.Waybill
	for i, w := range waybills {
		m, ok := last[subjects[i]]
		if !ok {
			missing = append(missing, w)
			continue
		}
		if found[w], err = decode(m); err != nil {
			s.cfg.Log.ErrorContext(ctx, "a trace can't be read", "sequence", m.Seq, obs.KeyError, err)
			delete(found, w)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	projected, err := s.cfg.Store.Traces(ctx, missing)
	if err != nil {
		return nil, err
	}
	for w, u := range projected {
		t, err := wire.Trace(u)
		if err != nil {
			s.cfg.Log.ErrorContext(ctx, "a projected trace can't be read", obs.KeyError, err)
			continue
		}
		found[w] = &stored{trace: t}
	}
	return found, nil
}

func decode(m stream.Stored) (*stored, error) {
	t, err := wire.Decode(m.Data, 0)
	if err != nil {
		return nil, err
	}
	return &stored{trace: t, header: m.Header}, nil
}
