package poller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/poller"
	"github.com/posthaste/posthaste/services/simulator"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a queue and streams of a test's own, and a simulator to be asked.
type world struct {
	t         *testing.T
	pool      *pgxpool.Pool
	js        jetstream.JetStream
	raw       *stream.Consumer
	queue     []*pipelinev1.RawTrace
	simulator *simulator.Simulator
	url       string
	subs      *pg.Subscriptions
	count     int
	answer    atomic.Pointer[http.Handler] // instead of the simulator's
	asked     chan struct{}
}

const account = "1237100"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, pool: testkit.PostgreSQL(t), js: testkit.JetStream(t), asked: make(chan struct{}, 10_000)}
	w.subs = pg.NewSubscriptions(w.pool)
	var err error
	if w.raw, err = stream.NewConsumer(t.Context(), w.js, stream.ConsumerOptions{Stream: stream.Raw, Durable: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.raw.Stop)
	// A journey's first day takes less than a second, and all of it is over soon.
	w.simulator = simulator.New(simulator.Config{
		Seed: 1, Speed: 200_000, Start: time.Now(), Kdniao: map[string]string{account: "key"}, Kuaidi100: map[string]string{"me": "key"}, Log: discard(), Now: time.Now,
	})
	real := w.simulator.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked <- struct{}{}
		if h := w.answer.Load(); h != nil {
			(*h).ServeHTTP(rw, r)
			return
		}
		real.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	const setup = `INSERT INTO tenant (id) VALUES ('t') ON CONFLICT DO NOTHING; INSERT INTO endpoint (id, tenant_id, url, secret) VALUES ('ep', 't', 'https://x.example', 's'), ('ep2', 't', 'https://x.example', 's')`
	if _, err := w.pool.Exec(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	return w
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// source is one of the adapters, as quick as a test wants it.
func (w *world) source(code, id, secret string) poller.Source {
	for _, a := range poller.Adapters() {
		if a.Code == code {
			a.Rate, a.Least = 10_000, 0
			return poller.Source{Adapter: a, Account: poller.Account{ID: id, Secret: secret}, Base: w.url}
		}
	}
	w.t.Fatal(code)
	return poller.Source{}
}

// poll polls until the returned function is called, or the test ends.
func (w *world) poll(sources ...poller.Source) (stop func()) {
	w.t.Helper()
	raw := stream.NewPublisher(w.js, stream.Raw, stream.PublisherOptions{})
	rejected := stream.NewPublisher(w.js, stream.Rejected, stream.PublisherOptions{})
	p, err := poller.New(poller.Config{
		Queue: pg.NewPolls(w.pool), Raw: raw, Rejected: rejected, Sources: sources, Client: &http.Client{Transport: &http.Transport{}},
		Log: discard(), Meter: metricnoop.NewMeterProvider(), Messaging: obs.NewMessaging(tracenoop.NewTracerProvider()), Now: time.Now,
		Random: func() float64 { return 0.5 },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("the poller ended with %v", err)
		}
		raw.Close()
		rejected.Close()
	}
	w.t.Cleanup(stop)
	// Subscriptions made before are spread over an hour.
	w.await("it is configured", func() bool {
		var n int
		return w.pool.QueryRow(w.t.Context(), `SELECT count(*) FROM poll_source WHERE filled`).Scan(&n) == nil && n > 0
	})
	return stop
}

// subscribe makes a subscription as the control plane does.
func (w *world) subscribe(endpoint string, waybill track.Waybill, change ...func(*pg.NewSubscription)) string {
	w.t.Helper()
	w.count++
	now := time.Now()
	n := pg.NewSubscription{Subscription: pg.Subscription{
		ID: fmt.Sprintf("sub_%04d", w.count), TenantID: "t", EndpointID: endpoint, Waybill: waybill, CreateTime: now, ExpireTime: now.AddDate(0, 1, 0),
	}}
	for _, f := range change {
		f(&n)
	}
	made, err := w.subs.Create(w.t.Context(), "t", []pg.NewSubscription{n})
	if err != nil || made[0].Err != nil {
		w.t.Fatal(err, made[0].Err)
	}
	return n.ID
}

// next is the next raw trace.
func (w *world) next() *pipelinev1.RawTrace {
	w.t.Helper()
	for len(w.queue) == 0 {
		batch, err := w.raw.Next(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range batch {
			r := &pipelinev1.RawTrace{}
			if err := proto.Unmarshal(m.Data, r); err != nil {
				w.t.Fatal(err)
			}
			w.queue = append(w.queue, r)
			if err := m.Ack(); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	r := w.queue[0]
	w.queue = w.queue[1:]
	return r
}

type row struct {
	due      *time.Time
	source   string
	tier     int
	phone    string
	failures int
	silent   int
}

func (w *world) row(waybill track.Waybill) (r row, ok bool) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `SELECT due_time, source, tier, phone, failure_count, silent_count FROM poll WHERE carrier_code = $1 AND waybill_number = $2`, waybill.Carrier, waybill.Number)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		return row{}, false
	}
	if err := rows.Scan(&r.due, &r.source, &r.tier, &r.phone, &r.failures, &r.silent); err != nil {
		w.t.Fatal(err)
	}
	return r, true
}

// await asks until it is so: there is no signal for what is written.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for !is() {
		select {
		case <-ticks.C:
		case <-w.t.Context().Done():
			w.t.Fatalf("the test ended before %s", what)
		}
	}
}

