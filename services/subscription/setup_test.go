package subscription_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/subject"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/subscription"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const tenant = "tenants/acme"

// clock is the time, moved on by tests.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
func discard() *slog.Logger              { return slog.New(slog.DiscardHandler) }
func fieldsOf(t testing.TB, err error) []string {
	t.Helper()
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok {
		t.Fatalf("error is %v, want one with fields", err)
	}
	var names []string
	for _, f := range e.Fields {
		names = append(names, f.Field)
	}
	return names
}

func reasonOf(err error) string {
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return e.Reason
}

// control is the control plane on a database of its own.
type control struct {
	t         testing.TB
	pool      *pgxpool.Pool
	clock     clock
	endpoints *subscription.Endpoints
	subs      *subscription.Subscriptions
	accounts  *subscription.PlatformAccounts
}

func newControl(t testing.TB) *control {
	t.Helper()
	c := &control{t: t, pool: testkit.PostgreSQL(t)}
	cfg := subscription.ControlConfig{
		Endpoints: pg.NewEndpoints(c.pool), Subscriptions: pg.NewSubscriptions(c.pool), Accounts: pg.NewPlatformAccounts(c.pool), Numbers: pg.NewRecognition(c.pool), Log: discard(), Now: c.clock.Now,
	}
	c.endpoints, c.subs = subscription.NewEndpoints(cfg), subscription.NewSubscriptions(cfg)
	c.accounts = subscription.NewPlatformAccounts(cfg)
	return c
}

func (c *control) endpoint(change ...func(*subscriptionv1.Endpoint)) *subscriptionv1.Endpoint {
	c.t.Helper()
	e := &subscriptionv1.Endpoint{Url: "https://callback.example/parcels"}
	for _, f := range change {
		f(e)
	}
	resp, err := c.endpoints.CreateEndpoint(c.t.Context(), &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: e})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetEndpoint()
}

func wish(endpoint, number string) *subscriptionv1.Subscription {
	return &subscriptionv1.Subscription{Endpoint: endpoint, CarrierCode: "sf", WaybillNumber: number}
}

func (c *control) subscribe(s *subscriptionv1.Subscription) *subscriptionv1.Subscription {
	c.t.Helper()
	resp, err := c.subs.CreateSubscription(c.t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: s})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetSubscription()
}

