package app

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/normalizer"
)

// rawMaxAckPending is how many raw traces of a shard may wait for PostgreSQL
// before those that needn't wait do.
const rawMaxAckPending = 100_000

// rawDurable begins the names of the normalizer's durables.
const rawDurable = "normalizer-raw-"

// rawPrefetch bounds memory: each may be a bundle.
const rawPrefetch = 400

// startNormalizer starts the service that makes canonical traces of what was taken in.
func startNormalizer(_ context.Context, env *Env) (func(context.Context) error, error) {
	trace := stream.NewPublisher(env.JetStream, stream.Trace, stream.PublisherOptions{})
	rejected := stream.NewPublisher(env.JetStream, stream.Rejected, stream.PublisherOptions{})
	consumer := func(shard int) stream.ConsumerOptions {
		return stream.ConsumerOptions{Stream: stream.Raw, Durable: rawDurable + strconv.Itoa(shard), Kind: "raw", MaxAckPending: rawMaxAckPending, Prefetch: rawPrefetch}
	}
	stop := env.eachShard("normalizer", consumer, func(ctx context.Context, shard int, raw *stream.Consumer) error {
		s, err := normalizer.New(normalizer.Config{
			Raw: raw, Consumer: rawDurable + strconv.Itoa(shard), Trace: trace, Rejected: rejected,
			Newest: env.lastTraces,
			History: func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
				return pg.History(ctx, env.PG, waybills)
			},
			MaxMessage: int(env.NATS.MaxPayload()),
			Log:        env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now,
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
	stopAudit, err := startRawAudit(env) //nolint:contextcheck // what it starts or ends outlives the caller
	return func(ctx context.Context) error {
		return closing(errors.Join(stopAudit(ctx), stop(ctx)), trace, rejected)
	}, err
}

// closing closes publishers after their users have stopped, with an error or not.
func closing(stopped error, publishers ...*stream.Publisher) error {
	for _, p := range publishers {
		p.Close()
	}
	return stopped
}

const auditLease = 30 * time.Second

// startRawAudit looks for what RAW lost, in one process of all: what was accepted
// and isn't normalized yet is there alone.
func startRawAudit(env *Env) (func(context.Context) error, error) {
	lost, err := env.Telemetry.Meter.Meter("github.com/posthaste/posthaste/services/normalizer").Int64Counter("posthaste_normalizer_raw_lost",
		metric.WithDescription("Messages of RAW that were never handed out and that no replica had: any is a loss; let the sources send again."))
	if err != nil {
		return func(context.Context) error { return nil }, err
	}
	var durables []string
	for shard := range max(env.Config.Work.Shards, 1) {
		durables = append(durables, rawDurable+strconv.Itoa(shard))
	}
	return env.run("raw-audit", func(ctx context.Context) error {
		opts := pg.LeaseOptions{Name: "raw-audit", Owner: rand.Text(), TTL: auditLease, Pause: auditLease / 3, Log: env.Log}
		return pg.Hold(ctx, env.PG, opts, func(ctx, owned context.Context, _ pg.Lease) error {
			ctx, cancel := pg.Within(ctx, owned)
			defer cancel()
			return stream.Audit(ctx, env.JetStream, stream.AuditOptions{
				Stream: stream.Raw, Durable: "normalizer-audit", Consumers: durables,
				Gap: func(ctx context.Context, g stream.Gap) {
					n := g.To - g.From + 1
					lost.Add(ctx, int64(n-g.Healed))
					env.Log.ErrorContext(ctx, "messages of the stream of raw traces can't be read", obs.KeyStream, stream.Raw,
						"from", g.From, "to", g.To, "healed_from_a_replica", g.Healed, "lost", n-g.Healed)
				},
			})
		})
	}), nil
}
