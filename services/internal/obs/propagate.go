package obs

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Propagator is the W3C trace context. Baggage isn't passed on: what a caller
// puts there would travel to every callback.
func Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// Inject writes the context's trace into message headers, as "traceparent" and
// "tracestate". Without a trace it does nothing.
func Inject(ctx context.Context, header map[string][]string) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, headers(header))
	}
}

// Extract returns a context with the trace of message headers, or ctx itself
// when they have none.
func Extract(ctx context.Context, header map[string][]string) context.Context {
	if len(header["traceparent"]) == 0 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, headers(header))
}

// headers keeps names as they are. NATS compares them exactly, and the
// canonical form of net/http would hide them from other clients.
type headers map[string][]string

func (h headers) Get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (h headers) Set(name, value string) { h[name] = []string{value} }

func (h headers) Keys() []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	return names
}
