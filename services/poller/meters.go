package poller

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// meters are the poller's instruments.
type meters struct {
	asked    metric.Int64Counter
	changed  metric.Int64Counter
	rejected metric.Int64Counter
	open     metric.Int64Gauge
	took     metric.Float64Histogram
}

func newMeters(provider metric.MeterProvider) (meters, error) {
	var m meters
	var errs [5]error
	p := provider.Meter("github.com/posthaste/posthaste/services/poller")
	m.asked, errs[0] = p.Int64Counter("posthaste_poll_questions", metric.WithDescription("Questions asked, by source and verdict: told, nothing, unanswerable, refused, throttled, failed."))
	m.changed, errs[1] = p.Int64Counter("posthaste_poll_changed", metric.WithDescription("Answers that told something new and were taken in, by source."))
	m.rejected, errs[2] = p.Int64Counter("posthaste_poll_rejected", metric.WithDescription("Answers, or parts of them, that can't be used, by source."))
	m.open, errs[3] = p.Int64Gauge("posthaste_poll_open", metric.WithDescription("1 while a source isn't asked because it refuses, throttles or fails, by source."))
	m.took, errs[4] = p.Float64Histogram("posthaste_poll_question", metric.WithUnit("s"), metric.WithDescription("Time of one question and its answer, by source."))
	if err := errors.Join(errs[:]...); err != nil {
		return m, fmt.Errorf("make the instruments of polling: %w", err)
	}
	return m, nil
}
