package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/delivery"
	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/egress"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const tenant = "default"

// bundle is delivery with real neighbours. The test plays the matcher.
type bundle struct {
	t      *testing.T
	js     jetstream.JetStream
	pool   *pgxpool.Pool
	trace  *stream.Publisher
	push   *stream.Publisher
	ops    *stream.Publisher
	traces map[string]*track.Trace // by subscription
	pushed map[string]track.Revision
	format push.Format // of the endpoints; JSON if it isn't set
	terms  string
	epoch  uint64 // of the matcher
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, js: testkit.JetStream(t), pool: testkit.PostgreSQL(t), traces: map[string]*track.Trace{}, pushed: map[string]track.Revision{}}
	b.trace = stream.NewPublisher(b.js, stream.Trace, stream.PublisherOptions{})
	b.push = stream.NewPublisher(b.js, stream.Push, stream.PublisherOptions{})
	b.ops = stream.NewPublisher(b.js, stream.Ops, stream.PublisherOptions{})
	t.Cleanup(b.ops.Close)
	t.Cleanup(b.trace.Close)
	t.Cleanup(b.push.Close)
	b.exec(`INSERT INTO tenant (id) VALUES ($1)`, tenant)
	return b
}

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), query, args...); err != nil {
		b.t.Fatal(err)
	}
}

// deliver runs an instance until the returned function is called.
func (b *bundle) deliver() (stop func()) {
	b.t.Helper()
	return b.deliverWith(func(*delivery.Config) {})
}

// deliverWith is deliver with a changed configuration.
func (b *bundle) deliverWith(change func(*delivery.Config)) (stop func()) {
	b.t.Helper()
	client := callback.NewClient(egress.New(egress.Config{Policy: egress.Lab}), time.Now)
	cfg := delivery.Config{
		Store: pg.NewDelivery(b.pool), Post: client, Ops: b.ops,
		Consume: func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error) {
			return stream.NewConsumer(ctx, b.js, opts)
		},
		Last: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			return stream.LastMessages(ctx, b.js, stream.Trace, subjects)
		},
		Trim: func(ctx context.Context, durables []string) error {
			return stream.TrimAcknowledged(ctx, b.js, stream.Push, durables)
		},
		Log: slog.New(slog.DiscardHandler), Meter: noop.NewMeterProvider(), Messaging: obs.NewMessaging(tracenoop.NewTracerProvider()),
		Now: time.Now, Random: rand.Float64,
	}
	change(&cfg)
	s, err := delivery.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.t.Errorf("delivery ended with %v", err)
		}
		client.Close()
	})
	b.t.Cleanup(stop)
	return stop
}

// endpoint makes an endpoint that retries soon.
func (b *bundle) endpoint(id, url string) {
	b.t.Helper()
	policy := pg.RetryPolicy{Delays: []time.Duration{10 * time.Millisecond}}
	b.exec(`INSERT INTO endpoint (id, tenant_id, url, secret, retry_policy, timeout) VALUES ($1, $2, $3, $4, $5, '2 s')`, id, tenant, url, webhook.NewSecret(), policy)
}

func (b *bundle) subscribe(sub, endpoint string) {
	b.t.Helper()
	number := number(sub)
	b.exec(`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, expire_time) VALUES ($1, $2, $3, 'sf-express', $4, now() + '1 day')`, sub, tenant, endpoint, number)
}

func number(sub string) string { return strings.ToUpper(strings.ReplaceAll(sub, "_", "")) }

// happen makes the next revision of a subscription's waybill.
func (b *bundle) happen(sub string) {
	b.t.Helper()
	w := track.Waybill{Carrier: "sf-express", Number: track.Number(number(sub))}
	old := b.traces[sub]
	n := 0
	if old != nil {
		n = len(old.Events)
	}
	now := time.Now()
	t, _ := track.Merge(old, track.Report{Waybill: w, Events: []track.Event{{
		ID: track.EventID(fmt.Sprint("e", n)), Kind: track.KindEvent, ReceiveTime: now, Status: status.InTransit,
		Time: track.Time{Wall: now.UTC(), Precision: track.PrecisionSecond},
	}}}, now)
	b.traces[sub] = t
	data, err := proto.Marshal(wire.TraceUpdate(t))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.trace.Publish(b.t.Context(), stream.Message{Subject: subject.Trace(string(w.Carrier), string(w.Number)), Data: data}); err != nil {
		b.t.Fatal(err)
	}
}

