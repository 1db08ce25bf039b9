package app

import (
	"context"
	"strconv"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/normalizer"
)

// rawMaxAckPending is how many raw traces of a shard may wait for PostgreSQL
// before those that needn't wait do.
const rawMaxAckPending = 100_000

// rawPrefetch bounds memory: each may be a bundle.
const rawPrefetch = 400

// startNormalizer starts the service that makes canonical traces of what was taken in.
func startNormalizer(ctx context.Context, env *Env) (func(context.Context) error, error) {
	trace := stream.NewPublisher(env.JetStream, stream.Trace, stream.PublisherOptions{})
	rejected := stream.NewPublisher(env.JetStream, stream.Rejected, stream.PublisherOptions{})
	stop, err := env.eachShard("normalizer", func(shard int, slots []subject.Slot) (func(context.Context) error, func(), error) {
		durable := "normalizer-raw-" + strconv.Itoa(shard)
		raw, err := stream.NewConsumer(ctx, env.JetStream, stream.ConsumerOptions{Stream: stream.Raw, Durable: durable, Kind: "raw", Slots: slots, MaxAckPending: rawMaxAckPending, Prefetch: rawPrefetch})
		if err != nil {
			return nil, nil, err
		}
		s, err := normalizer.New(normalizer.Config{
			Raw: raw, Consumer: durable, Trace: trace, Rejected: rejected,
			Newest: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
				return stream.LastMessages(ctx, env.JetStream, stream.Trace, subjects)
			},
			History: func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
				return pg.Traces(ctx, env.PG, waybills)
			},
			MaxMessage: int(env.NATS.MaxPayload()),
			Log:        env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now,
		})
		if err != nil {
			raw.Stop()
			return nil, nil, err
		}
		return s.Run, raw.Stop, nil
	})
	return func(ctx context.Context) error {
		err := error(nil)
		if stop != nil {
			err = stop(ctx)
		}
		trace.Close()
		rejected.Close()
		return err
	}, err
}
