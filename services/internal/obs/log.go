package obs

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// The keys of log attributes that several packages use: one spelling each.
const (
	KeyWaybillNumber  = "waybill_number"
	KeyCarrierCode    = "carrier_code"
	KeySubscriptionID = "subscription_id"
	KeyEndpointID     = "endpoint_id"
	KeyEndpointHost   = "endpoint_host"
	KeyPushID         = "push_id"
	KeyAttempt        = "attempt"
	KeyTenant         = "tenant"
	KeySource         = "source"
	KeyStream         = "stream"
	KeyError          = "error"
)

// Formats of log lines.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger writes log lines to w in a format. A line written with a context
// that belongs to a trace carries trace_id and span_id, sampled or not.
func NewLogger(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case FormatText:
		return slog.New(traceHandler{maskHandler{slog.NewTextHandler(w, opts)}}), nil
	case FormatJSON:
		return slog.New(traceHandler{maskHandler{slog.NewJSONHandler(w, opts)}}), nil
	}
	return nil, fmt.Errorf("log format is %q and must be %s or %s", format, FormatText, FormatJSON)
}

// traceHandler adds the trace's ids to each line.
type traceHandler struct{ slog.Handler }

// Handle writes one line.
func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapper.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapper; the ids then stand in the group.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

// MaskWaybill is a waybill number as logs show it: the first four and the last
// two characters.
func MaskWaybill(number string) string {
	r := []rune(number)
	if len(r) <= 8 {
		return string(r[:min(len(r), 2)]) + "…"
	}
	return string(r[:4]) + "…" + string(r[len(r)-2:])
}
