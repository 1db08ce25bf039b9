// Package world runs Posthaste for the ledger: the real programs as processes,
// with nats-server and PostgreSQL, and a proxy between every two who talk. It
// knows of them what an operator knows: processes, ports and folders.
package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

// The deployments.
const (
	Services = "services"   // four services, nats-server, PostgreSQL
	AllInOne = "all-in-one" // one process, and its PostgreSQL
)

// The names of processes beside those of the programs.
const (
	NATS       = "nats"
	PostgreSQL = "postgres"
)

// Config says what to run.
type Config struct {
	Deployment string
	// Dir holds data, and Logs what the programs say.
	Dir, Logs string
	// Bin is the folder of the programs; Self is the ledger's own, which runs
	// nats-server.
	Bin, Self string
	Search    embedded.Search
	// Streams is where the streams are kept; empty means in Dir.
	Streams string
	// MaxStore bounds them.
	MaxStore string
	// Env is added to that of the programs.
	Env []string
	// Endpoints is where the receivers listen.
	Endpoints string
	// OnExit hears of processes that end by themselves.
	OnExit func(Exit)
}

// The accounts of sources.
const (
	KdniaoAccount = "1237100"
	KdniaoKey     = "ledger-app-key"
	KuaidiAccount = "ledger"
	KuaidiSalt    = "ledger-salt"
)

// World is Posthaste as it runs.
type World struct {
	cfg       Config
	processes []*Process // in the order of starting
	proxies   map[string]*Proxy
	postgres  *Postgres // nil in the all-in-one
	nats      string    // address of the server itself

	// Sources and Reports are ingest's, Control is the control plane's, as the
	// workload reaches them; Callbacks is how delivery reaches the receivers.
	Sources, Reports, Control, Callbacks string
}

// services are the programs of the four.
var services = []string{"ingest", "normalizer", "subscription", "delivery"}

// New prepares a world. [World.Start] starts it.
func New(cfg Config) (*World, error) {
	w := &World{cfg: cfg, proxies: make(map[string]*Proxy)}
	for _, dir := range []string{cfg.Dir, cfg.Logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user goes through
			return nil, err
		}
	}
	if w.cfg.Streams == "" {
		w.cfg.Streams = filepath.Join(cfg.Dir, "nats")
	}
	if w.cfg.MaxStore == "" {
		w.cfg.MaxStore = "2GiB"
	}
	if cfg.Deployment == AllInOne {
		return w, w.makeAllInOne()
	}
	return w, w.makeServices()
}

// programEnv is what a program gets of the environment: nothing of ours.
func (w *World) programEnv(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "POSTHASTE_") || strings.HasPrefix(e, "OTEL_")
	})
	env = append(env,
		"POSTHASTE_EGRESS_POLICY=lab", "POSTHASTE_TRACE_RATIO=0",
		"POSTHASTE_KDNIAO="+KdniaoAccount+"="+KdniaoKey, "POSTHASTE_KUAIDI100="+KuaidiAccount+"="+KuaidiSalt,
		"POSTHASTE_STREAM_RAW_MAX_BYTES=512MiB", "POSTHASTE_STREAM_TRACE_MAX_BYTES=512MiB",
		"POSTHASTE_STREAM_PUSH_MAX_BYTES=512MiB", "POSTHASTE_STREAM_REJECTED_MAX_BYTES=64MiB",
	)
	return append(append(env, w.cfg.Env...), more...)
}

func (w *World) log(name string) string { return filepath.Join(w.cfg.Logs, name+".log") }

func (w *World) makeAllInOne() error {
	path, err := program(w.cfg.Bin, "posthaste")
	if err != nil {
		return err
	}
	a, err := freeAddresses(4)
	if err != nil {
		return err
	}
	w.nats = a[3]
	args := []string{
		"serve", "--auth=open", "--http-listen=" + a[0], "--grpc-listen=" + a[1], "--ops-listen=" + a[2], "--nats-listen=" + a[3],
		"--data=" + filepath.Join(w.cfg.Dir, "data"), "--nats-max-store=" + w.cfg.MaxStore, "--pg-bin=" + w.cfg.Search.Bin, "--pg-fetched=" + w.cfg.Search.Fetched,
	}
	w.processes = []*Process{{Name: "posthaste", path: path, args: args, env: w.programEnv(), ops: a[2], log: w.log("posthaste"), onExit: w.cfg.OnExit}}
	return w.makeProxies(map[string]string{
		"sources-ingest": a[0], "teams-ingest": a[1], "teams-subscription": a[1], "delivery-endpoints": w.cfg.Endpoints,
	})
}

func (w *World) makeServices() (err error) {
	if w.postgres, err = newPostgres(filepath.Join(w.cfg.Dir, "postgres"), w.cfg.Search); err != nil {
		return err
	}
	if w.nats, err = freeAddress(); err != nil {
		return err
	}
	w.processes = append(w.processes, &Process{
		Name: NATS, path: w.cfg.Self, args: []string{"nats", "--dir=" + w.cfg.Streams, "--listen=" + w.nats, "--max-store=" + w.cfg.MaxStore},
		env: w.programEnv(), dial: w.nats, log: w.log(NATS), onExit: w.cfg.OnExit,
	})
	to := map[string]string{"delivery-endpoints": w.cfg.Endpoints}
	listens := make(map[string][]string)
	for _, s := range services {
		to[s+"-nats"], to[s+"-postgres"] = w.nats, w.postgres.Addr()
		if listens[s], err = freeAddresses(3); err != nil {
			return err
		}
	}
	to["sources-ingest"], to["teams-ingest"], to["teams-subscription"] = listens["ingest"][0], listens["ingest"][1], listens["subscription"][1]
	if err := w.makeProxies(to); err != nil {
		return err
	}
	for _, s := range services {
		path, err := program(w.cfg.Bin, s)
		if err != nil {
			return err
		}
		a := listens[s]
		w.processes = append(w.processes, &Process{
			Name: s, path: path, ops: a[2], log: w.log(s), onExit: w.cfg.OnExit,
			args: []string{
				"--auth=open", "--http-listen=" + a[0], "--grpc-listen=" + a[1], "--ops-listen=" + a[2],
				"--nats-url=nats://" + w.proxies[s+"-nats"].Addr,
			},
			env: w.programEnv("POSTHASTE_DATABASE_URL=" + databaseURL(w.proxies[s+"-postgres"].Addr)),
		})
	}
	return nil
}

