package delivery

import (
	"errors"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// batch is what one transaction commits, and what follows it.
type batch struct {
	outcomes pg.Outcomes
	done     []*stream.Received // acknowledged after the commit
	changed  []change           // rows that it changes
	park     map[*lane]bool     // lanes of which what waits is parked
	gone     []*lane
	ended    []string // subscriptions that were cancelled
	tells    bool     // events, or what events are made of
}

// change is a change of a subscription's row.
type change struct {
	lane *lane
	sub  string
	due  time.Time // when the row is due after it; zero when there is none
}

func (b *batch) empty() bool {
	return b.outcomes.Empty() && len(b.done) == 0 && len(b.park) == 0 && len(b.ended) == 0
}

func (b *batch) acknowledge(sub string, revision track.Revision) {
	if b.outcomes.Acknowledged == nil {
		b.outcomes.Acknowledged = make(map[string]track.Revision)
	}
	b.outcomes.Acknowledged[sub] = max(b.outcomes.Acknowledged[sub], revision)
}

// change notes that a row changes, and that it is to be read at a time after
// that is committed. A read before the commit would not see it.
func (s *shard) change(l *lane, sub string, due time.Time) {
	q := l.queue(sub)
	q.uncommitted++
	q.clear = false
	l.touch(sub)
	s.pending.changed = append(s.pending.changed, change{l, sub, due})
}

// commitInterval lies between the beginnings of commits, so that there is one
// sync for what ends in that time. Nobody waits for it: what follows a push in
// memory begins before the commit.
const commitInterval = 50 * time.Millisecond

func (s *shard) untilFlush() time.Duration {
	if s.committing || s.pending.empty() {
		return time.Hour
	}
	return max(commitInterval-s.cfg.Now().Sub(s.flushed), 0)
}

// flush hands what is pending to the committer, unless that is at work or was a
// moment ago: then more is gathered.
func (s *shard) flush() {
	if s.committing || s.pending.empty() {
		return
	}
	now := s.cfg.Now()
	if !s.stopping && now.Sub(s.flushed) < commitInterval {
		return
	}
	b := s.pending
	s.pending, s.flushed = &batch{}, now
	for l := range b.park {
		b.outcomes.ParkAll(l.place(), l.settings.reason, now)
		b.tells = true
	}
	if len(b.ended) > 0 {
		b.outcomes.DropAll(b.ended, s.slots)
	}
	s.committing = true
	s.running.Go(func() { s.commit(b) })
}

// commit writes a batch, however long it takes while the lease is ours. What
// PostgreSQL refuses is set aside, so that nothing behind it waits for ever.
func (s *shard) commit(b *batch) {
	for again := false; ; again = true {
		err := s.cfg.Store.Commit(s.owned, s.lease, &b.outcomes, s.cfg.Now(), again)
		if again && pg.Refused(err) {
			err = s.salvage(b)
		}
		if err == nil {
			break
		}
		if errors.Is(err, pg.ErrLeaseLost) || pause.For(s.owned, retryPause) != nil {
			s.send(func() { s.failed = errors.Join(pg.ErrLeaseLost, err) })
			return
		}
		s.meters.commitFailures.Add(s.owned, 1)
		s.cfg.Log.WarnContext(s.owned, "outcomes can't be committed; they are tried again", "attempts", len(b.outcomes.Attempts), obs.KeyError, err)
	}
	for _, m := range b.done {
		if err := m.Ack(); err != nil {
			// It comes again and is found to be done.
			s.cfg.Log.WarnContext(s.owned, "a push is done and can't be acknowledged in the stream", obs.KeyError, err)
			break
		}
	}
	fault.Crash("deliver.acked")
	s.send(func() { s.committed(b) })
	if b.tells {
		select {
		case s.told <- struct{}{}:
		default:
		}
	}
}

// salvage commits what PostgreSQL takes of a batch, one by one.
func (s *shard) salvage(b *batch) error {
	refusals, err := s.cfg.Store.Salvage(s.owned, s.lease, &b.outcomes, s.cfg.Now(), s.refusedEvent)
	if err != nil {
		return err
	}
	b.tells = true
	for _, r := range refusals {
		s.meters.refused.Add(s.owned, 1)
		s.cfg.Log.ErrorContext(s.owned, "an outcome is refused by PostgreSQL and set aside in refused_outcome: this is a fault",
			obs.KeySubscriptionID, r.SubscriptionID, obs.KeyEndpointID, r.EndpointID, "push_id", r.PushID, obs.KeyError, r.Reason)
	}
	return nil
}

func (s *shard) committed(b *batch) {
	s.committing = false
	s.commits++
	s.unacknowledged -= len(b.done)
	for _, l := range b.gone {
		l.gone, l.goneCommit = false, s.commits
	}
	for _, c := range b.changed {
		if q := c.lane.queues[c.sub]; q != nil {
			q.uncommitted--
			c.lane.release(c.sub)
		}
		c.lane.touch(c.sub)
		if !c.due.IsZero() {
			s.dueAt(c.lane, c.due)
		}
	}
}
