package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// callback is a receiver and its endpoint.
type callback struct {
	*testkit.Receiver

	t        *testing.T
	endpoint client.Endpoint
	verifier webhook.Verifier
}

// quick retries soon, so that a test of retries doesn't wait for minutes.
var quick = client.RetryPolicy{Delays: []time.Duration{50 * time.Millisecond}, Horizon: time.Hour}

func (d *deployment) callback(n client.NewEndpoint) *callback {
	d.t.Helper()
	c := &callback{Receiver: testkit.NewReceiver(d.t), t: d.t}
	n.URL = c.URL + "/callback"
	if n.Retry == nil {
		n.Retry = &quick
	}
	var err error
	if c.endpoint, err = d.Control.CreateEndpoint(d.t.Context(), n); err != nil {
		d.t.Fatal(err)
	}
	secret, err := webhook.ParseSecret(string(c.endpoint.Secret))
	if err != nil {
		d.t.Fatal(err)
	}
	c.verifier = webhook.Verifier{Secrets: []webhook.Secret{secret}}
	return c
}

// nextPush waits for the next callback and verifies it.
func (c *callback) nextPush() payload.Push {
	c.t.Helper()
	return c.decode(c.Next())
}

func (c *callback) decode(r testkit.Request) payload.Push {
	c.t.Helper()
	if err := c.verifier.Verify(r.Header, r.Body); err != nil {
		c.t.Fatalf("a callback that doesn't verify: %v", err)
	}
	var p payload.Push
	if err := json.Unmarshal(r.Body, &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// await waits for a push of a waybill, whatever comes before it.
func (c *callback) await(number string) {
	c.t.Helper()
	for c.nextPush().Waybill.WaybillNumber != number {
	}
}

func (d *deployment) subscribe(c *callback, numbers ...string) []client.Subscription {
	d.t.Helper()
	news := make([]client.NewSubscription, len(numbers))
	for i, n := range numbers {
		news[i] = client.NewSubscription{Endpoint: c.endpoint.Name, Waybill: waybill(n), Metadata: map[string]string{"order_id": "order-" + n}}
	}
	results, err := d.Control.CreateSubscriptions(d.t.Context(), news)
	if err != nil {
		d.t.Fatal(err)
	}
	subs := make([]client.Subscription, len(results))
	for i, r := range results {
		if r.Err != nil {
			d.t.Fatal(r.Err)
		}
		subs[i] = r.Subscription
	}
	return subs
}

func waybill(number string) trace.ID {
	return trace.ID{CarrierCode: "sf-express", WaybillNumber: number}
}

// event is event n of a waybill's journey, an hour after the one before.
func event(number string, n int, s status.Status, sub status.Sub) client.ReportedEvent {
	return client.ReportedEvent{
		Waybill: waybill(number), EventID: fmt.Sprint("e", n), Status: s, SubStatus: sub, Text: fmt.Sprint("第", n, "站"), Language: "zh",
		Time: time.Date(2026, 3, 1, 8+n, 0, 0, 0, time.FixedZone("", 8*3600)),
	}
}

func moving(number string, n int) client.ReportedEvent {
	return event(number, n, status.InTransit, status.InTransitDeparted)
}

func (d *deployment) report(events ...client.ReportedEvent) {
	d.t.Helper()
	r, err := d.Reports.ReportEvents(d.t.Context(), events)
	if err != nil {
		d.t.Fatal(err)
	}
	if r.Accepted != len(events) {
		d.t.Fatalf("%d of %d events were accepted: %+v", r.Accepted, len(events), r.Rejections)
	}
}

// What was accepted is pushed although everything is killed right after the
// answer.
func TestPromise_AcceptedMeansKept(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		const waybills = 50
		c := d.callback(client.NewEndpoint{})
		numbers := make([]string, waybills)
		for i := range numbers {
			numbers[i] = fmt.Sprint("SFKEPT", i)
		}
		d.subscribe(c, numbers...)
		var events []client.ReportedEvent
		for _, n := range numbers {
			events = append(events, moving(n, 1))
		}
		d.report(events...)
		d.Kill()
		d.Start()
		want := make(map[string]bool)
		for _, n := range numbers {
			want[n] = true
		}
		for len(want) > 0 {
			delete(want, c.nextPush().Waybill.WaybillNumber)
		}
	})
}

