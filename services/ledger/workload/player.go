package workload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

const (
	// callTimeout bounds one try, as a carrier's would.
	callTimeout = 10 * time.Second
	// maxInFlight bounds the goroutines, not the rate: it is never reached unless
	// nothing is answered.
	maxInFlight = 2000
)

// Secrets hears of the secrets of endpoints.
type Secrets interface {
	AddSecret(endpoint int, secret string)
}

// Player plays a plan.
type Player struct {
	*Plan

	journeys []journey
	world    *world.World
	out      *record.Writer
	secrets  Secrets
	http     *http.Client
	reports  *client.Client
	control  map[string]*client.Client // by tenant

	mu   sync.Mutex
	subs map[string]*subscription
}

// subscription is one of the plan, as far as it is known.
type subscription struct {
	made chan struct{} // closed when it is
	id   string
	// turn is held by who manages it: two calls at once would have no order.
	turn sync.Mutex
}

// Open connects to a world.
func (p *Player) Open(w *world.World, out *record.Writer, secrets Secrets) error {
	p.world, p.out, p.secrets = w, out, secrets
	p.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	p.subs, p.control = make(map[string]*subscription), make(map[string]*client.Client)
	for _, s := range p.Steps {
		if s.Kind == record.KindSubscribe && p.subs[s.Subscription] == nil {
			p.subs[s.Subscription] = &subscription{made: make(chan struct{})}
		}
	}
	var err error
	if p.reports, err = client.Dial("passthrough:///"+w.Reports, client.WithoutTLS(), client.WithCallTimeout(callTimeout)); err != nil {
		return err
	}
	for _, t := range tenants {
		if p.control[t], err = client.Dial("passthrough:///"+w.Control, client.WithoutTLS(), client.WithTenant(t), client.WithCallTimeout(callTimeout)); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connections.
func (p *Player) Close() {
	if p.reports != nil {
		_ = p.reports.Close()
	}
	for _, c := range p.control {
		_ = c.Close()
	}
	if p.http != nil {
		p.http.CloseIdleConnections()
	}
}

// Control is the control plane, for a tenant.
func (p *Player) Control(tenant string) *client.Client { return p.control[tenant] }

// MakeEndpoints makes the plan's endpoints, and writes its events down.
func (p *Player) MakeEndpoints(ctx context.Context) error {
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		made, err := p.control[e.Tenant].CreateEndpoint(ctx, client.NewEndpoint{
			URL: p.url(e.Index, "a"), Timeout: e.Timeout, MaxInFlight: 16, DisplayName: fmt.Sprint("ledger ", e.Class, " ", e.Index),
			Retry: &client.RetryPolicy{Delays: e.Delays, MaxAttempts: e.MaxAttempts, Horizon: 3 * time.Hour},
		})
		if err != nil {
			return err
		}
		e.ID = made.ID()
		p.secrets.AddSecret(e.Index, string(made.Secret))
	}
	for _, e := range p.Events {
		p.out.Event(e)
	}
	return nil
}

func (p *Player) url(endpoint int, path string) string {
	return fmt.Sprintf("http://%s/e/%d/%s", p.world.Callbacks, endpoint, path)
}

// Play begins every step at its time, whatever became of those before, and
// returns when all have ended. What isn't answered well is tried again until
// patience ends.
func (p *Player) Play(ctx context.Context, began time.Duration, patience <-chan struct{}) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxInFlight)
	for i := range p.Steps {
		s := &p.Steps[i]
		if wait := began + s.At - p.out.Now(); wait > 0 && pause.For(ctx, wait) != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			p.step(ctx, s, patience)
		})
	}
	wg.Wait()
}

// step does an operation until it is answered for good.
func (p *Player) step(ctx context.Context, s *Step, patience <-chan struct{}) {
	const longest = 5 * time.Second
	switch s.Kind {
	case record.KindCancel, record.KindPause, record.KindResume:
		turn := &p.subs[s.Subscription].turn
		turn.Lock()
		defer turn.Unlock()
	default:
	}
	wait := time.Second
	for try := 1; ; try++ {
		op := p.try(ctx, s, try, patience)
		if op.Outcome == "" {
			return // there was nothing to do it to
		}
		p.out.Op(op)
		if op.Outcome != record.Unknown || s.Impatient || ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		case <-patience:
			// One more time now that everything is well.
			if try > 1000 {
				return
			}
			try = 1000
			if pause.For(ctx, wait) != nil {
				return
			}
		}
		wait = min(2*wait, longest)
	}
}

func (p *Player) try(ctx context.Context, s *Step, try int, patience <-chan struct{}) record.Op {
	op := record.Op{Kind: s.Kind, Try: try, Endpoint: -1, Poison: s.Poison, Repeat: s.Repeat}
	var answer said
	switch s.Kind {
	case record.KindEvent:
		j := &p.journeys[s.Waybill]
		op.Source, op.Waybill = s.Source, j.carrier+"/"+j.number
		for _, n := range s.Events {
			op.Tokens = append(op.Tokens, j.events[n].Token)
		}
		op.Begin = p.out.Now()
		switch s.Source {
		case Kdniao:
			answer = p.post(ctx, Kdniao, kdniaoForm(j, s.Events, s.Poison))
		case Kuaidi100:
			answer = p.post(ctx, Kuaidi100, kuaidi100Form(j, s.Events, s.Poison))
		default:
			answer = p.report(ctx, j, s.Events)
		}
	case record.KindSubscribe:
		j := &p.journeys[s.Waybill]
		op.Waybill, op.Endpoint = j.carrier+"/"+j.number, s.Endpoint
		op.Begin = p.out.Now()
		answer, op.Subscription = p.subscribe(ctx, s, j)
	case record.KindRotate, record.KindMove:
		op.Endpoint = s.Endpoint
		op.Begin = p.out.Now()
		answer = p.change(ctx, s)
	default:
		sub := p.subs[s.Subscription]
		select {
		case <-sub.made:
		case <-patience:
			select {
			case <-sub.made:
			default:
				return record.Op{}
			}
		case <-ctx.Done():
			return record.Op{}
		}
		op.Endpoint, op.Subscription = s.Endpoint, sub.id
		op.Begin = p.out.Now()
		answer = p.manage(ctx, s, sub.id)
	}
	op.End = p.out.Now()
	op.Outcome, op.Status, op.Refused = answer.outcome, answer.status, answer.refused
	return op
}

