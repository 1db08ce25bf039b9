package app

import (
	"context"
	"errors"
	"strconv"

	recognitionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/query"
)

// projectBatch is how many traces are projected at once: many, since nobody
// waits for them.
const projectBatch = 2000

// startQuery starts the service that answers what is known of waybills, pushes and attempts.
func startQuery(_ context.Context, env *Env) (func(context.Context) error, error) {
	store := pg.NewQuery(env.PG)
	trackingv1.RegisterWaybillServiceServer(env.GRPC, query.New(query.Config{
		Store: store,
		Last:  env.lastTraces,
		Present: func(ctx context.Context, subject string) (stream.Stored, error) {
			return stream.LastMessage(ctx, env.JetStream, stream.Trace, subject)
		},
		Tail: func(ctx context.Context, subject string) (<-chan stream.Stored, func(), error) {
			return stream.Tail(ctx, env.JetStream, stream.Trace, subject)
		},
		Mask: env.Config.Privacy.masks,
		Log:  env.Log, Now: env.now,
	}))
	memory := pg.NewRecognition(env.PG)
	recognitionv1.RegisterRecognitionServiceServer(env.GRPC, query.NewRecognitions(memory, env.Log))
	learner := query.NewLearner(query.LearnerConfig{Memory: memory, Log: env.Log, Now: env.now})
	stopLearner := env.run("query-learner", learner.Run)
	consumer := func(shard int) stream.ConsumerOptions {
		return stream.ConsumerOptions{Stream: stream.Trace, Durable: "query-project-" + strconv.Itoa(shard), Kind: "trace", MaxBatch: projectBatch}
	}
	stop := env.eachShard("query", consumer, func(ctx context.Context, shard int, c *stream.Consumer) error {
		p, err := query.NewProjector(query.ProjectorConfig{
			Trace: c, Store: store, Observe: learner.Observe, Shard: shard, Log: env.Log, Meter: env.Telemetry.Meter, Now: env.now,
		})
		if err != nil {
			return err
		}
		return p.Run(ctx)
	})
	stopLevel, err := startTraceLevel(env) //nolint:contextcheck // what it starts or ends outlives the caller
	return func(ctx context.Context) error { return errors.Join(stopLevel(ctx), stop(ctx), stopLearner(ctx)) }, err
}
