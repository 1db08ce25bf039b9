package delivery

import (
	"slices"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
)

const (
	// cancelWindow is how far back cancellations are looked for: far longer than
	// a refresh can be late.
	cancelWindow = 30 * time.Second
	// cancelMemory is how long a cancellation is remembered: longer than a push is
	// on its way from the matcher.
	cancelMemory = 10 * time.Minute
)

// refresh reads what the owners of endpoints and subscriptions changed, beside
// the shard's goroutine.
func (s *shard) refresh() {
	if s.refreshing || s.stopping {
		return
	}
	s.refreshing = true
	ids := make([]string, 0, len(s.lanes))
	for id := range s.lanes {
		ids = append(ids, id)
	}
	since := s.cfg.Now().Add(-cancelWindow)
	commits := s.commits
	s.running.Go(func() {
		resent, err := s.cfg.Store.EndpointsResentSince(s.owned, since)
		ids = append(ids, s.own(resent)...)
		var found map[string]pg.Endpoint
		if err == nil {
			found, err = s.cfg.Store.Endpoints(s.owned, ids)
		}
		var cancelled []string
		if err == nil {
			cancelled, err = s.cfg.Store.CancelledSince(s.owned, since)
		}
		s.send(func() {
			s.refreshing = false
			if err != nil {
				s.cfg.Log.WarnContext(s.owned, "settings of endpoints can't be read; those before stay in effect", obs.KeyError, err)
				return
			}
			s.refreshed(ids, found, cancelled, commits)
		})
	})
}

func (s *shard) refreshed(ids []string, found map[string]pg.Endpoint, cancelled []string, commits uint64) {
	now := s.cfg.Now()
	for sub, at := range s.cancelled {
		if now.Sub(at) > cancelMemory {
			delete(s.cancelled, sub)
		}
	}
	for _, sub := range cancelled {
		s.cancelled[sub] = now
	}
	for _, id := range ids {
		e, ok := found[id]
		l := s.lanes[id]
		switch {
		case l == nil: // nothing was pushed to it since the shard was taken over
			s.newLane(id, e, ok, false)
		case l.gone || l.goneCommit > commits:
			// What was read before an endpoint's being gone was committed says otherwise.
		default:
			s.apply(l, settingsOf(e, ok, l.settings, now))
		}
	}
}

// own are those of some endpoints that belong to the shard. It may be called from
// any goroutine.
func (s *shard) own(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(s.slots, subject.EndpointSlot(id)) })
}

// resent looks at rows that their owner made due; there may be parked ones among
// them, and replays of what an open lane is owed nothing of. Those of a disabled
// endpoint are parked again.
func (s *shard) resent(l *lane) {
	if l.settings.state == pg.EndpointDisabled {
		s.parkAll(l)
		return
	}
	// Its owner says that it is well: it is tried at once, one push at first if it
	// has failed.
	l.blockedUntil = time.Time{}
	s.dueAt(l, s.cfg.Now())
}

// apply puts changed settings into effect.
func (s *shard) apply(l *lane, now settings) {
	before := l.settings
	l.settings = now
	if l.failures == 0 && l.blockedUntil.IsZero() && before.max != now.max {
		l.limit = max(now.max, 1)
	}
	if !before.resent.Equal(now.resent) {
		s.resent(l)
	}
	if before.state == now.state {
		return
	}
	switch now.state {
	case pg.EndpointEnabled:
		l.failures, l.blockedUntil, l.limit = 0, time.Time{}, max(l.limit, 1)
		if before.state == pg.EndpointDisabled {
			s.pending.outcomes.Reopen(l.id, before.reason, s.cfg.Now())
		}
		s.change(l, "", s.cfg.Now()) // of several rows
	case pg.EndpointDisabled:
		s.parkAll(l)
		s.hold(l)
	default:
		s.hold(l)
	}
}
