// Command posthaste is the all-in-one: every service over a NATS and a
// PostgreSQL of its own, through the same streams as the separate services. It
// also holds the tools around them.
package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/internal/app"
)

// cli is the command line.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run everything in this process, with NATS inside and PostgreSQL beside it."`
	Platform  platformCmd  `cmd:"" help:"Manage accounts for clients of Kdniao and Kuaidi100."`
	Demo      demoCmd      `cmd:"" help:"Run everything and show its job: parcels' journeys come in, signed callbacks go out."`
	Migrate   migrateCmd   `cmd:"" help:"Bring a shared database to this version's schema."`
	Config    configCmd    `cmd:"" help:"Print the settings in effect, secrets hidden."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
	Normalize normalizeCmd `cmd:"" help:"Show what Posthaste makes of a source's documents."`
	Recognize recognizeCmd `cmd:"" help:"Tell which carriers waybill numbers may belong to."`
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	options := append(app.ParserOptions(), kong.Name("posthaste"),
		kong.Description("Posthaste tells you where a parcel is the moment its carrier does."))
	k, err := kong.New(&c, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "posthaste:", err)
		return 1
	}
	ctx, err := k.Parse(args)
	if err == nil {
		err = app.CheckEnvironment(k)
	}
	if err == nil {
		err = ctx.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "posthaste:", err)
		return 1
	}
	return 0
}
