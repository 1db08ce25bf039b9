package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/posthaste/posthaste/services/internal/obs"
)

// flushTime is what each part gets to stop when the grace is spent.
const flushTime = 5 * time.Second

// App is a running program.
type App struct {
	env     *Env
	running []runningPart
	stop    sync.Once
	stopErr error
}

type runningPart struct {
	name string
	stop func(context.Context) error
}

// Option changes what [Start] starts.
type Option func(*Env)

// WithNetwork replaces the network of callbacks.
func WithNetwork(n Network) Option { return func(e *Env) { e.Network = n } }

// Start starts a program. The context is for starting: when it ends before all
// is started, what was started is stopped again.
func Start(ctx context.Context, program string, cfg Config, log *slog.Logger, opts ...Option) (*App, error) {
	names, ok := programs[program]
	if !ok {
		return nil, fmt.Errorf("program %s doesn't exist", program)
	}
	return start(ctx, table(), program, names, cfg, log, opts...)
}

func start(ctx context.Context, table []part, program string, names []string, cfg Config, log *slog.Logger, opts ...Option) (*App, error) {
	parts, err := choose(table, names)
	if err != nil {
		return nil, err
	}
	a := &App{env: &Env{Program: program, Config: cfg, Log: log, Health: obs.NewHealth(), failures: make(chan error, 1)}}
	for _, set := range opts {
		set(a.env)
	}
	for _, p := range parts {
		began := time.Now()
		stop, err := p.start(ctx, a.env)
		if err == nil {
			err = ctx.Err()
		}
		if stop != nil {
			a.running = append(a.running, runningPart{p.name, stop})
		}
		if err != nil {
			err = fmt.Errorf("start %s: %w", p.name, err)
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Stop.Grace)
			defer cancel()
			return nil, errors.Join(err, a.Stop(stopping))
		}
		log.DebugContext(ctx, "part started", "part", p.name, "took", time.Since(began).Round(time.Microsecond))
	}
	return a, nil
}

// Failed gives the error of the first part that failed.
func (a *App) Failed() <-chan error { return a.env.failures }

// Drain says not ready, to whoever asks.
func (a *App) Drain() {
	a.env.Health.Drain("stopping")
	if a.env.GRPC != nil {
		a.env.GRPC.SetServing(false)
	}
}

// Stop stops all parts, the last started first. When the context ends, each part
// that is left gets a moment to flush. Stopping twice is one stop.
func (a *App) Stop(ctx context.Context) error {
	a.stop.Do(func() {
		var errs []error
		for _, p := range slices.Backward(a.running) {
			if err := stopPart(ctx, p); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
			}
			a.env.Log.DebugContext(ctx, "part stopped", "part", p.name)
		}
		a.stopErr = errors.Join(errs...)
	})
	return a.stopErr
}

// stopPart stops a part. One that doesn't return in time is left behind: the
// process ends soon, and what it didn't do is unacknowledged.
func stopPart(ctx context.Context, p runningPart) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() { done <- p.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(flushTime):
		return fmt.Errorf("left behind: %w", ctx.Err())
	}
}

// Addresses are where a running program is reached; what it doesn't have is
// empty.
type Addresses struct {
	HTTP, GRPC, Ops, NATS string
	// Database is the connection string of PostgreSQL.
	Database SecretURL
}

// Addresses of the program.
func (a *App) Addresses() Addresses {
	var out Addresses
	e := a.env
	out.HTTP = e.HTTPAddr
	if e.GRPC != nil {
		out.GRPC = e.GRPC.Addr()
	}
	if e.Ops != nil {
		out.Ops = e.Ops.Addr()
	}
	switch {
	case e.NATSServer != nil:
		out.NATS = e.NATSServer.Addr()
	case e.NATS != nil:
		out.NATS = e.NATS.ConnectedAddr()
	}
	if e.PG != nil {
		out.Database = SecretURL(e.PG.Config().ConnString())
	}
	return out
}

// Instruments are all that the program measures, by name.
func (a *App) Instruments() []sdkmetric.Instrument { return a.env.Telemetry.Instruments() }

// Run runs a program until a signal ends it or a part fails. meanwhile, if not
// nil, is called when the program is ready; when it returns, the program stops,
// and its error is returned.
func Run(program string, cfg Config, meanwhile func(context.Context, *App) error) error {
	log, err := obs.NewLogger(os.Stderr, cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return err
	}
	log = log.With("program", program)
	for _, w := range cfg.Warnings() {
		log.Warn("unwise configuration", "text", w)
	}
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	a, err := Start(ctx, program, cfg, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		return err
	}
	at := a.Addresses()
	log.Info("ready", "version", Version(), "http", at.HTTP, "grpc", at.GRPC, "ops", at.Ops, "nats", at.NATS)

	err = a.await(ctx, meanwhile)
	// From here on a signal has its ordinary effect: a second one ends the
	// process at once.
	release()
	a.Drain()
	if err == nil && cfg.Stop.Delay > 0 && ctx.Err() != nil {
		log.Info("stopping after a delay", "delay", cfg.Stop.Delay)
		<-time.After(cfg.Stop.Delay)
	}
	log.Info("stopping", "grace", cfg.Stop.Grace)
	stopping, cancel := context.WithTimeout(context.Background(), cfg.Stop.Grace)
	defer cancel()
	err = errors.Join(err, a.Stop(stopping))
	log.Info("stopped")
	return err
}

// await returns when a signal came, a part failed, or meanwhile is done.
func (a *App) await(ctx context.Context, meanwhile func(context.Context, *App) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	if meanwhile != nil {
		go func() { done <- meanwhile(ctx, a) }()
	}
	select {
	case <-ctx.Done():
	case err := <-a.Failed():
		return err
	case err := <-done:
		return err
	}
	if meanwhile == nil {
		return nil
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Main is the main of a service: it parses the command line, runs the program
// and returns the exit code.
func Main(program string, args []string) int {
	var cli struct {
		Config
		Version kong.VersionFlag `help:"Print the version."`
	}
	options := append(ParserOptions(), kong.Name(program), kong.Description("The "+program+" service of Posthaste."), kong.Vars{"version": Version()})
	k, err := kong.New(&cli, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err = k.Parse(args); err == nil {
		err = CheckEnvironment(k)
	}
	if err == nil {
		err = Run(program, cli.Config, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, program+":", err)
		return 1
	}
	return 0
}
