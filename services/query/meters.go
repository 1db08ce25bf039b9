package query

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// meters are the projector's instruments.
type meters struct {
	projected metric.Int64Counter
	refused   metric.Int64Counter
	failures  metric.Int64Counter
	lag       metric.Float64ObservableGauge
}

const scope = "github.com/posthaste/posthaste/services/query"

func newMeters(m metric.Meter) (meters, error) {
	var out meters
	var errs [4]error
	out.projected, errs[0] = m.Int64Counter("posthaste_query_projected", metric.WithDescription("Waybills written to the projection."))
	out.refused, errs[1] = m.Int64Counter("posthaste_query_refused", metric.WithDescription("Changes that could not be projected and wait: any is a fault."))
	out.failures, errs[2] = m.Int64Counter("posthaste_query_failures", metric.WithDescription("Times that projecting could not go on and was tried again."))
	out.lag, errs[3] = m.Float64ObservableGauge("posthaste_query_projection_lag", metric.WithUnit("s"),
		metric.WithDescription("How long the oldest change has been waiting that is being projected, by shard; 0 when none is."))
	if err := errors.Join(errs[:]...); err != nil {
		return out, fmt.Errorf("make the instruments of projecting: %w", err)
	}
	return out, nil
}
