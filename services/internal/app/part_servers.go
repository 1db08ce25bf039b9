package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/posthaste/posthaste/services/internal/gate"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/rest"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// startGRPC makes the server; services register with it in their own parts.
func startGRPC(_ context.Context, env *Env) (func(context.Context) error, error) {
	c := env.Config.GRPC
	var who rpc.Identifier
	var quotas rpc.Quotas
	if env.Meter != nil {
		quotas = env.Meter
	}
	if env.Callers != nil {
		who = env.Callers
	}
	env.GRPC = rpc.NewServer(rpc.ServerConfig{
		Identifier: who, Quotas: quotas, TLS: env.TLS,
		Listen: c.Listen, NoReflection: !c.Reflection, MaxDeadline: c.MaxDeadline, Log: env.Log,
		Tracer: env.Telemetry.Tracer, Meter: env.Telemetry.Meter, Propagator: obs.Propagator(),
	})
	return nil, nil
}

func serveGRPC(ctx context.Context, env *Env) (func(context.Context) error, error) {
	if err := env.GRPC.Start(ctx); err != nil {
		return nil, err
	}
	return env.GRPC.Stop, nil
}

// startHTTP makes the router; services handle paths of it in their own parts.
func startHTTP(_ context.Context, env *Env) (func(context.Context) error, error) {
	env.HTTP = http.NewServeMux()
	return nil, nil
}

// startREST gives the registered services their HTTP/JSON face.
func startREST(_ context.Context, env *Env) (func(context.Context) error, error) {
	h, err := rest.New(rest.Config{GRPC: env.GRPC, Services: env.GRPC.Services(), Locked: env.Callers != nil})
	if err != nil {
		return nil, err
	}
	env.HTTP.Handle("/v1/", h)
	env.HTTP.Handle("/openapi.json", h)
	return nil, nil
}

func serveHTTP(ctx context.Context, env *Env) (func(context.Context) error, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", env.Config.HTTP.Listen)
	if err != nil {
		return nil, err
	}
	env.HTTPAddr = l.Addr().String()
	if env.TLS != nil {
		cfg := env.TLS.Clone()
		cfg.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, cfg)
	}
	server := &http.Server{
		Handler: otelhttp.NewHandler(gate.Secure(oneSlash(env.HTTP)), "http",
			otelhttp.WithTracerProvider(env.Telemetry.Tracer), otelhttp.WithMeterProvider(env.Telemetry.Meter), otelhttp.WithPropagators(obs.Propagator())),
		// A client that sends or reads slowly is let go.
		ReadHeaderTimeout: env.Config.HTTP.HeaderTimeout,
		ReadTimeout:       env.Config.HTTP.ReadTimeout,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(env.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			env.fail("http-serve", err)
		}
	}()
	return func(ctx context.Context) error {
		err := server.Shutdown(ctx) // waits for requests in progress
		if err != nil {
			_ = server.Close()
		}
		<-served
		return err
	}, nil
}
