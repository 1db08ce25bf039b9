// Package ledger is the judge of Posthaste's promises: it runs the real programs
// as processes, reports events to them and receives their pushes, breaks them
// meanwhile, and decides from what it wrote down whether every promise was
// kept. It reaches them as anybody could: HTTP, gRPC, callbacks, NATS. See
// docs/ledger.md.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/posthaste/posthaste/pkg/feed"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/ledger/look"
	"github.com/posthaste/posthaste/services/ledger/nemesis"
	"github.com/posthaste/posthaste/services/ledger/receiver"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/workload"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// Config says what to run.
type Config struct {
	Profile string
	Seed    uint64
	// Out is the run folder.
	Out string
	// Duration and Rate take the place of the profile's; 0 leaves it.
	Duration time.Duration
	Rate     float64
	// Deployment takes the place of the profile's; empty leaves it.
	Deployment string
	// Bin is the folder of the programs, and Self this program.
	Bin, Self string
	Search    embedded.Search
	// Env is added to that of the programs.
	Env []string
	// Mutant is the planted fault of the programs, for the report.
	Mutant string
	Log    *slog.Logger

	// profile takes the place of a named one.
	profile *profile
	// exits makes ends of processes by themselves faults: crash points.
	exits bool
}

// durable is the ledger's own reader of TRACE.
const durable = "ledger-reader"

// run is one run.
type run struct {
	cfg      Config
	p        profile
	out      *record.Writer
	meta     record.Meta
	world    *world.World
	receiver *receiver.Server
	player   *workload.Player
	looker   *look.Looker
	disk     *nemesis.Disk
	data     string
}

// Run runs a profile and writes it down. Its error says that the run couldn't be
// made; what it showed is the judge's business.
func Run(ctx context.Context, cfg Config) (err error) {
	p, ok := profiles[cfg.Profile]
	if cfg.profile != nil {
		p, ok = *cfg.profile, true
	}
	if !ok {
		return fmt.Errorf("profile %q doesn't exist; there are\n%s", cfg.Profile, Profiles())
	}
	if cfg.Duration > 0 {
		p.load = cfg.Duration
		p.calm = min(p.calm, max(p.load/2, p.load-2*calmTime))
		if p.faults == nil {
			p.calm = p.load
		}
	}
	if p.still == 0 {
		p.still = 5 * time.Second
	}
	if cfg.Rate > 0 {
		p.rate = cfg.Rate
	}
	if cfg.Deployment != "" {
		p.deployment = cfg.Deployment
	}
	r := &run{cfg: cfg, p: p}
	defer func() { err = errors.Join(err, r.close()) }() //nolint:contextcheck // what it starts or ends outlives the caller
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.play(ctx)
}

// open starts everything.
func (r *run) open(ctx context.Context) (err error) {
	began := time.Now()
	if r.out, err = record.Create(r.cfg.Out, began); err != nil {
		return err
	}
	if r.data, err = os.MkdirTemp("", "posthaste-ledger-"); err != nil {
		return err
	}
	if err := os.Chmod(r.data, 0o755); err != nil { //nolint:gosec // PostgreSQL's user goes through
		return err
	}
	if r.receiver, err = receiver.Start(r.out); err != nil { //nolint:contextcheck // what it starts or ends outlives the caller
		return err
	}
	if err := r.makeWorld(ctx); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := r.world.Start(starting); err != nil {
		return err
	}
	r.player = workload.New(workload.Config{
		Seed: r.cfg.Seed, Load: r.p.load, Rate: r.p.rate, TroubleFrom: r.p.calm / 2, Classes: r.p.classes,
		Cancels: r.p.cancels, Poison: r.p.poison, Orderly: r.p.orderly,
	})
	r.receiver.Play(r.player.Endpoints)
	if err := r.player.Open(r.world, r.out, r.receiver); err != nil {
		return err
	}
	if err := r.player.MakeEndpoints(starting); err != nil {
		return fmt.Errorf("make the endpoints: %w", err)
	}
	if r.looker, err = look.Open(r.world.NATSURL(), r.world.DatabaseURL, r.player.Control, r.player.Endpoints); err != nil {
		return err
	}
	r.meta = record.Meta{
		Profile: r.cfg.Profile, Seed: r.cfg.Seed, Run: r.player.Run, Deployment: r.p.deployment, Mutant: r.cfg.Mutant, Began: began, Load: r.p.load,
		Endpoints: r.player.Endpoints, Intended: len(r.player.Steps), Durables: []string{durable}, Plan: r.player.Hash(),
	}
	return nil
}

