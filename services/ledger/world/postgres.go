package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

// Postgres is a PostgreSQL with a TCP port, so that a proxy can stand before it.
type Postgres struct {
	cfg  embedded.PostgreSQLConfig
	host string // it listens on the usual port of an address of its own

	mu sync.Mutex
	pg *embedded.PostgreSQL
}

// newPostgres makes a cluster that trusts this machine, as the embedded one
// trusts its socket.
func newPostgres(dir string, search embedded.Search) (*Postgres, error) {
	// Root can't be PostgreSQL: another user reads this file.
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // see above
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		return nil, err
	}
	hba := filepath.Join(dir, "hba.conf")
	const rules = "local all all trust\nhost all all 127.0.0.0/8 trust\n"
	if err := writeSynced(hba, rules); err != nil {
		return nil, err
	}
	// An address and not a port of its own: the embedded server's socket has the
	// usual port in its name.
	host := fmt.Sprintf("127.%d.%d.%d", 10+rand.IntN(200), 1+rand.IntN(250), 1+rand.IntN(250)) //nolint:gosec // any will do
	p := &Postgres{host: host, cfg: embedded.PostgreSQLConfig{
		Dir: dir, Search: search, Log: slog.New(slog.DiscardHandler), StartTimeout: 2 * time.Minute,
		Settings: map[string]string{"listen_addresses": host, "hba_file": hba, "max_connections": strconv.Itoa(maxConnections)},
	}}
	return p, nil
}

// maxConnections of PostgreSQL: few, so that they can be used up.
const maxConnections = 60

// Addr is its address.
func (p *Postgres) Addr() string { return p.host + ":5432" }

// URL is for the ledger, which goes round the proxies.
func (p *Postgres) URL() string { return databaseURL(p.Addr()) }

func databaseURL(address string) string {
	return "postgres://posthaste@" + address + "/posthaste?sslmode=disable"
}

// Start starts it, if it is down, and waits until it answers.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pg != nil {
		return nil
	}
	var err error
	p.pg, err = embedded.StartPostgreSQL(ctx, p.cfg)
	return err
}

// PID of the postmaster, 0 when it is down.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pg == nil {
		return 0
	}
	return p.pg.PID()
}

// Down ends it: SIGQUIT without a word to anybody, as a crash would, SIGINT in
// order.
func (p *Postgres) Down(ctx context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pg == nil {
		return nil
	}
	if err := syscall.Kill(p.pg.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end PostgreSQL: %w", err)
	}
	select {
	case <-p.pg.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	err := p.pg.Stop(ctx)
	p.pg = nil
	return err
}

// Signal sends a signal to the postmaster and all its children.
func (p *Postgres) Signal(sig syscall.Signal) {
	if pid := p.PID(); pid != 0 {
		for _, child := range descendants(pid) {
			_ = syscall.Kill(child, sig)
		}
	}
}

// kill ends the postmaster and all its children at once, so that none writes
// anything more.
func (p *Postgres) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pg == nil {
		return
	}
	for _, pid := range descendants(p.pg.PID()) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.pg.Done()
	_ = p.pg.Stop(context.Background()) // it has ended; this gives its folder up
	p.pg = nil
}

// writeSynced writes a file that a power cut doesn't take, nor its name.
func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // another user reads it
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return embedded.SyncFolder(filepath.Dir(path))
}
