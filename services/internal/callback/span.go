package callback

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/services/internal/obs"
)

// start begins the client span of an attempt, by OpenTelemetry's conventions for
// HTTP but for the full URL: its path and query are the endpoint owner's, and may
// be secret. The span is nil when there is none to end.
func (c *Client) start(ctx context.Context, rawURL string) (context.Context, trace.Span) {
	if c.tracer == nil || obs.Unsampled(ctx) {
		// The request carries the caller's decision on, and costs no span.
		return ctx, nil
	}
	attrs := []attribute.KeyValue{attribute.String("http.request.method", http.MethodPost)}
	if u, err := url.Parse(rawURL); err == nil {
		attrs = append(attrs, attribute.String("server.address", u.Hostname()), attribute.Int("server.port", port(u)))
	}
	//nolint:spancheck // end ends it
	return c.tracer.Start(ctx, http.MethodPost, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

func port(u *url.URL) int {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return int(n)
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}

func end(span trace.Span, res *Result) {
	if span == nil {
		return
	}
	if res.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", res.Status))
	}
	switch {
	case res.Class == "":
	case res.Status == 0:
		span.SetAttributes(attribute.String("error.type", res.Class))
		span.SetStatus(codes.Error, "")
	case res.Status/100 == 2:
		// Acknowledged: what is wrong with the body is worth a note, and no error.
		span.SetAttributes(attribute.String("error.type", res.Class))
	default:
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(res.Status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
