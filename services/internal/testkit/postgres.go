package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/pg"
)

const (
	templateDB   = "posthaste_template"
	startTimeout = 2 * time.Minute
)

// PostgreSQL makes a migrated database for this test and returns a pool to it.
// The database is dropped after the test. The server is shared by the test
// process and doesn't sync: it is for tests of queries, not of durability.
//
// Without PostgreSQL programs on the machine the test fails and says what to do.
func PostgreSQL(t testing.TB) *pgxpool.Pool {
	t.Helper()
	s, err := sharedServer()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL: %v", err)
	}
	url, name, err := s.create(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := s.drop(ctx, name); err != nil {
			t.Error(err)
		}
	})
	pool, err := pg.Open(t.Context(), url, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// PostgreSQLConfig is the configuration of a PostgreSQL of the test's own, for
// tests that stop and start it. It syncs.
func PostgreSQLConfig(dir string) embedded.PostgreSQLConfig {
	return embedded.PostgreSQLConfig{Dir: dir, Search: search()}
}

// server is the PostgreSQL of this test process.
type server struct {
	pg  *embedded.PostgreSQL
	dir string
	// reaper holds the pipe that a helper process waits on; its end, with ours,
	// makes the helper remove dir.
	reaper *os.File

	mu    sync.Mutex
	admin *pgx.Conn
	count int
}

var shared struct {
	once   sync.Once
	server *server
	err    error
}

func sharedServer() (*server, error) {
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		shared.server, shared.err = startServer(ctx)
	})
	return shared.server, shared.err
}

// stopShared stops the shared server, if there is one, and removes its files.
func stopShared() error {
	s := shared.server
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := errors.Join(s.admin.Close(ctx), s.pg.Stop(ctx), os.RemoveAll(s.dir))
	return errors.Join(err, s.reaper.Close())
}

func search() embedded.Search {
	s := embedded.Search{Bin: os.Getenv("POSTHASTE_PG_BIN")}
	if root, err := repositoryRoot(); err == nil {
		s.Fetched = filepath.Join(root, ".cache", "postgres")
	}
	return s
}

func startServer(ctx context.Context) (*server, error) {
	dir, err := os.MkdirTemp("", "posthaste-test-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	if s.reaper, err = startReaper(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	// As root, PostgreSQL runs as another user, who must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	cfg := PostgreSQLConfig(filepath.Join(dir, "postgres"))
	cfg.Volatile, cfg.Database = true, templateDB
	if s.pg, err = embedded.StartPostgreSQL(ctx, cfg); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(s.reaper, s.pg.PID()); err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, s.pg.URL()); err != nil {
		return nil, err
	}
	if s.admin, err = pgx.Connect(ctx, s.urlOf("postgres")); err != nil {
		return nil, err
	}
	// A template with a connection to it can't be copied.
	if _, err := s.admin.Exec(ctx, "ALTER DATABASE "+templateDB+" WITH ALLOW_CONNECTIONS false"); err != nil {
		return nil, fmt.Errorf("close the template database: %w", err)
	}
	return s, nil
}

// startReaper starts a process that outlives us, if only by a moment: it waits
// for our end, makes sure of PostgreSQL's, and removes the folder. That covers
// what no cleanup function does: a panic, an exit, a time-out, a kill.
func startReaper(dir string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	const script = `
		read -r pid
		cat >/dev/null
		if [ -n "$pid" ] && [ -d "$1" ]; then
			kill -QUIT "$pid" 2>/dev/null
			n=0
			while kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
		fi
		rm -rf -- "$1"`
	//nolint:noctx // it must outlive us
	cmd := exec.Command("/bin/sh", "-c", script, "posthaste-test-reaper", dir)
	cmd.Stdin = r
	detach(cmd)
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	return w, cmd.Process.Release()
}

func (s *server) urlOf(database string) string {
	return strings.Replace(s.pg.URL(), "/"+templateDB+"?", "/"+database+"?", 1)
}

// create makes a database from the template and returns its URL and name.
func (s *server) create(ctx context.Context, test string) (url, name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	name = databaseName(s.count, test)
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+templateDB); err != nil {
		return "", "", fmt.Errorf("make a database for the test: %w", err)
	}
	return s.urlOf(name), name, nil
}

func (s *server) drop(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop the test's database: %w", err)
	}
	return nil
}

// databaseName is unique and tells a person which test it belongs to.
func databaseName(n int, test string) string {
	plain := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}
	name := "t" + strconv.Itoa(n) + "_" + strings.Map(plain, test)
	return name[:min(len(name), 63)]
}
