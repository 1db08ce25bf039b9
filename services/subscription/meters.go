package subscription

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// meters are the matcher's instruments.
type meters struct {
	pushes     metric.Int64Counter
	announced  metric.Int64Counter
	ended      metric.Int64Counter
	unreadable metric.Int64Counter
	failures   metric.Int64Counter
	lost       metric.Int64Counter
	held       metric.Int64Counter
	batch      metric.Int64Histogram
	lag        metric.Float64Histogram
	pending    metric.Int64Gauge
}

func newMeters(provider metric.MeterProvider) (meters, error) {
	var m meters
	var errs [10]error
	p := provider.Meter("github.com/posthaste/posthaste/services/subscription")
	m.pushes, errs[0] = p.Int64Counter("posthaste_subscription_pushes", metric.WithDescription("Pushes handed to delivery, by cause: change or announcement."))
	m.announced, errs[1] = p.Int64Counter("posthaste_subscription_announced", metric.WithDescription("New and resumed subscriptions that have seen their waybill's present state."))
	m.ended, errs[2] = p.Int64Counter("posthaste_subscription_ended", metric.WithDescription("Subscriptions that ended by time, as completed or expired."))
	m.unreadable, errs[3] = p.Int64Counter("posthaste_subscription_unreadable", metric.WithDescription("Changes that could not be read and were not pushed: any is a fault."))
	m.failures, errs[4] = p.Int64Counter("posthaste_subscription_failures", metric.WithDescription("Times that matching could not go on and was tried again."))
	m.batch, errs[5] = p.Int64Histogram("posthaste_subscription_batch_changes", metric.WithDescription("Changes matched at once."),
		metric.WithExplicitBucketBoundaries(1, 3, 10, 30, 100, 300, 1000))
	m.lag, errs[6] = p.Float64Histogram("posthaste_subscription_match", metric.WithUnit("s"), metric.WithDescription("Time from the storing of a batch's oldest change until its pushes were recorded."))
	m.pending, errs[7] = p.Int64Gauge("posthaste_subscription_pending", metric.WithDescription("Changes stored and not yet matched, by shard."))
	m.lost, errs[8] = p.Int64Counter("posthaste_subscription_lost", metric.WithDescription("What the level check found lost and made good, by what: push or change. Any is a fault of the bus."))
	m.held, errs[9] = p.Int64Counter("posthaste_subscription_held", metric.WithDescription("Changes that a tier, a filter or a quota held back; they come with a later push."))
	if err := errors.Join(errs[:]...); err != nil {
		return m, fmt.Errorf("make the instruments of matching: %w", err)
	}
	return m, nil
}
