// Command bench measures Posthaste beside the bare limit of the machine it runs
// on. See `bench --help`.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata"

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/bench"
)

type commands struct {
	Pipeline  pipelineCmd  `cmd:"" help:"The whole pipeline, events over gRPC to acknowledged pushes."`
	Isolation isolationCmd `cmd:"" help:"What others' trouble costs a healthy endpoint."`
	Import    importCmd    `cmd:"" help:"Subscriptions made by an import."`
	Matching  matchingCmd  `cmd:"" help:"What matching a change costs with few and many subscriptions."`
	Receiver  receiverCmd  `cmd:"" hidden:"" help:"The receiver process."`
	Bare      bareCmd      `cmd:"" hidden:"" help:"The bare client process."`
}

type pipelineCmd struct {
	Program   string        `help:"The posthaste binary." default:".bin/posthaste"`
	Waybills  int           `help:"How many waybills, with one subscription each." default:"10000"`
	Endpoints int           `help:"How many endpoints they are spread over." default:"8"`
	Events    int64         `help:"Events in the throughput phase." default:"150000"`
	Window    int64         `help:"Most events accepted and not yet pushed." default:"8000"`
	Streams   int           `help:"Client streams in parallel." default:"4"`
	Half      time.Duration `help:"Length of the half-rate phase." default:"15s"`
	Bare      time.Duration `help:"Length of each run of the bare client." default:"5s"`
	Data      string        `help:"Data folder; a temporary one if empty."`
	Log       string        `help:"File for the program's log."`
}

func (c pipelineCmd) Run(ctx context.Context) error {
	cfg := bench.PipelineConfig{
		Program: c.Program, Waybills: c.Waybills, Endpoints: c.Endpoints, Events: c.Events, Window: c.Window,
		Streams: c.Streams, Half: c.Half, Bare: c.Bare, Data: c.Data,
	}
	if c.Log != "" {
		f, err := os.Create(c.Log)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		cfg.Log = f
	}
	result, err := bench.Pipeline(ctx, cfg, os.Stdout)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

type isolationCmd struct {
	Program string        `help:"The posthaste binary." default:".bin/posthaste"`
	Rate    float64       `help:"Pushes a second of the healthy endpoint." default:"500"`
	Owed    int           `help:"Waybills that the hanging endpoint is owed." default:"100000"`
	Dead    int           `help:"Endpoints that die at once." default:"1000"`
	Length  time.Duration `help:"How long latencies are measured, for each figure." default:"15s"`
	Data    string        `help:"Data folder; a temporary one if empty."`
	Log     string        `help:"File for the program's log."`
}

func (c isolationCmd) Run(ctx context.Context) error {
	cfg := bench.IsolationConfig{Program: c.Program, Rate: c.Rate, Owed: c.Owed, Dead: c.Dead, Length: c.Length, Data: c.Data}
	if c.Log != "" {
		f, err := os.Create(c.Log)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		cfg.Log = f
	}
	result, err := bench.Isolation(ctx, cfg, os.Stdout)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

type importCmd struct {
	Program       string `help:"The posthaste binary." default:".bin/posthaste"`
	Subscriptions int    `help:"How many." default:"100000"`
	Data          string `help:"Data folder; a temporary one if empty."`
}

func (c importCmd) Run(ctx context.Context) error {
	result, err := bench.Import(ctx, bench.ImportConfig{Program: c.Program, Subscriptions: c.Subscriptions, Data: c.Data})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

type matchingCmd struct {
	Counts []int         `help:"How many active subscriptions, one after the other." default:"10000,100000"`
	Length time.Duration `help:"How long is measured at each." default:"5s"`
}

func (c matchingCmd) Run(ctx context.Context) error {
	result, err := bench.Matching(ctx, c.Counts, c.Length, os.Stdout)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

type receiverCmd struct{}

func (receiverCmd) Run(ctx context.Context) error { return bench.RunReceiver(ctx, os.Stdout) }

type bareCmd struct {
	URL    string        `required:""`
	Length time.Duration `required:""`
}

func (c bareCmd) Run(ctx context.Context) error {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	return bench.RunBare(ctx, c.URL, body, c.Length, os.Stdout)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c commands
	k := kong.Parse(&c, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
