package erasure

import (
	"context"
	"errors"
	"fmt"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

const (
	// walked are looked at in a step of the walk along all waybills, and forgot are
	// dropped in a step: small, so that nobody waits for a lock.
	walked = 1000
	forgot = 1000
)

// retain does a step of the retention, when it is time for one.
func (s *Service) retain(ctx context.Context) error {
	now := s.cfg.Now()
	if now.Before(s.rested) {
		return nil
	}
	r := s.cfg.Retention
	var errs []error
	more := false
	if r.Bodies > 0 {
		n, err := s.cfg.Store.ForgetBodies(ctx, now.Add(-r.Bodies), forgot)
		more, errs = more || n == forgot, append(errs, err)
	}
	if r.Audit > 0 {
		n, err := s.cfg.Store.ForgetAudit(ctx, now.Add(-r.Audit), forgot)
		more, errs = more || n == forgot, append(errs, err)
	}
	if r.Traces > 0 {
		again, err := s.walk(ctx)
		more, errs = more || again, append(errs, err)
	}
	err := errors.Join(errs...)
	if !more && err == nil {
		s.rested = now.Add(r.Every)
	}
	return err
}

// walk looks at the next waybills, and expires those whose time is over. more says
// that it isn't through.
func (s *Service) walk(ctx context.Context) (more bool, err error) {
	now := s.cfg.Now()
	old, last, err := s.cfg.Store.OldTraces(ctx, s.cursor, now.Add(-s.cfg.Retention.Traces), walked)
	if err != nil {
		return false, err
	}
	waybills, subjects := make([]track.Waybill, 0, len(old)), make([]string, 0, len(old))
	for w := range old {
		waybills, subjects = append(waybills, w), append(subjects, subject.Trace(string(w.Carrier), string(w.Number)))
	}
	inStream, err := s.cfg.Last(ctx, subjects)
	if err != nil {
		return false, err
	}
	for i, w := range waybills {
		if err := s.expire(ctx, w, old[w], inStream[subjects[i]].Data); err != nil {
			return false, err
		}
	}
	s.cursor = last
	return last != (track.Waybill{}), nil
}

// expire takes the texts out of an old trace, unless it is still owed to somebody,
// who then gets all of it. The stream is the state: what is still in it, encoded, is
// erased there, as a revision.
func (s *Service) expire(ctx context.Context, w track.Waybill, revision track.Revision, encoded []byte) error {
	owed, err := s.cfg.Store.Owes(ctx, w)
	if err != nil || owed {
		return err
	}
	if encoded != nil {
		t, err := wire.SplitUpdate(encoded)
		if err != nil {
			return fmt.Errorf("expire a trace: %w", err)
		}
		if t.Waybill.GetEraseTime() == nil {
			return s.ask(ctx, w, s.cfg.Now())
		}
	}
	return s.cfg.Store.Expire(ctx, w, revision, s.cfg.Now())
}
