//go:build unix

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// groups are the leases that instances share.
var groups = []string{"normalizer", "subscription", "query", "delivery"}

// shards are how many each group is divided into.
const shards = 4

// awaitOwners waits until so many instances own all shards of each group.
func awaitOwners(t *testing.T, pool *pgxpool.Pool, owners int) {
	t.Helper()
	for _, g := range groups {
		await(t, pool, fmt.Sprintf("%d instances own the shards of %s", owners, g), `
			SELECT count(*) = $2 AND count(DISTINCT owner) = $3 FROM lease
			WHERE name ~ ('^' || $1 || '-[0-9]+$') AND expire_time > clock_timestamp()`, g, shards, owners)
	}
}

// chains follow what an endpoint receives of waybills.
type chains struct {
	c    *callback
	of   map[string]*webhook.Chain
	seen map[string]map[string]bool // events, by waybill
}

// until takes pushes until every waybill has so many events. A repeat is allowed,
// a gap or a step back isn't.
func (ch *chains) until(numbers []string, events int) {
	ch.c.t.Helper()
	missing := func() bool {
		for _, n := range numbers {
			if len(ch.seen[n]) < events {
				return true
			}
		}
		return false
	}
	for missing() {
		p := ch.c.nextPush()
		n := p.Waybill.WaybillNumber
		if ch.of[n] == nil {
			ch.of[n], ch.seen[n] = &webhook.Chain{}, map[string]bool{}
		}
		before := ch.of[n].Revision
		if ch.of[n].Advance(p) == webhook.Gap {
			ch.c.t.Fatalf("%s: push (%d, %d] leaves a gap after %d", n, p.AfterRevision, p.Revision, before)
		}
		for _, e := range p.Events {
			ch.seen[n][e.ID] = true
		}
	}
}

// TestScale_TwoOfEachShareTheWorkAndTakeOver: with two of each service, one of each
// is killed, and later frozen and awakened after its successor has begun. All that
// was accepted arrives, in order and without a gap.
func TestScale_TwoOfEachShareTheWorkAndTakeOver(t *testing.T) {
	t.Parallel()
	d, pool := startServices(t, 2, fmt.Sprint("--shards=", shards), "--lease=8s")
	awaitOwners(t, pool, 2)

	var numbers []string
	for i := range 30 {
		numbers = append(numbers, fmt.Sprint("SFSCALE", i))
	}
	var receivers []*chains
	for range 3 {
		c := d.callback(client.NewEndpoint{})
		d.subscribe(c, numbers...)
		receivers = append(receivers, &chains{c: c, of: map[string]*webhook.Chain{}, seen: map[string]map[string]bool{}})
	}
	round := 0
	report := func() {
		round++
		for _, n := range numbers {
			d.report(moving(n, round))
		}
	}
	arrived := func() {
		for _, r := range receivers {
			r.until(numbers, round)
		}
	}
	report()
	arrived()

	// The first three of these; clients talk to others.
	victims := d.processes[1:4]
	for _, p := range victims {
		report()
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.wait() // killed
	}
	report()
	arrived()
	awaitOwners(t, pool, 1)

	for _, p := range victims {
		p.start(t)
	}
	awaitOwners(t, pool, 2)
	report()
	arrived()

	for _, p := range victims {
		report()
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { d.awaken(victims) }) // so that they can be stopped
	report()
	arrived()
	awaitOwners(t, pool, 1)
	report()
	d.awaken(victims)
	report()
	arrived()
	awaitOwners(t, pool, 2)
	report()
	arrived()
}

func (d *deployment) awaken(processes []*process) {
	for _, p := range processes {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// metric is the value of a line that a process shows; empty when it isn't there.
func (p *process) metric(t *testing.T, name string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestScale_AStaleOwnerCommitsNothing: an instance freezes in the middle of an
// attempt. Its successor pushes again, under the same id; what the first learns when
// it awakes is void.
func TestScale_AStaleOwnerCommitsNothing(t *testing.T) {
	t.Parallel()
	d, pool := startServices(t, 2, "--shards=1", "--lease=8s")
	c := d.callback(client.NewEndpoint{Timeout: 30 * time.Second})
	sub := d.subscribe(c, "SFSTALE1")[0]
	held, release := testkit.Held(testkit.Status(http.StatusOK))
	t.Cleanup(release)
	c.Script(held)
	d.report(moving("SFSTALE1", 1))
	first := c.Next()

	var owner *process
	for owner == nil {
		for _, p := range d.processes {
			if p.program == app.Delivery && p.metric(t, "posthaste_delivery_in_flight") == "1" {
				owner = p
			}
		}
	}
	if err := owner.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.awaken([]*process{owner}) })
	again := c.Next()
	if a, b := first.Header.Get(webhook.HeaderID), again.Header.Get(webhook.HeaderID); a != b {
		t.Errorf("the successor's push is %s, and the first was %s", b, a)
	}
	d.awaitPush(sub.Name, client.PushAcknowledged)
	release()
	d.awaken([]*process{owner})
	owner.says(t, "the lease has another owner")
	d.report(moving("SFSTALE1", 2))
	if p := c.nextPush(); p.AfterRevision != 1 || p.Revision != 2 {
		t.Errorf("next is (%d, %d], want (1, 2]", p.AfterRevision, p.Revision)
	}
	await(t, pool, "the second push is logged", `SELECT count(*) = 1 FROM attempt WHERE subscription_id = $1 AND revision = 2`, sub.ID())
	await(t, pool, "the successor's attempt is the only one", `SELECT count(*) = 1 FROM attempt WHERE subscription_id = $1 AND revision = 1`, sub.ID())
	if n := len(c.Requests()); n != 3 {
		t.Errorf("%d callbacks, want 3", n)
	}
}
