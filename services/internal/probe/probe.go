package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// Carrier is the code of the waybills that a probe makes.
const Carrier = "probe"

// Posthaste is what a probe asks of a client; [client.Client] is one.
type Posthaste interface {
	CreateEndpoint(ctx context.Context, n client.NewEndpoint) (client.Endpoint, error)
	DeleteEndpoint(ctx context.Context, name string) error
	CreateSubscriptions(ctx context.Context, ns []client.NewSubscription) ([]client.SubscriptionResult, error)
	CancelSubscription(ctx context.Context, name string) (client.Subscription, error)
	ReportEvents(ctx context.Context, events []client.ReportedEvent) (client.Report, error)
}

// Config says what to probe, and how.
type Config struct {
	Posthaste Posthaste // required
	// Listen is where pushes are received, "host:port". Required.
	Listen string
	// URL is how Posthaste reaches that; empty means http:// and the address.
	URL string
	// Waybills are subscribed in a round, and Events reported of each, one after
	// another; both at least 1.
	Waybills, Events int
	// Late is from when on a push is late, and Patience from when on it is missing.
	// Both count from the beginning of the report.
	Late, Patience time.Duration
	Meter          metric.MeterProvider // required
	Log            *slog.Logger         // required
}

// Result is what a round saw.
type Result struct {
	Probe    string `json:"probe"` // "round"
	Waybills int    `json:"waybills"`
	// Events is how many were accepted: so many pushes are owed.
	Events int `json:"events"`
	// Missing pushes had not come when patience ended.
	Missing int `json:"missing"`
	// Late ones came after Late and before that.
	Late int `json:"late"`
	// Repeated ones came though they had been acknowledged.
	Repeated int `json:"repeated"`
	// Broken is how many didn't continue their chain: a gap, or a step back.
	Broken int     `json:"broken"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Most   float64 `json:"most_ms"`
}

// Well says that nothing was missing and no chain was broken. What is late or
// repeated breaks no promise.
func (r *Result) Well() bool { return r.Missing == 0 && r.Broken == 0 }

// Probe is an endpoint of its own. It may be used by one goroutine.
type Probe struct {
	cfg      Config
	server   *http.Server
	served   chan struct{}
	endpoint client.Endpoint
	meters   meters

	mu      sync.Mutex
	chains  map[string]*followed // by the subscription's id
	arrived chan struct{}        // closed and replaced at every arrival
}

// followed is a subscription.
type followed struct {
	webhook.Chain

	began            time.Time // of the report that the next push is of
	took             []time.Duration
	repeated, broken int
}

// Start begins to listen and makes the endpoint. Close it.
func Start(ctx context.Context, cfg Config) (*Probe, error) {
	p := &Probe{cfg: cfg, served: make(chan struct{}), chains: map[string]*followed{}, arrived: make(chan struct{})}
	var err error
	if p.meters, err = newMeters(cfg.Meter); err != nil {
		return nil, err
	}
	text := webhook.NewSecret()
	secret, err := webhook.ParseSecret(text)
	if err != nil {
		return nil, fmt.Errorf("make a secret: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for pushes: %w", err)
	}
	if p.cfg.URL == "" {
		p.cfg.URL = "http://" + l.Addr().String() + "/"
	}
	p.server = &http.Server{
		Handler: webhook.Handler(&webhook.Verifier{Secrets: []webhook.Secret{secret}}, p.take), ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(p.served)
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.ErrorContext(ctx, "the probe's receiver ended", "error", err)
		}
	}()
	p.endpoint, err = cfg.Posthaste.CreateEndpoint(ctx, client.NewEndpoint{URL: p.cfg.URL, Secret: client.Secret(text), DisplayName: "probe"})
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("make an endpoint at %s: %w", p.cfg.URL, err)
	}
	return p, nil
}

// Close takes the endpoint away and stops to listen.
func (p *Probe) Close(ctx context.Context) error {
	err := p.cfg.Posthaste.DeleteEndpoint(ctx, p.endpoint.Name)
	p.stop()
	if err != nil {
		return fmt.Errorf("delete the probe's endpoint %s: %w", p.endpoint.Name, err)
	}
	return nil
}

func (p *Probe) stop() {
	_ = p.server.Close()
	<-p.served
}

// take notes a push.
func (p *Probe) take(_ context.Context, push payload.Push) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.chains[push.SubscriptionID]
	if f == nil {
		return nil // of a round that has ended
	}
	switch f.Advance(push) {
	case webhook.Continues, webhook.Overlaps:
		f.took = append(f.took, time.Since(f.began))
	case webhook.Repeats:
		f.repeated++
	default:
		f.broken++
	}
	close(p.arrived)
	p.arrived = make(chan struct{})
	return nil
}

// Round subscribes waybills, tells of them, and says what came. An error means
// that the round could not be held; what was owed and didn't come is in the
// result.
func (p *Probe) Round(ctx context.Context) (r Result, err error) {
	r = Result{Probe: "round", Waybills: p.cfg.Waybills}
	defer func() { p.meters.round(ctx, &r, err) }()
	waybills, subs, err := p.subscribe(ctx)
	defer func() { err = errors.Join(err, p.forget(ctx, subs)) }()
	if err != nil {
		return r, err
	}
	var took []time.Duration
	for n := range p.cfg.Events {
		if err := p.report(ctx, waybills, subs, n); err != nil {
			return r, err
		}
		r.Events += len(waybills)
		p.await(ctx, subs, uint64(n+1))
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range subs {
		f := p.chains[id]
		r.Missing += p.cfg.Events - int(min(f.Revision, uint64(p.cfg.Events)))
		r.Repeated, r.Broken = r.Repeated+f.repeated, r.Broken+f.broken
		took = append(took, f.took...)
	}
	slices.Sort(took)
	for _, d := range took {
		if d > p.cfg.Late {
			r.Late++
		}
		p.meters.latency.Record(ctx, d.Seconds())
	}
	r.P50, r.P99, r.Most = quantile(took, 50), quantile(took, 99), quantile(took, 100)
	return r, nil
}

// quantile is in milliseconds, 0 of nothing.
func quantile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[max(len(sorted)*percent+99, 100)/100-1].Microseconds()) / 1000
}

// subscribe makes a round's subscriptions. With an error, those that were made
// are returned too.
func (p *Probe) subscribe(ctx context.Context) (waybills []trace.ID, subs []string, err error) {
	run := strings.ToUpper(rand.Text()[:10])
	news := make([]client.NewSubscription, p.cfg.Waybills)
	for i := range news {
		id := trace.ID{CarrierCode: Carrier, WaybillNumber: fmt.Sprintf("PROBE%s%04d", run, i)}
		waybills = append(waybills, id)
		news[i] = client.NewSubscription{Endpoint: p.endpoint.Name, Waybill: id, Tail: time.Nanosecond, ExpireTime: time.Now().Add(time.Hour)}
	}
	results, err := p.cfg.Posthaste.CreateSubscriptions(ctx, news)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range results {
		if results[i].Err != nil {
			err = errors.Join(err, results[i].Err)
			continue
		}
		id := results[i].Subscription.ID()
		subs = append(subs, id)
		p.chains[id] = &followed{}
	}
	if err != nil {
		return waybills, subs, fmt.Errorf("subscribe %d waybills: %w", len(news), err)
	}
	return waybills, subs, nil
}

// report tells event n of each waybill, once: what isn't accepted isn't owed.
func (p *Probe) report(ctx context.Context, waybills []trace.ID, subs []string, n int) error {
	events := make([]client.ReportedEvent, len(waybills))
	for i, id := range waybills {
		events[i] = client.ReportedEvent{Waybill: id, EventID: fmt.Sprint("probe-", n), Time: time.Now(), Status: status.InTransit, Text: fmt.Sprint("probe, event ", n+1)}
		if n == p.cfg.Events-1 {
			events[i].Status = status.Delivered
		}
	}
	began := time.Now()
	p.mu.Lock()
	for _, id := range subs {
		p.chains[id].began = began
	}
	p.mu.Unlock()
	done, err := p.cfg.Posthaste.ReportEvents(ctx, events)
	if err == nil && done.Rejected > 0 {
		err = fmt.Errorf("%d events are refused, the first: %v", done.Rejected, done.Rejections[0]) //nolint:err113 // the server's words
	}
	if err != nil {
		return fmt.Errorf("report event %d of %d waybills: %w", n+1, len(waybills), err)
	}
	return nil
}

// await waits until every subscription has a revision, or patience ends.
func (p *Probe) await(ctx context.Context, subs []string, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	for {
		p.mu.Lock()
		arrived := p.arrived
		all := !slices.ContainsFunc(subs, func(id string) bool { return p.chains[id].Revision < revision })
		p.mu.Unlock()
		if all {
			return
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return
		}
	}
}

// forget ends a round's subscriptions. They end by themselves too.
func (p *Probe) forget(ctx context.Context, subs []string) error {
	p.mu.Lock()
	for _, id := range subs {
		delete(p.chains, id)
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, id := range subs {
		if _, err := p.cfg.Posthaste.CancelSubscription(ctx, id); err != nil && !errors.Is(err, client.ErrPrecondition) {
			errs = append(errs, fmt.Errorf("cancel the probe's subscription %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}
