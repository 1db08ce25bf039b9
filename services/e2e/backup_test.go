package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// store is a NATS of the test's own that listens.
func store(t *testing.T) (url string) {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxStore: 2 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return "nats://" + n.Addr()
}

// services over a NATS and a database.
func servicesOn(natsURL, database string) (list []*process) {
	for _, program := range []string{app.Ingest, app.Normalizer, app.Subscription, app.Delivery} {
		list = append(list, &process{program: program, args: []string{
			"--nats-url=" + natsURL, "--database-url=" + database, "--database-volatile", "--level-age=1s", "--retry-scale=0.02",
			"--stream-raw-max-bytes=256MiB", "--stream-trace-max-bytes=256MiB", "--stream-push-max-bytes=256MiB", "--stream-rejected-max-bytes=64MiB",
		}})
	}
	return list
}

// postgresProgram finds a program that comes with PostgreSQL's server.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		t.Skipf("THIS TEST DID NOT RUN: there is no %s on this machine", name)
	}
	return found[len(found)-1]
}

// Both stores are backed up while everything runs, more happens, both are lost and
// restored elsewhere. What was owed at the time of the backup comes under its id; the
// chain goes on.
func TestBackup_RestoredItOwesWhatItOwed(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("../../.bin/nats"); err != nil {
		t.Skip("THIS TEST DID NOT RUN: make backup-restore builds the nats command that it needs")
	}
	dump, restore := postgresProgram(t, "pg_dump"), postgresProgram(t, "pg_restore")
	script := func(name, natsURL, database, folder string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "../../hack/"+name, folder)
		cmd.Env = append(os.Environ(), "NATS_URL="+natsURL, "DATABASE_URL="+database, "PG_DUMP="+dump, "PG_RESTORE="+restore)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("hack/%s: %v\n%s", name, err, out)
		}
		t.Logf("%s", out)
	}

	first, pool := store(t), testkit.PostgreSQL(t)
	database := pool.Config().ConnString()
	d := newDeployment(t, servicesOn(first, database)...)
	c := d.callback(client.NewEndpoint{})
	d.subscribe(c, "SFBACKUP1")
	d.report(moving("SFBACKUP1", 1))
	if got := c.nextPush(); got.Revision != 1 {
		t.Fatalf("the first push is up to %d", got.Revision)
	}
	// Owed when the backup is made.
	c.Always(testkit.Status(503))
	d.report(moving("SFBACKUP1", 2))
	owed := c.Next()
	await(t, pool, "the change was projected", `SELECT count(*) = 1 FROM waybill WHERE revision = 2`)
	folder := filepath.Join(t.TempDir(), "backup")
	script("backup", first, database, folder)
	// What comes after a backup is in none.
	d.report(moving("SFBACKUP1", 3))
	await(t, pool, "the change after the backup was projected", `SELECT count(*) = 1 FROM waybill WHERE revision = 3`)
	d.Kill()

	second, anew := store(t), testkit.PostgreSQL(t).Config().ConnString()
	script("restore", second, anew, folder)
	before := c.Always(testkit.Status(200))
	d.processes = servicesOn(second, anew)
	d.Start()
	// Requests of before the restore are passed over.
	for len(c.Requests()) <= before {
		c.Next()
	}
	requests := c.Requests()
	again := requests[len(requests)-1]
	if id := again.Header.Get(webhook.HeaderID); id != owed.Header.Get(webhook.HeaderID) {
		t.Errorf("what was owed came as %s, was %s", id, owed.Header.Get(webhook.HeaderID))
	}
	// The source sends again what came after the backup.
	d.report(moving("SFBACKUP1", 3))
	for {
		got := c.decode(c.Next())
		if got.Revision == 3 {
			if got.AfterRevision != 2 {
				t.Errorf("after it came (%d, %d], want (2, 3]", got.AfterRevision, got.Revision)
			}
			break
		}
	}
}
