package normalizer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/normalizer"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const carrierCode = "sf-express"

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type projected = map[track.Waybill]*trackingv1.TraceUpdate

// nothing is a projection that knows no waybill.
func nothing(context.Context, []track.Waybill) (projected, error) { return nil, nil }

// world is a test's streams.
type world struct {
	t                       *testing.T
	js                      jetstream.JetStream
	raw, updates, rejected  *stream.Publisher
	traces, rejections      *stream.Consumer
	waiting, waitingRejects []*stream.Received
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, js: testkit.JetStream(t)}
	for name, p := range map[string]**stream.Publisher{stream.Raw: &w.raw, stream.Trace: &w.updates, stream.Rejected: &w.rejected} {
		*p = stream.NewPublisher(w.js, name, stream.PublisherOptions{})
		t.Cleanup((*p).Close)
	}
	w.traces, w.rejections = w.consumer(stream.Trace, "test"), w.consumer(stream.Rejected, "test")
	return w
}

func (w *world) consumer(name, durable string) *stream.Consumer {
	w.t.Helper()
	c, err := stream.NewConsumer(w.t.Context(), w.js, stream.ConsumerOptions{Stream: name, Durable: durable})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Stop)
	return c
}

// start runs a normalizer until the test ends or the returned function is called.
func (w *world) start(durable string, changes ...func(*normalizer.Config)) (stop func()) {
	w.t.Helper()
	raw := w.consumer(stream.Raw, durable)
	cfg := normalizer.Config{
		Raw: raw, Consumer: durable, Trace: w.updates, Rejected: w.rejected, History: nothing,
		Newest: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			return stream.LastMessages(ctx, w.js, stream.Trace, subjects)
		},
		Log: slog.New(slog.DiscardHandler), Meter: metricnoop.NewMeterProvider(),
		Messaging: obs.NewMessaging(tracenoop.NewTracerProvider()), Now: func() time.Time { return received },
	}
	for _, change := range changes {
		change(&cfg)
	}
	s, err := normalizer.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				w.t.Errorf("the normalizer ended with %v", err)
			}
			raw.Stop()
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// event is one that a team reports; its text is its id.
func event(number, text string, hour int) *ingestv1.ReportedEvent {
	return &ingestv1.ReportedEvent{
		CarrierCode: carrierCode, WaybillNumber: number, EventId: text, Text: text,
		EventTime: fmt.Sprintf("2026-03-01T%02d:00:00+08:00", hour), Status: trackingv1.Status_STATUS_IN_TRANSIT,
	}
}

