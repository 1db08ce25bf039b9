package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recovery"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// recoveryOf wires the rebuilding of TRACE to the neighbours of env.
func recoveryOf(env *Env, trace *stream.Publisher) recovery.Config {
	bus := pg.NewBus(env.PG)
	return recovery.Config{
		Page: func(ctx context.Context, after track.Waybill, since time.Time, limit int) (page []recovery.Projected, err error) {
			err = bus.Projected(ctx, after, since, limit, func(w track.Waybill, r track.Revision) {
				page = append(page, recovery.Projected{Waybill: w, Revision: r})
			})
			return page, err
		},
		Traces: env.projectedTraces,
		Last:   env.lastTraces,
		Store:  trace.Store, MaxAge: env.Config.Stream.TraceMaxAge, Log: env.Log, Now: env.now,
	}
}

// Recover makes lost streams anew, rebuilds the states of waybills from their
// projection, and lets the normalizer begin again with what was taken in since a
// time, the zero time for all that is kept. Pushes that got lost are found and
// repeated by the matcher once it runs. It says what it does to out.
func Recover(ctx context.Context, cfg Config, since time.Time, out io.Writer, log *slog.Logger) (err error) {
	a, err := start(ctx, table(), "recover", []string{"embedded-nats", "embedded-postgres", "nats", "postgres"}, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Stop.Grace)
		defer cancel()
		err = errors.Join(err, a.Stop(stopping))
	}()
	env := a.env
	found, err := stream.Ensure(ctx, env.JetStream, streamConfig(env), pg.NewBus(env.PG), true)
	if err != nil {
		return err
	}
	if len(found.Lost) == 0 {
		_, _ = fmt.Fprintln(out, "no stream is missing")
	}
	for _, name := range found.Lost {
		_, _ = fmt.Fprintf(out, "%s was lost and is made anew\n", name)
	}
	trace := stream.NewPublisher(env.JetStream, stream.Trace, stream.PublisherOptions{}) //nolint:contextcheck // what it starts or ends outlives the caller
	defer trace.Close()
	rebuilt, err := recoveryOf(env, trace).All(ctx)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%d waybills' states are rebuilt from PostgreSQL\n", rebuilt)
	durables, err := stream.Rewind(ctx, env.JetStream, stream.Raw, rawDurable, since)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "what was taken in since %s is normalized again, by %d consumers; what changes nothing stays silent\n", sinceText(since), durables)
	return nil
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return "the beginning of what is kept"
	}
	return t.Format(time.RFC3339)
}

const (
	levelPause = 10 * time.Second
	levelLease = 30 * time.Second
)

// startTraceLevel compares TRACE with its projection, slowly and for ever, in one
// process of all; at once when TRACE was lost.
func startTraceLevel(env *Env) (func(context.Context) error, error) {
	lost, err := env.Telemetry.Meter.Meter("github.com/posthaste/posthaste/services/query").Int64Counter("posthaste_query_trace_lost",
		metric.WithDescription("Waybills whose state TRACE had lost and that were rebuilt from the projection. Any is a fault of the bus."))
	if err != nil {
		return func(context.Context) error { return nil }, err
	}
	trace := stream.NewPublisher(env.JetStream, stream.Trace, stream.PublisherOptions{})
	hurry := slices.Contains(env.Streams.Lost, stream.Trace)
	stop := env.run("trace-level", func(ctx context.Context) error {
		opts := pg.LeaseOptions{Name: "trace-level", Owner: rand.Text(), TTL: levelLease, Pause: levelPause, Log: env.Log}
		return pg.Hold(ctx, env.PG, opts, func(ctx, owned context.Context, _ pg.Lease) error {
			ctx, cancel := pg.Within(ctx, owned)
			defer cancel()
			r := recoveryOf(env, trace)
			if hurry {
				n, err := r.All(ctx)
				lost.Add(ctx, int64(n))
				if err != nil {
					return err
				}
				hurry = false
				env.Log.InfoContext(ctx, "the states of waybills are rebuilt from PostgreSQL", "waybills", n)
			}
			return r.Watch(ctx, func(ctx context.Context) error { return pause.For(ctx, levelPause) }, func(n int) { lost.Add(ctx, int64(n)) })
		})
	})
	return func(ctx context.Context) error {
		err := stop(ctx)
		trace.Close()
		return err
	}, nil
}
