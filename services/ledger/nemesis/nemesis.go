package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// Nemesis breaks a world.
type Nemesis struct {
	World *world.World
	Out   *record.Writer
	Log   *slog.Logger
	// Disk is where the streams are, nil when it can't be filled or cut off.
	Disk *Disk
}

// Run breaks things by plan, each at its time after began, and returns when all
// is mended. What can't be broken, or mended, is an error.
func (n *Nemesis) Run(ctx context.Context, began time.Duration, plan []Planned) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, f := range plan {
		if wait := began + f.At - n.Out.Now(); wait > 0 && pause.For(ctx, wait) != nil {
			break
		}
		if f.Kind == record.FaultCrashPoint {
			wg.Wait() // one after the other
		}
		wg.Go(func() {
			if err := n.Do(ctx, f); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s of %v: %w", f.Kind, f.Targets, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Do makes one fault, and mends it after its length.
func (n *Nemesis) Do(ctx context.Context, f Planned) error {
	out := record.Fault{ID: n.Out.NextFault(), Kind: f.Kind, Targets: f.Targets, Begin: n.Out.Now(), Detail: detail(f)}
	n.Log.Info("fault", "kind", f.Kind, "targets", strings.Join(f.Targets, " "), "length", f.Length.Round(time.Millisecond), "detail", out.Detail)
	n.Out.Fault(out)
	err := n.do(ctx, f, &out)
	out.End = n.Out.Now()
	n.Out.Fault(out)
	return err
}

func detail(f Planned) string {
	switch {
	case f.Kind == record.FaultCrashPoint:
		return fmt.Sprint(f.Point, "@", f.Amount)
	case f.OneWay:
		return "one way"
	case f.Kind == record.FaultLatency:
		return fmt.Sprint(f.Amount, " ms")
	case f.Kind == record.FaultClock:
		return (time.Duration(f.Amount) * time.Millisecond).String()
	default:
		return ""
	}
}

func (n *Nemesis) do(ctx context.Context, f Planned, out *record.Fault) error {
	switch f.Kind {
	case record.FaultKill:
		return n.down(ctx, f, out, syscall.SIGKILL)
	case record.FaultRestart:
		return n.down(ctx, f, out, syscall.SIGTERM)
	case record.FaultPause:
		n.signal(f.Targets, syscall.SIGSTOP)
		_ = pause.For(ctx, f.Length)
		n.signal(f.Targets, syscall.SIGCONT)
		return nil
	case record.FaultClock:
		return n.clock(ctx, f)
	case record.FaultCut, record.FaultBlackHole, record.FaultLatency:
		return n.network(ctx, f)
	case record.FaultTerminate:
		return n.terminate(ctx, f.Length)
	case record.FaultExhaust:
		return n.exhaust(ctx, f.Length)
	case record.FaultDiskFull:
		return n.fill(ctx, f, out)
	case record.FaultPowerCut:
		return n.powerCut(ctx, out)
	case record.FaultCrashPoint:
		return n.crash(ctx, f)
	case record.FaultBitFlip:
		return n.flip(ctx, f, out)
	default:
		return fmt.Errorf("fault %s: %w", f.Kind, errors.ErrUnsupported)
	}
}

// down ends programs all at once and starts them again after a while.
func (n *Nemesis) down(ctx context.Context, f Planned, out *record.Fault, sig syscall.Signal) error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.Targets))
	for i, name := range f.Targets {
		wg.Go(func() {
			if name == world.PostgreSQL {
				// Killed, the postmaster would leave its children behind; SIGQUIT ends all
				// without a word.
				stop := syscall.SIGQUIT
				if sig == syscall.SIGTERM {
					stop = syscall.SIGINT
				}
				errs[i] = n.World.Postgres().Down(ctx, stop)
				return
			}
			n.World.Process(name).Down(sig)
		})
	}
	wg.Wait()
	out.DownFrom = n.Out.Now()
	_ = pause.For(ctx, f.Length)
	out.DownTo = n.Out.Now()
	return errors.Join(errors.Join(errs...), n.up(ctx, f.Targets))
}

