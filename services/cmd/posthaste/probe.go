package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/probe"
)

// probeCmd follows waybills of its own through a running Posthaste.
type probeCmd struct {
	remote `embed:""`

	Listen   string        `name:"callback-listen" env:"-" default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Where the probe receives pushes."`
	URL      string        `name:"callback-url" env:"-" help:"How Posthaste reaches that. Empty means http:// and the address, which Posthaste must be allowed to call: --egress-allow."`
	Waybills int           `env:"-" default:"5" help:"Waybills of a round."`
	Events   int           `env:"-" default:"3" help:"Events of each waybill, one after another; the last is its delivery."`
	Late     time.Duration `env:"-" default:"5s" help:"From when on a push is late, counted from the beginning of its event's report."`
	Patience time.Duration `env:"-" default:"1m" help:"From when on a push is missing."`
	Interval time.Duration `env:"-" default:"1m" help:"From the end of a round to the next."`
	Once     bool          `env:"-" help:"Hold one round; the exit status says whether all came."`
	Ops      string        `name:"metrics-listen" env:"-" placeholder:"HOST:PORT" help:"Where /metrics is served. Empty serves none."`
}

// Help is called by kong.
func (*probeCmd) Help() string {
	return "Subscribes waybills of the carrier \"probe\", reports events of them, receives the signed pushes, and prints a line of JSON for each round: " +
		"what was owed, missing, late, repeated, and how long it took."
}

// Run is called by kong.
func (c *probeCmd) Run() (err error) {
	if c.Waybills < 1 || c.Events < 1 {
		return errors.New("--waybills and --events must be at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := obs.NewLogger(os.Stderr, obs.FormatText, slog.LevelInfo)
	if err != nil {
		return err
	}
	t, err := obs.NewTelemetry(ctx, obs.Config{Service: "probe", Version: app.Version()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Shutdown(context.WithoutCancel(ctx))) }()
	if c.Ops != "" {
		ops, err := obs.StartOps(ctx, obs.OpsConfig{Listen: c.Ops, Metrics: t.MetricsHandler(), Health: obs.NewHealth(), Log: log})
		if err != nil {
			return err
		}
		defer func() { _ = ops.Stop(context.WithoutCancel(ctx)) }()
	}
	cl, err := c.dial(c.Server, client.WithTenant(c.Tenant))
	if err != nil {
		return fmt.Errorf("--server %s: %w", c.Server, err)
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	p, err := probe.Start(ctx, probe.Config{
		Posthaste: cl, Listen: c.Listen, URL: c.URL, Waybills: c.Waybills, Events: c.Events, Late: c.Late, Patience: c.Patience, Meter: t.Meter, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.CallTimeout)
		defer cancel()
		err = errors.Join(err, p.Close(ctx))
	}()
	return c.rounds(ctx, p, log)
}

// rounds are held until the context ends, or once.
func (c *probeCmd) rounds(ctx context.Context, p *probe.Probe, log *slog.Logger) error {
	lines := json.NewEncoder(os.Stdout)
	for {
		r, err := p.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was asked to stop
		case err != nil && c.Once:
			return err
		case err != nil:
			log.ErrorContext(ctx, "a round could not be held", obs.KeyError, err)
		default:
			if err := lines.Encode(r); err != nil {
				return fmt.Errorf("print what a round saw: %w", err)
			}
		}
		if c.Once {
			if !r.Well() {
				return fmt.Errorf("%d of %d pushes are missing, %d broke their chain", r.Missing, r.Events, r.Broken)
			}
			return nil
		}
		if pause.For(ctx, c.Interval) != nil {
			return nil //nolint:nilerr // it was asked to stop
		}
	}
}