// A push repeats until it is acknowledged, and a repeat is the same push.
func TestPromise_AtLeastOnceWithOneIdentity(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		sub := d.subscribe(c, "SFONCE1")[0]
		c.Script(testkit.Status(http.StatusInternalServerError), testkit.Reset(), testkit.Redirect(c.URL+"/elsewhere"), testkit.Status(http.StatusNoContent))
		d.report(moving("SFONCE1", 1))
		first := c.Next()
		c.decode(first)
		for range 3 {
			again := c.Next()
			c.decode(again)
			if id := again.Header.Get(webhook.HeaderID); id != first.Header.Get(webhook.HeaderID) {
				t.Errorf("a repeat is %s, and the first was %s", id, first.Header.Get(webhook.HeaderID))
			}
			if string(again.Body) != string(first.Body) {
				t.Errorf("a repeat says\n%s\nand the first said\n%s", again.Body, first.Body)
			}
		}
		// Acknowledged: the next request is the next push.
		d.report(moving("SFONCE1", 2))
		if p := c.nextPush(); p.AfterRevision != 1 || p.Revision != 2 || p.SubscriptionID != sub.ID() {
			t.Errorf("after the acknowledgement came (%d, %d] of %s", p.AfterRevision, p.Revision, p.SubscriptionID)
		}
	})
}

// Ranges chain without a gap, and the events in them are all there were.
func TestPromise_GaplessChainInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		const events = 30
		c := d.callback(client.NewEndpoint{})
		// Some fail, so that order is kept over retries too.
		for range 5 {
			c.Script(testkit.Status(200), testkit.Status(503), testkit.Status(200), testkit.Status(500))
		}
		d.subscribe(c, "SFCHAIN1", "SFCHAIN2")
		for n := range events {
			d.report(moving("SFCHAIN1", n), moving("SFCHAIN2", n))
		}
		w, err := d.settled("SFCHAIN1", events)
		if err != nil {
			t.Fatal(err)
		}
		var chain webhook.Chain
		seen := make(map[string]bool)
		last := uint64(0)
		for chain.Revision < w.Revision {
			p := c.nextPush()
			if p.Waybill.WaybillNumber != "SFCHAIN1" {
				continue
			}
			if p.Revision < last {
				t.Fatalf("revision %d comes after %d", p.Revision, last)
			}
			last = p.Revision
			if l := chain.Advance(p); l == webhook.Gap {
				t.Fatalf("push (%d, %d] leaves a gap after %d", p.AfterRevision, p.Revision, chain.Revision)
			}
			for _, e := range p.Events {
				seen[e.ID] = true
			}
		}
		if len(seen) != events {
			t.Errorf("the pushes told %d events, want %d", len(seen), events)
		}
	})
}

// settled watches a waybill until it has so many events.
func (d *deployment) settled(number string, events int) (trace.Waybill, error) {
	for u, err := range d.Control.Watch(d.t.Context(), waybill(number), 0) {
		if err != nil {
			return trace.Waybill{}, err
		}
		if u.Waybill.EventCount == events {
			return u.Waybill, nil
		}
	}
	return trace.Waybill{}, d.t.Context().Err()
}

// An endpoint that hangs, and one that is dead, don't hold up a third.
func TestPromise_IsolationOfEndpoints(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		hung, dead, well := d.callback(client.NewEndpoint{MaxInFlight: 4}), d.callback(client.NewEndpoint{}), d.callback(client.NewEndpoint{})
		hung.Always(testkit.Hang())
		dead.Always(testkit.Status(http.StatusInternalServerError))
		const waybills = 100
		for _, c := range []*callback{hung, dead, well} {
			numbers := make([]string, waybills)
			for i := range numbers {
				numbers[i] = fmt.Sprint("SFWALL", i)
			}
			d.subscribe(c, numbers...)
		}
		for round := range 3 {
			var events []client.ReportedEvent
			for i := range waybills {
				events = append(events, moving(fmt.Sprint("SFWALL", i), round))
			}
			d.report(events...)
			// All of the round, while the others hang and fail.
			for got := make(map[string]bool); len(got) < waybills; {
				p := well.nextPush()
				if p.Revision > uint64(round) {
					got[p.Waybill.WaybillNumber] = true
				}
			}
		}
	})
}

// What a source repeats pushes nothing.
func TestPromise_ChangeOrSilence(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		d.subscribe(c, "SFSAME1", "SFSAME2")
		d.report(moving("SFSAME1", 1))
		c.await("SFSAME1")
		for range 3 {
			d.report(moving("SFSAME1", 1))
		}
		// What is reported after must come next; a push of the repeat would stand
		// before it, or at the latest before the change that follows.
		d.report(moving("SFSAME2", 1))
		c.await("SFSAME2")
		d.report(moving("SFSAME1", 2))
		if p := c.nextPush(); p.Waybill.WaybillNumber != "SFSAME1" || p.AfterRevision != 1 || p.Revision != 2 {
			t.Errorf("next is (%d, %d] of %s, want (1, 2] of SFSAME1", p.AfterRevision, p.Revision, p.Waybill.WaybillNumber)
		}
		if got := len(c.Requests()); got != 3 {
			t.Errorf("%d callbacks, want 3", got)
		}
	})
}

