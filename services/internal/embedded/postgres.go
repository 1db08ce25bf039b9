package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgUser = "posthaste"
	// socketName is what PostgreSQL puts into its socket folder; the whole path
	// may have 107 bytes, 103 on macOS.
	socketName    = "/.s.PGSQL.5432"
	maxSocketPath = 103
)

// PostgreSQLConfig says how the child PostgreSQL runs.
type PostgreSQLConfig struct {
	// Dir holds the cluster, in the folder "data" in it. Made when missing.
	// Required.
	Dir string
	// Search says where the programs are.
	Search Search
	// Database is made when missing; empty means "posthaste".
	Database string
	// Settings are added to PostgreSQL's own, name to value.
	Settings map[string]string
	// Volatile gives up durability for speed. Tests only.
	Volatile bool
	// StartTimeout is how long recovery may take at most; 0 means 5 minutes.
	StartTimeout time.Duration
	// OrphanWait is how long a PostgreSQL that an earlier, killed process left
	// on the folder may take to end; 0 means 10 s.
	OrphanWait time.Duration
	// Log tells of starts and of what PostgreSQL complains about; nil discards.
	Log *slog.Logger
}

// PostgreSQL is a server in a child process, reached by a socket that only this
// user can open. It has no TCP port.
type PostgreSQL struct {
	programs Programs
	child    *child
	lock     *folderLock
	socket   string
	database string
	stderr   *tail
	stop     sync.Once
	stopErr  error
}

// StartPostgreSQL starts a server on cfg.Dir, making the cluster first if there
// is none, and returns when it answers.
func StartPostgreSQL(ctx context.Context, cfg PostgreSQLConfig) (*PostgreSQL, error) {
	p, err := startPostgreSQL(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL in %s: %w", cfg.Dir, err)
	}
	return p, nil
}

func startPostgreSQL(ctx context.Context, cfg PostgreSQLConfig) (_ *PostgreSQL, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("no data folder is given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Database = orDefault(cfg.Database, "posthaste")
	cfg.StartTimeout = orDefault(cfg.StartTimeout, 5*time.Minute)
	cfg.OrphanWait = orDefault(cfg.OrphanWait, 10*time.Second)
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get in
		return nil, err
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.release()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()

	c := cluster{dir: cfg.Dir, data: filepath.Join(cfg.Dir, "data"), cfg: cfg}
	if err := c.awaitOrphan(ctx); err != nil {
		return nil, err
	}
	major, err := c.major()
	if err != nil {
		return nil, err
	}
	cfg.Search.Major = major
	if c.programs, err = FindPrograms(ctx, cfg.Search); err != nil {
		return nil, err
	}
	if major != 0 && major != c.programs.Major {
		return nil, fmt.Errorf("the data is of PostgreSQL %d and the programs in %s are %s; name the folder of the programs of %[1]d with POSTHASTE_PG_BIN, or move the data with pg_upgrade (from a copy)",
			major, c.programs.Dir, c.programs.Version)
	}
	if c.account, err = accountFor(c.data); err != nil {
		return nil, err
	}
	if err := c.prepareFolders(); err != nil {
		return nil, err
	}
	if major == 0 {
		if err := c.initialise(ctx); err != nil {
			return nil, err
		}
	}
	return c.start(ctx, lock)
}

// cluster is what a start works on.
type cluster struct {
	dir, data string
	socket    string
	programs  Programs
	account   *account
	cfg       PostgreSQLConfig
}

// major is the version of the cluster that is there, 0 when there is none.
func (c *cluster) major() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(c.data); err == nil {
			return 0, fmt.Errorf("%s exists and holds no PostgreSQL cluster; move it away, it is not touched", c.data)
		}
		return 0, nil
	case err != nil:
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION: %w", c.data, err)
	}
	return n, nil
}

// awaitOrphan makes sure that no PostgreSQL runs on the data. We own the folder,
// so one that does was left by a process that was killed, and is about to end;
// or it was started by hand, and is none of our business.
func (c *cluster) awaitOrphan(ctx context.Context) error {
	deadline := time.NewTimer(c.cfg.OrphanWait)
	defer deadline.Stop()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		pid, err := c.runningPID()
		if err != nil || pid == 0 {
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("process %d runs on it, says %s; stop that PostgreSQL (kill -INT %[1]d), or if the process is another program, remove that file", pid, filepath.Join(c.data, "postmaster.pid"))
		}
	}
}

