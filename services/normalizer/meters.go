package normalizer

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
)

type meters struct {
	batch                                        metric.Int64Histogram
	merged, unchanged, stale, rejected, unmapped metric.Int64Counter
}

func newMeters(provider metric.MeterProvider) (m meters, err error) {
	meter := provider.Meter("github.com/posthaste/posthaste/services/normalizer")
	var errs []error
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