// due makes a waybill due.
func (w *world) due(waybill track.Waybill) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), `UPDATE poll SET due_time = now() WHERE carrier_code = $1 AND waybill_number = $2`, waybill.Carrier, waybill.Number); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.pool.Exec(w.t.Context(), `SELECT pg_notify('posthaste_poll', '')`); err != nil {
		w.t.Fatal(err)
	}
}

func waybill(name string) track.Waybill {
	return track.Waybill{Carrier: "sf-express", Number: track.Number("SIM-" + name)}
}

// polled waits until a waybill was asked for and put back.
func (w *world) polled(waybill track.Waybill) row {
	w.t.Helper()
	var r row
	w.await("the waybill was asked for", func() bool {
		var ok bool
		r, ok = w.row(waybill)
		// A claim lasts three minutes; everything else is shorter or longer.
		return ok && (r.due == nil || time.Until(*r.due) > 5*time.Minute || r.failures > 0 && time.Until(*r.due) > time.Second)
	})
	return r
}

// One waybill is asked for once, however many subscribe; what is told goes into
// RAW; at the journey's end nobody asks any more.
func TestPoller_AsksAndStopsAtTheEnd(t *testing.T) {
	t.Parallel()
	for code, secret := range map[string]poller.Account{"kdniao": {ID: account, Secret: "key"}, "kuaidi100": {ID: "me", Secret: "key"}} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.poll(w.source(code, secret.ID, secret.Secret))
			parcel := waybill("DELIVERED-1")
			w.subscribe("ep", parcel)
			w.subscribe("ep2", parcel)
			first := w.next()
			if first.GetSource() != code || first.GetSourceKind() != trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_POLL || first.GetCarrierCode() != "sf-express" ||
				first.GetWaybillNumber() != "SIM-DELIVERED-1" || first.GetAccount() != secret.ID {
				t.Errorf("taken in: %v", first)
			}
			w.polled(parcel)
			if n := len(w.asked); n != 1 {
				t.Errorf("asked %d times", n)
			}
			w.await("its journey has ended", func() bool {
				r, _ := w.row(parcel)
				if r.due != nil && time.Until(*r.due) > 5*time.Minute {
					w.due(parcel)
				}
				return r.due == nil
			})
		})
	}
}

