package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/posthaste/posthaste/services/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"

func TestLogger_NamesTheTrace(t *testing.T) {
	t.Parallel()
	for _, format := range []string{obs.FormatJSON, obs.FormatText} {
		var out bytes.Buffer
		log, err := obs.NewLogger(&out, format, slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		ctx := obs.Extract(t.Context(), map[string][]string{"traceparent": {parent + "00"}})
		log.With("a", 1).InfoContext(ctx, "hello")
		log.DebugContext(ctx, "not shown")
		if !strings.Contains(out.String(), "0af7651916cd43dd8448eb211c80319c") || strings.Contains(out.String(), "not shown") {
			t.Errorf("%s: %s", format, out.String())
		}
		out.Reset()
		log.Info("no trace")
		if strings.Contains(out.String(), "trace_id") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
	if _, err := obs.NewLogger(io.Discard, "xml", slog.LevelInfo); err == nil {
		t.Error("an unknown format was taken")
	}
}

func TestMaskWaybill_HidesTheMiddle(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{"SF1234567890": "SF12…90", "12345678": "12…", "1": "1…", "": "…"} {
		if got := obs.MaskWaybill(number); got != want {
			t.Errorf("%q: got %q, want %q", number, got, want)
		}
	}
}

func TestPropagation_PassesAllOnInLowerCase(t *testing.T) {
	t.Parallel()
	in := map[string][]string{"traceparent": {parent + "01"}, "tracestate": {"a=b"}, "other": {"x"}}
	out := map[string][]string{"kept": {"y"}}
	obs.Inject(obs.Extract(t.Context(), in), out)
	want := map[string][]string{"traceparent": {parent + "01"}, "tracestate": {"a=b"}, "kept": {"y"}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	empty := map[string][]string{}
	obs.Inject(t.Context(), empty)
	obs.Inject(obs.Extract(t.Context(), map[string][]string{"traceparent": {"nonsense"}}), empty)
	if len(empty) != 0 {
		t.Errorf("without a trace it wrote %v", empty)
	}
}

func telemetry(t *testing.T, ratio float64) (*obs.Telemetry, *tracetest.SpanRecorder) {
	t.Helper()
	rec := tracetest.NewSpanRecorder()
	tel, err := obs.NewTelemetry(t.Context(), obs.Config{Service: "test", SampleRatio: ratio, SpanProcessor: rec})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return tel, rec
}

// One event is one trace, whatever the sampler says: the caller decided.
func TestMessaging_IsOneTraceOverManyHops(t *testing.T) {
	t.Parallel()
	tel, rec := telemetry(t, 0)
	m := obs.NewMessaging(tel.Tracer)
	header := map[string][]string{"traceparent": {parent + "01"}}
	for range 3 {
		ctx, span := m.Process(t.Context(), header, "in", "reader")
		sent, sending := m.Send(ctx, "out")
		header = map[string][]string{}
		obs.Inject(sent, header)
		obs.End(sending, nil)
		obs.End(span, errors.New("broke"))
	}
	spans := rec.Ended()
	if len(spans) != 6 {
		t.Fatalf("got %d spans, want 6", len(spans))
	}
	for _, s := range spans {
		if s.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %s is of trace %s", s.Name(), s.SpanContext().TraceID())
		}
	}
	if k := spans[0].SpanKind(); k != trace.SpanKindProducer || spans[0].Name() != "send out" {
		t.Errorf("first span is %s %s", k, spans[0].Name())
	}
}

func TestMessaging_UnsampledMessagesCostNoSpanAndStaySo(t *testing.T) {
	t.Parallel()
	tel, rec := telemetry(t, 1)
	m := obs.NewMessaging(tel.Tracer)
	ctx, span := m.Process(t.Context(), map[string][]string{"traceparent": {parent + "00"}}, "in", "reader")
	sent, sending := m.Send(ctx, "out")
	out := map[string][]string{}
	obs.Inject(sent, out)
	obs.End(sending, nil)
	obs.End(span, nil)
	if len(rec.Started()) != 0 {
		t.Errorf("%d spans were made", len(rec.Started()))
	}
	if got := out["traceparent"]; len(got) != 1 || got[0] != parent+"00" {
		t.Errorf("traceparent is %v", got)
	}
	// Without a caller the sampler decides.
	_, span = m.Send(t.Context(), "out")
	obs.End(span, nil)
	if len(rec.Ended()) != 1 {
		t.Errorf("%d spans were made, want 1", len(rec.Ended()))
	}
}

func TestTelemetry_WithoutExportPassesTracesOn(t *testing.T) {
	t.Parallel()
	tel, err := obs.NewTelemetry(t.Context(), obs.Config{Service: "test", SampleRatio: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := obs.NewMessaging(tel.Tracer)
	ctx, span := m.Process(t.Context(), map[string][]string{"traceparent": {parent + "01"}}, "in", "reader")
	if span.IsRecording() {
		t.Error("a span is recorded for nobody")
	}
	out := map[string][]string{}
	obs.Inject(ctx, out)
	if got := out["traceparent"]; len(got) != 1 || got[0] != parent+"01" {
		t.Errorf("traceparent is %v", got)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := obs.NewTelemetry(t.Context(), obs.Config{Service: "test", SampleRatio: 2}); err == nil {
		t.Error("a ratio of 2 was taken")
	}
}

func TestExportWanted_OnlyWhenTheEnvironmentSaysSo(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{
		"": false, "PATH=/bin": false, "OTEL_TRACES_EXPORTER=": false, "OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://x": false,
		"OTEL_TRACES_EXPORTER=console": true, "OTEL_EXPORTER_OTLP_ENDPOINT=http://x": true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x": true,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_SDK_DISABLED=true": false, "OTEL_SERVICE_NAME=x": false,
	} {
		if got := obs.ExportWanted(strings.Fields(env)); got != want {
			t.Errorf("%q: got %v", env, got)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestOps_TellsTheTruth(t *testing.T) {
	t.Parallel()
	tel, _ := telemetry(t, 0)
	counter, err := tel.Meter.Meter("test").Int64Counter("posthaste_test_things_total")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	h := obs.NewHealth()
	var broken error
	h.Register("postgresql", func(context.Context) error { return broken })
	h.Register("nats", func(context.Context) error { return nil })
	ops, err := obs.StartOps(t.Context(), obs.OpsConfig{Listen: "127.0.0.1:0", Metrics: tel.MetricsHandler(), Health: h, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + ops.Addr()
	ready := func(want int) obs.Report {
		t.Helper()
		code, body := get(t, base+"/readyz")
		if code != want {
			t.Errorf("readyz is %d, want %d: %s", code, want, body)
		}
		var r obs.Report
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ready(503); r.Reason != "starting" || len(r.Checks) != 2 {
		t.Errorf("report: %+v", r)
	}
	started := func(want int) {
		t.Helper()
		if code, _ := get(t, base+"/startupz"); code != want {
			t.Errorf("startupz is %d, want %d", code, want)
		}
		if code, _ := get(t, base+"/livez"); code != 200 {
			t.Errorf("livez is %d though the process lives", code)
		}
	}
	started(503)
	h.Serve()
	ready(200)
	broken = errors.New("connection refused")
	if r := ready(503); r.Checks[1].Name != "postgresql" || r.Checks[1].Error != "connection refused" || r.Err() == nil {
		t.Errorf("report: %+v", r)
	}
	if code, _ := get(t, base+"/healthz"); code != 200 {
		t.Errorf("healthz is %d though the process lives", code)
	}
	started(200) // a neighbour that is away starts nothing anew
	broken = nil
	h.Drain("stopping")
	if r := ready(503); r.Reason != "stopping" {
		t.Errorf("report: %+v", r)
	}
	if _, body := get(t, base+"/metrics"); !strings.Contains(body, "posthaste_test_things_total 3") || !strings.Contains(body, "go_goroutines") || strings.Contains(body, "otel_scope") {
		t.Errorf("metrics: %s", body)
	}
	if code, _ := get(t, base+"/debug/pprof/goroutine?debug=1"); code != 200 {
		t.Errorf("pprof is %d", code)
	}
	if err := ops.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHealth_SurvivesAPanickingCheckAndWatches(t *testing.T) {
	t.Parallel()
	h := obs.NewHealth()
	h.Register("bad", func(context.Context) error { panic("oh") })
	h.Serve()
	if r := h.Report(t.Context()); r.Ready || !strings.Contains(r.Err().Error(), "oh") {
		t.Errorf("report: %+v", r)
	}
	h.Register("bad", func(context.Context) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan bool)
	go func() {
		defer close(reports)
		h.Watch(ctx, 1, func(r obs.Report) { reports <- r.Ready })
	}()
	if !<-reports {
		t.Error("the first report says not ready")
	}
	h.Drain("stopping")
	if <-reports {
		t.Error("the change was not seen")
	}
	cancel()
	for range reports {
		t.Error("a report came after the end")
	}
}