func freeAddresses(n int) ([]string, error) {
	all := make([]string, n)
	for i := range all {
		a, err := freeAddress()
		if err != nil {
			return nil, err
		}
		all[i] = a
	}
	return all, nil
}

func (w *World) makeProxies(to map[string]string) error {
	maker := newProxies()
	for name, upstream := range to {
		p, err := maker.start(name, upstream)
		if err != nil {
			return err
		}
		w.proxies[name] = p
	}
	w.Sources, w.Reports = w.proxies["sources-ingest"].Addr, w.proxies["teams-ingest"].Addr
	w.Control, w.Callbacks = w.proxies["teams-subscription"].Addr, w.proxies["delivery-endpoints"].Addr
	return nil
}

// Start starts everything and waits until all are ready.
func (w *World) Start(ctx context.Context) error {
	if w.postgres != nil {
		if err := w.postgres.Start(ctx); err != nil {
			return err
		}
		if err := w.migrate(ctx); err != nil {
			return err
		}
	}
	for _, p := range w.processes {
		if err := p.Start(); err != nil {
			return err
		}
		if p.Name == NATS {
			if err := p.AwaitReady(ctx); err != nil {
				return err
			}
		}
	}
	return w.AwaitReady(ctx)
}

// migrate prepares the database as an operator does.
func (w *World) migrate(ctx context.Context) error {
	path, err := program(w.cfg.Bin, "posthaste")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "migrate", "up", "--database-url="+w.postgres.URL())
	cmd.Env = w.programEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w\n%s", err, out)
	}
	return nil
}

// AwaitReady waits until every process says that it is ready.
func (w *World) AwaitReady(ctx context.Context) error {
	for _, p := range w.processes {
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends everything.
func (w *World) Stop() error {
	var wg sync.WaitGroup
	for _, p := range slices.Backward(w.processes) {
		p.Signal(syscall.SIGCONT)
		if p.Name == NATS {
			wg.Wait()
		}
		wg.Go(func() { p.Down(syscall.SIGTERM) })
	}
	wg.Wait()
	for _, p := range w.proxies {
		p.stop()
	}
	if w.postgres == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	w.postgres.Signal(syscall.SIGCONT)
	return w.postgres.Down(ctx, syscall.SIGINT)
}

// Freeze stops a program and all below it where they stand.
func (w *World) Freeze(name string) {
	if name == PostgreSQL {
		w.postgres.Signal(syscall.SIGSTOP)
		return
	}
	if pid := w.Process(name).PID(); pid != 0 {
		for _, p := range descendants(pid) {
			_ = syscall.Kill(p, syscall.SIGSTOP)
		}
	}
}

// Kill ends a program and all below it, without a chance to write anything.
func (w *World) Kill(name string) {
	if name == PostgreSQL {
		w.postgres.kill()
		return
	}
	p := w.Process(name)
	var all []int
	if pid := p.PID(); pid != 0 {
		all = descendants(pid)
	}
	p.Down(syscall.SIGKILL)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Processes are the programs that run.
func (w *World) Processes() []*Process { return w.processes }

// Process is one of them, nil when there is none of that name.
func (w *World) Process(name string) *Process {
	for _, p := range w.processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Postgres is nil in the all-in-one, which runs its own.
func (w *World) Postgres() *Postgres { return w.postgres }

// Proxy is one of the proxies, nil when there is none of that name.
func (w *World) Proxy(name string) *Proxy { return w.proxies[name] }

// Proxies are the names of all, sorted.
func (w *World) Proxies() []string {
	names := make([]string, 0, len(w.proxies))
	for name := range w.proxies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Programs are the names of the processes that run Posthaste's own programs.
func (w *World) Programs() []string {
	var names []string
	for _, p := range w.processes {
		if p.Name != NATS {
			names = append(names, p.Name)
		}
	}
	return names
}

// NATSURL is the server's own address: the ledger goes round the proxies.
func (w *World) NATSURL() string { return "nats://" + w.nats }

// StreamsDir is where the streams are kept.
func (w *World) StreamsDir() string {
	if w.cfg.Deployment == AllInOne {
		return filepath.Join(w.cfg.Dir, "data", "nats")
	}
	return w.cfg.Streams
}

// DatabaseURL is how the ledger reaches PostgreSQL, round the proxies.
func (w *World) DatabaseURL() (string, error) {
	if w.postgres != nil {
		return w.postgres.URL(), nil
	}
	// The all-in-one says in its log where the socket of its PostgreSQL is.
	data, err := os.ReadFile(w.log("posthaste"))
	if err != nil {
		return "", err
	}
	const key = "socket_folder="
	at := strings.LastIndex(string(data), key)
	if at < 0 {
		return "", errors.New("the all-in-one doesn't say where its PostgreSQL is")
	}
	folder, _, _ := strings.Cut(string(data[at+len(key):]), " ")
	return "postgres://posthaste@/posthaste?host=" + folder, nil
}
