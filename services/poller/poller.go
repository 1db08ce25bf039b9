package poller

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

type (
	// queue is the monitoring queue.
	queue interface {
		Configure(ctx context.Context, sources map[track.Carrier]string, spread time.Duration) error
		Claim(ctx context.Context, source string, now time.Time, lease time.Duration, limit int) ([]pg.DuePoll, error)
		Finish(ctx context.Context, polled []pg.Polled) error
		Next(ctx context.Context, source string) (time.Time, bool, error)
		Forget(ctx context.Context, before time.Time) error
		Hold(ctx context.Context, opts pg.LeaseOptions, work func(ctx, owned context.Context, l pg.Lease) error) error
		Listen(ctx context.Context, wake func()) error
	}
	// publisher stores messages; nil means that all are on disk.
	publisher interface {
		Publish(ctx context.Context, msgs ...stream.Message) error
	}
)

// Source is an adapter with an account.
type Source struct {
	Adapter

	Account Account
	// Base replaces the adapter's; empty leaves it.
	Base string
	// Only are the carriers to ask it about; nil for all that it knows.
	Only []track.Carrier
}

// Config is what the poller needs.
type Config struct {
	Queue    queue
	Raw      publisher // to the RAW stream
	Rejected publisher // to the REJECTED stream
	// Sources in order of preference: a carrier is asked at the first that knows it.
	Sources []Source
	Client  *http.Client
	// Concurrency is how many questions of a source are under way at once; 0 means
	// 8.
	Concurrency int
	// Lease is how long a source stays with an instance that says nothing; 0 means
	// 15 s.
	Lease     time.Duration
	Log       *slog.Logger
	Meter     metric.MeterProvider
	Messaging obs.Messaging
	Now       func() time.Time
	Random    func() float64 // from 0 to 1
}

// Poller asks sources. It has nothing to do without any.
type Poller struct {
	cfg     Config
	owner   string
	workers []*worker
	meters  meters
}

const (
	// retryAfterFault is the pause before something that failed is tried again.
	retryAfterFault = time.Second
	// backfillSpread is the time over which subscriptions that were there before a
	// source was configured are asked for first.
	backfillSpread = time.Hour
	forgetEvery    = time.Hour
	forgetAfter    = 60 * day
)

// New makes a poller; [Poller.Run] works.
func New(cfg Config) (*Poller, error) {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	if cfg.Lease == 0 {
		cfg.Lease = 15 * time.Second
	}
	p := &Poller{cfg: cfg, owner: rand.Text()}
	var err error
	if p.meters, err = newMeters(cfg.Meter); err != nil {
		return nil, err
	}
	for _, s := range cfg.Sources {
		mapping, ok := carrier.Lookup(s.mapping())
		if !ok {
			return nil, fmt.Errorf("poll %s: no source of that code is mapped", s.Code)
		}
		if s.Base == "" {
			s.Base = s.BaseURL
		}
		p.workers = append(p.workers, &worker{
			Poller: p, source: s, read: mapping, limit: rate.NewLimiter(rate.Limit(s.Rate), 1), woken: make(chan struct{}, 1),
			tokens: tokens{client: cfg.Client},
		})
	}
	return p, nil
}

// carriers says from which source each carrier is asked.
func (p *Poller) carriers() map[track.Carrier]string {
	all := make(map[track.Carrier]string)
	for _, w := range p.workers {
		only := make(map[track.Carrier]bool, len(w.source.Only))
		for _, c := range w.source.Only {
			only[c] = true
		}
		for c := range w.source.Carriers {
			if _, taken := all[c]; !taken && (w.source.Only == nil || only[c]) {
				all[c] = w.source.Code
			}
		}
	}
	return all
}

// Run polls until the context ends. What is in progress then is asked again, by
// whoever comes next.
func (p *Poller) Run(ctx context.Context) error {
	if err := p.try(ctx, "configure what is polled", func() error { return p.cfg.Queue.Configure(ctx, p.carriers(), backfillSpread) }); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.listen(ctx) })
	group.Go(func() error { return p.forget(ctx) })
	share := pg.NewShare("poll", p.owner, len(p.workers), p.cfg.Lease)
	for _, w := range p.workers {
		group.Go(func() error {
			opts := pg.LeaseOptions{Name: "poll-" + w.source.Code, Owner: p.owner, TTL: p.cfg.Lease, Pause: retryAfterFault, Share: share, Log: p.cfg.Log}
			return p.cfg.Queue.Hold(ctx, opts, w.work)
		})
	}
	return group.Wait()
}

// try tries until it succeeds or the context ends.
func (p *Poller) try(ctx context.Context, doing string, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		p.cfg.Log.WarnContext(ctx, "polling waits", "to", doing, obs.KeyError, err)
		if err := pause.For(ctx, retryAfterFault); err != nil {
			return err
		}
	}
}

// listen wakes the workers when waybills come to the queue. Without workers there
// is nobody to wake.
func (p *Poller) listen(ctx context.Context) error {
	for len(p.workers) > 0 {
		err := p.cfg.Queue.Listen(ctx, func() {
			for _, w := range p.workers {
				w.wake()
			}
		})
		if err := pause.For(ctx, retryAfterFault); err != nil {
			return err
		}
		p.cfg.Log.WarnContext(ctx, "notifications of waybills to poll broke off", obs.KeyError, err)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (p *Poller) forget(ctx context.Context) error {
	for {
		if err := p.cfg.Queue.Forget(ctx, p.cfg.Now().Add(-forgetAfter)); err != nil && ctx.Err() == nil {
			p.cfg.Log.WarnContext(ctx, "what is no longer polled stays in the queue", obs.KeyError, err)
		}
		if err := pause.For(ctx, forgetEvery); err != nil {
			return err
		}
	}
}
