package app

import (
	"context"
	"crypto/rand"
	"time"

	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	"github.com/posthaste/posthaste/services/erasure"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	erasureLease = 15 * time.Second
	// purgePatience bounds a walk through all rejected reports.
	purgePatience = 2 * time.Minute
)

// startPrivacy starts the service that erases personal data.
func startPrivacy(_ context.Context, env *Env) (func(context.Context) error, error) {
	c := env.Config
	raw := stream.NewPublisher(env.JetStream, stream.Raw, stream.PublisherOptions{})
	s := erasure.New(erasure.Config{
		Store: pg.NewErasures(env.PG), Raw: raw, Last: env.lastTraces,
		OldestPush: func(ctx context.Context) (time.Time, bool, error) {
			return stream.Oldest(ctx, env.JetStream, stream.Push)
		},
		PurgeRejected: func(ctx context.Context, match func([]byte) bool) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, purgePatience)
			defer cancel()
			return stream.DeleteMatching(ctx, env.JetStream, stream.Rejected, match)
		},
		Hold: func(ctx context.Context, work func(context.Context) error) error {
			opts := pg.LeaseOptions{Name: "erasure", Owner: rand.Text(), TTL: erasureLease, Pause: erasureLease / 3, Log: env.Log}
			return pg.Hold(ctx, env.PG, opts, func(ctx, owned context.Context, _ pg.Lease) error {
				ctx, cancel := pg.Within(ctx, owned)
				defer cancel()
				return work(ctx)
			})
		},
		RawAge:    c.Stream.RawMaxAge,
		Retention: erasure.Retention{Traces: c.Privacy.Traces, Bodies: c.Privacy.Bodies, Audit: c.Privacy.Audit, Every: c.Privacy.Every},
		Flight:    c.Privacy.Flight,
		Log:       env.Log, Now: env.now,
	})
	privacyv1.RegisterErasureServiceServer(env.GRPC, s)
	stop := env.run("erasure", s.Run)
	return func(ctx context.Context) error { return closing(stop(ctx), raw) }, nil
}
