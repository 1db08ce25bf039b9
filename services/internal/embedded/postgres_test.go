package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

func startPostgreSQL(t *testing.T, cfg embedded.PostgreSQLConfig) *embedded.PostgreSQL {
	t.Helper()
	p, err := embedded.StartPostgreSQL(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(stopContext(t)); err != nil {
			t.Error(err)
		}
	})
	return p
}

// query returns the one text that a query gives.
func query(t *testing.T, p *embedded.PostgreSQL, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

func execute(t *testing.T, p *embedded.PostgreSQL, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestPostgreSQL_KeepsDataOverARestart(t *testing.T) {
	t.Parallel()
	cfg := embedded.PostgreSQLConfig{Dir: filepath.Join(folder(t), "postgres")}
	first := startPostgreSQL(t, cfg)
	execute(t, first, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	for range 2 { // stopping twice is one stop
		if err := first.Stop(stopContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	second := startPostgreSQL(t, cfg)
	if got := query(t, second, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("row is %s, want 42", got)
	}
}

func TestPostgreSQL_SyncsAndOpensNoPort(t *testing.T) {
	t.Parallel()
	p := startPostgreSQL(t, embedded.PostgreSQLConfig{Dir: folder(t), Settings: map[string]string{"work_mem": "5MB"}})
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"listen_addresses": "", "server_encoding": "UTF8", "work_mem": "5MB",
	} {
		if got := query(t, p, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	info, err := os.Stat(p.SocketDir())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("socket folder has mode %o, want 700: whoever opens the socket is trusted", info.Mode().Perm())
	}
	wantUnprivileged(t, p.PID())
}

// wantUnprivileged checks that a process doesn't run as root.
func wantUnprivileged(t *testing.T, pid int) {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Logf("who process %d runs as is not known here: %v", pid, err)
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid == 0 {
		t.Errorf("process %d runs as root", pid)
	}
}

// A clone below /root, or in a folder made by mktemp, is closed to the account
// that PostgreSQL runs as.
func TestPostgreSQL_WorksBelowAClosedFolder(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(folder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	p := startPostgreSQL(t, embedded.PostgreSQLConfig{Dir: filepath.Join(closed, "data", "postgres"), Volatile: true})
	if got := query(t, p, "SELECT 'yes'"); got != "yes" {
		t.Errorf("got %q", got)
	}
	wantUnprivileged(t, p.PID())
}

// The path of a socket may have about 100 bytes.
func TestPostgreSQL_WorksBelowALongPath(t *testing.T) {
	t.Parallel()
	p := startPostgreSQL(t, embedded.PostgreSQLConfig{Dir: filepath.Join(folder(t), strings.Repeat("long", 30)), Volatile: true})
	if got := query(t, p, "SELECT 'yes'"); got != "yes" {
		t.Errorf("got %q", got)
	}
}

func TestPostgreSQL_IsNeverStartedTwiceOnAFolder(t *testing.T) {
	t.Parallel()
	cfg := embedded.PostgreSQLConfig{Dir: folder(t), Volatile: true}
	p := startPostgreSQL(t, cfg)
	began := p.PID()
	if _, err := embedded.StartPostgreSQL(t.Context(), cfg); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("second start: %v, want ErrInUse", err)
	}
	if query(t, p, "SELECT 'alive'"); p.PID() != began {
		t.Error("the first server was disturbed")
	}
}

func TestPostgreSQL_RefusesDataThatALiveProcessUses(t *testing.T) {
	t.Parallel()
	cfg := embedded.PostgreSQLConfig{Dir: folder(t), Volatile: true, OrphanWait: time.Millisecond}
	p := startPostgreSQL(t, cfg)
	if err := p.Stop(stopContext(t)); err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(cfg.Dir, "data", "postmaster.pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n/elsewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.StartPostgreSQL(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), pidFile) {
		t.Errorf("got %v, want a refusal that names the process and the file", err)
	}
	if _, err := os.Stat(pidFile); err != nil {
		t.Errorf("the file was touched: %v", err)
	}
}

func TestPostgreSQL_RefusesAnotherMajorVersion(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(data, "PG_VERSION")
	if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.StartPostgreSQL(t.Context(), embedded.PostgreSQLConfig{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "pg_upgrade") || !strings.Contains(err.Error(), "PostgreSQL 9") {
		t.Errorf("got %v, want a refusal with a hint", err)
	}
	if _, err := os.Stat(version); err != nil {
		t.Errorf("the data was touched: %v", err)
	}
}

func TestPostgreSQL_LeavesStrangeFoldersAlone(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	precious := filepath.Join(dir, "data", "precious.txt")
	if err := os.MkdirAll(filepath.Dir(precious), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.StartPostgreSQL(t.Context(), embedded.PostgreSQLConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "no PostgreSQL cluster") {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("the folder was touched: %v", err)
	}
}

func TestPostgreSQL_StartsAnewAfterAnInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	half := filepath.Join(dir, "data.new")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startPostgreSQL(t, embedded.PostgreSQLConfig{Dir: dir, Volatile: true})
}

func TestPostgreSQL_TellsWhenItDies(t *testing.T) {
	t.Parallel()
	cfg := embedded.PostgreSQLConfig{Dir: folder(t)}
	p := startPostgreSQL(t, cfg)
	execute(t, p, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	if err := syscall.Kill(p.PID(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if p.Err() == nil {
		t.Error("it gives no reason")
	}
	if err := p.Stop(stopContext(t)); err != nil {
		t.Fatal(err)
	}
	// What was committed is there after the recovery.
	again := startPostgreSQL(t, cfg)
	if got := query(t, again, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("row is %s, want 42", got)
	}
}

func TestPostgreSQL_StopsTheHardWayWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	p, err := embedded.StartPostgreSQL(t.Context(), embedded.PostgreSQLConfig{Dir: folder(t), Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = p.Stop(ctx)
	<-p.Done() // gone, whichever way won
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(p.SocketDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket folder: %v, want it gone", err)
	}
}

// The kernel ends PostgreSQL when this process is killed; what both servers
// acknowledged is there at the next start.
func TestEmbedded_SurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	cmd, _ := startHelper(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	// OrphanWait's default covers the moment that the orphan takes to end.
	p := startPostgreSQL(t, embedded.PostgreSQLConfig{Dir: filepath.Join(dir, "postgres")})
	if got := query(t, p, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("row is %s, want 42", got)
	}
	wantMessage(t, connect(t, startNATS(t, embedded.NATSConfig{Dir: filepath.Join(dir, "nats")})))
}
