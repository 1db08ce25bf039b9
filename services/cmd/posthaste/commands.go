package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/pg"
)

// serveCmd runs the all-in-one until a signal.
type serveCmd struct {
	app.Config `embed:""`
}

// Run is called by kong.
func (c *serveCmd) Run() error { return app.Run(app.AllInOne, c.Config, nil) }

// configCmd prints settings.
type configCmd struct {
	app.Config `embed:""`

	Table bool `env:"-" help:"Print the table of all settings in Markdown instead."`
}

// Run is called by kong.
func (c *configCmd) Run() error {
	if c.Table {
		return app.WriteTable(os.Stdout)
	}
	return app.WriteConfig(os.Stdout, &c.Config)
}

// versionCmd prints the version.
type versionCmd struct{}

// Run is called by kong.
func (versionCmd) Run() error {
	_, err := fmt.Println(app.Version())
	return err
}

// migrateCmd holds the commands about the schema.
type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply what is missing. Safe to call from several places at once."`
	Status migrateStatusCmd `cmd:"" help:"List the steps and whether they are applied."`
}

// databaseFlag says which database.
type databaseFlag struct {
	URL app.SecretURL `name:"database-url" required:"" help:"PostgreSQL, such as postgres://user:password@host/database."`
}

const migrateTimeout = time.Hour

type migrateUpCmd struct {
	databaseFlag `embed:""`
}

// Run is called by kong.
func (c *migrateUpCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), migrateTimeout)
	defer cancel()
	return pg.Migrate(ctx, c.URL.Reveal())
}

type migrateStatusCmd struct {
	databaseFlag `embed:""`
}

// Run is called by kong.
func (c *migrateStatusCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := pg.Migrations(ctx, c.URL.Reveal())
	if err != nil {
		return err
	}
	for _, m := range list {
		state := "missing"
		if m.Applied {
			state = "applied"
		}
		fmt.Printf("%05d  %s  %s\n", m.Version, state, m.Name)
	}
	return nil
}
