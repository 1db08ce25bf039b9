package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // taken from callers; the limit is of what it becomes
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// MaxReceive is the largest message the server takes; more comes by streaming.
const MaxReceive = 4 << 20

const (
	maxHeaders = 16 << 10 // bytes, of one call
	maxStreams = 250      // calls at once, of one connection
)

// ServerConfig says how a gRPC server runs.
type ServerConfig struct {
	// Listen is its address. Required.
	Listen string
	// MaxDeadline caps how long a unary call may take, whatever the caller asks
	// for; 0 means 30 s. Streams last as long as both sides want.
	MaxDeadline time.Duration
	// MaxConnectionAge ends connections now and then so that load spreads over
	// new instances; calls in progress get five minutes more. 0 means 30
	// minutes.
	MaxConnectionAge time.Duration
	// Identifier finds out who calls; nil lets everybody do everything.
	Identifier Identifier
	// Quotas count the calls of tenants; nil counts none.
	Quotas Quotas
	// TLS is nil for calls in the clear.
	TLS *tls.Config
	// NoReflection hides what the server offers from grpcurl and its like.
	NoReflection bool
	// Log receives faults, and at debug level a line for each call. Required.
	Log *slog.Logger
	// Tracer, Meter and Propagator measure calls. Required.
	Tracer     trace.TracerProvider
	Meter      metric.MeterProvider
	Propagator propagation.TextMapPropagator
}

// Server is a gRPC server with health, reflection, limits, and errors that say
// what to do. Register services, then start it.
type Server struct {
	grpc     *grpc.Server
	health   *health.Server
	cfg      ServerConfig
	listener net.Listener
	served   chan struct{}
	// endWatches ends streams on which the server alone sends: they have no end
	// of their own, and a graceful stop would wait for them for ever.
	endWatches context.CancelFunc
}

// NewServer makes a server that doesn't listen yet.
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxDeadline == 0 {
		cfg.MaxDeadline = 30 * time.Second
	}
	if cfg.MaxConnectionAge == 0 {
		cfg.MaxConnectionAge = 30 * time.Minute
	}
	watches, endWatches := context.WithCancel(context.Background())
	who := &callers{who: cfg.Identifier, quotas: cfg.Quotas}
	transport := insecure.NewCredentials()
	if cfg.TLS != nil {
		transport = credentials.NewTLS(cfg.TLS)
	}
	calls := &interceptor{log: cfg.Log, maxDeadline: cfg.MaxDeadline, watches: watches}
	s := &Server{
		cfg:        cfg,
		health:     health.NewServer(),
		served:     make(chan struct{}),
		endWatches: endWatches,
		grpc: grpc.NewServer(
			grpc.Creds(transport),
			grpc.MaxRecvMsgSize(MaxReceive),
			grpc.MaxHeaderListSize(maxHeaders),
			grpc.MaxConcurrentStreams(maxStreams),
			grpc.StatsHandler(otelgrpc.NewServerHandler(
				otelgrpc.WithTracerProvider(cfg.Tracer), otelgrpc.WithMeterProvider(cfg.Meter), otelgrpc.WithPropagators(cfg.Propagator))),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
			grpc.KeepaliveParams(keepalive.ServerParameters{
				Time: time.Minute, Timeout: 20 * time.Second,
				MaxConnectionAge: cfg.MaxConnectionAge, MaxConnectionAgeGrace: 5 * time.Minute,
			}),
			grpc.ChainUnaryInterceptor(calls.unary, who.unary),
			grpc.ChainStreamInterceptor(calls.stream, who.stream),
		),
	}
	healthpb.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	return s
}

// RegisterService adds a service. Call it before [Server.Start]; generated
// Register…Server functions do.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
	s.health.SetServingStatus(desc.ServiceName, healthpb.HealthCheckResponse_NOT_SERVING)
}

// Start listens and serves. Health says NOT_SERVING until [Server.SetServing].
func (s *Server) Start(ctx context.Context) error {
	if err := s.checkAccesses(); err != nil {
		return err
	}
	if !s.cfg.NoReflection {
		reflection.Register(s.grpc)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("start the gRPC server: %w", err)
	}
	s.listener = l
	go func() {
		defer close(s.served)
		if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.cfg.Log.Error("the gRPC server ended", "error", err)
		}
	}()
	return nil
}

// checkAccesses refuses a server with an RPC of which nobody has said who may
// call it.
func (s *Server) checkAccesses() error {
	for name, service := range s.grpc.GetServiceInfo() {
		for _, m := range service.Methods {
			method := name + "/" + m.Name
			if _, ok := AccessOf(method); !ok && !open("/"+method) {
				return fmt.Errorf("start the gRPC server: nobody has said who may call %s: add it to the table in services/internal/rpc/access.go", method)
			}
		}
	}
	return nil
}

// Addr is the address it listens on, empty before [Server.Start].
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Services are the full names of the services that are registered.
func (s *Server) Services() []string {
	var out []string
	for name := range s.grpc.GetServiceInfo() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// ServeHTTP answers a gRPC call that came over an HTTP server of its own process.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.grpc.ServeHTTP(w, r) }

// SetServing tells health checkers of all services.
func (s *Server) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, status)
	}
}

// Stop says NOT_SERVING, takes no new calls, ends watches with UNAVAILABLE so
// that they resume elsewhere, and waits for the other calls in progress. When the context ends first they are cancelled, and the context's error is
// returned.
func (s *Server) Stop(ctx context.Context) error {
	s.health.Shutdown()
	s.endWatches()
	if s.listener == nil {
		s.grpc.Stop()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		err = fmt.Errorf("stop the gRPC server: calls in progress were cancelled: %w", ctx.Err())
	}
	<-s.served
	return err
}
