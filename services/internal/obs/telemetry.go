package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config says what is measured.
type Config struct {
	// Service is the program's name, such as "ingest". Required.
	Service string
	// Version is the program's version.
	Version string
	// Export sends traces to where the standard OTEL_… variables say. Off, no
	// span is made, and trace contexts are still passed on.
	Export bool
	// SampleRatio is the share of traces begun here that are recorded, 0 to 1.
	// It has no say over a trace that a caller began.
	SampleRatio float64
	// SpanProcessor receives spans instead of the exporter; for tests.
	SpanProcessor sdktrace.SpanProcessor
}

// Telemetry is where measurements go.
type Telemetry struct {
	// Tracer makes spans.
	Tracer trace.TracerProvider
	// Meter makes instruments.
	Meter metric.MeterProvider

	registry *prometheus.Registry

	mu          sync.Mutex
	instruments []sdkmetric.Instrument
	stops       []func(context.Context) error
}

// NewTelemetry makes the providers. Shut it down.
func NewTelemetry(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.SampleRatio < 0 || cfg.SampleRatio > 1 {
		return nil, fmt.Errorf("trace sample ratio is %v and must be from 0 to 1", cfg.SampleRatio)
	}
	res := resource.NewSchemaless(
		attribute.String("service.name", "posthaste-"+cfg.Service),
		attribute.String("service.version", cfg.Version),
	)
	t := &Telemetry{Tracer: noop.NewTracerProvider(), registry: prometheus.NewRegistry()}
	if err := t.startMetrics(res); err != nil {
		return nil, err
	}
	if err := t.startTraces(ctx, cfg, res); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	return t, nil
}

func (t *Telemetry) startMetrics(res *resource.Resource) error {
	err := errors.Join(t.registry.Register(collectors.NewGoCollector()),
		t.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	if err != nil {
		return fmt.Errorf("start metrics: %w", err)
	}
	// The scope would be a label on every series and says nothing an operator
	// asks for.
	reader, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("start metrics: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res), sdkmetric.WithView(t.note))
	t.Meter = provider
	t.stops = append(t.stops, provider.Shutdown)
	return nil
}

func (t *Telemetry) startTraces(ctx context.Context, cfg Config, res *resource.Resource) error {
	processor := cfg.SpanProcessor
	switch {
	case processor != nil:
	case !cfg.Export:
		return nil
	default:
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return fmt.Errorf("start the trace exporter that the OTEL_ variables ask for: %w", err)
		}
		processor = sdktrace.NewBatchSpanProcessor(exporter)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(processor),
		sdktrace.WithResource(res),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))),
	)
	t.Tracer = provider
	t.stops = append(t.stops, provider.Shutdown)
	return nil
}

// note remembers an instrument that is made, and changes nothing.
func (t *Telemetry) note(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.ContainsFunc(t.instruments, func(o sdkmetric.Instrument) bool { return o.Name == i.Name }) {
		t.instruments = append(t.instruments, i)
	}
	return sdkmetric.Stream{}, false
}

// Instruments are those that were made, by name: what the metrics may show,
// whether something was measured or not.
func (t *Telemetry) Instruments() []sdkmetric.Instrument {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.Clone(t.instruments)
	slices.SortFunc(list, func(a, b sdkmetric.Instrument) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// MetricsHandler serves the metrics to Prometheus.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: t.registry})
}

// Shutdown sends what is left and stops.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, stop := range slices.Backward(t.stops) {
		errs = append(errs, stop(ctx))
	}
	t.stops = nil
	return errors.Join(errs...)
}

// ExportWanted reports whether an environment, as "NAME=value", asks for traces
// to be exported: by naming an exporter or where to send them.
func ExportWanted(environ []string) bool {
	wanted := false
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "OTEL_SDK_DISABLED":
			if strings.EqualFold(value, "true") {
				return false
			}
		case "OTEL_TRACES_EXPORTER":
			if value == "none" {
				return false
			}
			wanted = wanted || value != ""
		case "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
			wanted = wanted || value != ""
		}
	}
	return wanted
}

// ErrorLog gives what OpenTelemetry itself fails at to a log.
type ErrorLog struct{ Log *slog.Logger }

// Handle logs an error of OpenTelemetry; it heals or doesn't, nothing depends
// on it.
func (e ErrorLog) Handle(err error) { e.Log.Warn("telemetry has trouble", KeyError, err) }
