package app

import (
	"context"
	"math/rand/v2"

	"github.com/posthaste/posthaste/services/delivery"
	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// startDelivery starts the service that pushes until acknowledged.
func startDelivery(_ context.Context, env *Env) (func(context.Context) error, error) {
	roots, err := env.egressRoots()
	if err != nil {
		return nil, err
	}
	client := callback.NewClient(env.guard(), env.now, callback.WithTracer(env.Telemetry.Tracer), callback.WithRoots(roots))
	post, err := env.newPoster(client)
	if err != nil {
		client.Close()
		return nil, err
	}
	ops := stream.NewPublisher(env.JetStream, stream.Ops, stream.PublisherOptions{})
	s, err := delivery.New(delivery.Config{
		Store: pg.NewDelivery(env.PG), Post: post, Ops: ops, RetryScale: env.Config.Work.RetryScale,
		Consume: func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error) {
			return stream.NewConsumer(ctx, env.JetStream, opts)
		},
		Last: env.lastTraces,
		Trim: func(ctx context.Context, durables []string) error {
			return stream.TrimAcknowledged(ctx, env.JetStream, stream.Push, durables)
		},
		Mask:   env.Config.Privacy.masks,
		Shards: env.Config.Work.Shards, Lease: env.Config.Work.Lease, Retention: env.Config.Work.AttemptRetention,
		Log: env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now, Random: rand.Float64,
	})
	if err != nil {
		ops.Close()
		post.Close()
		return nil, err
	}
	stop := env.run("delivery", s.Run)
	return func(ctx context.Context) error {
		err := stop(ctx)
		ops.Close()
		post.Close()
		return err
	}, nil
}
