package delivery_test

import (
	"net/http"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/posthaste/posthaste/services/delivery"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// The gauges say how it stands, without an endpoint or a tenant among the labels.
func TestDelivery_GaugesSayHowItStands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusInternalServerError))
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET retry_policy = '{"delays":[3600000000000]}'`)
	for _, sub := range []string{"sub_1", "sub_2", "sub_3"} {
		b.subscribe(sub, "ep_1")
	}
	reader := sdkmetric.NewManualReader()
	b.deliverWith(func(cfg *delivery.Config) { cfg.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)) })
	for _, sub := range []string{"sub_1", "sub_2", "sub_3"} {
		b.send(sub, "ep_1")
	}
	b.stored(`SELECT count(*) = 1 FROM endpoint_health WHERE open_time IS NOT NULL`)
	b.stored(`SELECT count(*) = 3 FROM owed_push`)
	b.exec(`UPDATE owed_push SET park_time = now(), park_reason = 'test', next_attempt_time = NULL WHERE subscription_id = 'sub_1'`)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					state, _ := p.Attributes.Value("state")
					got[m.Name+" "+state.AsString()] = float64(p.Value)
					if n := p.Attributes.Len(); n > 1 {
						t.Errorf("%s has %d labels", m.Name, n)
					}
				}
			case metricdata.Gauge[float64]:
				got[m.Name] = d.DataPoints[0].Value
			}
		}
	}
	for name, want := range map[string]float64{
		"posthaste_delivery_rows parked": 1, "posthaste_delivery_rows waiting": 2, "posthaste_delivery_breakers open": 1,
		"posthaste_delivery_lanes held": 1, "posthaste_delivery_lanes open": 0, "posthaste_delivery_in_flight ": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got["posthaste_delivery_oldest"] <= 0 {
		t.Errorf("the oldest is %v", got["posthaste_delivery_oldest"])
	}
}