func (n *Nemesis) up(ctx context.Context, targets []string) error {
	var errs []error
	for _, name := range targets {
		if name == world.PostgreSQL {
			errs = append(errs, n.World.Postgres().Start(ctx))
			continue
		}
		errs = append(errs, n.World.Process(name).Start())
	}
	return errors.Join(errs...)
}

func (n *Nemesis) signal(targets []string, sig syscall.Signal) {
	for _, name := range targets {
		if name == world.PostgreSQL {
			n.World.Postgres().Signal(sig)
			continue
		}
		n.World.Process(name).Signal(sig)
	}
}

// clock ends a program and starts it with another clock; at the end, with the
// right one.
func (n *Nemesis) clock(ctx context.Context, f Planned) error {
	p := n.World.Process(f.Targets[0])
	step := time.Duration(f.Amount) * time.Millisecond
	p.Down(syscall.SIGKILL)
	p.SetEnv("POSTHASTE_TEST_CLOCK_OFFSET", step.String())
	if err := p.Start(); err != nil {
		return err
	}
	_ = pause.For(ctx, f.Length+2*time.Second)
	p.Down(syscall.SIGKILL)
	p.SetEnv("POSTHASTE_TEST_CLOCK_OFFSET", "0s")
	return p.Start()
}

// crash starts a program so that it kills itself at a point, waits until it has,
// and until it is back without.
func (n *Nemesis) crash(ctx context.Context, f Planned) error {
	const reach = 20 * time.Second
	p := n.World.Process(f.Targets[0])
	before := len(p.Exits())
	p.Down(syscall.SIGKILL)
	p.SetEnv("POSTHASTE_CRASH", fmt.Sprint(f.Point, "@", f.Amount))
	err := p.Start()
	p.SetEnv("POSTHASTE_CRASH", "") // for the start after
	end := n.Out.Now() + reach
	for err == nil && len(p.Exits()) == before {
		if n.Out.Now() > end {
			err = errors.New("the point was never reached")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = pause.For(ctx, 20*time.Millisecond)
	}
	if err != nil {
		p.Down(syscall.SIGKILL) // it may still have the point before it
		return errors.Join(fmt.Errorf("%s@%d: %w", f.Point, f.Amount, err), p.Start())
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_ = pause.For(ctx, 600*time.Millisecond) // it is started again by then
	return p.AwaitReady(ready)
}

func (n *Nemesis) network(ctx context.Context, f Planned) (err error) {
	p := n.World.Proxy(f.Targets[0])
	switch f.Kind {
	case record.FaultCut:
		p.Cut()
	case record.FaultLatency:
		err = p.Latency(f.Amount, f.Amount/2)
	default:
		err = p.BlackHole(f.OneWay)
	}
	_ = pause.For(ctx, f.Length)
	return errors.Join(err, p.Heal()) //nolint:contextcheck // what it starts or ends outlives the caller
}

// terminate ends all backends again and again.
func (n *Nemesis) terminate(ctx context.Context, length time.Duration) error {
	const query = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()`
	end := n.Out.Now() + length
	conn, err := pgx.Connect(ctx, n.World.Postgres().URL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for n.Out.Now() < end && ctx.Err() == nil {
		if _, err := conn.Exec(ctx, query); err != nil {
			return err
		}
		_ = pause.For(ctx, time.Second)
	}
	return nil
}

// exhaust takes the others' connections from them, and all that are left.
func (n *Nemesis) exhaust(ctx context.Context, length time.Duration) error {
	const query = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()`
	var held []*pgx.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close(context.WithoutCancel(ctx))
		}
	}()
	for refused := 0; refused < 5 && len(held) < 200; {
		dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
		c, err := pgx.Connect(dialing, n.World.Postgres().URL())
		cancel()
		if err != nil {
			refused++
			continue
		}
		held = append(held, c)
		if len(held) == 1 {
			if _, err := c.Exec(ctx, query); err != nil {
				return err
			}
		}
	}
	return pause.For(ctx, length)
}
