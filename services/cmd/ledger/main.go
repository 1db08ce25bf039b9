// Command ledger judges whether Posthaste keeps its promises while it is being
// broken. See docs/ledger.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
	_ "time/tzdata"

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/ledger"
	"github.com/posthaste/posthaste/services/ledger/judge"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/report"
)

type commands struct {
	Run      runCmd      `cmd:"" help:"Run a profile, judge it, and report."`
	Judge    judgeCmd    `cmd:"" help:"Judge a record again."`
	Mutants  mutantsCmd  `cmd:"" help:"Run programs with planted faults; each must be found."`
	Selftest selftestCmd `cmd:"" help:"Change a good record in many ways; the judge must see each."`
	Life     lifeCmd     `cmd:"" help:"All that a record knows of one event."`
	NATS     natsCmd     `cmd:"" name:"nats" hidden:"" help:"Run nats-server."`
}

// Exit statuses.
const (
	exitViolated  = 1
	exitUnjudged  = 2
	stopTimeout   = 30 * time.Second
	reportMissing = "couldn't judge"
)

// errViolated says that a promise was broken; the report says which.
var errViolated = errors.New("promises were broken")

// programs says where the programs are.
type programs struct {
	Bin       string `help:"Folder of the programs." default:".bin"`
	PGBin     string `name:"pg-bin" help:"Folder of the programs of PostgreSQL; found by itself when empty." env:"POSTHASTE_PG_BIN"`
	PGFetched string `name:"pg-fetched" help:"Folder that hack/ensure-postgres filled." default:".cache/postgres"`
	Out       string `help:"Folder of the records." default:".cache/ledger"`
}

func (p programs) config() (ledger.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return ledger.Config{}, err
	}
	fetched, err := filepath.Abs(p.PGFetched)
	if err != nil {
		return ledger.Config{}, err
	}
	out, err := filepath.Abs(p.Out)
	if err != nil {
		return ledger.Config{}, err
	}
	return ledger.Config{
		Out: out, Bin: p.Bin, Self: self, Search: embedded.Search{Bin: p.PGBin, Fetched: fetched}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, nil
}

type runCmd struct {
	programs `embed:""`

	Profile    string        `help:"What to run; see docs/ledger.md." default:"smoke"`
	Seed       uint64        `help:"What the plan follows from; 0 takes one from the clock, and says which."`
	Duration   time.Duration `help:"Length of the load, in place of the profile's."`
	Rate       float64       `help:"Reports a second, in place of the profile's."`
	Deployment string        `help:"services or all-in-one, in place of the profile's."`
}

func (c *runCmd) Run(ctx context.Context) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano() % 1_000_000)
	}
	cfg.Profile, cfg.Seed, cfg.Duration, cfg.Rate, cfg.Deployment = c.Profile, c.Seed, c.Duration, c.Rate, c.Deployment
	cfg.Out = filepath.Join(cfg.Out, fmt.Sprintf("%s-%d-%s", c.Profile, c.Seed, time.Now().Format("150405")))
	if err := ledger.Run(ctx, cfg); err != nil {
		return err
	}
	return tell(cfg.Out)
}

// tell judges a record, writes the report and prints it.
func tell(dir string) error {
	r, err := record.Load(dir)
	if err != nil {
		return err
	}
	p := report.Make(r)
	if err := p.Write(dir); err != nil {
		return err
	}
	fmt.Println(p.Page(dir))
	if err := json.NewEncoder(os.Stdout).Encode(p.Summary); err != nil {
		return err
	}
	if !p.Holds() {
		return errViolated
	}
	return nil
}

type mutantsCmd struct {
	programs `embed:""`

	Seed uint64   `help:"What the plans follow from." default:"1"`
	Only []string `arg:"" optional:"" help:"Names of planted faults; all if none is given."`
}

func (c *mutantsCmd) Run(ctx context.Context) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.Seed = c.Seed
	res, err := ledger.Mutants(ctx, cfg, c.Only, os.Stdout)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(res); err != nil {
		return err
	}
	if res.Caught != res.Mutants || !res.Control {
		return errViolated
	}
	return nil
}

type judgeCmd struct {
	Record string `arg:"" help:"Folder of the record."`
}

func (c *judgeCmd) Run() error { return tell(c.Record) }

type lifeCmd struct {
	Record string `arg:"" help:"Folder of the record."`
	Token  string `arg:"" help:"The event's token."`
}

func (c *lifeCmd) Run() error {
	r, err := record.Load(c.Record)
	if err != nil {
		return err
	}
	fmt.Print(report.Life(r, c.Token))
	return nil
}

type selftestCmd struct {
	Record string `arg:"" help:"Folder of a good record."`
}

func (c *selftestCmd) Run() error {
	r, err := record.Load(c.Record)
	if err != nil {
		return err
	}
	missed := []string{}
	all := judge.Mutants()
	for _, m := range all {
		why := m.Try(r)
		verdict := "caught by " + m.Caught
		if why != "" {
			verdict = "MISSED: " + why
			missed = append(missed, m.Name)
		}
		fmt.Printf("%-55s %s\n", m.Name, verdict)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"selftest": len(all), "caught": len(all) - len(missed), "missed": missed}); err != nil {
		return err
	}
	if len(missed) > 0 {
		return errViolated
	}
	return nil
}

type natsCmd struct {
	Dir      string `required:"" help:"Folder of the streams."`
	Listen   string `required:"" help:"Address."`
	MaxStore string `required:"" help:"Most bytes of all streams."`
}

// Run is called by kong.
func (c *natsCmd) Run(ctx context.Context) error {
	return ledger.ServeNATS(ctx, c.Dir, c.Listen, c.MaxStore, stopTimeout)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c commands
	k := kong.Parse(&c, kong.Name("ledger"), kong.Description("Judges whether Posthaste keeps its promises while it is being broken.\n\nProfiles:\n"+ledger.Profiles()), kong.BindTo(ctx, (*context.Context)(nil)))
	err := k.Run()
	switch {
	case err == nil:
	case errors.Is(err, errViolated):
		stop()
		os.Exit(exitViolated)
	default:
		fmt.Fprintln(os.Stderr, "ledger:", reportMissing+":", err)
		stop()
		os.Exit(exitUnjudged)
	}
}
