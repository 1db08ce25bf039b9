package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// OpsConfig says what the ops server shows.
type OpsConfig struct {
	// Listen is its address. It has no authentication and shows profiles: keep
	// it on loopback or inside the cluster. Required.
	Listen string
	// Metrics serves /metrics. Required.
	Metrics http.Handler
	// Health answers /readyz. Required.
	Health *Health
	// Log receives what the server complains about. Required.
	Log *slog.Logger
}

// Ops is the HTTP server for operators:
//
//	/metrics      Prometheus
//	/healthz      200 while the process runs; says nothing of its neighbours
//	/livez        the same, under the name that Kubernetes uses
//	/startupz     200 once all is started, 503 before; whatever happens later
//	/readyz       200 or 503, with the outcome of every check as JSON
//	/debug/pprof  profiles
type Ops struct {
	server   *http.Server
	listener net.Listener
	served   chan struct{}
}

// StartOps listens and serves.
func StartOps(ctx context.Context, cfg OpsConfig) (*Ops, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start the ops server: %w", err)
	}
	o := &Ops{
		listener: l,
		served:   make(chan struct{}),
		server: &http.Server{
			Handler:           opsHandler(cfg),
			ReadHeaderTimeout: 5 * time.Second,
			IdleTimeout:       time.Minute,
			ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		defer close(o.served)
		if err := o.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("the ops server ended", KeyError, err)
		}
	}()
	return o, nil
}

// Addr is the address it listens on.
func (o *Ops) Addr() string { return o.listener.Addr().String() }

// Stop ends it.
func (o *Ops) Stop(ctx context.Context) error {
	err := o.server.Shutdown(ctx)
	if err != nil {
		// A profile in progress is no reason to wait.
		_ = o.server.Close()
	}
	<-o.served
	return err
}

func opsHandler(cfg OpsConfig) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"alive": true})
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"alive": true})
	})
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, _ *http.Request) {
		code, started := http.StatusOK, cfg.Health.Started()
		if !started {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, map[string]bool{"started": started})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report := cfg.Health.Report(r.Context())
		code := http.StatusOK
		if !report.Ready {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, report)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	// No cmdline: it would show secrets given as flags.
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
