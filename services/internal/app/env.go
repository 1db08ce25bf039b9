package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/identity"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Env is what parts share. A part fills in what it makes; a part that needs it
// names the maker in its needs, and finds it there.
type Env struct {
	Program string
	Config  Config
	Log     *slog.Logger
	Health  *obs.Health
	Network Network

	Telemetry  *obs.Telemetry       // telemetry
	Ops        *obs.Ops             // ops
	NATSServer *embedded.NATS       // embedded-nats; nil when NATS is elsewhere
	NATS       *nats.Conn           // nats
	JetStream  jetstream.JetStream  // nats
	Streams    stream.Ensured       // streams
	PGServer   *embedded.PostgreSQL // embedded-postgres; nil when it is elsewhere
	PG         *pgxpool.Pool        // postgres
	TLS        *tls.Config          // tls; nil for servers in the clear
	Callers    *identity.Identifier // auth; nil where nobody is asked who they are
	Meter      *quota.Meter         // auth; nil where nobody counts
	GRPC       *rpc.Server          // grpc: register services, don't start
	HTTP       *http.ServeMux       // http: handle paths, don't serve
	HTTPAddr   string               // http-serve

	failures chan error // one is enough
}

// now is the clock of all parts: the machine's, unless a test put it wrong.
func (e *Env) now() time.Time { return time.Now().Add(e.Config.Test.ClockOffset) }

// fail takes the process down, naming the part.
func (e *Env) fail(part string, err error) {
	select {
	case e.failures <- fmt.Errorf("%s: %w", part, err):
	default: // another part failed before
	}
}

// run runs a part's work in a goroutine. The returned function ends it: it
// cancels the context and waits for run to return. If run returns by itself, the
// process goes down.
func (e *Env) run(part string, work func(context.Context) error) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := work(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			e.fail(part, err)
			err = nil // it is reported
		}
		done <- err
	}()
	var once sync.Once
	var result error
	return func(stopping context.Context) error {
		cancel()
		once.Do(func() {
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					result = err
				}
			case <-stopping.Done():
				result = fmt.Errorf("still at work: %w", stopping.Err())
			}
		})
		return result
	}
}

// await tries until it succeeds or the context ends: a neighbour may start after
// us. A permanent error ends it at once.
func (e *Env) await(ctx context.Context, what string, try func(context.Context) error) error {
	const pause = 500 * time.Millisecond
	retry := time.NewTicker(pause)
	defer retry.Stop()
	var last string
	for {
		err := try(ctx)
		var permanent permanentError
		if err == nil || errors.As(err, &permanent) {
			return err
		}
		if text := err.Error(); text != last {
			e.Log.WarnContext(ctx, "waiting for a neighbour", "for", what, obs.KeyError, err)
			last = text
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		}
	}
}

// permanentError is one that waiting doesn't heal.
type permanentError struct{ error }

func (p permanentError) Unwrap() error { return p.error }

// lastTraces reads the newest TRACE message of each subject.
func (e *Env) lastTraces(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
	return stream.LastMessages(ctx, e.JetStream, stream.Trace, subjects)
}

// projectedTraces reads traces from their projection; see [pg.Traces].
func (e *Env) projectedTraces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	return pg.Traces(ctx, e.PG, waybills)
}
