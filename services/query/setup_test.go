package query_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/query"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func now() time.Time { return epoch }

// bundle is the service on a stream and a database of its own.
type bundle struct {
	*query.Waybills

	t     testing.TB
	js    jetstream.JetStream
	pool  *pgxpool.Pool
	trace *stream.Publisher
	count int // of subscriptions made
}

func newBundle(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{t: t, js: testkit.JetStream(t), pool: testkit.PostgreSQL(t)}
	b.trace = stream.NewPublisher(b.js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(b.trace.Close)
	b.Waybills = query.New(query.Config{
		Store: pg.NewQuery(b.pool),
		Last: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			return stream.LastMessages(ctx, b.js, stream.Trace, subjects)
		},
		Present: func(ctx context.Context, subject string) (stream.Stored, error) {
			return stream.LastMessage(ctx, b.js, stream.Trace, subject)
		},
		Tail: func(ctx context.Context, subject string) (<-chan stream.Stored, func(), error) {
			return stream.Tail(ctx, b.js, stream.Trace, subject)
		},
		Log: slog.New(slog.DiscardHandler), Now: now,
	})
	return b
}

// project projects with what a test changes until the test ends.
func (b *bundle) project(change ...func(*query.ProjectorConfig)) {
	b.t.Helper()
	c, err := stream.NewConsumer(b.t.Context(), b.js, stream.ConsumerOptions{Stream: stream.Trace, Durable: "query-project-0"})
	if err != nil {
		b.t.Fatal(err)
	}
	cfg := query.ProjectorConfig{
		Trace: c, Store: pg.NewQuery(b.pool), Linger: time.Millisecond, Retry: time.Millisecond,
		Log: slog.New(slog.DiscardHandler), Meter: metricnoop.NewMeterProvider(), Now: now,
	}
	for _, f := range change {
		f(&cfg)
	}
	p, err := query.NewProjector(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.t.Errorf("the projector ended with %v", err)
		}
		c.Stop()
	})
}

func waybill(number string) track.Waybill {
	return track.Waybill{Carrier: "sf", Number: track.Number(number)}
}

func name(number string) string { return rpc.WaybillName("sf", number) }

// updateAt is a waybill's trace at a revision, with an event for each.
func updateAt(number string, revision int) *trackingv1.TraceUpdate {
	t := &track.Trace{
		Waybill: waybill(number), Revision: track.Revision(revision),
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
	return wire.TraceUpdate(t)
}

func encode(t testing.TB, u *trackingv1.TraceUpdate) stream.Message {
	t.Helper()
	data, err := proto.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	return stream.Message{Subject: subject.Trace(u.GetWaybill().GetCarrierCode(), u.GetWaybill().GetWaybillNumber()), Data: data}
}

func (b *bundle) publish(updates ...*trackingv1.TraceUpdate) {
	b.t.Helper()
	for _, u := range updates {
		if err := b.trace.Publish(b.t.Context(), encode(b.t, u)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// projected reads what is projected of a waybill.
func (b *bundle) projected(number string) *trackingv1.TraceUpdate {
	b.t.Helper()
	found, err := pg.Traces(b.t.Context(), b.pool, []track.Waybill{waybill(number)})
	if err != nil {
		b.t.Fatal(err)
	}
	return found[waybill(number)]
}

// await asks until it is so: there is no signal for what is written.
func (b *bundle) await(what string, is func() bool) {
	b.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for !is() {
		select {
		case <-ticks.C:
		case <-b.t.Context().Done():
			b.t.Fatalf("the test ended before %s", what)
		}
	}
}

// unread is how many messages the projector has yet to acknowledge.
func (b *bundle) unread() int {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), stream.Trace, "query-project-0")
	if err != nil {
		b.t.Fatal(err)
	}
	return int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e.Reason
	}
	return fmt.Sprint(err)
}