// runningPID is the live process that postmaster.pid names, 0 when there is
// none.
func (c *cluster) runningPID() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if stale := err != nil || pid <= 1 || !alive(pid); stale {
		return 0, nil // unfinished or stale: PostgreSQL removes it itself
	}
	return pid, nil
}

// prepareFolders makes the socket folder and gives PostgreSQL's folders to the
// account.
func (c *cluster) prepareFolders() error {
	if err := c.account.own(c.dir); err != nil {
		return err
	}
	for _, dir := range []string{c.dir, c.programs.Dir} {
		closed, err := c.account.reach(dir)
		if err != nil {
			return err
		}
		if closed != "" {
			c.cfg.Log.Warn("PostgreSQL may pass closed folders, since it could not reach its files otherwise", "closed_folder", closed, "account", c.account.name)
		}
	}
	var err error
	c.socket, err = c.socketFolder()
	return err
}

// socketFolder makes a folder for the socket: beside the data, or where that
// path is too long, in a folder for temporary files under a name that is the
// same at every start, so that nothing piles up when we are killed.
func (c *cluster) socketFolder() (string, error) {
	sum := sha256.Sum256([]byte(c.data))
	name := "posthaste-" + hex.EncodeToString(sum[:6])
	var tried []error
	for _, dir := range []string{filepath.Join(c.dir, "run"), filepath.Join(os.TempDir(), name), filepath.Join("/tmp", name)} {
		err := c.makeSocketFolder(dir)
		if err == nil {
			return dir, nil
		}
		tried = append(tried, err)
	}
	return "", fmt.Errorf("no folder for the socket: %w", errors.Join(tried...))
}

func (c *cluster) makeSocketFolder(dir string) error {
	if len(dir)+len(socketName) > maxSocketPath {
		return fmt.Errorf("%s is too long", dir)
	}
	if c.account != nil && c.account.passFolders == 0 {
		if closed := c.account.closedFolder(filepath.Dir(dir)); closed != "" {
			return fmt.Errorf("%s may not enter %s", c.account.name, closed)
		}
	}
	// It holds nothing but sockets of a server that is gone. Somebody else's
	// folder of that name can't be removed, which is the point: a socket must
	// not be put where others can replace it.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return c.account.own(dir)
}

// initialise makes the cluster, in a folder that gets its name when it is
// complete: a kill leaves no half cluster under the name.
func (c *cluster) initialise(ctx context.Context) error {
	unfinished := c.data + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove what an interrupted initdb left: %w", err)
	}
	args := []string{
		"-D", unfinished, "-U", pgUser, "-E", "UTF8", "--locale=C", "--data-checksums",
		// Whoever can open the socket is trusted; the folder decides who can.
		"--auth-local=trust", "--auth-host=reject",
	}
	if c.cfg.Volatile {
		args = append(args, "--no-sync")
	}
	var out tail
	cmd := c.command("initdb", args...)
	began := time.Now()
	child, err := startChild(cmd, &out)
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	select {
	case <-child.done:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		<-child.done
		return fmt.Errorf("initdb: %w", ctx.Err())
	}
	if child.err != nil {
		return fmt.Errorf("initdb: %w\n%s", child.err, out.String())
	}
	err = os.Rename(unfinished, c.data)
	if err == nil && !c.cfg.Volatile {
		err = SyncFolder(filepath.Dir(c.data)) // or a power cut takes the name, and all in it
	}
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	c.cfg.Log.Info("PostgreSQL cluster made", "folder", c.data, "version", c.programs.Version, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	//nolint:noctx // it is stopped by a signal of ours; a context would kill it
	cmd := exec.Command(filepath.Join(c.programs.Dir, name), args...)
	cmd.Dir = "/" // the account may not enter ours
	cmd.Env = childEnv()
	cmd.SysProcAttr = childAttributes(c.account)
	return cmd
}

// settings of the server. What PostgreSQL would log of a failed statement may
// hold callers' data, so it logs none.
func (c *cluster) settings() map[string]string {
	s := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": c.socket,
		"unix_socket_permissions": "0700",
		"fsync":                   "on",
		"synchronous_commit":      "on",
		"full_page_writes":        "on",
		"shared_buffers":          "128MB",
		"max_wal_size":            "1GB",
		"max_connections":         "100",
		"timezone":                "UTC",
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"log_min_messages":        "fatal",
		"log_min_error_statement": "panic",
		"log_error_verbosity":     "terse",
		"log_line_prefix":         "",
	}
	if c.cfg.Volatile {
		maps.Copy(s, map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"shared_buffers": "32MB", "autovacuum": "off", "max_connections": "200",
		})
	}
	maps.Copy(s, c.cfg.Settings)
	return s
}

