package delivery

import (
	"time"

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
	if s.refreshing || s.stopping || len(s.lanes) == 0 {
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
		found, err := s.cfg.Store.Endpoints(s.owned, ids)
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
		// What was read before an endpoint's being gone was committed says otherwise.
		if l := s.lanes[id]; !l.gone && l.goneCommit <= commits {
			e, ok := found[id]
			s.apply(l, settingsOf(e, ok))
		}
	}
}

// apply puts changed settings into effect.
func (s *shard) apply(l *lane, now settings) {
	before := l.settings
	l.settings = now
	if l.failures == 0 && l.blockedUntil.IsZero() && before.max != now.max {
		l.limit = max(now.max, 1)
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
