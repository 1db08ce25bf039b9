package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/pg"
)

// makeDataFolder makes the folder of the all-in-one's data. Others may enter it,
// since PostgreSQL may run as another user; what is in it is closed to them.
func makeDataFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	const mode = 0o755
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	return os.Chmod(dir, mode) // whatever the umask
}

func startEmbeddedPostgreSQL(ctx context.Context, env *Env) (func(context.Context) error, error) {
	if env.Config.Database.URL != "" {
		return nil, nil
	}
	c := env.Config.Embedded
	if err := makeDataFolder(c.Data); err != nil {
		return nil, err
	}
	var err error
	env.PGServer, err = embedded.StartPostgreSQL(ctx, embedded.PostgreSQLConfig{
		Dir:    filepath.Join(c.Data, "postgres"),
		Search: embedded.Search{Bin: c.PGBin, Fetched: c.PGFetched},
		Log:    env.Log,
	})
	if err != nil {
		return nil, err
	}
	stopping := make(chan struct{})
	stopWatch := env.run("embedded-postgres", func(context.Context) error {
		select {
		case <-env.PGServer.Done():
			return env.PGServer.Err()
		case <-stopping:
			return context.Canceled
		}
	})
	return func(ctx context.Context) error {
		close(stopping)
		return errors.Join(stopWatch(ctx), env.PGServer.Stop(ctx))
	}, nil
}

func startPostgreSQL(ctx context.Context, env *Env) (func(context.Context) error, error) {
	url := env.Config.Database.URL.Reveal()
	if env.PGServer != nil {
		url = env.PGServer.URL()
	}
	if url == "" {
		return nil, errors.New("no PostgreSQL is given: set --database-url or POSTHASTE_DATABASE_URL")
	}
	err := env.await(ctx, "PostgreSQL", func(ctx context.Context) (err error) {
		env.PG, err = pg.Open(ctx, url, env.Config.Database.MaxConns)
		return err
	})
	if err != nil {
		return nil, err
	}
	stop := func(context.Context) error {
		env.PG.Close() // waits for queries in progress
		return nil
	}
	if !env.Config.Database.Volatile {
		if err := pg.CheckDurable(ctx, env.PG); err != nil {
			return stop, err
		}
	}
	// The all-in-one migrates the database it runs itself; a shared one is
	// migrated on purpose, by posthaste migrate up.
	prepare := pg.CheckMigrated
	if env.PGServer != nil {
		prepare = pg.Migrate
	}
	if err := prepare(ctx, url); err != nil {
		return stop, err
	}
	env.Health.Register("postgresql", env.PG.Ping)
	return stop, nil
}
