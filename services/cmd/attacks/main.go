// Command attacks runs a file of attack cases against the real product, and ends
// with one line that says how many it withstood. See `attacks --help`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	_ "time/tzdata"

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/attacks"
)

type command struct {
	Cases     string `arg:"" type:"path" help:"File of cases."`
	Run       string `help:"Run only cases whose id or group matches this pattern."`
	PGBin     string `name:"pg-bin" env:"POSTHASTE_PG_BIN" help:"Folder of the programs initdb and postgres."`
	PGFetched string `name:"pg-fetched" default:".cache/postgres" type:"path" help:"Folder that hack/ensure-postgres fetches PostgreSQL to."`
	Root      string `default:"." type:"path" help:"Folder of the repository."`
}

func main() { os.Exit(run()) }

func run() int {
	var cmd command
	kong.Parse(&cmd, kong.Name("attacks"), kong.Description("Runs attack cases against the real product; the last line is {\"attacks\":N,\"passed\":N,\"failed\":[ids]}."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	summary, err := cmd.all(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		return 2
	}
	attacks.PrintSummary(os.Stdout, summary)
	if len(summary.Failed) > 0 {
		return 1
	}
	return 0
}

func (c *command) all(ctx context.Context) (attacks.Summary, error) {
	cases, err := attacks.Load(c.Cases)
	if err != nil {
		return attacks.Summary{}, err
	}
	if c.Run != "" {
		pattern, err := regexp.Compile(c.Run)
		if err != nil {
			return attacks.Summary{}, fmt.Errorf("read --run: %w", err)
		}
		var some []attacks.Case
		for _, one := range cases {
			if pattern.MatchString(one.ID) || pattern.MatchString(one.Group) {
				some = append(some, one)
			}
		}
		fmt.Fprintf(os.Stderr, "attacks: --run leaves %d of %d cases\n", len(some), len(cases))
		cases = some
	}
	w, err := attacks.NewWorld(ctx, attacks.Options{PGBin: c.PGBin, PGFetched: c.PGFetched, Root: c.Root})
	if err != nil {
		return attacks.Summary{}, err
	}
	summary := attacks.Run(ctx, w, cases, attacks.Print(os.Stdout))
	if err := w.Close(context.WithoutCancel(ctx)); err != nil {
		return summary, fmt.Errorf("stop the product: %w", err)
	}
	return summary, nil
}
