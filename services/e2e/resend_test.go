package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// oneTry gives up at once.
var oneTry = client.RetryPolicy{Delays: []time.Duration{time.Millisecond}, MaxAttempts: 1}

// awaitStatistics asks until the counts are as they should be; what was counted
// must add up at every moment.
func (d *deployment) awaitStatistics(parent string, are func(client.PushStatistics) bool) client.PushStatistics {
	d.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := d.Control.PushStatistics(d.t.Context(), parent)
		if err != nil {
			d.t.Fatal(err)
		}
		if sum := s.Waiting + s.InFlight + s.Pending + s.Acknowledged + s.Parked + s.Cancelled; sum != s.Accepted {
			d.t.Fatalf("%d accepted and %d in all: %+v", s.Accepted, sum, s)
		}
		if are(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-d.t.Context().Done():
			d.t.Fatalf("the test ended with %+v", s)
		}
	}
}

// What is parked is counted, listed, and resent when its endpoint heals: all that
// the endpoint was owed comes, each once. The counts add up all the way.
func TestPromise_ParkedIsVisibleAndResent(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		const waybills = 20
		ill := d.callback(client.NewEndpoint{Retry: &oneTry})
		ill.Always(testkit.Status(http.StatusServiceUnavailable))
		var numbers []string
		for i := range waybills {
			numbers = append(numbers, fmt.Sprintf("SFPARK%02d", i))
		}
		d.subscribe(ill, numbers...)
		for _, n := range numbers {
			d.report(moving(n, 1))
		}
		d.awaitStatistics(ill.endpoint.Name, func(s client.PushStatistics) bool { return s.Parked > 0 })
		// After a few failures in a row the rest may be held rather than tried and
		// parked. From now on what is tried is taken: what is parked stays the same.
		before := ill.Always(testkit.Status(http.StatusOK))
		s := d.awaitStatistics(ill.endpoint.Name, func(s client.PushStatistics) bool { return s.Parked+s.Acknowledged == waybills })
		spent := client.ParkedFilter{Endpoint: ill.endpoint.ID(), Reasons: []string{"retries_spent"}}
		parked := map[string]bool{}
		for p, err := range d.Control.ParkedPushes(t.Context(), spent) {
			if err != nil {
				t.Fatal(err)
			}
			parked[p.ID] = true
		}
		if n, err := d.Control.CountParkedPushes(t.Context(), spent); err != nil || n.Count != s.ParkedPushes || int64(len(parked)) != n.Count {
			t.Fatalf("%d are listed and %+v counted, %v", len(parked), n, err)
		}

		for range 2 { // a repeat is the same job
			if _, err := d.Control.ResendPushes(t.Context(), spent, "heal-1"); err != nil {
				t.Fatal(err)
			}
		}
		after := d.awaitStatistics(ill.endpoint.Name, func(s client.PushStatistics) bool { return s.Acknowledged == waybills })
		if after.ParkedPushes+after.PendingPushes+after.InFlight != 0 {
			t.Errorf("left is %+v", after)
		}
		came := map[string]bool{}
		for _, r := range ill.Requests()[before:] {
			p := ill.decode(r)
			if came[p.Waybill.WaybillNumber] || p.AfterRevision != 0 || p.Revision != 1 {
				t.Errorf("got %s (%d,%d] of %s, which comes twice or isn't what was owed", p.PushID, p.AfterRevision, p.Revision, p.Waybill.WaybillNumber)
			}
			came[p.Waybill.WaybillNumber] = true
			delete(parked, p.PushID)
		}
		if len(came) != waybills || len(parked) != 0 {
			t.Errorf("%d pushes came, and %d of the parked ones did not", len(came), len(parked))
		}
		jobs := 0
		for j, err := range d.Control.PushJobs(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if jobs++; j.State != client.JobDone || j.Matched != s.ParkedPushes || j.Sent != j.Matched || j.RequestID != "heal-1" {
				t.Errorf("the job is %+v", j)
			}
		}
		if jobs != 1 {
			t.Errorf("there are %d jobs", jobs)
		}
	})
}

