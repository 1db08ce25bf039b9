package erasure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	// atOnce are worked on in a round.
	atOnce = 100
	// askAgain is when a trace that isn't erased yet is asked to be erased once more.
	askAgain = 30 * time.Second
)

// Run erases until the context ends, in one process of all.
func (s *Service) Run(ctx context.Context) error {
	return s.cfg.Hold(ctx, func(ctx context.Context) error {
		for {
			if err := errors.Join(s.round(ctx), s.retain(ctx)); err != nil && ctx.Err() == nil {
				s.cfg.Log.WarnContext(ctx, "erasing waits; it is tried again", obs.KeyError, err)
			}
			if err := pause.For(ctx, s.cfg.Interval); err != nil {
				return err
			}
		}
	})
}

// round brings each erasure a step further.
func (s *Service) round(ctx context.Context) error {
	list, err := s.cfg.Store.Running(ctx, atOnce)
	if err != nil || len(list) == 0 {
		return err
	}
	var errs []error
	var fresh []*pg.Erasure // of these the trace is erased, and rejected reports aren't yet
	for i := range list {
		first, err := s.step(ctx, &list[i])
		if first {
			fresh = append(fresh, &list[i])
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.purge(ctx, fresh))...)
}

// step brings one erasure further. first says that its trace was seen to be erased
// for the first time.
func (s *Service) step(ctx context.Context, e *pg.Erasure) (first bool, err error) {
	state, err := s.cfg.Store.Projected(ctx, e.Waybill)
	if err != nil {
		return false, err
	}
	now := s.cfg.Now()
	if state.GetEraseTime() == nil {
		if now.Sub(e.Asked) < askAgain {
			return false, nil
		}
		// First that it was asked: a death in between asks again later.
		e.Asked = now
		if err := s.cfg.Store.Save(ctx, e); err != nil {
			return false, err
		}
		return false, s.ask(ctx, e.Waybill, e.Request)
	}
	first = e.Traced.IsZero()
	found, err := s.cfg.Store.Sweep(ctx, e.Waybill, track.Revision(state.GetRevision()))
	if err != nil {
		return false, err
	}
	switch {
	case first && found.Owed == 0:
		e.Traced, e.Clean = now, now.Add(s.cfg.Settle)
	case first:
		e.Traced, e.Clean = now, now.Add(s.cfg.Settle+s.cfg.Flight)
	case found.Bodies > 0:
		e.Clean = now.Add(s.cfg.Flight)
	}
	if first {
		return true, nil // it is saved when rejected reports are gone
	}
	if !now.Before(e.Clean) {
		oldest, any, err := s.cfg.OldestPush(ctx)
		if err != nil {
			return false, err
		}
		if !any || oldest.After(e.Traced.Add(s.cfg.Settle)) {
			e.Done = now
		}
	}
	return false, s.cfg.Store.Save(ctx, e)
}

// purge deletes the rejected reports of waybills.
func (s *Service) purge(ctx context.Context, fresh []*pg.Erasure) error {
	if len(fresh) == 0 {
		return nil
	}
	numbers := make([]string, len(fresh))
	for i, e := range fresh {
		numbers[i] = string(e.Waybill.Number)
	}
	n, err := s.cfg.PurgeRejected(ctx, func(data []byte) bool {
		return slices.ContainsFunc(numbers, func(n string) bool { return names(data, n) })
	})
	if err != nil {
		return fmt.Errorf("delete the rejected reports of %d waybills: %w", len(fresh), err)
	}
	s.cfg.Log.InfoContext(ctx, "traces are erased", "waybills", len(fresh), "rejected_reports_deleted", n)
	var errs []error
	for _, e := range fresh {
		errs = append(errs, s.cfg.Store.Save(ctx, e))
	}
	return errors.Join(errs...)
}

// ask asks the normalizer to erase a trace.
func (s *Service) ask(ctx context.Context, w track.Waybill, at time.Time) error {
	body, err := proto.Marshal(&pipelinev1.RawTrace{
		Source: carrier.EraseSource, SourceKind: trackingv1.SourceKind_SOURCE_KIND_TEAM,
		CarrierCode: string(w.Carrier), WaybillNumber: string(w.Number), ReceiveTime: timestamppb.New(at),
	})
	if err != nil {
		return fmt.Errorf("ask for a trace to be erased: %w", err)
	}
	m := stream.Message{Subject: subject.Raw(carrier.EraseSource, string(w.Carrier), string(w.Number)), Data: body}
	if err := s.cfg.Raw.Publish(ctx, m); err != nil {
		return fmt.Errorf("ask for a trace to be erased: %w", err)
	}
	return nil
}

// shortNumber is a waybill number by which a report isn't found: too many others
// hold the same characters.
const shortNumber = 6

// names says whether a report holds a waybill's number as a word of its own.
func names(data []byte, number string) bool {
	if len(number) < shortNumber {
		return false
	}
	letter := func(at int) bool {
		if at < 0 || at >= len(data) {
			return false
		}
		c := data[at] | 0x20
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
	}
	upper := bytes.ToUpper(data)
	if len(upper) != len(data) {
		upper = data
	}
	for from := 0; ; {
		i := bytes.Index(upper[from:], []byte(number))
		if i < 0 {
			return false
		}
		from += i
		if !letter(from-1) && !letter(from+len(number)) {
			return true
		}
		from++
	}
}
