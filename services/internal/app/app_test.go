package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// helperEnv makes the test binary the all-in-one itself.
const helperEnv = "APP_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(app.Main(app.AllInOne, os.Args[1:]))
	}
	testkit.Main(m)
}

// helperEnviron is an environment without the settings of whoever runs the
// tests: they must not reach the program.
func helperEnviron() []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "POSTHASTE_") })
	return append(env, helperEnv+"=1")
}

// config has the defaults, with free ports and data of the test's own.
func config(t *testing.T, data string) app.Config {
	t.Helper()
	return app.Config{
		Ops: app.OpsConfig{Listen: "127.0.0.1:0"}, GRPC: app.GRPCConfig{Listen: "127.0.0.1:0", Reflection: true}, HTTP: app.HTTPConfig{Listen: "127.0.0.1:0"},
		Stop: app.StopConfig{Grace: 20 * time.Second}, Stream: app.StreamConfig{Manage: true, Replicas: 1, RawMaxAge: 72 * time.Hour},
		Embedded: app.EmbeddedConfig{Data: data, PGBin: os.Getenv("POSTHASTE_PG_BIN"), PGFetched: testkit.PostgreSQLConfig("").Search.Fetched},
		Work:     app.WorkConfig{Shards: 1},
	}
}

func start(t *testing.T, program string, cfg app.Config) *app.App {
	t.Helper()
	a, err := app.Start(t.Context(), program, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, a) })
	return a
}

func stop(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func readyz(t *testing.T, address string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// awaitServing waits until gRPC health says whether it serves.
func awaitServing(t *testing.T, address string, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetStatus() == want {
			return
		}
	}
}

func TestAllInOne_RunsOnNothingAndKeepsItsData(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(t.TempDir(), "data"))
	for range 2 {
		a := start(t, app.AllInOne, cfg)
		at := a.Addresses()
		if code, body := readyz(t, at.Ops); code != http.StatusOK || !strings.Contains(body, `"streams"`) || !strings.Contains(body, `"postgresql"`) {
			t.Errorf("readyz is %d: %s", code, body)
		}
		awaitServing(t, at.GRPC, healthpb.HealthCheckResponse_SERVING)
		a.Drain()
		awaitServing(t, at.GRPC, healthpb.HealthCheckResponse_NOT_SERVING)
		if code, body := readyz(t, at.Ops); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
			t.Errorf("readyz is %d: %s", code, body)
		}
		stop(t, a)
	}
}

func TestAllInOne_GoesDownWithItsPostgreSQL(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	a := start(t, app.AllInOne, config(t, data))
	pid, err := os.ReadFile(filepath.Join(data, "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(pid), &n); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if err := <-a.Failed(); !strings.HasPrefix(err.Error(), "embedded-postgres: PostgreSQL ended") {
		t.Errorf("got %v", err)
	}
}

func TestServices_RunOnSharedServers(t *testing.T) {
	t.Parallel()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	cfg := config(t, "/does/not/exist")
	cfg.NATS.URL = app.SecretURL("nats://" + n.Addr())
	cfg.Database = app.DatabaseConfig{URL: app.SecretURL(testkit.PostgreSQL(t).Config().ConnString()), Volatile: true}
	const mib = 1 << 20
	cfg.Stream.RawMaxBytes, cfg.Stream.TraceMaxBytes, cfg.Stream.PushMaxBytes, cfg.Stream.RejectedMaxBytes = mib, mib, mib, mib
	// Ingest waits for the streams: without PostgreSQL it can't tell whether they
	// were lost.
	for _, program := range []string{app.Subscription, app.Ingest, app.Normalizer, app.Delivery} {
		a := start(t, program, cfg)
		if code, body := readyz(t, a.Addresses().Ops); code != http.StatusOK {
			t.Errorf("%s: readyz is %d: %s", program, code, body)
		}
	}
}

func TestServices_SayWhatTheyLack(t *testing.T) {
	t.Parallel()
	taken := testkit.NewReceiver(t)
	pool := testkit.PostgreSQL(t)
	url := pool.Config().ConnString()
	unmigrated := strings.Replace(url, "/"+pool.Config().ConnConfig.Database, "/postgres", 1)
	for name, tt := range map[string]struct {
		change func(*app.Config)
		want   string
	}{
		"no NATS":      {func(c *app.Config) { c.NATS.URL = "" }, "start nats: no NATS is given: set --nats-url or POSTHASTE_NATS_URL"},
		"no database":  {func(c *app.Config) { c.Database.URL = "" }, "start postgres: no PostgreSQL is given: set --database-url or POSTHASTE_DATABASE_URL"},
		"behind":       {func(c *app.Config) { c.Database.URL = app.SecretURL(unmigrated) }, "posthaste migrate up"},
		"may lose":     {func(c *app.Config) { c.Database.Volatile = false }, "power cut"},
		"no streams":   {func(c *app.Config) { c.Stream.Manage = false }, "start streams: "},
		"a taken port": {func(c *app.Config) { c.Ops.Listen = strings.TrimPrefix(taken.URL, "http://") }, "start ops: "},
		"too large":    {func(c *app.Config) { c.Stream.PushMaxBytes = 1 << 50 }, "start streams: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxStore: 64 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = n.Stop(context.Background()) })
			cfg := config(t, "/does/not/exist")
			cfg.NATS.URL = app.SecretURL("nats://" + n.Addr())
			cfg.Database = app.DatabaseConfig{URL: app.SecretURL(url), Volatile: true}
			const mib = 1 << 20
			cfg.Stream.RawMaxBytes, cfg.Stream.TraceMaxBytes, cfg.Stream.PushMaxBytes, cfg.Stream.RejectedMaxBytes = mib, mib, mib, mib
			tt.change(&cfg)
			a, err := app.Start(t.Context(), app.Delivery, cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				stop(t, a)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// While a neighbour is away a service waits, alive and not ready.
func TestServices_WaitForTheirNeighbours(t *testing.T) {
	t.Parallel()
	cfg := config(t, "/does/not/exist")
	cfg.NATS.URL = "nats://127.0.0.1:1" // nobody listens there
	logs := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan error, 1)
	go func() {
		_, err := app.Start(ctx, app.Ingest, cfg, slog.New(slog.NewTextHandler(lineWriter(logs), nil)))
		started <- err
	}()
	if line := <-logs; !strings.Contains(line, "waiting for a neighbour") || !strings.Contains(line, "for=NATS") {
		t.Errorf("the log says %s", line)
	}
	cancel()
	if err := <-started; err == nil || !strings.HasPrefix(err.Error(), "start nats: ") {
		t.Errorf("got %v", err)
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// A signal ends the process in order, and a second start finds its data.
func TestMain_EndsInOrderOnASignal(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cfg := config(t, data)
		cmd := exec.CommandContext(t.Context(), self, "--data="+data, "--ops-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0",
			"--nats-listen=", "--stop-delay=1ms", "--pg-bin="+cfg.Embedded.PGBin, "--pg-fetched="+cfg.Embedded.PGFetched)
		cmd.Env = helperEnviron()
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			text.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "msg=ready") {
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(text.String(), "msg=stopped") {
			t.Errorf("%v: %v\n%s", sig, err, text.String())
		}
	}
}

func TestMain_FailsOnABadCommandLine(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"--shards=0", "--nonsense"} {
		cmd := exec.CommandContext(t.Context(), self, arg)
		cmd.Env = helperEnviron()
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), strings.Split(arg, "=")[0]) {
			t.Errorf("%s: %v: %s", arg, err, out)
		}
	}
}