func (c *control) get(name string) *subscriptionv1.Subscription {
	c.t.Helper()
	resp, err := c.subs.GetSubscription(c.t.Context(), &subscriptionv1.GetSubscriptionRequest{Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetSubscription()
}

// await asks until a subscription is as it should be: there is no signal for it.
func (c *control) await(name, what string, is func(*subscriptionv1.Subscription) bool) *subscriptionv1.Subscription {
	c.t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for {
		s := c.get(name)
		if is(s) {
			return s
		}
		select {
		case <-ticks.C:
		case <-c.t.Context().Done():
			c.t.Fatalf("the test ended before %s was %s; it is %v", name, what, s)
		}
	}
}

// bundle is the control plane with streams and matchers.
type bundle struct {
	*control
	js    jetstream.JetStream
	trace *stream.Publisher
	got   *stream.Consumer
	queue []*pipelinev1.PushOrder
	heads []map[string][]string
}

func newBundle(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{control: newControl(t), js: testkit.JetStream(t)}
	b.trace = stream.NewPublisher(b.js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(b.trace.Close)
	var err error
	if b.got, err = stream.NewConsumer(t.Context(), b.js, stream.ConsumerOptions{Stream: stream.Push, Durable: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.got.Stop)
	return b
}

// match runs a matcher until the returned function is called, or the test ends.
func (b *bundle) match(change ...func(*subscription.MatcherConfig)) (stop func()) {
	b.t.Helper()
	pushes := stream.NewPublisher(b.js, stream.Push, stream.PublisherOptions{})
	cfg := subscription.MatcherConfig{
		Matching: pg.NewMatching(b.pool), Push: pushes,
		Consume: func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error) {
			return stream.NewConsumer(ctx, b.js, opts)
		},
		Last: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			return stream.LastMessages(ctx, b.js, stream.Trace, subjects)
		},
		Projected: func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
			return pg.Traces(ctx, b.pool, waybills)
		},
		Oldest: func(ctx context.Context) (time.Time, bool, error) { return stream.Oldest(ctx, b.js, stream.Push) },
		Sweep:  20 * time.Millisecond, Log: discard(), Meter: metricnoop.NewMeterProvider(),
		Messaging: obs.NewMessaging(tracenoop.NewTracerProvider()), Now: b.clock.Now,
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := subscription.NewMatcher(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.t.Errorf("the matcher ended with %v", err)
		}
		pushes.Close()
	}
	b.t.Cleanup(stop)
	return stop
}

var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// traceAt is a waybill's trace at a revision, with an event for each.
func traceAt(number string, revision int, change ...func(*track.Trace)) *track.Trace {
	t := &track.Trace{
		Waybill: track.Waybill{Carrier: "sf", Number: track.Number(number)}, Revision: track.Revision(revision),
		State:      track.State{Status: status.InTransit, Sub: status.InTransitDeparted},
		CreateTime: epoch, UpdateTime: epoch.Add(time.Duration(revision) * time.Minute),
	}
	for r := 1; r <= revision; r++ {
		at := epoch.Add(time.Duration(r) * time.Minute)
		t.Events = append(t.Events, track.Event{
			ID: track.EventID(fmt.Sprint("e", r)), Kind: track.KindEvent, Revision: track.Revision(r), ReceiveTime: at,
			Time:   track.Time{Wall: at, OffsetSource: track.OffsetGiven, Precision: track.PrecisionSecond},
			Status: status.InTransit, Sub: status.InTransitDeparted, Text: fmt.Sprint("station ", r),
		})
	}
	for _, f := range change {
		f(t)
	}
	return t
}

func delivered(at time.Time) func(*track.Trace) {
	return func(t *track.Trace) {
		t.State.Status, t.State.Sub, t.State.Terminal = status.Delivered, status.DeliveredRecipient, true
		t.UpdateTime = at
	}
}

// change publishes a trace.
func (b *bundle) change(tr *track.Trace, header ...map[string][]string) {
	b.t.Helper()
	if err := b.publish(b.t.Context(), tr, header...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) publish(ctx context.Context, tr *track.Trace, header ...map[string][]string) error {
	data, err := proto.Marshal(wire.TraceUpdate(tr))
	if err != nil {
		return err
	}
	m := stream.Message{Subject: subject.Trace(string(tr.Waybill.Carrier), string(tr.Waybill.Number)), Data: data}
	if len(header) > 0 {
		m.Header = header[0]
	}
	return b.trace.Publish(ctx, m)
}

// next is the next push.
func (b *bundle) next() *pipelinev1.PushOrder {
	b.t.Helper()
	o, _ := b.nextWithHeader()
	return o
}

func (b *bundle) nextWithHeader() (*pipelinev1.PushOrder, map[string][]string) {
	b.t.Helper()
	for len(b.queue) == 0 {
		batch, err := b.got.Next(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range batch {
			o := &pipelinev1.PushOrder{}
			if err := proto.Unmarshal(r.Data, o); err != nil {
				b.t.Fatal(err)
			}
			if want := subject.Push(o.GetEndpointId()); r.Subject != want {
				b.t.Errorf("a push to %s is on %s", want, r.Subject)
			}
			b.queue, b.heads = append(b.queue, o), append(b.heads, r.Header)
			if err := r.Ack(); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	o, h := b.queue[0], b.heads[0]
	b.queue, b.heads = b.queue[1:], b.heads[1:]
	return o, h
}

// want checks the next push's range.
func (b *bundle) want(sub *subscriptionv1.Subscription, after, revision uint64) payload.Push {
	b.t.Helper()
	o := b.next()
	if name := rpc.SubscriptionName(o.GetTenantId(), o.GetSubscriptionId()); name != sub.GetName() || o.GetAfterRevision() != after || o.GetRevision() != revision {
		b.t.Fatalf("next is (%d, %d] of %s %s, want (%d, %d] of %s %s", o.GetAfterRevision(), o.GetRevision(), name, o.GetWaybillNumber(),
			after, revision, sub.GetName(), sub.GetWaybillNumber())
	}
	var p payload.Push
	if err := json.Unmarshal(o.GetBody(), &p); err != nil {
		b.t.Fatal(err)
	}
	if p.AfterRevision != after || p.Revision != revision || p.PushID != o.GetPushId() {
		b.t.Errorf("the body tells (%d, %d] of %s, its order (%d, %d] of %s", p.AfterRevision, p.Revision, p.PushID, after, revision, o.GetPushId())
	}
	return p
}

// matched waits until every change is matched and recorded.
func (b *bundle) matched() {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := b.js.Consumer(b.t.Context(), stream.Trace, "subscription-match-0")
		if err == nil {
			info := c.CachedInfo()
			if info.NumPending == 0 && info.NumAckPending == 0 {
				return
			}
		} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			b.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-b.t.Context().Done():
			b.t.Fatal("the test ended before all was matched")
		}
	}
}

// settle waits until the matcher has seen all that was done before: it has
// acknowledged every change, and announced a new subscription.
func (b *bundle) settle(endpoint string) {
	b.t.Helper()
	b.matched()
	number := fmt.Sprint("SETTLE", time.Now().UnixNano())
	b.change(traceAt(number, 1))
	sub := b.subscribe(wish(endpoint, number))
	b.want(sub, 0, 1)
	b.await(sub.GetName(), "recorded", func(s *subscriptionv1.Subscription) bool { return s.GetPushedRevision() == 1 })
}