// What is told again isn't taken in again.
func TestPoller_IsSilentAboutARepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.poll(w.source("kdniao", account, "key"))
	parcel := waybill("SILENT-1")
	w.subscribe("ep", parcel)
	w.polled(parcel)
	w.await("nothing comes any more", func() bool {
		w.due(parcel)
		return w.polled(parcel).silent >= 2
	})
	before := w.polled(parcel).silent
	w.due(parcel)
	w.await("it is asked again", func() bool { return w.polled(parcel).silent > before })
	w.subscribe("ep", waybill("LOCKER-2"))
	for w.next().GetWaybillNumber() != "SIM-LOCKER-2" { // those before are of its first changes
	}
	bodies := map[string]bool{}
	for _, r := range w.queue {
		if bodies[string(r.GetBody())] {
			t.Error("the same is taken in twice")
		}
		bodies[string(r.GetBody())] = true
	}
}

// Nobody waits any more: nobody is asked.
func TestPoller_ForgetsWhatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.poll(w.source("kdniao", account, "key"))
	parcel := waybill("UNKNOWN-1")
	id := w.subscribe("ep", parcel)
	r := w.polled(parcel)
	if r.silent != 1 || r.failures != 0 {
		t.Errorf("an unknown number is %+v", r)
	}
	if _, err := w.subs.Update(t.Context(), "t", id, time.Now(), func(s *pg.Subscription) (bool, error) {
		s.State = pg.SubscriptionCancelled
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	asked := len(w.asked)
	w.due(parcel)
	w.await("it is forgotten", func() bool { _, ok := w.row(parcel); return !ok })
	if len(w.asked) != asked {
		t.Error("it was asked for once more")
	}
}

// A key that is refused isn't tried on and on, and nothing is lost by it.
func TestPoller_StopsAskingWhenItsAccountIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.poll(w.source("kdniao", account, "wrong"))
	var parcels []track.Waybill
	for i := range 20 {
		parcels = append(parcels, waybill(fmt.Sprint("DELIVERED-", i)))
		w.subscribe("ep", parcels[i])
	}
	<-w.asked
	w.await("all wait", func() bool {
		var n int
		return w.pool.QueryRow(t.Context(), `SELECT count(*) FROM poll WHERE due_time <= now() + interval '1 second'`).Scan(&n) == nil && n <= len(parcels)
	})
	stop()
	if n := len(w.asked); n > 8 { // those under way at once
		t.Errorf("asked %d times more with a key that is refused", n)
	}
	// A key that is right, and a time that has come.
	for _, p := range parcels {
		w.due(p)
	}
	w.poll(w.source("kdniao", account, "key"))
	got := map[string]bool{}
	for len(got) < len(parcels) {
		got[w.next().GetWaybillNumber()] = true
	}
}

// A fault is tried again sooner than an answer, more and more slowly; being told off
// keeps the source from being asked for as long as it says.
func TestPoller_BacksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fail := http.Handler(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }))
	w.answer.Store(&fail)
	w.poll(w.source("kdniao", account, "key"))
	parcel := waybill("DELIVERED-1")
	w.subscribe("ep", parcel)
	var r row
	w.await("it has failed", func() bool { r, _ = w.row(parcel); return r.failures == 1 })
	if d := time.Until(*r.due); d < time.Minute || d > 2*time.Minute {
		t.Errorf("after a failure it is due in %v", d)
	}
	throttle := http.Handler(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "3000")
		rw.WriteHeader(http.StatusTooManyRequests)
	}))
	w.answer.Store(&throttle)
	w.due(parcel)
	w.await("it waits", func() bool { r, _ = w.row(parcel); return r.due != nil && time.Until(*r.due) > 40*time.Minute })
	if r.failures != 1 {
		t.Errorf("being told off counts as a failure: %+v", r)
	}
}