// order hands what is new of a subscription's waybill to delivery, as the matcher
// does.
func (b *bundle) order(sub, endpoint string) {
	b.t.Helper()
	t, after := b.traces[sub], b.pushed[sub]
	if t.Revision == after {
		return
	}
	body := b.format.Render(push.Subscription{ID: sub, TenantID: tenant, AccountID: "1237100", Terms: []byte(b.terms)}, t, after)
	data, err := proto.Marshal(&pipelinev1.PushOrder{
		PushId: push.ID(sub, t.Revision), TenantId: tenant, SubscriptionId: sub, EndpointId: endpoint,
		CarrierCode: string(t.Waybill.Carrier), WaybillNumber: string(t.Waybill.Number),
		AfterRevision: uint64(after), Revision: uint64(t.Revision), Body: body, ReceiveTime: timestamppb.Now(), MatchEpoch: b.epoch,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.push.Publish(b.t.Context(), stream.Message{Subject: subject.Push(endpoint), Data: data}); err != nil {
		b.t.Fatal(err)
	}
	b.pushed[sub] = t.Revision
}

// send makes a revision and hands it over.
func (b *bundle) send(sub, endpoint string) {
	b.t.Helper()
	b.happen(sub)
	b.order(sub, endpoint)
}

func decode(t *testing.T, r testkit.Request) payload.Push {
	t.Helper()
	var p payload.Push
	if err := json.Unmarshal(r.Body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// stored waits until a query is true: for what no callback tells.
func (b *bundle) stored(query string, args ...any) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes bool
		if err := b.pool.QueryRow(b.t.Context(), query, args...).Scan(&yes); err != nil {
			b.t.Fatal(err)
		}
		if yes {
			return
		}
		select {
		case <-tick.C:
		case <-b.t.Context().Done():
			b.t.Fatalf("the test ended before it was true: %s", query)
		}
	}
}

// Endpoints fail, instances stop, lose their lease to others and start again
// while changes stream in; every subscription's pushes stay in order and chain
// without a gap to the newest revision.
func TestDelivery_OrderAndChainHoldWhateverFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	rc := testkit.NewReceiver(t)
	var mu sync.Mutex
	acknowledged := map[string]uint64{} // newest revision that was answered 200
	bad := 0.4
	rc.Always(func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		mu.Lock()
		defer mu.Unlock()
		if rand.Float64() < bad {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	const subs, endpoints, rounds = 12, 3, 40
	for e := range endpoints {
		b.endpoint(fmt.Sprint("ep_", e), rc.URL+fmt.Sprint("/", e))
	}
	for s := range subs {
		b.subscribe(fmt.Sprint("sub_", s), fmt.Sprint("ep_", s%endpoints))
	}
	stop := b.deliver()
	for range rounds {
		for range 10 {
			s := r.IntN(subs)
			b.happen(fmt.Sprint("sub_", s))
			if r.IntN(3) > 0 { // the matcher is behind now and then
				b.order(fmt.Sprint("sub_", s), fmt.Sprint("ep_", s%endpoints))
			}
		}
		switch r.IntN(8) {
		case 0:
			stop()
			stop = b.deliver()
		case 1:
			// As if another instance had taken over, and gone again.
			b.exec(`UPDATE lease SET owner = 'another', epoch = epoch + 1, expire_time = now() - interval '1 s'`)
			next := b.deliver()
			old := stop
			stop = func() { old(); next() }
		}
	}
	mu.Lock()
	bad = 0
	mu.Unlock()
	for s := range subs {
		if b.traces[fmt.Sprint("sub_", s)] != nil {
			b.order(fmt.Sprint("sub_", s), fmt.Sprint("ep_", s%endpoints))
		}
	}
	for s, tr := range b.traces {
		b.stored(`SELECT coalesce((SELECT revision >= $2 FROM acknowledged WHERE subscription_id = $1), false)
			AND NOT EXISTS (SELECT 1 FROM owed_push WHERE subscription_id = $1)`, s, int64(tr.Revision))
	}
	// What the receiver saw: by the log of attempts, which knows the answers.
	rows, err := b.pool.Query(t.Context(), `SELECT subscription_id, after_revision, revision, outcome FROM attempt ORDER BY attempt_time, number`)
	if err != nil {
		t.Fatal(err)
	}
	var sub string
	var after, revision uint64
	var outcome int
	_, err = pgx.ForEachRow(rows, []any{&sub, &after, &revision, &outcome}, func() error {
		if after > acknowledged[sub] {
			t.Errorf("%s: (%d, %d] was offered when %d was acknowledged: a gap", sub, after, revision, acknowledged[sub])
		}
		if outcome == pg.AttemptAcknowledged {
			acknowledged[sub] = max(acknowledged[sub], revision)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// And by the callbacks themselves: never an older revision after a newer was
	// answered well is allowed, unless it is a repeat after a crash.
	newest := map[string]uint64{}
	for _, req := range rc.Requests() {
		p := decode(t, req)
		if p.AfterRevision > newest[p.SubscriptionID] && p.AfterRevision > acknowledged[p.SubscriptionID] {
			t.Errorf("%s: (%d, %d] begins beyond all that was sent before, %d", p.SubscriptionID, p.AfterRevision, p.Revision, newest[p.SubscriptionID])
		}
		newest[p.SubscriptionID] = max(newest[p.SubscriptionID], p.Revision)
	}
}

func TestDelivery_WhatIsAcknowledgedIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	for i := range 50 {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
		b.send(fmt.Sprint("sub_", i), "ep_1")
	}
	stop := b.deliver()
	rc.Await(50)
	stop()
	b.deliver()
	b.subscribe("sub_last", "ep_1")
	b.send("sub_last", "ep_1")
	rc.Await(51)
	seen := map[string]int{}
	for _, r := range rc.Requests() {
		seen[r.Header.Get(webhook.HeaderID)]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

func TestDelivery_ADeadEndpointsBacklogIsOneRowASubscription(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, well := testkit.NewReceiver(t), testkit.NewReceiver(t)
	dead.Always(testkit.Status(http.StatusInternalServerError))
	b.endpoint("ep_dead", dead.URL)
	b.endpoint("ep_well", well.URL)
	for i := range 20 {
		b.subscribe(fmt.Sprint("sub_d", i), "ep_dead")
		b.subscribe(fmt.Sprint("sub_w", i), "ep_well")
	}
	b.deliver()
	for range 5 {
		for i := range 20 {
			b.send(fmt.Sprint("sub_d", i), "ep_dead")
			b.send(fmt.Sprint("sub_w", i), "ep_well")
		}
	}
	well.Await(100)
	b.stored(`SELECT count(*) = 20 AND min(revision) = 5 AND max(after_revision) = 0 FROM owed_push`)
	// It comes back: each subscription gets all of it, in one push or a repeat and
	// one more.
	dead.Always(testkit.Status(http.StatusOK))
	for i := range 20 {
		b.stored(`SELECT coalesce((SELECT revision = 5 FROM acknowledged WHERE subscription_id = $1), false)`, fmt.Sprint("sub_d", i))
	}
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
	// And then pushes go straight again.
	b.send("sub_d0", "ep_dead")
	b.stored(`SELECT coalesce((SELECT revision = 6 FROM acknowledged WHERE subscription_id = 'sub_d0'), false)`)
}

func TestDelivery_RetriesSpentAreParkedAndComeWithTheNextChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET retry_policy = '{"delays":[1000000],"max_attempts":2}'`)
	b.subscribe("sub_1", "ep_1")
	rc.Script(testkit.Status(500), testkit.Status(500))
	b.deliver()
	b.send("sub_1", "ep_1")
	b.stored(`SELECT EXISTS (SELECT 1 FROM owed_push WHERE park_time IS NOT NULL AND park_reason = 'retries_spent')`)
	b.send("sub_1", "ep_1")
	rc.Await(3)
	if p := decode(t, rc.Requests()[2]); p.AfterRevision != 0 || p.Revision != 2 || len(p.Events) != 2 {
		t.Errorf("after the parked one came (%d, %d]", p.AfterRevision, p.Revision)
	}
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
}

func TestDelivery_AGoneEndpointIsDisabledAndCanComeBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	b.subscribe("sub_2", "ep_1")
	rc.Script(testkit.Status(http.StatusGone))
	b.deliver()
	b.send("sub_1", "ep_1")
	b.stored(`SELECT state = 3 FROM endpoint WHERE id = 'ep_1'`)
	b.send("sub_2", "ep_1")
	b.stored(`SELECT count(*) = 2 AND count(park_time) = 2 FROM owed_push`)
	b.exec(`UPDATE endpoint SET state = 1, update_time = now()`)
	rc.Await(3)
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
}

func TestDelivery_ACancelledSubscriptionIsOwedNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusServiceUnavailable))
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	b.deliver()
	b.send("sub_1", "ep_1")
	rc.Next()
	b.exec(`UPDATE subscription SET state = 4, update_time = now()`)
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
}

// What is parked for good has no time at which anybody would look at it again.
func TestDelivery_CancellingRemovesWhatIsParked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusServiceUnavailable))
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET retry_policy = $1`, pg.RetryPolicy{Delays: []time.Duration{time.Millisecond}, MaxAttempts: 1})
	b.subscribe("sub_1", "ep_1")
	b.deliver()
	b.send("sub_1", "ep_1")
	b.stored(`SELECT count(park_time) = 1 FROM owed_push`)
	b.exec(`UPDATE subscription SET state = 4, update_time = now()`)
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
}

// An attempt that was under way when its subscription was cancelled leaves no row.
func TestDelivery_CancellingDuringAnAttemptLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	failing, release := testkit.Held(testkit.Status(http.StatusServiceUnavailable))
	rc.Script(failing)
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET timeout = '1 minute', retry_policy = $1`, pg.RetryPolicy{Delays: []time.Duration{time.Millisecond}, MaxAttempts: 1})
	b.subscribe("sub_1", "ep_1")
	b.subscribe("sub_2", "ep_1")
	b.deliver()
	b.send("sub_1", "ep_1")
	rc.Next()
	b.exec(`UPDATE subscription SET state = 4, update_time = now() WHERE id = 'sub_1'`)
	// What is heard of later says that the cancellation was heard.
	rc.Script(testkit.Status(http.StatusServiceUnavailable))
	b.send("sub_2", "ep_1")
	b.stored(`SELECT count(park_time) = 1 FROM owed_push`)
	b.exec(`UPDATE subscription SET state = 4, update_time = now() WHERE id = 'sub_2'`)
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
	release()
	b.stored(`SELECT count(*) = 2 FROM attempt`)
	b.stored(`SELECT count(*) = 0 FROM owed_push`)
}

// TestDelivery_AStragglersOrdersSayNothingNew: an instance of matching that was
// frozen hands over what its successor handed over long ago.
func TestDelivery_AStragglersOrdersSayNothingNew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	b.exec(`INSERT INTO lease (name, owner, epoch, expire_time) VALUES ('subscription-0', 'successor', 7, now() + '1 day')`)
	// Not in the time after a take-over, in which all orders are compared.
	var later atomic.Int64
	b.deliverWith(func(cfg *delivery.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	b.epoch = 7
	b.send("sub_1", "ep_1")
	b.send("sub_1", "ep_1")
	for got := uint64(0); got < 2; {
		got = decode(t, rc.Next()).Revision
	}
	b.stored(`SELECT count(*) = 1 FROM acknowledged WHERE subscription_id = 'sub_1' AND revision = 2`)
	later.Store(int64(10 * time.Minute))

	b.epoch = 6
	b.pushed["sub_1"] = 1 // what it knew
	b.order("sub_1", "ep_1")
	b.epoch = 7
	b.send("sub_1", "ep_1")
	if p := decode(t, rc.Next()); p.AfterRevision != 2 || p.Revision != 3 {
		t.Errorf("after the straggler's order comes (%d, %d], want (2, 3]", p.AfterRevision, p.Revision)
	}
	// What only the straggler handed over is pushed: nothing is lost, whatever the
	// epochs say.
	b.epoch = 6
	b.send("sub_1", "ep_1")
	if p := decode(t, rc.Next()); p.AfterRevision != 3 || p.Revision != 4 {
		t.Errorf("what the straggler alone handed over is (%d, %d], want (3, 4]", p.AfterRevision, p.Revision)
	}
}
