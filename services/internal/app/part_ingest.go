package app

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/ingest"
	"github.com/posthaste/posthaste/services/internal/gate"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// startIngest starts the service that takes in what sources report, over HTTP and gRPC.
func startIngest(_ context.Context, env *Env) (func(context.Context) error, error) {
	raw := stream.NewPublisher(env.JetStream, stream.Raw, stream.PublisherOptions{Bundle: env.bundle})
	rejected := stream.NewPublisher(env.JetStream, stream.Rejected, stream.PublisherOptions{})
	room := stream.RoomOptions{Stream: stream.Raw, Log: env.Log}
	if env.NATSServer != nil {
		room.Disk = env.NATSServer.Disk
	}
	full := stream.NewRoom(env.JetStream, room)
	stopRoom := env.run("ingest-room", full.Run)
	env.Health.Hint("room", func(context.Context) error { return full.Full() })
	stop := func(ctx context.Context) error {
		err := stopRoom(ctx)
		raw.Close()
		rejected.Close()
		return err
	}
	accounts, err := env.Config.Sources.accounts()
	if err != nil {
		return stop, err
	}
	s, err := ingest.New(ingest.Config{
		Raw: raw, Rejected: rejected, Room: full.Full,
		Share: share(env.Config.Sources.Share), Accounts: accounts,
		Log: env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now,
	})
	if err != nil {
		return stop, err
	}
	ingestv1.RegisterIngestServiceServer(env.GRPC, s.Reports())
	secrets, err := env.carrierSecrets()
	if err != nil {
		return stop, err
	}
	door := env.sourceGate()
	env.HTTP.Handle("/v1/sources/", door.Wrap(s.Handler(), sourceOf))
	env.HTTP.Handle("POST /v1/carriers/{carrier}/events", door.Wrap(s.CarrierHandler(secrets), func(r *http.Request) string {
		return "carriers/" + r.PathValue("carrier")
	}))
	env.publishEgress()
	return stop, nil
}

// share is the setting as ingest takes it: 0 for no limit.
func share(setting int) float64 {
	const forEachCore = 500
	switch setting {
	case -1:
		return 0
	case 0:
		return float64(forEachCore * runtime.GOMAXPROCS(0))
	}
	return float64(setting)
}

// sourceGate is what pushes of sources pass first.
func (e *Env) sourceGate() *gate.Gate {
	h, s := e.Config.HTTP, e.Config.Sources
	return gate.New(gate.Config{
		MaxBody: int64(h.MaxBody), Proxies: h.Proxies, Allow: unwrap(s.AllowFrom), Failures: s.Failures, Window: s.FailureWindow,
		Rate: s.Rate, Burst: s.Burst, Log: e.Log, Now: e.now,
	})
}

// sourceOf is the name of a source, from the path of its push.
func sourceOf(r *http.Request) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/sources/"), "/")
	return name
}

// carrierSecrets are those of carriers that push in our own form.
func (e *Env) carrierSecrets() (map[string]webhook.Secret, error) {
	out := make(map[string]webhook.Secret, len(e.Config.Sources.Carriers))
	for code, text := range e.Config.Sources.Carriers {
		secret, err := webhook.ParseSecret(text.Reveal())
		if err != nil {
			return nil, fmt.Errorf("read the secret of --carrier %s: %w", code, err)
		}
		out[code] = secret
	}
	return out, nil
}
