package delivery

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/services/internal/pg"
)

// meters of delivery.
type meters struct {
	attempts, owed, unreadable metric.Int64Counter
	latency                    metric.Float64Histogram
}

func newMeters(provider metric.MeterProvider) (m meters, err error) {
	meter := provider.Meter("github.com/posthaste/posthaste/services/delivery")
	var errs [4]error
	m.attempts, errs[0] = meter.Int64Counter("posthaste_delivery_attempts", metric.WithDescription("Attempts, by outcome and class of failure."))
	m.owed, errs[1] = meter.Int64Counter("posthaste_delivery_owed", metric.WithDescription("Pushes that went to a row of what is owed without an attempt."))
	m.unreadable, errs[2] = meter.Int64Counter("posthaste_delivery_unreadable", metric.WithDescription("Push orders that could not be read."))
	m.latency, errs[3] = meter.Float64Histogram("posthaste_delivery_latency", metric.WithUnit("s"),
		metric.WithDescription("Time from taking in a push's newest event to its acknowledgement."),
		metric.WithExplicitBucketBoundaries(.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15, 60, 600, 3600, 86400))
	if err := errors.Join(errs[:]...); err != nil {
		return m, fmt.Errorf("make the instruments of delivery: %w", err)
	}
	return m, nil
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