func rawMessage(t *testing.T, number string, at time.Time, events ...*ingestv1.ReportedEvent) stream.Message {
	t.Helper()
	body, err := proto.Marshal(&ingestv1.ReportEventsRequest{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&pipelinev1.RawTrace{
		Source: "canonical", SourceKind: trackingv1.SourceKind_SOURCE_KIND_TEAM, CarrierCode: carrierCode, WaybillNumber: number,
		Body: body, ReceiveTime: timestamppb.New(at),
	})
	if err != nil {
		t.Fatal(err)
	}
	return stream.Message{Subject: subject.Raw("canonical", carrierCode, number), Data: data}
}

// report takes in events of one waybill.
func (w *world) report(number string, events ...*ingestv1.ReportedEvent) {
	w.t.Helper()
	w.publish(rawMessage(w.t, number, received, events...))
}

func (w *world) publish(msgs ...stream.Message) {
	w.t.Helper()
	if err := w.raw.Publish(w.t.Context(), msgs...); err != nil {
		w.t.Fatal(err)
	}
}

// next waits for the next trace update.
func (w *world) next() (*stream.Received, *trackingv1.TraceUpdate) {
	w.t.Helper()
	m := take(w.t, w.traces, &w.waiting)
	u := &trackingv1.TraceUpdate{}
	if err := proto.Unmarshal(m.Data, u); err != nil {
		w.t.Fatal(err)
	}
	return m, u
}

func take(t *testing.T, c *stream.Consumer, waiting *[]*stream.Received) *stream.Received {
	t.Helper()
	if len(*waiting) == 0 {
		batch, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		*waiting = batch
	}
	m := (*waiting)[0]
	*waiting = (*waiting)[1:]
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	return m
}

// want waits for the next trace update and compares it.
func (w *world) want(number string, revision uint64, texts ...string) *stream.Received {
	w.t.Helper()
	m, u := w.next()
	if u.GetWaybill().GetWaybillNumber() != number || u.GetWaybill().GetRevision() != revision {
		w.t.Fatalf("got %s at revision %d, want %s at %d", u.GetWaybill().GetWaybillNumber(), u.GetWaybill().GetRevision(), number, revision)
	}
	var got []string
	for _, e := range u.GetEvents() {
		got = append(got, e.GetText())
	}
	if diff := cmp.Diff(texts, got); diff != "" {
		w.t.Fatalf("events of %s (-want +got):\n%s", number, diff)
	}
	return m
}

// wantSilence fails if anything was published after the message before the
// sentinel's trace update.
func (w *world) wantSilence(after *stream.Received) {
	w.t.Helper()
	w.report("SENTINEL", event("SENTINEL", "here", 1))
	if m := w.want("SENTINEL", 1, "here"); m.Seq != after.Seq+1 {
		w.t.Errorf("%d trace updates were published, want none", m.Seq-after.Seq-1)
	}
}

func TestNormalizer_KeepsTheChainGaplessWhileOthersRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	w.start("normalizer-raw-0")
	w.start("another") // works on everything too
	const waybills, reports = 10, 20
	number := func(i int) string { return fmt.Sprintf("SF100%d", i) }
	var wg sync.WaitGroup
	for i := range waybills {
		wg.Go(func() {
			for n := range reports {
				m := rawMessage(t, number(i), received, event(number(i), fmt.Sprint("event ", n), n))
				if err := w.raw.Publish(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	newest := map[string]*trackingv1.TraceUpdate{}
	for complete := 0; complete < waybills; {
		_, u := w.next()
		newest[u.GetWaybill().GetWaybillNumber()] = u
		if len(u.GetEvents()) == reports {
			complete++
		}
	}
	for i := range waybills {
		u := newest[number(i)]
		seen := map[uint64]bool{}
		for _, e := range u.GetEvents() {
			seen[e.GetRevision()] = true
		}
		// Each revision here adds an event, and no event changes.
		for r := uint64(1); r <= u.GetWaybill().GetRevision(); r++ {
			if !seen[r] {
				t.Errorf("%s at revision %d has no event of revision %d: the chain forked", number(i), u.GetWaybill().GetRevision(), r)
			}
		}
	}
}

func TestNormalizer_MakesOneRevisionOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(rawMessage(t, "SF1000", received, event("SF1000", "b", 2)), rawMessage(t, "SF1000", received, event("SF1000", "a", 1)))
	w.start("normalizer-raw-0")
	_, u := w.next()
	for u.GetWaybill().GetEventCount() < 2 { // they may have come apart
		_, u = w.next()
	}
	if got := u.GetEvents()[0].GetText(); got != "a" {
		t.Errorf("the first event is %q, want the earlier one", got)
	}
}

func TestNormalizer_IsSilentAboutARepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	w.report("SF1000", event("SF1000", "a", 1))
	m := w.want("SF1000", 1, "a")
	w.report("SF1000", event("SF1000", "a", 1))
	w.wantSilence(m)
}

func TestNormalizer_IsSilentAboutARedelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start("normalizer-raw-0")
	w.report("SF1000", event("SF1000", "a", 1))
	m := w.want("SF1000", 1, "a")
	stop()
	w.start("without-acks") // gets everything again, and remembers nothing
	w.wantSilence(m)
}

// lossy publishes and loses the first answer.
type lossy struct {
	*stream.Publisher
	lost atomic.Bool
}

func (p *lossy) Store(ctx context.Context, msgs []stream.Message) []stream.Outcome {
	outcomes := p.Publisher.Store(ctx, msgs)
	if outcomes[0].Err == nil && !p.lost.Swap(true) {
		for i := range outcomes {
			outcomes[i] = stream.Outcome{Err: context.DeadlineExceeded}
		}
	}
	return outcomes
}

func TestNormalizer_IsSilentWhenOnlyTheAnswerWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0", func(c *normalizer.Config) { c.Trace = &lossy{Publisher: w.updates} })
	w.report("SF1000", event("SF1000", "a", 1))
	m := w.want("SF1000", 1, "a")
	w.wantSilence(m)
}

// elsewhere publishes what another normalizer would make of a report.
func (w *world) elsewhere(m *stream.Received, edit func(*track.Event)) {
	w.t.Helper()
	var u trackingv1.TraceUpdate
	if err := proto.Unmarshal(m.Data, &u); err != nil {
		w.t.Fatal(err)
	}
	old, err := wire.Trace(&u)
	if err != nil {
		w.t.Fatal(err)
	}
	e := old.Events[0]
	e.ReceiveTime = e.ReceiveTime.Add(time.Minute)
	edit(&e)
	next, changed := track.Merge(old, track.Report{Waybill: old.Waybill, Events: []track.Event{e}}, received)
	if !changed {
		w.t.Fatal("the edit changes nothing")
	}
	data, err := proto.Marshal(wire.TraceUpdate(next))
	if err != nil {
		w.t.Fatal(err)
	}
	if o := w.updates.Store(w.t.Context(), []stream.Message{{Subject: m.Subject, Data: data, Expect: &m.Seq}}); o[0].Err != nil {
		w.t.Fatal(o[0].Err)
	}
}

func TestNormalizer_RecoversFromAnOldMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	w.report("SF1000", event("SF1000", "a", 1))
	w.elsewhere(w.want("SF1000", 1, "a"), func(e *track.Event) { e.ID, e.Text, e.OrderHint = "other", "b", 1 })
	w.want("SF1000", 2, "a", "b")
	w.report("SF1000", event("SF1000", "c", 3))
	w.want("SF1000", 3, "a", "b", "c")
}

