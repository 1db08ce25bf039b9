package app

import (
	"context"
	"errors"
	"time"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/subscription"
	"github.com/posthaste/posthaste/services/tenant"
)

// startSubscription starts the service that manages subscriptions and matches changes to them.
func startSubscription(ctx context.Context, env *Env) (func(context.Context) error, error) {
	control := subscription.ControlConfig{
		Endpoints: pg.NewEndpoints(env.PG), Subscriptions: pg.NewSubscriptions(env.PG), Accounts: pg.NewPlatformAccounts(env.PG), Numbers: pg.NewRecognition(env.PG), CheckURL: env.guard().Check,
		Log: env.Log, Now: env.now,
	}
	feedConfig := tenant.FeedConfig{Feeds: pg.NewFeeds(env.PG), Log: env.Log, Now: env.now}
	authority, closeFeeds, err := env.feedAuthority(ctx)
	if err != nil {
		return nil, err
	}
	stopFeeds := func(context.Context) error { return nil }
	if authority != nil {
		feedConfig.Authority = authority
	}
	teamFeeds := tenant.NewFeeds(feedConfig)
	if authority != nil {
		control.Feed = teamFeeds.Publish
		stopFeeds = env.run("feeds", teamFeeds.Run)
	}
	tenantv1.RegisterFeedServiceServer(env.GRPC, teamFeeds)
	subscriptionv1.RegisterEndpointServiceServer(env.GRPC, subscription.NewEndpoints(control))
	subscriptionv1.RegisterSubscriptionServiceServer(env.GRPC, subscription.NewSubscriptions(control))

	tenants := tenant.Config{Tenants: pg.NewTenants(env.PG), Keys: pg.NewKeys(env.PG), Audit: pg.NewAuditLog(env.PG), Log: env.Log, Now: env.now}
	tenantv1.RegisterTenantServiceServer(env.GRPC, tenant.NewTenants(tenants))
	tenantv1.RegisterKeyServiceServer(env.GRPC, tenant.NewKeys(tenants))
	tenantv1.RegisterAuditServiceServer(env.GRPC, tenant.NewAudit(tenants))
	tenantv1.RegisterPlatformAccountServiceServer(env.GRPC, subscription.NewPlatformAccounts(control))

	pushes := stream.NewPublisher(env.JetStream, stream.Push, stream.PublisherOptions{Bundle: env.bundle})
	matching := pg.NewMatching(env.PG)
	m, err := subscription.NewMatcher(subscription.MatcherConfig{
		Matching: matching, Push: pushes, Quota: pushQuota(env, matching),
		Consume: func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error) {
			return stream.NewConsumer(ctx, env.JetStream, opts)
		},
		Last:      env.lastTraces,
		Projected: env.projectedTraces,
		Mask:      env.Config.Privacy.masks,
		Oldest: func(ctx context.Context) (time.Time, bool, error) {
			return stream.Oldest(ctx, env.JetStream, stream.Push)
		},
		Shards: env.Config.Work.Shards, Lease: env.Config.Work.Lease, LevelAge: env.Config.Work.LevelAge,
		Log: env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now,
	})
	if err != nil {
		pushes.Close()
		closeFeeds()
		return stopFeeds, err
	}
	corrector, err := subscription.NewCorrector(subscription.CorrectorConfig{
		Checks: pg.NewCarrierChecks(env.PG), Log: env.Log, Meter: env.Telemetry.Meter, Now: env.now,
	})
	if err != nil {
		pushes.Close()
		closeFeeds()
		return stopFeeds, err
	}
	stopMatcher, stopCorrector := env.run("subscription", m.Run), env.run("subscription-carriers", corrector.Run)
	return func(ctx context.Context) error {
		err := errors.Join(stopMatcher(ctx), stopCorrector(ctx), stopFeeds(ctx))
		closeFeeds()
		pushes.Close()
		return err
	}, nil
}

// pushQuota counts the pushes of tenants, and raises the event that they are spent.
func pushQuota(env *Env, matching *pg.Matching) *quota.Pushes {
	return quota.NewPushes(quota.PushesConfig{
		Add: matching.AddPushes,
		Spent: func(ctx context.Context, tenant string, limit int64, until time.Time) error {
			e, err := subscription.QuotaSpent(tenant, limit, until, env.now())
			if err != nil {
				return err
			}
			return matching.Raise(ctx, e)
		},
		Now: env.now,
	})
}
