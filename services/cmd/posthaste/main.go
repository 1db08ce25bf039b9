// Command posthaste is the all-in-one: every service over a NATS and a
// PostgreSQL of its own, through the same streams as the separate services. It
// also holds the tools around them.
package main

import (
	"fmt"
	"os"
	"strings"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/carrier"
)

// cli is the command line.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run everything in this process, with NATS inside and PostgreSQL beside it."`
	Platform  platformCmd  `cmd:"" help:"Manage accounts for clients of Kdniao and Kuaidi100."`
	Demo      demoCmd      `cmd:"" help:"Run everything and show its job: parcels' journeys come in, signed callbacks go out."`
	Simulate  simulateCmd  `cmd:"" help:"Stand in for carriers and aggregators: answer queries and send pushes, with whole journeys."`
	Migrate   migrateCmd   `cmd:"" help:"Bring a shared database to this version's schema."`
	Streams   streamsCmd   `cmd:"" help:"Mend the streams after NATS lost something."`
	Config    configCmd    `cmd:"" help:"Print the settings in effect, secrets hidden."`
	Tenant    tenantCmd    `cmd:"" help:"Manage tenants of a running Posthaste."`
	Key       keyCmd       `cmd:"" help:"Manage API keys of a running Posthaste."`
	Quota     quotaCmd     `cmd:"" help:"Show and set what tenants may use."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
	Normalize normalizeCmd `cmd:"" help:"Show what Posthaste makes of a source's documents."`
	Remap     remapCmd     `cmd:"" help:"Map history anew after codes were added or corrected; what changes is pushed."`
	Recognize recognizeCmd `cmd:"" help:"Tell which carriers waybill numbers may belong to."`

	Feed          feedCmd          `cmd:"" help:"Manage a team's feed on NATS, in a running Posthaste."`
	CheckReceiver checkReceiverCmd `cmd:"" help:"Play Posthaste against a receiver of callbacks, and say what it does wrong."`
	Probe         probeCmd         `cmd:"" help:"Follow waybills of its own through a running Posthaste, and count what is missing, late or repeated."`

	Endpoint     endpointCmd     `cmd:"" help:"Manage where pushes go, in a running Posthaste."`
	Subscription subscriptionCmd `cmd:"" help:"Manage who hears of which waybill, in a running Posthaste."`
	Waybill      waybillCmd      `cmd:"" help:"Show where parcels are, in a running Posthaste."`
	Push         pushCmd         `cmd:"" help:"Show how pushes stand, resend and replay them, in a running Posthaste."`
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	options := append(app.ParserOptions(), kong.Name("posthaste"),
		kong.Vars{"sources": strings.Join(append([]string{canonical.Source}, carrier.Codes()...), ",")},
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