// A receiver that lost what it had asks for it again from the revision that it
// has, and gets one push of the rest; changes that come meanwhile lose nothing,
// and the chain goes on.
func TestPromise_AReceiverGetsWhatItLacks(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		sub := d.subscribe(c, "SFLACK1")[0]
		for i := 1; i <= 3; i++ {
			d.report(moving("SFLACK1", i))
			if p := c.nextPush(); p.Revision != uint64(i) {
				t.Fatalf("got (%d,%d]", p.AfterRevision, p.Revision)
			}
		}
		// What isn't acknowledged yet is still on its way, and not replayed.
		d.awaitStatistics(sub.Name, func(s client.PushStatistics) bool { return s.Acknowledged == 3 })
		j, err := d.Control.ReplayPushes(t.Context(), client.ReplayTarget{Subscription: sub.ID()}, 1, "gap-1")
		if err != nil || j.Sent != 1 {
			t.Fatalf("the job is %+v, %v", j, err)
		}
		asked := time.Now()
		p := c.nextPush()
		if p.AfterRevision != 1 || p.Revision != 3 || len(p.Events) != 2 {
			t.Errorf("got (%d,%d] with %d events, want (1,3] with 2", p.AfterRevision, p.Revision, len(p.Events))
		}
		t.Logf("the replay came after %s", time.Since(asked).Round(time.Millisecond))
		// By its waybill, for every endpoint; and the journey goes on.
		if _, err := d.Control.ReplayPushes(t.Context(), client.ReplayTarget{Waybill: waybill("SFLACK1")}, 0, ""); err != nil {
			t.Fatal(err)
		}
		d.report(event("SFLACK1", 4, status.Delivered, status.DeliveredRecipient))
		whole, newest := false, uint64(3)
		for !whole || newest < 4 {
			p := c.nextPush()
			whole = whole || p.AfterRevision == 0
			if p.AfterRevision > newest {
				t.Errorf("got (%d,%d] after %d: a gap", p.AfterRevision, p.Revision, newest)
			}
			newest = max(newest, p.Revision)
		}
		d.awaitStatistics(sub.Name, func(s client.PushStatistics) bool { return s.Acknowledged == 4 && s.PendingPushes == 0 })
	})
}

// While a signing key is rotated, under traffic, to one of the other scheme and
// on, every push verifies for a receiver that knows the old key and the new.
func TestPromise_RotationNeedsNoDowntime(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		d.subscribe(c, "SFROT1", "SFROT2")
		first := c.verifier
		n, seen := 0, 0
		// pushes sends changes until a push is as it should be; all verify.
		pushes := func(what string, is func(r testkit.Request) bool) {
			t.Helper()
			for {
				d.report(moving("SFROT1", n), moving("SFROT2", n))
				n++
				c.Await(seen + 1)
				good := false
				for _, r := range c.Requests()[seen:] {
					c.decode(r)
					good = good || is(r)
					seen++
				}
				if good {
					t.Logf("%s: after %d pushes", what, seen)
					return
				}
			}
		}
		by := func(v webhook.Verifier) func(testkit.Request) bool {
			return func(r testkit.Request) bool { return v.Verify(r.Header, r.Body) == nil }
		}
		pushes("signed by the first", by(first))

		e, err := d.Control.RotateSecret(t.Context(), c.endpoint.ID(), client.Rotation{Scheme: client.SchemeEd25519, Overlap: 2 * time.Second})
		if err != nil || len(e.PublicKeys) != 1 {
			t.Fatalf("rotated to %+v, %v", e, err)
		}
		key, err := webhook.ParsePublicKey(e.PublicKeys[0])
		if err != nil {
			t.Fatal(err)
		}
		second := webhook.Verifier{PublicKeys: []webhook.PublicKey{key}}
		c.verifier = webhook.Verifier{Secrets: first.Secrets, PublicKeys: second.PublicKeys}
		pushes("signed by both", func(r testkit.Request) bool { return by(first)(r) && by(second)(r) })
		// The old key ends by itself.
		pushes("signed by the second alone", func(r testkit.Request) bool { return !by(first)(r) && by(second)(r) })

		e, err = d.Control.RotateSecret(t.Context(), c.endpoint.ID(), client.Rotation{Scheme: client.SchemeHMAC, Now: true})
		if err != nil || !e.OldSecretExpireTime.IsZero() {
			t.Fatalf("rotated to %+v, %v", e, err)
		}
		secret, err := webhook.ParseSecret(string(e.Secret))
		if err != nil {
			t.Fatal(err)
		}
		third := webhook.Verifier{Secrets: []webhook.Secret{secret}}
		c.verifier = webhook.Verifier{Secrets: third.Secrets, PublicKeys: second.PublicKeys}
		pushes("signed by the third alone", func(r testkit.Request) bool { return !by(second)(r) && by(third)(r) })
	})
}
