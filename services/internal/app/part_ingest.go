package app

import (
	"context"
	"time"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/services/ingest"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// startIngest starts the service that takes in what sources report, over HTTP and gRPC.
func startIngest(_ context.Context, env *Env) (func(context.Context) error, error) {
	raw := stream.NewPublisher(env.JetStream, stream.Raw, stream.PublisherOptions{Bundle: env.bundle})
	rejected := stream.NewPublisher(env.JetStream, stream.Rejected, stream.PublisherOptions{})
	stop := func(context.Context) error {
		raw.Close()
		rejected.Close()
		return nil
	}
	s, err := ingest.New(ingest.Config{
		Raw: raw, Rejected: rejected,
		Kdniao: reveal(env.Config.Sources.Kdniao), Kuaidi100: reveal(env.Config.Sources.Kuaidi100),
		Log: env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: time.Now,
	})
	if err != nil {
		return stop, err
	}
	ingestv1.RegisterIngestServiceServer(env.GRPC, s.Reports())
	env.HTTP.Handle("/v1/sources/", s.Handler())
	env.publishEgress()
	return stop, nil
}

// reveal opens secrets for the service that checks with them.
func reveal(secrets map[string]Secret) map[string]string {
	open := make(map[string]string, len(secrets))
	for name, s := range secrets {
		open[name] = s.Reveal()
	}
	return open
}
