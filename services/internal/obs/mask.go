package obs

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/posthaste/posthaste/services/internal/privacy"
	"github.com/posthaste/posthaste/services/internal/strict"
)

// maxLogged is how many bytes of one text a line shows.
const maxLogged = 4 << 10

// maskHandler hides personal data in what is logged: an error may quote a text that
// came from outside. It also takes out what a terminal would obey, and cuts what is
// long. No package should log such texts; this is the second wall.
type maskHandler struct{ slog.Handler }

// Handle writes one line.
func (h maskHandler) Handle(ctx context.Context, r slog.Record) error {
	masked := slog.NewRecord(r.Time, r.Level, maskText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		masked.AddAttrs(maskAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, masked)
}

// WithAttrs hides in them once.
func (h maskHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	masked := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		masked[i] = maskAttr(a)
	}
	return maskHandler{h.Handler.WithAttrs(masked)}
}

// WithGroup keeps the wrapper.
func (h maskHandler) WithGroup(name string) slog.Handler {
	return maskHandler{h.Handler.WithGroup(name)}
}

func maskAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, maskText(v.String()))
	case slog.KindGroup:
		group := v.Group()
		masked := make([]slog.Attr, len(group))
		for i, g := range group {
			masked[i] = maskAttr(g)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(masked...)}
	case slog.KindAny:
		if v.Any() == nil {
			return slog.Attr{Key: a.Key, Value: v}
		}
		return slog.String(a.Key, maskText(fmt.Sprint(v.Any())))
	default:
		return slog.Attr{Key: a.Key, Value: v}
	}
}

func maskText(s string) string {
	if len(s) > maxLogged {
		s = s[:maxLogged] + "…"
	}
	return privacy.Mask(strict.Text(s))
}
