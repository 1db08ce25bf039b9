package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// startOnDatabase starts the all-in-one with its streams in a folder and a database
// that the test can look into.
func startOnDatabase(t *testing.T, data string, args ...string) (*deployment, *pgxpool.Pool) {
	t.Helper()
	pool := testkit.PostgreSQL(t)
	return newDeployment(t, &process{program: app.AllInOne, args: append([]string{
		"--data=" + data, "--nats-listen=", "--database-url=" + pool.Config().ConnString(), "--database-volatile",
	}, args...)}), pool
}

// await asks the database until an answer is yes: there is no signal from outside
// for it.
func await(t *testing.T, pool *pgxpool.Pool, what, query string, args ...any) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes bool
		if err := pool.QueryRow(t.Context(), query, args...).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the test ended before %s", what)
		}
	}
}

// A push is on its way when every stream is lost. A start refuses to go on as if
// nothing had been; told to recover, the push comes again under the same id, and
// the chain goes on where it was.
func TestPromise_TheBusIsNotTheOnlyCopy(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d, pool := startOnDatabase(t, data, "--nats-max-store=2GiB", "--level-age=1s")
	p := d.processes[0]
	c := d.callback(client.NewEndpoint{})
	d.subscribe(c, "SFWIPED1")
	d.report(moving("SFWIPED1", 1))
	if got := c.nextPush(); got.Revision != 1 {
		t.Fatalf("the first push is up to %d", got.Revision)
	}
	c.Always(testkit.Hang())
	d.report(moving("SFWIPED1", 2))
	lost := c.Next()
	// It is handed over and not acknowledged: the push is in the stream alone.
	await(t, pool, "the push was recorded and its change projected", `SELECT count(*) = 1 FROM subscription s, waybill w WHERE s.pushed_revision = 2 AND w.revision = 2`)
	d.Kill()
	if err := os.RemoveAll(filepath.Join(data, "nats")); err != nil {
		t.Fatal(err)
	}
	c.Always(testkit.Status(200))

	if out, err := p.try(); err == nil || !strings.Contains(out, "posthaste streams recover") {
		t.Errorf("a start on lost streams ended with %v and said\n%s", err, out)
	}
	p.args = append(p.args, "--stream-recover")
	d.Start()
	again := c.Next()
	c.decode(again)
	if id := again.Header.Get(webhook.HeaderID); id != lost.Header.Get(webhook.HeaderID) {
		t.Errorf("the push that was lost came again as %s, was %s", id, lost.Header.Get(webhook.HeaderID))
	}
	d.report(moving("SFWIPED1", 3))
	if got := c.nextPush(); got.AfterRevision != 2 || got.Revision != 3 {
		t.Errorf("after it came (%d, %d], want (2, 3]", got.AfterRevision, got.Revision)
	}
}

// try runs the program until it ends by itself, and returns what it said.
func (p *process) try() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], p.arguments()...)
	cmd.Env = p.environ()
	out, err := cmd.CombinedOutput()
	return string(out), err
}