// A push whose endpoint is gone is parked: kept, and visible.
func TestPromise_NoSilentEnd(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		gone, well := d.callback(client.NewEndpoint{}), d.callback(client.NewEndpoint{})
		gone.Always(testkit.Status(http.StatusGone))
		sub := d.subscribe(gone, "SFGONE1")[0]
		d.subscribe(well, "SFGONE1")
		d.report(moving("SFGONE1", 1))
		gone.Next()
		well.await("SFGONE1")
		push := d.awaitPush(sub.Name, client.PushParked)
		if push.Revision != 1 || push.ParkReason == "" || push.AttemptCount != 1 {
			t.Errorf("the push is %+v", push)
		}
		ep, err := d.Control.GetEndpoint(t.Context(), gone.endpoint.Name)
		if err != nil {
			t.Fatal(err)
		}
		if ep.State != client.EndpointDisabled {
			t.Errorf("the endpoint is %s", ep.State)
		}
	})
}

// awaitPush asks until the newest push of a subscription is in a state: there
// is no signal from outside for it.
func (d *deployment) awaitPush(subscription string, state client.PushState) client.Push {
	d.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for p, err := range d.Control.Pushes(d.t.Context(), subscription) {
			if err != nil {
				d.t.Fatal(err)
			}
			if p.State == state {
				return p
			}
			break
		}
		select {
		case <-tick.C:
		case <-d.t.Context().Done():
			d.t.Fatalf("the test ended before a push of %s was %s", subscription, state)
		}
	}
}

// A late event enters the history at its time and doesn't undo the delivery.
func TestPromise_NoStatusRegression(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{IncludeTrace: true})
		d.subscribe(c, "SFLATE1")
		d.report(event("SFLATE1", 5, status.Delivered, status.DeliveredRecipient))
		c.await("SFLATE1")
		d.report(moving("SFLATE1", 3))
		p := c.nextPush()
		if p.Revision != 2 || p.Waybill.Status != "delivered" || !p.Waybill.Terminal {
			t.Errorf("revision %d is %s", p.Revision, p.Waybill.Status)
		}
		if len(p.Events) != 1 || p.Events[0].Status != "in_transit" {
			t.Errorf("its events are %+v", p.Events)
		}
		var order []string
		for _, e := range p.Trace {
			order = append(order, e.Status)
		}
		if diff := cmp.Diff([]string{"in_transit", "delivered"}, order); diff != "" {
			t.Errorf("the trace (-want +got):\n%s", diff)
		}
		// Withdrawn, the late event counts.
		void := event("SFLATE1", 6, status.Unknown, 0)
		void.Kind, void.TargetEventID = trace.KindVoid, "e5"
		d.report(void)
		if p := c.nextPush(); p.Waybill.Status != "in_transit" || p.Revision != 3 {
			t.Errorf("after the withdrawal revision %d is %s", p.Revision, p.Waybill.Status)
		}
	})
}

// A stop under load loses nothing, and what was acknowledged isn't repeated.
func TestPromise_GracefulStopRepeatsNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		const waybills = 300
		numbers := make([]string, waybills)
		var events []client.ReportedEvent
		for i := range numbers {
			numbers[i] = fmt.Sprint("SFSTOP", i)
			events = append(events, moving(numbers[i], 1))
		}
		d.subscribe(c, numbers...)
		d.report(events...)
		first := c.Next()
		d.Stop()
		d.Start()
		d.subscribe(c, "SFSENTINEL")
		d.report(moving("SFSENTINEL", 1))
		ids := map[string]bool{first.Header.Get(webhook.HeaderID): true}
		for len(ids) < waybills+1 {
			ids[c.Next().Header.Get(webhook.HeaderID)] = true
		}
		if got := len(c.Requests()); got != waybills+1 {
			t.Errorf("%d callbacks for %d pushes", got, waybills+1)
		}
	})
}

// A waybill that is known when it is subscribed is pushed at once, whole, and
// then goes on without a gap.
func TestSubscribe_ToAKnownWaybillTellsItAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		for n := range 3 {
			d.report(moving("SFKNOWN1", n))
		}
		w, err := d.settled("SFKNOWN1", 3)
		if err != nil {
			t.Fatal(err)
		}
		d.subscribe(c, "SFKNOWN1")
		// Usually in one push; in two when matching still was at an older revision.
		var revision uint64
		events := 0
		for revision < w.Revision {
			p := c.nextPush()
			if p.AfterRevision != revision {
				t.Fatalf("(%d, %d] came after revision %d", p.AfterRevision, p.Revision, revision)
			}
			revision, events = p.Revision, events+len(p.Events)
		}
		if revision != w.Revision || events != 3 {
			t.Errorf("%d events up to revision %d came, want 3 up to %d", events, revision, w.Revision)
		}
		d.report(moving("SFKNOWN1", 3))
		if p := c.nextPush(); p.AfterRevision != w.Revision || len(p.Events) != 1 {
			t.Errorf("next is (%d, %d] with %d events", p.AfterRevision, p.Revision, len(p.Events))
		}
	})
}
