package query

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/wire"
)

const (
	// fullBatch is when more is probably waiting.
	fullBatch = 500
	// defaultLinger lets changes gather, since nobody waits for the projection
	// and a transaction is dear.
	defaultLinger = 200 * time.Millisecond
	// defaultRetry is between tries while PostgreSQL is away.
	defaultRetry = time.Second
	// setAside is how long a change waits that can't be projected by itself: until
	// somebody has mended what is wrong.
	setAside = time.Minute
)

type (
	// consumer is what the projector needs of TRACE.
	consumer interface {
		Next(ctx context.Context) ([]*stream.Received, error)
	}
	// projection is written to with each waybill at most once. An older trace than
	// is there changes nothing.
	projection interface {
		Project(ctx context.Context, traces []*wire.Split) error
	}
)

// ProjectorConfig is what the projector of one shard needs.
type ProjectorConfig struct {
	Trace consumer // of the shard's slots
	Store projection
	Shard int
	// Observe is told of every waybill that was projected; nil for nobody.
	Observe func(*trackingv1.Waybill)
	Linger  time.Duration // 0 means 200 ms
	Retry   time.Duration // 0 means 1 s
	Log     *slog.Logger
	Meter   metric.MeterProvider
	Now     func() time.Time
}

// Projector keeps the projection of one shard up to date. Several may work on the
// same shard: writing is idempotent, whatever the order.
type Projector struct {
	cfg    ProjectorConfig
	meter  metric.Meter
	meters meters
	// oldest is when the oldest change that is being projected was stored, in
	// nanoseconds since 1970; 0 when none is.
	oldest atomic.Int64
}

// NewProjector makes a projector.
func NewProjector(cfg ProjectorConfig) (*Projector, error) {
	if cfg.Linger == 0 {
		cfg.Linger = defaultLinger
	}
	if cfg.Retry == 0 {
		cfg.Retry = defaultRetry
	}
	p := &Projector{cfg: cfg, meter: cfg.Meter.Meter(scope)}
	var err error
	if p.meters, err = newMeters(p.meter); err != nil {
		return nil, err
	}
	return p, nil
}

// Run projects until the context ends. What is in progress then comes again.
func (p *Projector) Run(ctx context.Context) error {
	shard := metric.WithAttributes(attribute.Int("shard", p.cfg.Shard))
	watched, err := p.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveFloat64(p.meters.lag, p.lag().Seconds(), shard)
		return nil
	}, p.meters.lag)
	if err != nil {
		return fmt.Errorf("observe the projection's lag: %w", err)
	}
	defer func() { _ = watched.Unregister() }()
	for {
		batch, err := p.cfg.Trace.Next(ctx)
		if err != nil {
			return err
		}
		p.oldest.Store(batch[0].Time.UnixNano())
		if err := p.work(ctx, batch); err != nil {
			return err
		}
		if len(batch) >= fullBatch {
			continue
		}
		p.oldest.Store(0)
		if err := pause.For(ctx, p.cfg.Linger); err != nil {
			return err
		}
	}
}

func (p *Projector) lag() time.Duration {
	oldest := p.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(p.cfg.Now().Sub(time.Unix(0, oldest)), 0)
}

// change is what a batch says of one waybill: the newest trace, and all messages
// that it covers.
type change struct {
	trace *wire.Split
	msgs  []*stream.Received
}

// work ends every message of a batch, or returns the context's error.
func (p *Projector) work(ctx context.Context, batch []*stream.Received) error {
	return p.project(ctx, p.gather(ctx, batch))
}

// gather puts together what a batch says of one waybill. Changes come out in the
// order of waybills: those who write the same rows at once then wait for each
// other and not in a circle.
func (p *Projector) gather(ctx context.Context, batch []*stream.Received) []*change {
	of := make(map[string]*change, len(batch))
	changes := make([]*change, 0, len(batch))
	for _, m := range batch {
		t, err := wire.SplitUpdate(m.Data)
		if err != nil {
			p.refuse(ctx, err, m)
			continue
		}
		c := of[m.Subject]
		if c == nil {
			c = &change{trace: t}
			of[m.Subject] = c
			changes = append(changes, c)
		}
		if t.Waybill.GetRevision() > c.trace.Waybill.GetRevision() {
			c.trace = t
		}
		c.msgs = append(c.msgs, m)
	}
	slices.SortFunc(changes, func(a, b *change) int {
		x, y := a.trace.Waybill, b.trace.Waybill
		return cmp.Or(cmp.Compare(x.GetCarrierCode(), y.GetCarrierCode()), cmp.Compare(x.GetWaybillNumber(), y.GetWaybillNumber()))
	})
	return changes
}

// project writes changes and acknowledges them. While PostgreSQL is away it
// waits. When PostgreSQL refuses, the half without the fault must not suffer.
func (p *Projector) project(ctx context.Context, changes []*change) error {
	if len(changes) == 0 {
		return nil
	}
	traces := make([]*wire.Split, len(changes))
	for i, c := range changes {
		traces[i] = c.trace
	}
	if fault.LostProjection {
		traces = slices.DeleteFunc(traces, func(t *wire.Split) bool { return strings.HasSuffix(t.Waybill.GetWaybillNumber(), "7") })
	}
	fault.Crash("project.before")
	err := p.persist(ctx, traces)
	fault.Crash("project.written")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		p.meters.projected.Add(ctx, int64(len(changes)))
		for _, c := range changes {
			if p.cfg.Observe != nil {
				p.cfg.Observe(c.trace.Waybill)
			}
			for _, m := range c.msgs {
				p.end(ctx, m.Ack())
			}
		}
		return nil
	case len(changes) == 1:
		p.refuse(ctx, err, changes[0].msgs...)
		return nil
	}
	half := len(changes) / 2
	if err := p.project(ctx, changes[:half]); err != nil {
		return err
	}
	return p.project(ctx, changes[half:])
}

// persist tries until PostgreSQL takes it or refuses, or the context ends.
func (p *Projector) persist(ctx context.Context, traces []*wire.Split) error {
	for {
		err := p.cfg.Store.Project(ctx, traces)
		if err == nil || !pg.IsTransient(err) || ctx.Err() != nil {
			return err
		}
		p.meters.failures.Add(ctx, 1)
		p.cfg.Log.WarnContext(ctx, "the projection waits for PostgreSQL", "shard", p.cfg.Shard, "waybills", len(traces), obs.KeyError, err)
		if err := pause.For(ctx, p.cfg.Retry); err != nil {
			return err
		}
	}
}

// refuse sets messages of one waybill aside.
func (p *Projector) refuse(ctx context.Context, why error, msgs ...*stream.Received) {
	p.meters.refused.Add(ctx, 1)
	p.cfg.Log.ErrorContext(ctx, "a change can't be projected; it is tried again later", "sequence", msgs[0].Seq, obs.KeyError, why)
	for _, m := range msgs {
		p.end(ctx, m.Nak(setAside))
	}
}

// end looks at the error of an acknowledgement: the message comes again, and
// changes nothing.
func (p *Projector) end(ctx context.Context, err error) {
	if err != nil {
		p.cfg.Log.WarnContext(ctx, "a change will come again", obs.KeyError, err)
	}
}