func (c *cluster) start(ctx context.Context, lock *folderLock) (*PostgreSQL, error) {
	args := []string{"-D", c.data}
	for k, v := range c.settings() {
		args = append(args, "-c", k+"="+v)
	}
	cmd := c.command("postgres", args...)
	p := &PostgreSQL{programs: c.programs, lock: lock, socket: c.socket, database: c.cfg.Database, stderr: new(tail)}
	output := io.MultiWriter(p.stderr, &lineLog{log: c.cfg.Log.With("component", "postgresql")})
	began := time.Now()
	var err error
	if p.child, err = startChild(cmd, output); err != nil {
		return nil, err
	}
	if err := p.awaitReady(ctx); err != nil {
		_ = p.stopChild(context.WithoutCancel(ctx))
		return nil, err
	}
	c.cfg.Log.Info("PostgreSQL is ready", "folder", c.data, "version", c.programs.Version, "socket_folder", c.socket, "took", time.Since(began).Round(time.Millisecond))
	return p, nil
}

// awaitReady waits until the server answers and the database exists.
func (p *PostgreSQL) awaitReady(ctx context.Context) error {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := pgx.Connect(ctx, p.urlOf("postgres"))
		if err == nil {
			err = p.ensureDatabase(ctx, conn)
			_ = conn.Close(ctx)
			return err
		}
		select {
		case <-retry.C:
		case <-p.child.done:
			return fmt.Errorf("it ended by itself: %w\n%s", p.child.err, p.stderr)
		case <-ctx.Done():
			return fmt.Errorf("it doesn't answer: %w\n%s", err, p.stderr)
		}
	}
}

func (p *PostgreSQL) ensureDatabase(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", p.database).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", p.database, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{p.database}.Sanitize()); err != nil {
		return fmt.Errorf("make database %s: %w", p.database, err)
	}
	return nil
}

// URL is the connection string of the database.
func (p *PostgreSQL) URL() string { return p.urlOf(p.database) }

func (p *PostgreSQL) urlOf(database string) string {
	return "postgres://" + pgUser + "@/" + url.PathEscape(database) + "?host=" + url.QueryEscape(p.socket)
}

// SocketDir is the folder of the socket, for psql -h.
func (p *PostgreSQL) SocketDir() string { return p.socket }

// Version is the server's version.
func (p *PostgreSQL) Version() string { return p.programs.Version }

// PID is the process id of the server.
func (p *PostgreSQL) PID() int { return p.child.cmd.Process.Pid }

// Done is closed when the server has ended, for whatever reason.
func (p *PostgreSQL) Done() <-chan struct{} { return p.child.done }

// Err says why the server ended. Call it after [PostgreSQL.Done] is closed.
func (p *PostgreSQL) Err() error {
	if p.child.err == nil {
		return errors.New("PostgreSQL ended in order; somebody stopped it")
	}
	return fmt.Errorf("PostgreSQL ended: %w\n%s", p.child.err, p.stderr)
}

// Stop ends the server: sessions are ended, files are synced. When the context
// ends first, the server is stopped the hard way, as by a power cut, and
// recovers at the next start. Stopping twice is one stop.
func (p *PostgreSQL) Stop(ctx context.Context) error {
	p.stop.Do(func() { p.stopErr = p.stopChild(ctx) })
	return p.stopErr
}

func (p *PostgreSQL) stopChild(ctx context.Context) error {
	defer p.lock.release()
	defer func() { _ = os.RemoveAll(p.socket) }()
	process := p.child.cmd.Process
	_ = process.Signal(syscall.SIGINT) // fast stop
	select {
	case <-p.child.done:
		return nil
	case <-ctx.Done():
	}
	_ = process.Signal(syscall.SIGQUIT) // immediate stop
	select {
	case <-p.child.done:
	case <-time.After(5 * time.Second):
		_ = process.Kill()
		<-p.child.done
	}
	return fmt.Errorf("stop PostgreSQL: %w; it was stopped the hard way and recovers at the next start", ctx.Err())
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// lineLog gives what PostgreSQL prints to slog, line by line.
type lineLog struct {
	log  *slog.Logger
	rest []byte
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := strings.Cut(string(l.rest), "\n")
		if !found {
			return len(p), nil
		}
		l.rest = []byte(rest)
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.HasPrefix(line, "PANIC"):
			l.log.Error("PostgreSQL says", "text", line)
		default: // refusals while it starts or stops, mostly
			l.log.Debug("PostgreSQL says", "text", line)
		}
	}
}
