package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

const serviceName = "posthaste.tracking.v1.WaybillService"

// fakeService does what the test says.
type fakeService struct {
	trackingv1.UnimplementedWaybillServiceServer
	get   func(context.Context) error
	watch func(grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error
}

func (f *fakeService) GetWaybill(ctx context.Context, _ *trackingv1.GetWaybillRequest) (*trackingv1.GetWaybillResponse, error) {
	return &trackingv1.GetWaybillResponse{}, f.get(ctx)
}

func (f *fakeService) WatchWaybill(_ *trackingv1.WatchWaybillRequest, s grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
	return f.watch(s)
}

type testBundle struct {
	server *rpc.Server
	client trackingv1.WaybillServiceClient
	health healthpb.HealthClient
	conn   *grpc.ClientConn
	log    *syncBuffer
}

func setup(t *testing.T, fake *fakeService, adjust ...func(*rpc.ServerConfig)) *testBundle {
	t.Helper()
	out := &syncBuffer{}
	cfg := rpc.ServerConfig{
		Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Propagator: propagation.TraceContext{},
	}
	for _, f := range adjust {
		f(&cfg)
	}
	s := rpc.NewServer(cfg)
	trackingv1.RegisterWaybillServiceServer(s, fake)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.WithoutCancel(t.Context())) })
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &testBundle{server: s, client: trackingv1.NewWaybillServiceClient(conn), health: healthpb.NewHealthClient(conn), conn: conn, log: out}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestServer_HealthFollowsServing(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeService{})
	for _, serving := range []bool{false, true, false} {
		b.server.SetServing(serving)
		want := healthpb.HealthCheckResponse_NOT_SERVING
		if serving {
			want = healthpb.HealthCheckResponse_SERVING
		}
		for _, name := range []string{"", serviceName} {
			r, err := b.health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
			if err != nil || r.GetStatus() != want {
				t.Errorf("%q: got %v, %v; want %v", name, r.GetStatus(), err, want)
			}
		}
	}
}

func TestServer_HidesFaultsAndLogsThem(t *testing.T) {
	t.Parallel()
	for name, get := range map[string]func(context.Context) error{
		"an unknown error": func(context.Context) error { return errors.New("swordfish") },
		"a panic":          func(context.Context) error { panic("swordfish") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, &fakeService{get: get})
			_, err := b.client.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{})
			if st := status.Convert(err); st.Code() != codes.Internal || strings.Contains(st.String(), "swordfish") || len(st.Details()) != 1 {
				t.Errorf("the caller gets %v %v", st, st.Details())
			}
			if text := b.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "swordfish") || !strings.Contains(text, "GetWaybill") {
				t.Errorf("the log says %s", text)
			}
		})
	}
}

func TestServer_PassesErrorsOfItsOwnKind(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeService{get: func(context.Context) error { return rpc.NotFound("waybills/sf/SF1234") }})
	_, err := b.client.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{})
	if st := status.Convert(err); st.Code() != codes.NotFound || len(st.Details()) != 2 {
		t.Errorf("got %v %v", st, st.Details())
	}
	if _, err := b.client.ListPushes(t.Context(), &trackingv1.ListPushesRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, want UNIMPLEMENTED", err)
	}
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Errorf("a caller's error was logged as a fault: %s", b.log)
	}
}

func TestServer_CapsDeadlines(t *testing.T) {
	t.Parallel()
	deadlines := make(chan time.Duration, 1)
	b := setup(t, &fakeService{get: func(ctx context.Context) error {
		d, ok := ctx.Deadline()
		if !ok {
			return errors.New("no deadline")
		}
		deadlines <- time.Until(d)
		return nil
	}}, func(c *rpc.ServerConfig) { c.MaxDeadline = time.Minute })
	for _, timeout := range []time.Duration{0, time.Hour} {
		ctx := t.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		if _, err := b.client.GetWaybill(ctx, &trackingv1.GetWaybillRequest{}); err != nil {
			t.Fatal(err)
		}
		if d := <-deadlines; d > time.Minute {
			t.Errorf("a call may take %s", d)
		}
	}
}

func TestServer_RefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	b := setup(t, &fakeService{})
	_, err := b.client.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{Name: strings.Repeat("x", rpc.MaxReceive+1)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestServer_ReflectsUnlessTold(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		b := setup(t, &fakeService{}, func(c *rpc.ServerConfig) { c.NoReflection = off })
		stream, err := reflectionpb.NewServerReflectionClient(b.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if off {
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("reflection is off and gave %v, %v", r, err)
			}
			continue
		}
		if err != nil || !strings.Contains(r.String(), serviceName) {
			t.Errorf("got %v, %v", r, err)
		}
		_ = stream.CloseSend()
	}
}

// A stop lets calls in progress finish and doesn't wait for watches.
func TestServer_StopsInOrder(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	b := setup(t, &fakeService{
		get: func(context.Context) error {
			close(entered)
			<-release
			return nil
		},
		watch: func(s grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
			if err := s.Send(&trackingv1.WatchWaybillResponse{}); err != nil {
				return err
			}
			<-s.Context().Done()
			return s.Context().Err()
		},
	})
	watch, err := b.client.WatchWaybill(t.Context(), &trackingv1.WatchWaybillRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	called := make(chan error, 1)
	go func() {
		_, err := b.client.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{})
		called <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Stop(t.Context()) }()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v, want UNAVAILABLE", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("it stopped with a call in progress: %v", err)
	default:
	}
	close(release)
	if err := <-called; err != nil {
		t.Errorf("the call in progress gave %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestServer_StopsTheHardWayWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	b := setup(t, &fakeService{get: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}})
	called := make(chan error, 1)
	go func() {
		_, err := b.client.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{})
		called <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.server.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop gave %v", err)
	}
	if err := <-called; err == nil {
		t.Error("the call succeeded")
	}
}

func TestServer_StopsBeforeItStarts(t *testing.T) {
	t.Parallel()
	s := rpc.NewServer(rpc.ServerConfig{Log: slog.New(slog.DiscardHandler), Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Propagator: propagation.TraceContext{}})
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
