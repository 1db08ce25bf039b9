package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/obs"
)

// streamsCmd holds the commands about the streams.
type streamsCmd struct {
	Recover streamsRecoverCmd `cmd:"" help:"Make lost streams anew and rebuild from PostgreSQL and from what is kept of raw traces what can be. Harmless when nothing is lost."`
}

type streamsRecoverCmd struct {
	app.Config `embed:""`

	Since time.Duration `env:"-" placeholder:"DURATION" help:"Normalize again only what was taken in this long ago or later; all that is kept if not said."`
}

// Run is called by kong.
func (c *streamsRecoverCmd) Run() error {
	log, err := obs.NewLogger(os.Stderr, c.Log.Format, c.Log.Level)
	if err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	var since time.Time
	if c.Since > 0 {
		since = time.Now().Add(-c.Since)
	}
	return app.Recover(ctx, c.Config, since, os.Stdout, log)
}
