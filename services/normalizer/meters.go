package normalizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
)

// lagWait bounds the asking of the server when metrics are collected.
const lagWait = 2 * time.Second

type meters struct {
	meter                                        metric.Meter
	pending, unacknowledged                      metric.Int64ObservableGauge
	batch                                        metric.Int64Histogram
	merged, unchanged, stale, rejected, unmapped metric.Int64Counter
}

func newMeters(provider metric.MeterProvider) (m meters, err error) {
	meter := provider.Meter("github.com/posthaste/posthaste/services/normalizer")
	m.meter = meter
	var errs []error
	gauge := func(name, text string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge("posthaste_normalizer_"+name, metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	m.pending = gauge("pending_messages", "Raw traces that were never handed out, by consumer.")
	m.unacknowledged = gauge("unacknowledged_messages", "Raw traces that are handed out and not acknowledged, by consumer.")
	counter := func(name, text string) metric.Int64Counter {
		c, err := meter.Int64Counter("posthaste_normalizer_"+name, metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	m.merged = counter("merged", "Trace updates that are on disk.")
	m.unchanged = counter("unchanged", "Waybills of a batch for which nothing was new.")
	m.stale = counter("stale", "Waybills merged again, because another normalizer was quicker or an answer was lost.")
	m.rejected = counter("rejected", "Raw traces that could not be used, by source and reason.")
	m.unmapped = counter("unmapped", "Codes that no rule knew, by source.")
	m.batch, err = meter.Int64Histogram("posthaste_normalizer_batch_messages", metric.WithDescription("Raw traces in a batch."),
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
	if err := errors.Join(append(errs, err)...); err != nil {
		return m, fmt.Errorf("make the instruments of the normalizer: %w", err)
	}
	return m, nil
}

func (m meters) reject(ctx context.Context, why *pipelinev1.RejectedRaw) {
	m.rejected.Add(ctx, 1, metric.WithAttributes(attribute.String("source", why.GetSource()), attribute.String("reason", why.GetReason())))
}

func (m meters) unmap(ctx context.Context, source string, codes int) {
	m.unmapped.Add(ctx, int64(codes), metric.WithAttributes(attribute.String("source", source)))
}

// watch makes the consumer's lag a metric until forget is called.
func (m meters) watch(name string, c consumer) (forget func(), err error) {
	by := metric.WithAttributes(attribute.String("consumer", name))
	r, err := m.meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, lagWait)
		defer cancel()
		lag, err := c.Lag(ctx)
		if err != nil {
			return err
		}
		o.ObserveInt64(m.pending, int64(lag.Pending), by)
		o.ObserveInt64(m.unacknowledged, int64(lag.AckPending), by)
		return nil
	}, m.pending, m.unacknowledged)
	if err != nil {
		return nil, fmt.Errorf("watch the lag of %s: %w", name, err)
	}
	return func() { _ = r.Unregister() }, nil // it fails never
}
