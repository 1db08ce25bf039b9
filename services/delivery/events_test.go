package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	opsv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ops/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/delivery"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// events follows the stream of operational events.
func (b *bundle) events() (next func() *opsv1.Event) {
	b.t.Helper()
	c, err := b.js.OrderedConsumer(b.t.Context(), stream.Ops, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject.TenantOps(tenant)}})
	if err != nil {
		b.t.Fatal(err)
	}
	msgs, err := c.Messages()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(msgs.Stop)
	return func() *opsv1.Event {
		b.t.Helper()
		m, err := msgs.Next(jetstream.NextContext(b.t.Context()))
		if err != nil {
			b.t.Fatal(err)
		}
		var e opsv1.Event
		if err := proto.Unmarshal(m.Data(), &e); err != nil {
			b.t.Fatal(err)
		}
		if want := subject.Ops(tenant, strings.ToLower(strings.TrimPrefix(e.GetKind().String(), "EVENT_KIND_"))); m.Subject() != want {
			b.t.Errorf("an event came on %s, want %s", m.Subject(), want)
		}
		return &e
	}
}

// told counts the events in the stream.
func (b *bundle) told() uint64 {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream.Ops)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestDelivery_TellsOfAnEndpointThatFailsAndComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc, ops := testkit.NewReceiver(t), testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusInternalServerError))
	b.endpoint("ep_1", rc.URL)
	b.endpoint("ep_ops", ops.URL)
	b.exec(`UPDATE endpoint SET operations = true WHERE id = 'ep_ops'`)
	const subs = 30
	for i := range subs {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
	}
	next := b.events()
	stop := b.deliver()
	for i := range subs {
		b.send(fmt.Sprint("sub_", i), "ep_1")
	}
	e := next()
	if d := e.GetBreakerOpened(); e.GetKind() != opsv1.EventKind_EVENT_KIND_BREAKER_OPENED || d.GetHttpStatus() != 500 || d.GetErrorClass() != "http_500" || d.GetConsecutiveFailures() < 3 ||
		e.GetEndpoint() != "tenants/default/endpoints/ep_1" || d.GetNextProbeTime() == nil {
		t.Errorf("the first event is %v", e)
	}
	// The same event is posted, signed, under its id.
	posted := ops.Next()
	var form map[string]any
	if err := json.Unmarshal(posted.Body, &form); err != nil {
		t.Fatal(err)
	}
	if form["id"] != e.GetId() || posted.Header.Get(webhook.HeaderID) != e.GetId() || form["kind"] != "EVENT_KIND_BREAKER_OPENED" {
		t.Errorf("posted was %s", posted.Body)
	}
	var text string
	if err := b.pool.QueryRow(t.Context(), `SELECT secret FROM endpoint WHERE id = 'ep_ops'`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	secret, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&webhook.Verifier{Secrets: []webhook.Secret{secret}}).Verify(posted.Header, posted.Body); err != nil {
		t.Errorf("the posted event doesn't verify: %v", err)
	}
	// Failing probes tell nothing more, and neither does another instance.
	b.stored(`SELECT probe_count >= 2 FROM endpoint_health`)
	stop()
	b.deliver()
	b.stored(`SELECT probe_count >= 4 FROM endpoint_health`)
	if n := b.told(); n != 1 {
		t.Errorf("%d events for one breaker that opened", n)
	}
	rc.Always(testkit.Status(http.StatusOK))
	if e = next(); e.GetKind() != opsv1.EventKind_EVENT_KIND_BREAKER_CLOSED || e.GetBreakerClosed().GetFailedProbes() < 4 || e.GetBreakerClosed().GetOpenDuration().AsDuration() <= 0 {
		t.Errorf("the second event is %v", e)
	}
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
	b.stored(`SELECT count(*) = 0 FROM ops_event`)
}

func TestDelivery_TellsOfParkedPushesOnceForMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusGone))
	b.endpoint("ep_1", rc.URL)
	const subs = 50
	next := b.events()
	for i := range subs {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
		b.send(fmt.Sprint("sub_", i), "ep_1")
	}
	b.deliver()
	seen := map[opsv1.EventKind]*opsv1.Event{}
	for len(seen) < 2 {
		e := next()
		seen[e.GetKind()] = e
	}
	if d := seen[opsv1.EventKind_EVENT_KIND_ENDPOINT_DISABLED].GetEndpointDisabled(); d.GetReason() != "endpoint_gone" {
		t.Errorf("disabled: %v", d)
	}
	if d := seen[opsv1.EventKind_EVENT_KIND_PUSHES_PARKED].GetPushesParked(); d.GetCount() < 1 || d.GetReason() != "endpoint_gone" {
		t.Errorf("parked: %v", d)
	}
	// All are counted: told, or to be told when the interval has passed.
	first := seen[opsv1.EventKind_EVENT_KIND_PUSHES_PARKED].GetPushesParked().GetCount()
	b.stored(`SELECT count(*) = $1 AND count(park_time) = $1 FROM owed_push`, subs)
	b.stored(`SELECT parked_count + $1 = $2 FROM endpoint_health`, first, subs)
	if n := b.told(); n > 3 {
		t.Errorf("%d events for %d parked pushes", n, subs)
	}
}