// What an old memory holds for a repeat can be a change.
func TestNormalizer_NeverCallsAChangeARepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	w.report("SF1000", event("SF1000", "a", 1))
	w.elsewhere(w.want("SF1000", 1, "a"), func(e *track.Event) { e.Text = "changed" })
	w.want("SF1000", 2, "changed")
	w.publish(rawMessage(t, "SF1000", received.Add(time.Hour), event("SF1000", "a", 1)))
	w.report("SENTINEL", event("SENTINEL", "here", 1))
	_, u := w.next()
	if u.GetWaybill().GetWaybillNumber() == "SENTINEL" {
		// They came in one batch, in which what has to be read again comes last; the
		// next batch begins after it.
		w.report("SENTINEL2", event("SENTINEL2", "here", 1))
		_, u = w.next()
	}
	if got := u.GetWaybill(); got.GetWaybillNumber() != "SF1000" || got.GetRevision() != 3 || u.GetEvents()[0].GetText() != "a" {
		t.Errorf("got %s at revision %d: the change was called a repeat", got.GetWaybillNumber(), got.GetRevision())
	}
}

func TestNormalizer_RejectsWhatItCantUseAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	unknown, err := proto.Marshal(&pipelinev1.RawTrace{Source: "nobody", CarrierCode: carrierCode, WaybillNumber: "SF1000"})
	if err != nil {
		t.Fatal(err)
	}
	broken, err := proto.Marshal(&pipelinev1.RawTrace{Source: "canonical", CarrierCode: carrierCode, WaybillNumber: "SF1000", Body: []byte{0xff}})
	if err != nil {
		t.Fatal(err)
	}
	to := subject.Raw("canonical", carrierCode, "SF1000")
	w.publish(
		stream.Message{Subject: to, Data: []byte{0xff}},
		stream.Message{Subject: to, Data: unknown},
		stream.Message{Subject: to, Data: broken},
		rawMessage(t, "SF1000", received, event("SF1000", "wrong waybill", 1), event("SF2000", "x", 1)),
		rawMessage(t, "SF1000", received, event("SF1000", "a", 1)),
	)
	w.want("SF1000", 1, "a")
	for range 4 {
		var r pipelinev1.RejectedRaw
		if err := proto.Unmarshal(take(t, w.rejections, &w.waitingRejects).Data, &r); err != nil {
			t.Fatal(err)
		}
		if r.GetService() != "normalizer" || r.GetReason() == "" || r.GetDescription() == "" {
			t.Errorf("the rejection doesn't say why: %v", &r)
		}
	}
}