func (r *run) makeWorld(ctx context.Context) (err error) {
	dir, streams := r.data, ""
	if r.p.disk > 0 {
		r.disk, err = nemesis.NewDisk(ctx, r.data, r.p.disk)
		switch {
		case err == nil && r.p.must:
			dir = r.disk.Dir // everything is on it
		case err == nil:
			streams = filepath.Join(r.disk.Dir, "nats")
		case r.p.must:
			return err
		default:
			r.cfg.Log.Warn("disks can't be filled in this run", "error", err)
		}
	}
	maxStore := ""
	if r.disk != nil {
		maxStore = fmt.Sprint(r.p.disk*3/4, "MiB")
	}
	env := r.cfg.Env
	if r.disk != nil {
		// What the streams may take together fits the disk.
		for stream, share := range map[string]int{"RAW": 3, "TRACE": 3, "PUSH": 2, "REJECTED": 1} {
			env = append(env, fmt.Sprintf("POSTHASTE_STREAM_%s_MAX_BYTES=%dMiB", stream, r.p.disk*share/16))
		}
	}
	onExit := func(e world.Exit) {
		r.cfg.Log.Info("a program ended by itself", "program", e.Name, "why", e.Why)
		if r.cfg.exits {
			at := r.out.Now()
			r.out.Fault(record.Fault{ID: r.out.NextFault(), Kind: record.FaultCrashPoint, Targets: []string{e.Name}, Begin: at, End: at + time.Second})
		}
	}
	r.world, err = world.New(world.Config{ //nolint:contextcheck // what it starts or ends outlives the caller
		Deployment: r.p.deployment, Dir: dir, Logs: filepath.Join(r.cfg.Out, "logs"), Bin: r.cfg.Bin, Self: r.cfg.Self, Search: r.cfg.Search,
		Streams: streams, MaxStore: maxStore, Env: env, Endpoints: r.receiver.Addr(), OnExit: onExit,
	})
	return err
}

// abilities are what of this world can be broken.
func (r *run) abilities() nemesis.Abilities {
	return nemesis.Abilities{
		Programs: r.world.Programs(), Proxies: r.world.Proxies(), PostgreSQL: r.world.Postgres() != nil,
		NATS: r.world.Process(world.NATS) != nil, Full: r.disk != nil,
	}
}

func (r *run) play(ctx context.Context) error {
	began := r.out.Now()
	m := &r.meta
	m.TroubleFrom, m.CalmUntil, m.LoadEnd = began+r.p.calm/2, began+r.p.calm, began+r.p.load
	r.receiver.Schedule(m.TroubleFrom, began+r.p.load/2, began+r.p.load*2/3)
	var plan []nemesis.Planned
	if r.p.faults != nil {
		plan = r.p.faults(r.cfg.Seed, r.p.calm, r.p.load-min(lastCalm, r.p.load/6), r.abilities())
	}
	r.cfg.Log.Info("the run begins", "profile", m.Profile, "seed", m.Seed, "deployment", m.Deployment, "plan", m.Plan,
		"operations", m.Intended, "waybill_events", len(r.player.Events), "endpoints", len(m.Endpoints), "faults", len(plan), "load", r.p.load)

	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	watchers.Go(func() { r.sample(watching) })
	watchers.Go(func() { r.follow(watching) })

	patience := make(chan struct{})
	var playing sync.WaitGroup
	playing.Go(func() { r.player.Play(ctx, began, patience) })
	n := &nemesis.Nemesis{World: r.world, Out: r.out, Log: r.cfg.Log, Disk: r.disk}
	broken := n.Run(ctx, began, plan)
	_ = pause.For(ctx, began+r.p.load-r.out.Now())
	m.HealedAt = r.out.Now()
	ready, cancel := context.WithTimeout(ctx, r.p.quiesce)
	defer cancel()
	if err := r.world.AwaitReady(ready); err != nil {
		r.cfg.Log.Warn("not everything is ready again", "error", err)
	}
	close(patience)
	playing.Wait()
	if broken != nil {
		return fmt.Errorf("the faults of the plan couldn't be made: %w", broken)
	}
	if err := r.end(ctx); err != nil {
		return err
	}
	m.End = r.out.Now()
	return r.out.Meta(*m)
}