// An event is committed with what it tells of: whoever dies before it is told
// leaves it to the next.
func TestDelivery_AnEventOutlivesWhoeverCouldNotTellIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusServiceUnavailable))
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	var tried atomic.Int32
	stop := b.deliverWith(func(cfg *delivery.Config) { cfg.Ops = broken{&tried} })
	b.send("sub_1", "ep_1")
	b.stored(`SELECT count(*) = 1 FROM ops_event`)
	stop()
	if n := b.told(); n != 0 {
		t.Fatalf("%d events were told by a broken publisher", n)
	}
	next := b.events()
	b.deliver()
	if e := next(); e.GetKind() != opsv1.EventKind_EVENT_KIND_BREAKER_OPENED {
		t.Errorf("the event is %v", e)
	}
	b.stored(`SELECT count(*) = 0 FROM ops_event`)
}

type broken struct{ tried *atomic.Int32 }

func (p broken) Publish(context.Context, ...stream.Message) error {
	p.tried.Add(1)
	return errors.New("the stream is away")
}

// A dead endpoint for operations delays neither pushes nor other tenants' events,
// and what it doesn't take is let go.
func TestDelivery_ADeadOperationsEndpointHurtsNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc, dead, well := testkit.NewReceiver(t), testkit.NewReceiver(t), testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusInternalServerError))
	dead.Always(testkit.Status(http.StatusInternalServerError))
	b.exec(`INSERT INTO tenant (id) VALUES ('other')`)
	b.endpoint("ep_1", rc.URL)
	b.endpoint("ep_2", rc.URL)
	b.endpoint("ep_dead", dead.URL)
	b.endpoint("ep_well", well.URL)
	b.exec(`UPDATE endpoint SET operations = true WHERE id IN ('ep_dead', 'ep_well')`)
	b.exec(`UPDATE endpoint SET tenant_id = 'other' WHERE id IN ('ep_2', 'ep_well')`)
	b.subscribe("sub_1", "ep_1")
	b.subscribe("sub_2", "ep_2")
	b.exec(`UPDATE subscription SET tenant_id = 'other' WHERE id = 'sub_2'`)
	b.deliverWith(func(cfg *delivery.Config) { cfg.RetryScale = 0.001 })
	b.send("sub_1", "ep_1")
	b.send("sub_2", "ep_2")
	well.Next()
	ids := map[string]bool{}
	for _, r := range dead.Await(5) { // and that is all
		ids[r.Header.Get(webhook.HeaderID)] = true
	}
	if len(ids) != 1 {
		t.Errorf("%d different events in five tries of one", len(ids))
	}
	b.drained("delivery-operations")
}

// drained waits until a durable of the stream of events has nothing left.
func (b *bundle) drained(durable string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := b.js.Consumer(b.t.Context(), stream.Ops, durable)
		if err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-b.t.Context().Done():
			b.t.Fatalf("%s has something left: %v", durable, err)
		}
	}
}

// A recovered endpoint's rows are drained with more in flight each time, and
// what is live in the meantime doesn't wait for their end.
func TestDelivery_DrainsBesideLivePushes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	const owed = 3000
	var arrived, answered atomic.Int32
	live, second := make(chan int, 1), make(chan struct{})
	rc.Always(func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
		defer answered.Add(1)
		n := arrived.Add(1)
		if strings.Contains(r.Header.Get(webhook.HeaderID), "live") {
			live <- int(n)
		}
		switch n {
		case 2:
			if answered.Load() != 1 {
				t.Error("a second attempt began beside the probe")
			}
		case 50:
			<-second // only another attempt at the same time can end it
		case 51:
			close(second)
		}
		w.WriteHeader(http.StatusOK)
	})
	// As a long outage leaves it: rows, and a breaker that is open.
	for i := range 3 {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
		b.happen(fmt.Sprint("sub_", i))
	}
	b.exec(`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
		SELECT 'sub_' || n, 'ep_1', $1, 'default', 'sf-express', $2 || n % 3, 0, 1, now(), now() FROM generate_series(0, $3 - 1) n`,
		int16(subject.EndpointSlot("ep_1")), "SUB", owed)
	b.exec(`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, expire_time)
		SELECT 'sub_' || n, 'default', 'ep_1', 'sf-express', 'OTHER' || n, now() + '1 day' FROM generate_series(3, $1 - 1) n`, owed)
	b.exec(`INSERT INTO endpoint_health (endpoint_id, tenant_id, slot, open_time, probe_count, probe_time) VALUES ('ep_1', 'default', $1, now() - interval '1 hour', 5, now())`,
		int16(subject.EndpointSlot("ep_1")))
	b.subscribe("sub_live", "ep_1")
	b.deliver()
	rc.Await(100) // it is under way
	b.send("sub_live", "ep_1")
	at := <-live
	if at >= owed {
		t.Errorf("the live push was number %d, behind all that was owed", at)
	}
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
	if n := len(rc.Requests()); n != owed+1 {
		t.Errorf("%d callbacks for %d pushes", n, owed+1)
	}
}