func TestNormalizer_ContinuesTheChainOfALateEvent(t *testing.T) {
	t.Parallel()
	w, pool := newWorld(t), testkit.PostgreSQL(t)
	old := track.Event{
		ID: "old", Kind: track.KindEvent, Text: "old", Revision: 5, Time: track.Time{Wall: received.Add(-48 * time.Hour), Precision: track.PrecisionSecond},
		ReceiveTime: received,
	}
	u := wire.TraceUpdate(&track.Trace{
		Waybill: track.Waybill{Carrier: carrierCode, Number: "SF1000"}, Revision: 5, Events: []track.Event{old}, CreateTime: received, UpdateTime: received,
	})
	testkit.Project(t, pool, u)
	w.start("normalizer-raw-0", func(c *normalizer.Config) {
		c.History = func(ctx context.Context, waybills []track.Waybill) (projected, error) {
			return pg.Traces(ctx, pool, waybills)
		}
	})
	w.report("SF1000", event("SF1000", "late", 1))
	w.want("SF1000", 6, "old", "late")
}

func TestNormalizer_GoesOnWithoutPostgreSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var away atomic.Bool
	asked := make(chan struct{}, 100)
	w.start("normalizer-raw-0", func(c *normalizer.Config) {
		c.History = func(context.Context, []track.Waybill) (projected, error) {
			if away.Load() {
				asked <- struct{}{}
				return nil, errors.New("away")
			}
			return nil, nil
		}
	})
	w.report("SF1000", event("SF1000", "a", 1))
	w.want("SF1000", 1, "a")
	away.Store(true)
	w.report("SF2000", event("SF2000", "new", 1))
	<-asked
	w.report("SF1000", event("SF1000", "b", 2))
	w.want("SF1000", 2, "a", "b")
	away.Store(false)
	w.want("SF2000", 1, "new")
}

func TestNormalizer_PartsATraceThatIsTooLargeFromTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	large := event("SF1000", "large", 1)
	large.Attributes = map[string]string{"all": strings.Repeat("x", 64<<10)}
	w.publish(rawMessage(t, "SF1000", received, large), rawMessage(t, "SF2000", received, event("SF2000", "a", 1)),
		rawMessage(t, "SF1000", received, event("SF1000", "small", 1)))
	w.start("normalizer-raw-0", func(c *normalizer.Config) { c.MaxMessage = 32 << 10 })
	var r pipelinev1.RejectedRaw
	if err := proto.Unmarshal(take(t, w.rejections, &w.waitingRejects).Data, &r); err != nil {
		t.Fatal(err)
	}
	if r.GetReason() != "too_large" {
		t.Errorf("the reason is %q", r.GetReason())
	}
	got := map[string]uint64{}
	for len(got) < 2 {
		_, u := w.next()
		got[u.GetWaybill().GetWaybillNumber()] = u.GetWaybill().GetRevision()
	}
	if diff := cmp.Diff(map[string]uint64{"SF1000": 1, "SF2000": 1}, got); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
}