func (p *Player) subscribe(ctx context.Context, s *Step, j *journey) (said, string) {
	e := &p.Endpoints[s.Endpoint]
	made, err := p.control[e.Tenant].CreateSubscription(ctx, client.NewSubscription{
		Endpoint: e.ID, Waybill: trace.ID{CarrierCode: j.carrier, WaybillNumber: j.number}, RequestID: s.Subscription, Tail: s.Tail,
		Metadata: map[string]string{"order_id": s.Subscription},
	})
	if err != nil {
		return failure(err), ""
	}
	sub := p.subs[s.Subscription]
	p.mu.Lock()
	defer p.mu.Unlock()
	if sub.id == "" {
		sub.id = made.ID()
		close(sub.made)
	}
	answer := said{outcome: record.OK, status: "made"}
	if s.Tail > 0 {
		answer.status = "made, short tail"
	}
	return answer, made.ID()
}

func (p *Player) manage(ctx context.Context, s *Step, id string) said {
	c := p.control[p.Endpoints[s.Endpoint].Tenant]
	var err error
	switch s.Kind {
	case record.KindCancel:
		_, err = c.CancelSubscription(ctx, id)
	case record.KindPause:
		_, err = c.PauseSubscription(ctx, id)
	case record.KindResume:
		_, err = c.ResumeSubscription(ctx, id)
	default:
		err = fmt.Errorf("operation %s: %w", s.Kind, errors.ErrUnsupported)
	}
	if err != nil {
		return failure(err)
	}
	return said{outcome: record.OK, status: "done"}
}

// change gives an endpoint another secret or URL.
func (p *Player) change(ctx context.Context, s *Step) said {
	e := &p.Endpoints[s.Endpoint]
	var u client.EndpointUpdate
	if s.Kind == record.KindRotate {
		secret := client.Secret(newSecret(p.Config.Seed))
		p.secrets.AddSecret(e.Index, string(secret))
		u.Secret = &secret
	} else {
		url := p.url(e.Index, "b")
		u.URL = &url
	}
	if _, err := p.control[e.Tenant].UpdateEndpoint(ctx, e.ID, u); err != nil {
		return failure(err)
	}
	return said{outcome: record.OK, status: "done"}
}

// Enable enables an endpoint again, and writes that down.
func (p *Player) Enable(ctx context.Context, endpoint int) error {
	e := &p.Endpoints[endpoint]
	state := client.EndpointEnabled
	op := record.Op{Kind: record.KindEnable, Try: 1, Endpoint: endpoint, Begin: p.out.Now(), Outcome: record.OK}
	_, err := p.control[e.Tenant].UpdateEndpoint(ctx, e.ID, client.EndpointUpdate{State: &state})
	if err != nil {
		s := failure(err)
		op.Outcome, op.Status = s.outcome, s.status
	}
	op.End = p.out.Now()
	p.out.Op(op)
	return err
}

// Resend makes what is still parked due again, for every tenant.
func (p *Player) Resend(ctx context.Context) error {
	var errs []error
	for _, c := range p.control {
		_, err := c.ResendPushes(ctx, client.ParkedFilter{}, "")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// failure says what an error of a call tells of its effect.
func failure(err error) said {
	s := said{outcome: record.Unknown, status: err.Error()}
	for _, refusal := range []error{
		client.ErrInvalid, client.ErrNotFound, client.ErrAlreadyExists, client.ErrPrecondition,
		client.ErrUnauthenticated, client.ErrPermissionDenied, client.ErrUnimplemented,
	} {
		if errors.Is(err, refusal) {
			s.outcome = record.Fail
		}
	}
	return s
}

// Nudge reports one more event of each of some waybills: what was parked goes
// with the next change. It returns those that weren't told.
func (p *Player) Nudge(ctx context.Context, waybills map[string]bool, round int) error {
	for i := range p.journeys {
		j := &p.journeys[i]
		name := j.carrier + "/" + j.number
		if !waybills[name] {
			continue
		}
		e := j.events[0]
		e.Token = fmt.Sprintf("%s%04X-%04d", p.Run, i, 8000+round)
		e.Time, e.Status, e.code, e.Replaces = e.Time.Add(-time.Duration(round+1)*time.Minute), "in_transit", "in_transit", ""
		e.text = "nudge " + e.Token
		p.out.Event(e.Event)
		j.events = append(j.events, e)
		s := &Step{Kind: record.KindEvent, Waybill: i, Source: Team, Events: []int{len(j.events) - 1}}
		for try := 1; ; try++ {
			op := p.try(ctx, s, try, nil)
			p.out.Op(op)
			if op.Outcome == record.OK {
				break
			}
			if err := pause.For(ctx, time.Second); err != nil || op.Outcome == record.Fail {
				return fmt.Errorf("report one more event of %s: %s", name, op.Status)
			}
		}
	}
	return nil
}
