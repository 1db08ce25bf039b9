package app

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/posthaste/posthaste/services/internal/obs"
)

// watchInterval is how often readiness is looked at for gRPC health.
const watchInterval = 5 * time.Second

func startTelemetry(ctx context.Context, env *Env) (func(context.Context) error, error) {
	// The only global of OpenTelemetry that is set: errors have nowhere else to go.
	otel.SetErrorHandler(obs.ErrorLog{Log: env.Log})
	var err error
	env.Telemetry, err = obs.NewTelemetry(ctx, obs.Config{
		Service: "posthaste", Version: Version(),
		Export: obs.ExportWanted(os.Environ()), SampleRatio: env.Config.Trace.Ratio,
	})
	if err != nil {
		return nil, err
	}
	return env.Telemetry.Shutdown, nil
}

func startOps(ctx context.Context, env *Env) (func(context.Context) error, error) {
	var err error
	env.Ops, err = obs.StartOps(ctx, obs.OpsConfig{
		Listen: env.Config.Ops.Listen, Metrics: env.Telemetry.MetricsHandler(), Health: env.Health, Log: env.Log,
	})
	if err != nil {
		return nil, err
	}
	return env.Ops.Stop, nil
}

// startReady comes last: all is started, so the process may say so.
func startReady(_ context.Context, env *Env) (func(context.Context) error, error) {
	env.Health.Serve()
	if env.GRPC == nil {
		return nil, nil
	}
	stop := env.run("ready", func(ctx context.Context) error {
		env.Health.Watch(ctx, watchInterval, func(r obs.Report) {
			env.GRPC.SetServing(r.Ready)
			if !r.Ready {
				env.Log.Error("not ready", obs.KeyError, r.Err())
			}
		})
		return ctx.Err()
	})
	return stop, nil
}
