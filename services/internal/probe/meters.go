package probe

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

type meters struct {
	rounds, missing, late, repeated, broken metric.Int64Counter
	latency                                 metric.Float64Histogram
}

func newMeters(provider metric.MeterProvider) (m meters, err error) {
	meter := provider.Meter("github.com/posthaste/posthaste/services/internal/probe")
	var errs []error
	counter := func(name, text string) metric.Int64Counter {
		c, err := meter.Int64Counter("posthaste_probe_"+name, metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	m.rounds = counter("rounds", "Rounds, by outcome: well, broken (something was missing or out of order), failed (it could not be held).")
	m.missing = counter("missing", "Pushes that were owed and had not come when patience ended.")
	m.late = counter("late", "Pushes that came late.")
	m.repeated = counter("repeated", "Pushes that came again though they had been acknowledged.")
	m.broken = counter("broken", "Pushes that didn't continue their chain.")
	m.latency, err = meter.Float64Histogram("posthaste_probe_latency", metric.WithUnit("s"),
		metric.WithDescription("Time from the beginning of a report to its push."),
		metric.WithExplicitBucketBoundaries(.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15, 60))
	if err := errors.Join(append(errs, err)...); err != nil {
		return m, fmt.Errorf("make the instruments of the probe: %w", err)
	}
	return m, nil
}

// round counts what a round saw.
func (m *meters) round(ctx context.Context, r *Result, err error) {
	outcome := "well"
	switch {
	case err != nil:
		outcome = "failed"
	case !r.Well():
		outcome = "broken"
	}
	m.rounds.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	m.missing.Add(ctx, int64(r.Missing))
	m.late.Add(ctx, int64(r.Late))
	m.repeated.Add(ctx, int64(r.Repeated))
	m.broken.Add(ctx, int64(r.Broken))
}
