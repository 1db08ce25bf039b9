package normalizer

import (
	"context"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// load finds the state of each job's waybill. Jobs whose state can't be found
// out now are handed back; it returns the others.
func (s *Service) load(ctx context.Context, jobs []*job) []*job {
	var ready, missing []*job
	for _, j := range jobs {
		if st, ok := s.states.GetIfPresent(j.waybill); ok {
			j.before, j.remembered = st, true
			ready = append(ready, j)
			continue
		}
		missing = append(missing, j)
	}
	if len(missing) == 0 {
		return ready
	}
	found, absent, err := s.loadStream(ctx, missing)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "states can't be read from the stream; raw traces wait", "waybills", len(missing), obs.KeyError, err)
		s.handBack(ctx, missing)
		return ready
	}
	ready = append(ready, found...)
	if len(absent) == 0 {
		return ready
	}
	found, err = s.loadHistory(ctx, absent)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "it can't be told whether waybills are new; raw traces wait for PostgreSQL", "waybills", len(absent), obs.KeyError, err)
		s.handBack(ctx, absent)
		return ready
	}
	return append(ready, found...)
}

// loadStream reads states from TRACE, and says which are not there.
func (s *Service) loadStream(ctx context.Context, jobs []*job) (found, absent []*job, err error) {
	subjects := make([]string, len(jobs))
	for i, j := range jobs {
		subjects[i] = j.subject
	}
	stored, err := s.cfg.Newest(ctx, subjects)
	if err != nil {
		return nil, nil, err
	}
	for _, j := range jobs {
		m, ok := stored[j.subject]
		if !ok {
			absent = append(absent, j)
			continue
		}
		t, err := wire.Decode(m.Data, 0)
		if err != nil {
			// Its chain can't be continued: somebody has to look. What was reported
			// of it waits.
			s.cfg.Log.ErrorContext(ctx, "a state in the stream can't be read", "sequence", m.Seq, obs.KeyError, err)
			s.handBack(ctx, []*job{j})
			continue
		}
		j.before, j.remembered = state{trace: t, seq: m.Seq}, false
		s.states.Set(j.waybill, j.before)
		found = append(found, j)
	}
	return found, absent, nil
}

// loadHistory reads states of waybills that left the stream; the others are
// new.
func (s *Service) loadHistory(ctx context.Context, jobs []*job) ([]*job, error) {
	ctx, cancel := context.WithTimeout(ctx, historyWait)
	defer cancel()
	waybills := make([]track.Waybill, len(jobs))
	for i, j := range jobs {
		waybills[i] = j.waybill
	}
	found, err := s.cfg.History(ctx, waybills)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		j.before, j.remembered = state{}, false
		if u := found[j.waybill]; u != nil {
			if j.before.trace, err = wire.Trace(u); err != nil {
				return nil, err
			}
		}
	}
	return jobs, nil
}
