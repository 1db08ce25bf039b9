package delivery

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	opsv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ops/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	// parkedInterval lies between an endpoint's events about parked pushes.
	parkedInterval = time.Minute
	// tellPause is after what could not be told.
	tellPause = 5 * time.Second
	// tellAnyway is how often it is looked for events that others raised.
	tellAnyway = time.Minute
	// tellAtOnce events are published together: so few are stored one by one, and
	// one that the stream refuses doesn't take the others with it.
	tellAtOnce = 10
)

// kindToken is a kind of event as a token of a subject.
func kindToken(k opsv1.EventKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "EVENT_KIND_"))
}

// event encodes an operational event, with an id of its own.
func event(now time.Time, of pg.Place, kind opsv1.EventKind, detail func(*opsv1.Event)) (*pg.OpsEvent, error) {
	e := &opsv1.Event{
		Id: "ops_" + strings.ToLower(rand.Text()), EventTime: timestamppb.New(now), TenantId: of.TenantID, Kind: kind,
		Endpoint: "tenants/" + of.TenantID + "/endpoints/" + of.EndpointID,
	}
	detail(e)
	body, err := proto.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode an operational event: %w", err)
	}
	return &pg.OpsEvent{ID: e.GetId(), Slot: of.Slot, TenantID: of.TenantID, Kind: kindToken(kind), Body: body}, nil
}

// raise records an event with the outcomes that it tells of.
func (s *shard) raise(l *lane, kind opsv1.EventKind, detail func(*opsv1.Event)) {
	e, err := event(s.cfg.Now(), l.place(), kind, detail)
	if err != nil {
		s.cfg.Log.ErrorContext(s.owned, "an operational event can't be told", obs.KeyEndpointID, l.id, obs.KeyError, err)
		return
	}
	s.pending.outcomes.Event(e)
	s.pending.tells = true
}

// health records how a lane's breaker stands.
func (s *shard) health(l *lane) {
	b := &l.breaker
	s.pending.outcomes.Health(&pg.Health{
		EndpointID: l.id, TenantID: l.settings.tenant, Slot: l.slot(), Opened: b.opened, Probes: b.probes, ProbeTime: b.until, Class: b.class, HTTPStatus: b.code,
	})
}

func (s *shard) opened(l *lane) {
	b := &l.breaker
	s.health(l)
	s.raise(l, opsv1.EventKind_EVENT_KIND_BREAKER_OPENED, func(e *opsv1.Event) {
		e.Detail = &opsv1.Event_BreakerOpened{BreakerOpened: &opsv1.BreakerOpened{
			ConsecutiveFailures: int32(b.failures), ErrorClass: b.class, HttpStatus: int32(b.code), NextProbeTime: timestamppb.New(b.until),
		}}
	})
	s.cfg.Log.WarnContext(s.owned, "an endpoint keeps failing; what it is owed is held", obs.KeyEndpointID, l.id, obs.KeyTenant, l.settings.tenant, "class", b.class)
}

func (s *shard) closed(l *lane, opened time.Time, probes int) {
	s.health(l)
	s.raise(l, opsv1.EventKind_EVENT_KIND_BREAKER_CLOSED, func(e *opsv1.Event) {
		e.Detail = &opsv1.Event_BreakerClosed{BreakerClosed: &opsv1.BreakerClosed{
			OpenTime: timestamppb.New(opened), OpenDuration: durationpb.New(s.cfg.Now().Sub(opened)), FailedProbes: int32(probes),
		}}
	})
	s.cfg.Log.InfoContext(s.owned, "an endpoint has come back", obs.KeyEndpointID, l.id, obs.KeyTenant, l.settings.tenant)
}

func (s *shard) disabled(l *lane) {
	s.raise(l, opsv1.EventKind_EVENT_KIND_ENDPOINT_DISABLED, func(e *opsv1.Event) {
		e.Detail = &opsv1.Event_EndpointDisabled{EndpointDisabled: &opsv1.EndpointDisabled{Reason: reasonGone}}
	})
	s.cfg.Log.WarnContext(s.owned, "an endpoint is gone; what it is owed is parked", obs.KeyEndpointID, l.id, obs.KeyTenant, l.settings.tenant)
}

func (s *shard) parkedEvent(p pg.Parked) (*pg.OpsEvent, error) {
	of := pg.Place{EndpointID: p.EndpointID, TenantID: p.TenantID, Slot: p.Slot}
	return event(s.cfg.Now(), of, opsv1.EventKind_EVENT_KIND_PUSHES_PARKED, func(e *opsv1.Event) {
		e.Detail = &opsv1.Event_PushesParked{PushesParked: &opsv1.PushesParked{Count: p.Count, Reason: p.Reason}}
	})
}

// refusedEvent is nil for what is of no tenant.
func (s *shard) refusedEvent(r pg.Refusal) (*pg.OpsEvent, error) {
	if r.TenantID == "" || r.EndpointID == "" {
		return nil, nil
	}
	of := pg.Place{EndpointID: r.EndpointID, TenantID: r.TenantID, Slot: int16(subject.EndpointSlot(r.EndpointID))}
	return event(s.cfg.Now(), of, opsv1.EventKind_EVENT_KIND_OUTCOME_REFUSED, func(e *opsv1.Event) {
		e.Detail = &opsv1.Event_OutcomeRefused{OutcomeRefused: &opsv1.OutcomeRefused{SubscriptionId: r.SubscriptionID, PushId: r.PushID, Reason: r.Reason}}
	})
}

// tell publishes events that were committed, whenever there may be some, until
// the context ends. What was published and not deleted is published again, with
// the same id.
func (s *shard) tell(ctx context.Context) {
	for {
		wait, err := s.tellAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "operational events can't be told; it is tried again", obs.KeyError, err)
			wait = tellPause
		}
		if wait == 0 {
			wait = tellAnyway
		}
		later := time.NewTimer(wait)
		select {
		case <-s.told:
		case <-later.C:
		case <-ctx.Done():
		}
		later.Stop()
	}
}

func (s *shard) tellAll(ctx context.Context) (wait time.Duration, err error) {
	wait, err = s.cfg.Store.TellParked(ctx, s.lease, s.slots, parkedInterval, s.parkedEvent)
	if err != nil {
		return 0, err
	}
	for {
		list, err := s.cfg.Store.OpsEvents(ctx, s.slots, tellAtOnce)
		if err != nil || len(list) == 0 {
			return wait, err
		}
		msgs := make([]stream.Message, len(list))
		for i := range list {
			msgs[i] = stream.Message{Subject: subject.Ops(list[i].TenantID, list[i].Kind), Data: list[i].Body}
		}
		if err := s.cfg.Ops.Publish(ctx, msgs...); err != nil {
			return 0, err
		}
		if err := s.cfg.Store.ToldOpsEvents(ctx, list); err != nil {
			return 0, err
		}
		for i := range list {
			s.meters.event(ctx, list[i].Kind)
		}
	}
}