// An answer that can't be used is recorded, and asked for again.
func TestPoller_RecordsAnswersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rejected, err := stream.NewConsumer(t.Context(), w.js, stream.ConsumerOptions{Stream: stream.Rejected, Durable: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rejected.Stop)
	broken := http.Handler(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"ShipperCode":"SF","LogisticCode":"SIM-DELIVERED-1","Success":true,"State":"2","Traces":[{"AcceptTime":"yesterday"}]}`))
	}))
	w.answer.Store(&broken)
	w.poll(w.source("kdniao", account, "key"))
	w.subscribe("ep", waybill("DELIVERED-1"))
	batch, err := rejected.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &pipelinev1.RejectedRaw{}
	if err := proto.Unmarshal(batch[0].Data, r); err != nil || r.GetService() != "poller" || r.GetField() != "Data[0].Traces[0].AcceptTime" {
		t.Errorf("%v: %v", err, r)
	}
	w.await("it is asked for again", func() bool { r, _ := w.row(waybill("DELIVERED-1")); return r.failures == 1 })
}

// Subscriptions that were there before a source was configured are taken in, and
// rest when it no longer is.
func TestPolls_ConfigureTakesInAndRests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polls := pg.NewPolls(w.pool)
	before := waybill("DELIVERED-1")
	w.subscribe("ep", before)
	if _, ok := w.row(before); ok {
		t.Fatal("what isn't polled is queued")
	}
	configure := func(sources map[track.Carrier]string) {
		t.Helper()
		if err := polls.Configure(t.Context(), sources, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		configure(map[track.Carrier]string{"sf-express": "kdniao"})
		if r, ok := w.row(before); !ok || r.source != "kdniao" || r.due == nil {
			t.Fatalf("taken in: %+v, %v", r, ok)
		}
	}
	configure(map[track.Carrier]string{"sf-express": "kuaidi100"})
	if r, _ := w.row(before); r.source != "kuaidi100" || r.due == nil {
		t.Errorf("moved: %+v", r)
	}
	configure(nil)
	if r, _ := w.row(before); r.source != "" || r.due != nil {
		t.Errorf("at rest: %+v", r)
	}
	configure(map[track.Carrier]string{"sf-express": "kdniao"})
	if r, _ := w.row(before); r.source != "kdniao" || r.due == nil {
		t.Errorf("taken up again: %+v", r)
	}
}

func TestPolls_KeepTheFastestTierAndThePhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parcel := waybill("DELIVERED-1")
	w.subscribe("ep", parcel, func(n *pg.NewSubscription) { n.PollTier, n.Phone = pg.TierEconomy, "1234" })
	if err := pg.NewPolls(w.pool).Configure(t.Context(), map[track.Carrier]string{"sf-express": "kdniao"}, 0); err != nil {
		t.Fatal(err)
	}
	if r, _ := w.row(parcel); r.tier != pg.TierEconomy || r.phone != "1234" || r.due == nil {
		t.Errorf("given before it was polled: %+v", r)
	}
	w.subscribe("ep2", parcel, func(n *pg.NewSubscription) { n.PollTier = pg.TierFast })
	if r, _ := w.row(parcel); r.tier != pg.TierFast || r.phone != "1234" {
		t.Errorf("of two: %+v", r)
	}
}

// The other carriers that a number may be of are asked too.
func TestPolls_AskCandidates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := pg.NewPolls(w.pool).Configure(t.Context(), map[track.Carrier]string{"sf-express": "kdniao", "fedex": "kdniao", "zto-express": "kdniao", "ems": "kdniao"}, 0); err != nil {
		t.Fatal(err)
	}
	w.subscribe("ep", track.Waybill{Carrier: "fedex", Number: "986578788855"}, func(n *pg.NewSubscription) {
		n.Candidates = []track.Carrier{"sf-express", "zto-express", "ems"}
	})
	due, err := pg.NewPolls(w.pool).Claim(t.Context(), "kdniao", time.Now().Add(time.Second), time.Minute, 10)
	if err != nil || len(due) != 3 {
		t.Fatalf("%v: %v", err, due)
	}
	for _, d := range due {
		if !d.Wanted || d.Waybill.Carrier == "ems" {
			t.Errorf("%+v", d)
		}
	}
}

// What one instance has claimed no other gets, until the claim ends.
func TestPolls_AreClaimedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polls := pg.NewPolls(w.pool)
	if err := polls.Configure(t.Context(), map[track.Carrier]string{"sf-express": "kdniao"}, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		w.subscribe("ep", waybill(fmt.Sprint("DELIVERED-", i)))
	}
	now := time.Now().Add(time.Second)
	seen := map[track.Waybill]bool{}
	for range 5 {
		due, err := polls.Claim(t.Context(), "kdniao", now, time.Minute, 10)
		if err != nil || len(due) != 10 {
			t.Fatalf("%v: %d are claimed", err, len(due))
		}
		for _, d := range due {
			if seen[d.Waybill] {
				t.Errorf("%v is claimed twice", d.Waybill)
			}
			seen[d.Waybill] = true
		}
	}
	if due, err := polls.Claim(t.Context(), "kdniao", now, time.Minute, 10); err != nil || len(due) != 0 {
		t.Errorf("%v: %v are claimed again", err, due)
	}
	if due, err := polls.Claim(t.Context(), "kdniao", now.Add(2*time.Minute), time.Minute, 100); err != nil || len(due) != 50 {
		t.Errorf("%v: of a dead instance %d are claimed", err, len(due))
	}
}

// Nothing but what is due is read, however much is watched.
func TestPolls_FindWhatIsDueByIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const fill = `INSERT INTO poll (carrier_code, waybill_number, source, due_time) SELECT 'sf-express', 'N' || n, 'kdniao', now() + n * interval '1 second' FROM generate_series(-20, 50000) n`
	for _, q := range []string{fill, `ANALYZE poll`} {
		if _, err := w.pool.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	var plan string
	rows, err := w.pool.Query(t.Context(), `EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF, SUMMARY OFF, COSTS OFF)
		SELECT carrier_code, waybill_number FROM poll WHERE source = 'kdniao' AND due_time <= now() ORDER BY due_time LIMIT 100 FOR UPDATE SKIP LOCKED`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var planSb535 strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		planSb535.WriteString(line + "\n")
	}
	plan += planSb535.String()
	if !strings.Contains(plan, "Index Scan using poll_due") || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") {
		t.Errorf("the plan is\n%s", plan)
	}
}

// A reserved number plays its journey without any network.
func TestSandbox_PlaysAJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.poll(poller.Sandbox(100_000))
	parcel := track.Waybill{Carrier: "simulated", Number: "SIM-RETURNED-7"}
	w.subscribe("ep", parcel)
	w.subscribe("ep", track.Waybill{Carrier: "simulated", Number: "NONE-1"})
	last := ""
	for !strings.Contains(last, `"406"`) { // returned to the sender
		r := w.next()
		if r.GetCarrierCode() != "simulated" || r.GetWaybillNumber() != "SIM-RETURNED-7" || len(r.GetBody()) < len(last) {
			t.Fatalf("told: %v", r)
		}
		last = string(r.GetBody())
	}
	w.await("it has ended", func() bool { r, _ := w.row(parcel); return r.due == nil })
	if len(w.asked) != 0 {
		t.Error("somebody was asked")
	}
}

// A subscription that is made while a carrier comes to be polled is seen by one or
// the other.
func TestPolls_MissNoSubscriptionWhileTheyAreConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polls := pg.NewPolls(w.pool)
	const rounds = 30
	for i := range rounds {
		sources := map[track.Carrier]string{"sf-express": "kdniao"}
		if err := polls.Configure(t.Context(), nil, 0); err != nil {
			t.Fatal(err)
		}
		configured := make(chan error, 1)
		go func() { configured <- polls.Configure(t.Context(), sources, 0) }()
		parcel := waybill(fmt.Sprint("DELIVERED-", i))
		w.subscribe("ep", parcel)
		if err := <-configured; err != nil {
			t.Fatal(err)
		}
		if r, ok := w.row(parcel); !ok || r.due == nil {
			t.Fatalf("round %d: %+v, %v", i, r, ok)
		}
	}
}