// What PostgreSQL refuses is set aside; what was committed with it isn't held up,
// and neither is what comes after.
func TestDelivery_SetsAsideWhatPostgreSQLRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad, well := testkit.NewReceiver(t), testkit.NewReceiver(t)
	bad.Always(testkit.Status(http.StatusInternalServerError))
	b.endpoint("ep_bad", bad.URL)
	b.endpoint("ep_well", well.URL)
	b.subscribe("sub_bad", "ep_bad")
	b.subscribe("sub_well", "ep_well")
	next := b.events()
	order, err := proto.Marshal(&pipelinev1.PushOrder{
		PushId: "psh_bad_1", TenantId: tenant, SubscriptionId: "sub_bad", EndpointId: "ep_bad", CarrierCode: "sf-express",
		WaybillNumber: "SF\x00", // which text of PostgreSQL can't hold
		Revision:      1, Body: []byte(`{}`), ReceiveTime: timestamppb.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.push.Publish(t.Context(), stream.Message{Subject: subject.Push("ep_bad"), Data: order}); err != nil {
		t.Fatal(err)
	}
	b.send("sub_well", "ep_well")
	b.deliver()
	b.stored(`SELECT coalesce((SELECT revision = 1 FROM acknowledged WHERE subscription_id = 'sub_well'), false)`)
	b.stored(`SELECT count(*) > 0 AND bool_and(reason <> '' AND subscription_id = 'sub_bad' AND endpoint_id = 'ep_bad') FROM refused_outcome`)
	if e := next(); e.GetKind() != opsv1.EventKind_EVENT_KIND_OUTCOME_REFUSED || e.GetOutcomeRefused().GetSubscriptionId() != "sub_bad" || e.GetOutcomeRefused().GetReason() == "" {
		t.Errorf("the event is %v", e)
	}
	b.send("sub_well", "ep_well")
	b.stored(`SELECT coalesce((SELECT revision = 2 FROM acknowledged WHERE subscription_id = 'sub_well'), false)`)
}

// Three days of failing, at a thousandth of the time: what is owed is parked at
// the end, whether it was tried itself or others were for it.
func TestDelivery_ParksAllThatADeadEndpointIsOwedAtTheHorizon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusBadGateway))
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET retry_policy = '{"delays":null,"horizon":0,"max_attempts":0,"preset":"three_times"}'`)
	const subs = 20
	for i := range subs {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
		b.send(fmt.Sprint("sub_", i), "ep_1")
	}
	b.deliverWith(func(cfg *delivery.Config) { cfg.RetryScale = 0.0002 }) // 30 minutes are 360 ms
	b.stored(`SELECT count(*) = $1 AND count(park_time) = $1 AND bool_and(park_reason = 'retries_spent') FROM owed_push`, subs)
	var most int
	if err := b.pool.QueryRow(t.Context(), `SELECT max(number) FROM attempt`).Scan(&most); err != nil || most > 4 {
		t.Errorf("a push was attempted %d times, %v; the policy says 4", most, err)
	}
}

// When nothing is parked there is nothing to wait for: an idle shard mustn't ask
// again and again.
func TestTellParked_WaitsForNothingWhenNothingIsParked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store := pg.NewDelivery(b.pool)
	l, ok, err := pg.Acquire(t.Context(), b.pool, "idle", "test", time.Minute)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	tell := func() time.Duration {
		t.Helper()
		wait, err := store.TellParked(t.Context(), l, []subject.Slot{1}, time.Hour, func(p pg.Parked) (*pg.OpsEvent, error) {
			return &pg.OpsEvent{ID: "ops_" + p.EndpointID, Slot: p.Slot, TenantID: p.TenantID, Kind: "pushes_parked", Body: []byte("told")}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	if wait := tell(); wait != 0 {
		t.Errorf("nothing is parked, and it is looked at again after %s", wait)
	}
	b.endpoint("ep_1", "http://127.0.0.1:1/")
	const parked = `INSERT INTO endpoint_health AS h (endpoint_id, tenant_id, slot, parked_count, parked_reason) VALUES ('ep_1', $1, 1, 1, 'retries_spent')
		ON CONFLICT (endpoint_id) DO UPDATE SET parked_count = h.parked_count + 1`
	b.exec(parked, tenant)
	if wait := tell(); wait != 0 {
		t.Errorf("it was told, and is looked at again after %s", wait)
	}
	b.exec(parked, tenant)
	if wait := tell(); wait <= 0 || wait > time.Hour {
		t.Errorf("it was told less than an hour ago, and is looked at again after %s", wait)
	}
}
