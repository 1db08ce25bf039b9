package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/services/internal/pg"
)

// meters of delivery. None has an endpoint or a tenant among its labels.
type meters struct {
	attempts, owed, unreadable, events, webhooks, refused, commitFailures, stragglers metric.Int64Counter
	latency, matched                                                                  metric.Float64Histogram
}

func newMeters(provider metric.MeterProvider, s *Service) (m meters, err error) {
	meter := provider.Meter("github.com/posthaste/posthaste/services/delivery")
	var errs []error
	counter := func(name, text string) metric.Int64Counter {
		c, err := meter.Int64Counter("posthaste_delivery_"+name, metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	m.attempts = counter("attempts", "Attempts, by outcome and class of failure.")
	m.owed = counter("owed", "Pushes that went to a row of what is owed without an attempt.")
	m.unreadable = counter("unreadable", "Push orders that could not be read.")
	m.events = counter("events", "Operational events published, by kind.")
	m.webhooks = counter("webhooks", "Posts of operational events, by outcome: acknowledged, failed, dropped after the last try, unreadable.")
	m.refused = counter("refused", "Outcomes that PostgreSQL refuses and that were set aside: any is a fault.")
	m.stragglers = counter("stragglers", "Orders of an instance that no longer owned its shard of matching, and that say nothing new.")
	m.commitFailures = counter("commit_failures", "Times that outcomes could not be committed and were tried again.")
	histogram := func(name, text string) metric.Float64Histogram {
		h, err := meter.Float64Histogram("posthaste_delivery_"+name, metric.WithUnit("s"), metric.WithDescription(text),
			metric.WithExplicitBucketBoundaries(.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15, 60, 600, 3600, 86400))
		errs = append(errs, err)
		return h
	}
	m.latency = histogram("latency", "Time from taking in a push's newest event to its acknowledgement.")
	m.matched = histogram("matched_latency", "Time from storing a push's order to its acknowledgement, of pushes that needed no row.")
	errs = append(errs, observe(meter, s))
	if err := errors.Join(errs...); err != nil {
		return m, fmt.Errorf("make the instruments of delivery: %w", err)
	}
	return m, nil
}

// observe makes the gauges. They are asked for when somebody looks, and cost
// nothing otherwise.
func observe(meter metric.Meter, s *Service) error {
	var errs []error
	gauge := func(name, text string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge("posthaste_delivery_"+name, metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	lanes := gauge("lanes", "Endpoints in memory, by state: open, draining, held.")
	breakers := gauge("breakers", "Breakers that aren't closed, by state: open, half_open.")
	inFlight := gauge("in_flight", "Attempts under way.")
	waiting := gauge("waiting", "Pushes that wait in memory.")
	rows := gauge("rows", "Subscriptions that are owed something in PostgreSQL, by state: waiting, parked.")
	oldest, err := meter.Float64ObservableGauge("posthaste_delivery_oldest", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest push that is neither acknowledged nor parked; 0 when there is none."))
	errs = append(errs, err)
	var known owedCache
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		// Whoever looks while PostgreSQL is away sees what there is without it.
		ctx, cancel := context.WithTimeout(ctx, observeTime)
		defer cancel()
		var all figures
		counted := true
		for _, sh := range s.enlisted() {
			if f, ok := sh.figures(ctx); ok {
				all.add(&f)
			}
			owed, err := known.of(ctx, sh)
			counted = counted && err == nil
			all.rows.Waiting, all.rows.Parked = all.rows.Waiting+owed.Waiting, all.rows.Parked+owed.Parked
			all.older(owed.Oldest)
		}
		state := func(name string) metric.MeasurementOption {
			return metric.WithAttributes(attribute.String("state", name))
		}
		o.ObserveInt64(lanes, all.open, state("open"))
		o.ObserveInt64(lanes, all.draining, state("draining"))
		o.ObserveInt64(lanes, all.held, state("held"))
		o.ObserveInt64(breakers, all.breakersOpen, state("open"))
		o.ObserveInt64(breakers, all.halfOpen, state("half_open"))
		o.ObserveInt64(inFlight, all.inFlight)
		o.ObserveInt64(waiting, all.waiting)
		if counted {
			o.ObserveInt64(rows, all.rows.Waiting, state("waiting"))
			o.ObserveInt64(rows, all.rows.Parked, state("parked"))
		}
		age := 0.0
		if !all.oldest.IsZero() {
			age = max(s.cfg.Now().Sub(all.oldest).Seconds(), 0)
		}
		o.ObserveFloat64(oldest, age)
		return nil
	}, lanes, breakers, inFlight, waiting, rows, oldest)
	return errors.Join(append(errs, err)...)
}

// observeTime is how long the gauges may take.
const observeTime = 2 * time.Second

// figures are of one shard, or of several.
type figures struct {
	open, draining, held, breakersOpen, halfOpen, inFlight, waiting int64
	oldest                                                          time.Time
	rows                                                            pg.OwedStats
}

func (f *figures) add(o *figures) {
	f.open, f.draining, f.held = f.open+o.open, f.draining+o.draining, f.held+o.held
	f.breakersOpen, f.halfOpen = f.breakersOpen+o.breakersOpen, f.halfOpen+o.halfOpen
	f.inFlight, f.waiting = f.inFlight+o.inFlight, f.waiting+o.waiting
	f.older(o.oldest)
}

func (f *figures) older(t time.Time) {
	if !t.IsZero() && (f.oldest.IsZero() || t.Before(f.oldest)) {
		f.oldest = t
	}
}

// figures asks the shard's goroutine.
func (s *shard) figures(ctx context.Context) (f figures, ok bool) {
	answer := make(chan figures, 1)
	select {
	case s.events <- func() { answer <- s.count() }:
	case <-s.owned.Done():
		return f, false
	case <-ctx.Done():
		return f, false
	}
	select {
	case f = <-answer:
		return f, true
	case <-s.owned.Done():
	case <-ctx.Done():
	}
	return f, false
}

func (s *shard) count() (f figures) {
	now := s.cfg.Now()
	f.inFlight = int64(s.inFlight)
	for _, l := range s.lanes {
		switch {
		case l.open:
			f.open++
		case l.draining:
			f.draining++
		default:
			f.held++
		}
		switch {
		case l.breaker.halfOpen(now):
			f.halfOpen++
		case l.breaker.open():
			f.breakersOpen++
		}
		f.waiting += int64(l.waiting)
		for _, q := range l.queues {
			if q.current != nil {
				f.older(q.current.receive)
			} else if len(q.waiting) > 0 {
				f.older(q.waiting[0].receive)
			}
		}
	}
	return f
}

// owedCache keeps what was counted in PostgreSQL for a hundred times as long as
// the counting took.
type owedCache struct {
	mu    sync.Mutex
	known map[*shard]owedFigures
}

type owedFigures struct {
	pg.OwedStats

	until time.Time
}

func (c *owedCache) of(ctx context.Context, s *shard) (pg.OwedStats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := s.cfg.Now()
	if f, ok := c.known[s]; ok && began.Before(f.until) {
		return f.OwedStats, nil
	}
	stats, err := s.cfg.Store.StatOwed(ctx, s.slots)
	if err != nil {
		return stats, err
	}
	const share = 100
	now := s.cfg.Now()
	kept := map[*shard]owedFigures{s: {OwedStats: stats, until: now.Add(share * now.Sub(began))}}
	for sh, f := range c.known {
		if sh != s && now.Before(f.until) {
			kept[sh] = f // the others are over
		}
	}
	c.known = kept
	return stats, nil
}

func (m meters) attempt(ctx context.Context, a *pg.Attempt) {
	outcome := "acknowledged"
	switch a.Outcome {
	case pg.AttemptRetry:
		outcome = "retry"
	case pg.AttemptParked:
		outcome = "parked"
	}
	m.attempts.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome), attribute.String("class", a.Class)))
}

func (m meters) event(ctx context.Context, kind string) {
	m.events.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", kind)))
}
