package delivery

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
)

const (
	// cancelWindow is how far back cancellations are looked for when notifications
	// may have been lost: longer than that can last.
	cancelWindow = 5 * time.Minute
	// cancelMemory is how long a cancellation is remembered: longer than a push is
	// on its way from the matcher.
	cancelMemory = 10 * time.Minute
	// idleLanes are forgotten.
	idleLanes = 10 * time.Minute
	// listenPause is before notifications are listened for again.
	listenPause = time.Second
)

// stale is what a shard has to read again.
type stale struct {
	all       bool
	endpoints map[string]bool
}

func (t *stale) any() bool { return t.all || len(t.endpoints) > 0 }

// enlist lets a shard hear of changes until the returned function is called.
func (s *Service) enlist(sh *shard) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[sh] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.shards, sh)
	}
}

func (s *Service) enlisted() []*shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.shards))
}

// listen passes on what the owners of endpoints and subscriptions change. When
// notifications break off, all is read as soon as they are back; the slow refresh
// stands in for them meanwhile.
func (s *Service) listen(ctx context.Context) error {
	each := func(do func(*shard)) {
		for _, sh := range s.enlisted() {
			sh.send(func() {
				do(sh)
				sh.refresh()
			})
		}
	}
	for {
		err := s.cfg.Store.Listen(ctx,
			func() { each(func(sh *shard) { sh.stale.all = true }) },
			func(id string) {
				each(func(sh *shard) {
					if slices.Contains(sh.slots, subject.EndpointSlot(id)) {
						sh.stale.endpoints[id] = true
					}
				})
			},
			func(id string) { each(func(sh *shard) { sh.cancel(id) }) },
		)
		if pause.For(ctx, listenPause) != nil {
			return ctx.Err()
		}
		s.cfg.Log.WarnContext(ctx, "notifications of endpoints broke off; they are listened for again", obs.KeyError, err)
	}
}

// cancel notes that a subscription was cancelled: nothing more begins for it, and
// what it was owed goes.
func (s *shard) cancel(sub string) {
	s.cancelled[sub] = s.cfg.Now()
	s.pending.ended = append(s.pending.ended, sub)
}

// refresh reads what the owners of endpoints and subscriptions changed, beside
// the shard's goroutine.
func (s *shard) refresh() {
	if s.refreshing || s.stopping || !s.stale.any() {
		return
	}
	all := s.stale.all
	ids := slices.Collect(maps.Keys(s.stale.endpoints))
	if all {
		ids = slices.Collect(maps.Keys(s.lanes))
	}
	s.stale = stale{endpoints: map[string]bool{}}
	s.refreshing = true
	since := s.cfg.Now().Add(-cancelWindow)
	commits := s.commits
	s.running.Go(func() {
		var found map[string]pg.Endpoint
		var resent, cancelled []string
		var err error
		if all {
			// Also endpoints without a lane.
			resent, err = s.cfg.Store.EndpointsResentSince(s.owned, since)
			ids = append(ids, slices.DeleteFunc(s.own(resent), func(id string) bool { return slices.Contains(ids, id) })...)
		}
		if err == nil && len(ids) > 0 {
			found, err = s.cfg.Store.Endpoints(s.owned, ids)
		}
		if err == nil && all {
			cancelled, err = s.cfg.Store.CancelledSince(s.owned, since)
		}
		s.send(func() {
			s.refreshing = false
			if err != nil {
				s.stale.all = true
				s.cfg.Log.WarnContext(s.owned, "settings of endpoints can't be read; those before stay in effect", obs.KeyError, err)
				s.running.Go(func() {
					if pause.For(s.owned, retryPause) == nil {
						s.send(s.refresh)
					}
				})
				return
			}
			s.refreshed(ids, found, cancelled, commits)
			if all {
				s.forget()
			}
			s.refresh()
		})
	})
}

// forget drops lanes that nothing has happened on for a while, and what was kept
// in case of something that didn't come.
func (s *shard) forget() {
	now := s.cfg.Now()
	for id, l := range s.lanes {
		if len(l.covered) > maxCovered {
			clear(l.covered)
			s.settled = now.Add(settleTime) // PostgreSQL is asked instead
		}
		switch {
		case !l.forgettable():
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = now
		case now.Sub(l.idle) > idleLanes:
			delete(s.lanes, id)
		}
	}
}

func (s *shard) refreshed(ids []string, found map[string]pg.Endpoint, cancelled []string, commits uint64) {
	now := s.cfg.Now()
	for sub, at := range s.cancelled {
		if now.Sub(at) > cancelMemory {
			delete(s.cancelled, sub)
		}
	}
	for _, sub := range cancelled {
		s.cancel(sub)
	}
	for _, id := range ids {
		e, ok := found[id]
		l := s.lanes[id]
		switch {
		case l == nil: // nothing was pushed to it since the shard was taken over
			s.newLane(id, e, ok, pg.Health{}, false)
		case l.gone || l.goneCommit > commits:
			// What was read before an endpoint's being gone was committed says otherwise.
		default:
			s.apply(l, settingsOf(e, ok, l.settings, now, s.cfg.RetryScale))
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
	l.breaker.until = time.Time{}
	s.dueAt(l, s.cfg.Now())
}

// apply puts changed settings into effect.
func (s *shard) apply(l *lane, now settings) {
	before := l.settings
	l.settings = now
	if l.breaker.failures == 0 && l.breaker.until.IsZero() && before.max != now.max {
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
		l.breaker.until = time.Time{} // whoever enabled it wants it tried now
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
