package embedded

import (
	"context"
	"fmt"
	"log/slog"
)

// natsLog gives what the nats-server says to slog. Its notices are the story of
// a server that runs well, which is debugging here.
type natsLog struct{ log *slog.Logger }

func newNATSLog(log *slog.Logger) *natsLog {
	if log == nil {
		return nil
	}
	return &natsLog{log: log.With("component", "nats-server")}
}

func (l *natsLog) debug() bool { return false }

func (l *natsLog) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "nats-server says", "text", fmt.Sprintf(format, v...))
	}
}

// Noticef and the others are the server's Logger.
func (l *natsLog) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }

// Warnf logs a warning.
func (l *natsLog) Warnf(format string, v ...any) { l.say(slog.LevelWarn, format, v) }

// Errorf logs an error.
func (l *natsLog) Errorf(format string, v ...any) { l.say(slog.LevelError, format, v) }

// Fatalf logs what the server cannot live with. It doesn't end the process:
// the start fails, or the health check sees it.
func (l *natsLog) Fatalf(format string, v ...any) { l.say(slog.LevelError, format, v) }

// Debugf logs detail.
func (l *natsLog) Debugf(format string, v ...any) { l.say(slog.LevelDebug, format, v) }

// Tracef logs every protocol line; it is off.
func (l *natsLog) Tracef(format string, v ...any) { l.say(slog.LevelDebug-4, format, v) }
