package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/demo"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/egress"
)

// demoCmd runs the all-in-one and plays parcels' journeys on it.
type demoCmd struct {
	app.Config `embed:""`

	Once     bool          `env:"-" help:"End when the show is over; the exit status says whether every callback came, verified."`
	Samples  string        `env:"-" type:"existingdir" placeholder:"DIR" help:"Also replay the pushes in this folder, of every source that pushes: files as they were posted, in folders that are called as the source in docs/sources.md is."`
	Pace     time.Duration `env:"-" default:"300ms" help:"Pause between the steps of a journey."`
	Patience time.Duration `env:"-" default:"30s" help:"Longest wait for one callback."`
}

// Help is shown by kong.
func (*demoCmd) Help() string {
	return "Its data is in .data/demo unless --data says otherwise, its accounts at the sources are made up, and it pushes to this machine. A default port that is taken gives way to a free one."
}

// Run is called by kong.
func (c *demoCmd) Run() error {
	cfg := c.Config
	if usual, err := filepath.Abs(".data"); err == nil && cfg.Embedded.Data == usual {
		cfg.Embedded.Data = filepath.Join(usual, "demo")
	}
	if cfg.Log.Level == slog.LevelInfo {
		cfg.Log.Level = slog.LevelWarn // the show is what is to be read
	}
	accounts := demo.NewAccounts()
	cfg.Sources = app.SourcesConfig{
		Kdniao:    map[string]app.Secret{accounts.KdniaoID: app.Secret(accounts.KdniaoKey)},
		Kuaidi100: map[string]app.Secret{accounts.Name: app.Secret(accounts.Kuaidi100Salt)},
		Accounts:  map[string]app.Secret{},
	}
	for name, secret := range accounts.Others() {
		cfg.Sources.Accounts[name] = app.Secret(secret)
	}
	if c.Samples != "" {
		ids, err := demo.SampleAccounts(c.Samples)
		if err != nil {
			return err
		}
		for _, id := range ids {
			cfg.Sources.Kdniao[id] = app.Secret(accounts.KdniaoKey)
		}
	}
	// The show's callback is on this machine.
	cfg.Egress.Policy = egress.Lab
	cfg.GRPC.Reflection = true // the commands that it prints ask what there is
	for _, listen := range []struct {
		what, usual string
		address     *string
	}{
		{"HTTP", "127.0.0.1:8080", &cfg.HTTP.Listen},
		{"gRPC", "127.0.0.1:9090", &cfg.GRPC.Listen},
		{"operators", "127.0.0.1:9464", &cfg.Ops.Listen},
		{"NATS", "127.0.0.1:4222", &cfg.Embedded.NATSListen},
	} {
		if *listen.address == listen.usual && taken(listen.usual) {
			*listen.address = "127.0.0.1:0"
			fmt.Printf("%s is taken; a free port is used for %s.\n", listen.usual, listen.what)
		}
	}
	return app.Run(app.AllInOne, cfg, func(ctx context.Context, a *app.App) error { return c.show(ctx, a, accounts) })
}

// show plays the journeys on a program that is ready.
func (c *demoCmd) show(ctx context.Context, a *app.App, accounts demo.Accounts) (err error) {
	at := a.Addresses()
	control, err := client.Dial("passthrough:///"+at.GRPC, client.WithoutTLS())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	return demo.Run(ctx, demo.Config{
		Addresses: demo.Addresses{HTTP: at.HTTP, GRPC: at.GRPC, Ops: at.Ops, NATS: at.NATS},
		Accounts:  accounts, Control: control, Out: os.Stdout, Now: time.Now,
		Once: c.Once, Samples: c.Samples, Pace: c.Pace, Patience: c.Patience,
	})
}

// taken says whether another program listens at an address.
func taken(address string) bool {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	return l.Close() != nil
}
