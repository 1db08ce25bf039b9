package obs

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Messaging makes the spans of a message's way through a stream. It is the only
// place that knows OpenTelemetry's messaging conventions, which still change.
//
// A destination is a template such as "posthaste.v1.trace.{slot}": a concrete
// waybill must not stand in a span's name.
type Messaging struct {
	tracer trace.Tracer
	off    bool // nobody keeps spans
}

// NewMessaging makes spans with a provider.
func NewMessaging(provider trace.TracerProvider) Messaging {
	_, off := provider.(noop.TracerProvider)
	return Messaging{tracer: provider.Tracer("github.com/posthaste/posthaste/services/internal/obs"), off: off}
}

// Send begins the span of publishing a message, below the context's span. The
// context it returns is the one to [Inject].
func (m Messaging) Send(ctx context.Context, destination string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	if m.off || Unsampled(ctx) {
		// The message carries the caller's decision on, and costs no span.
		return ctx, trace.SpanFromContext(context.Background())
	}
	//nolint:spancheck // the caller ends it
	return m.tracer.Start(ctx, "send "+destination, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(describe("send", destination, "")...), trace.WithAttributes(attrs...))
}

// Process begins the span of working on one message, below the span that sent
// it, so that one event is one trace from end to end. An unsampled message costs
// no span. consumer is the durable's name.
func (m Messaging) Process(ctx context.Context, header map[string][]string, destination, consumer string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	ctx = Extract(ctx, header)
	if m.off || Unsampled(ctx) {
		return ctx, trace.SpanFromContext(context.Background())
	}
	//nolint:spancheck // the caller ends it
	return m.tracer.Start(ctx, "process "+destination, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(describe("process", destination, consumer)...), trace.WithAttributes(attrs...))
}

// Unsampled says that whoever began the trace decided against recording it.
// Without a trace there is no decision yet, and the sampler makes one.
func Unsampled(ctx context.Context) bool {
	sc := trace.SpanContextFromContext(ctx)
	return sc.IsValid() && !sc.IsSampled()
}

// End ends a span with the outcome of its work.
func End(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

func describe(operation, destination, consumer string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", operation),
		attribute.String("messaging.destination.template", destination),
	}
	if consumer != "" {
		attrs = append(attrs, attribute.String("messaging.consumer.group.name", consumer))
	}
	return attrs
}