// end waits for rest, heals the endpoints, and waits again.
func (r *run) end(ctx context.Context) error {
	first, err := r.settle(ctx, "quiesced")
	if err != nil {
		return err
	}
	r.receiver.Heal()
	for _, i := range first.Disabled {
		if err := r.player.Enable(ctx, i); err != nil {
			r.cfg.Log.Error("an endpoint that has healed can't be enabled", "endpoint", i, "error", err)
		}
	}
	// What was parked because its tries were spent goes with the next change, where
	// there is one.
	parked := make(map[string]bool)
	for i := range first.Subscriptions {
		for _, p := range first.Subscriptions[i].Pushes {
			if p.State == "parked" {
				parked[first.Subscriptions[i].Waybill] = true
			}
		}
	}
	nudging, cancel := context.WithTimeout(ctx, r.p.quiesce)
	defer cancel()
	if err := r.player.Nudge(nudging, parked, 1); err != nil {
		r.cfg.Log.Error("not everything could be reported in the end", "error", err)
	}
	// What no change takes along, since its subscription has ended, is resent.
	if err := r.player.Resend(nudging); err != nil {
		r.cfg.Log.Error("what is parked can't be resent", "error", err)
	}
	_, err = r.settle(ctx, "healed")
	return err
}

// settle waits until everything is at rest, for so long at most, and writes down
// how it stands.
func (r *run) settle(ctx context.Context, phase string) (*record.Final, error) {
	began := r.out.Now()
	unsettled := "it was never asked"
	for r.out.Now()-began < r.p.quiesce {
		if err := pause.For(ctx, time.Second); err != nil {
			return nil, err
		}
		last, _ := r.out.LastPush()
		if silent := r.out.Now() - max(last, began); silent < r.p.still {
			unsettled = fmt.Sprintf("a push came %s ago", silent.Round(time.Millisecond))
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 30*time.Second)
		what, err := r.looker.Settled(asking)
		cancel()
		if err != nil {
			what = err.Error()
		}
		if unsettled = what; unsettled == "" {
			break
		}
	}
	asking, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	f, err := r.looker.Final(asking, phase, true)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Whoever can't be asked isn't at rest: that is a finding, not an accident.
		f, unsettled = &record.Final{Phase: phase}, err.Error()
	}
	f.At, f.Quiesced, f.Unsettled = r.out.Now(), unsettled == "", unsettled
	r.out.Final(*f)
	r.cfg.Log.Info("at rest", "phase", phase, "quiesced", f.Quiesced, "took", (f.At - began).Round(time.Millisecond), "unsettled", unsettled)
	return f, nil
}

// sample measures each second.
func (r *run) sample(ctx context.Context) {
	for pause.For(ctx, time.Second) == nil {
		for _, p := range r.world.Processes() {
			if u, ok := p.Usage(ctx); ok {
				r.out.Sample(record.Sample{At: r.out.Now(), Program: p.Name, RSS: u.RSS, FDs: u.FDs, Goroutines: u.Goroutines})
			}
		}
		asking, cancel := context.WithTimeout(ctx, time.Second)
		s := record.Sample{At: r.out.Now(), Streams: r.looker.Streams(asking)}
		if n, err := r.looker.Backends(asking); err == nil {
			s.Backends = n
		}
		cancel()
		r.out.Sample(s)
	}
}

// follow is a durable reader on NATS, as another team's service would be.
func (r *run) follow(ctx context.Context) {
	var mu sync.Mutex
	revisions := make(map[string]uint64)
	take := func(_ context.Context, u feed.Update) error {
		name := u.Waybill.ID.String()
		mu.Lock()
		defer mu.Unlock()
		f := record.Follow{At: r.out.Now(), Waybill: name, Revision: u.Waybill.Revision}
		for _, e := range u.Since(revisions[name]) {
			f.Tokens = append(f.Tokens, receiver.Token.FindAllString(e.Text, -1)...)
		}
		revisions[name] = max(revisions[name], u.Waybill.Revision)
		r.out.Follow(f)
		return nil
	}
	for ctx.Err() == nil {
		err := feed.Follow(ctx, r.looker.JetStream(), feed.Options{Durable: durable, Workers: 4, AckWait: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}, take)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Debug("the reader on NATS begins again", "error", err)
		}
		_ = pause.For(ctx, 500*time.Millisecond)
	}
}

func (r *run) close() error {
	var errs []error
	if r.looker != nil {
		r.looker.Close()
	}
	if r.player != nil {
		r.player.Close()
	}
	if r.world != nil {
		errs = append(errs, r.world.Stop())
	}
	if r.receiver != nil {
		errs = append(errs, r.receiver.Close())
	}
	if r.disk != nil {
		errs = append(errs, r.disk.Close(context.Background()))
	}
	if r.out != nil {
		errs = append(errs, r.out.Close())
	}
	if r.data != "" {
		errs = append(errs, os.RemoveAll(r.data))
	}
	return errors.Join(errs...)
}
