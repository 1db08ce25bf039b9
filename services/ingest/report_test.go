package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/ingest"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// dial serves a world's gRPC face, with what surrounds it in production, and
// returns a client to it and a function that waits for the calls in progress.
func (w *world) dial(tracer trace.TracerProvider) (client ingestv1.IngestServiceClient, stop func()) {
	w.t.Helper()
	s := rpc.NewServer(rpc.ServerConfig{
		Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Tracer: tracer, Meter: metricnoop.NewMeterProvider(), Propagator: obs.Propagator(),
	})
	ingestv1.RegisterIngestServiceServer(s, w.service.Reports())
	if err := s.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := s.Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return ingestv1.NewIngestServiceClient(conn), stop
}

func (w *world) client() ingestv1.IngestServiceClient {
	w.t.Helper()
	c, _ := w.dial(sdktrace.NewTracerProvider())
	return c
}

// reported is an event of a waybill.
func reported(number, id string) *ingestv1.ReportedEvent {
	return &ingestv1.ReportedEvent{
		CarrierCode: "sf-express", WaybillNumber: number, EventId: id, Text: "已揽收 " + id,
		EventTime: "2026-03-01T08:01:02+08:00", Status: trackingv1.Status_STATUS_PICKED_UP, Attributes: map[string]string{"dock": "7"},
	}
}

// events are n of one waybill.
func events(number string, n int) []*ingestv1.ReportedEvent {
	all := make([]*ingestv1.ReportedEvent, n)
	for i := range all {
		all[i] = reported(number, fmt.Sprint("e", i))
	}
	return all
}

// wantEvents compares the one raw trace on disk of each waybill with the events
// of it.
func (w *world) wantEvents(m message[*pipelinev1.RawTrace], want ...*ingestv1.ReportedEvent) {
	w.t.Helper()
	got := &ingestv1.ReportEventsRequest{}
	if err := proto.Unmarshal(m.M.GetBody(), got); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.GetEvents(), protocmp.Transform()); diff != "" {
		w.t.Errorf("events (-want +got):\n%s", diff)
	}
	if m.M.GetSource() != "canonical" || m.M.GetSourceKind() != trackingv1.SourceKind_SOURCE_KIND_TEAM || m.M.GetCarrierCode() != "sf-express" ||
		!m.M.GetReceiveTime().AsTime().Equal(received) || m.subject != subject.Raw("canonical", "sf-express", m.M.GetWaybillNumber()) {
		w.t.Errorf("it is %v on %s", m.M, m.subject)
	}
}

// wantInvalid holds that an error names a field, and what is wrong with it.
func wantInvalid(t *testing.T, err error, field, description string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		t.Fatalf("the error is %v, want INVALID_ARGUMENT", err)
	}
	for _, d := range st.Details() {
		bad, ok := d.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		if v := bad.GetFieldViolations(); len(v) != 1 || v[0].GetField() != field || v[0].GetDescription() != description {
			t.Errorf("the violations are %v, want %q at %q", v, description, field)
		}
		return
	}
	t.Errorf("%v names no field", err)
}

// wantUnavailable holds that an error says when to try again.
func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.Unavailable {
		t.Fatalf("the error is %v, want UNAVAILABLE", err)
	}
	for _, d := range st.Details() {
		if retry, ok := d.(*errdetails.RetryInfo); ok && retry.GetRetryDelay().AsDuration() == 2*time.Second {
			return
		}
	}
	t.Errorf("%v doesn't say when to try again", err)
}

func TestReportEvents_KeepsEachWaybillsEventsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a1, b1, a2 := reported("SF1000000000001", "1"), reported("SF1000000000002", "1"), reported("sf 1000000000001", "2")
	resp, err := w.client().ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{a1, b1, a2}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetAcceptedCount() != 3 || len(resp.GetRejectedEvents()) != 0 || !resp.GetAcceptTime().AsTime().Equal(received) {
		t.Errorf("the answer is %v", resp)
	}
	all := w.wantNumbers("SF1000000000001", "SF1000000000002")
	w.wantEvents(all[0], a1, a2)
	w.wantEvents(all[1], b1)
}

// The bad ones are named, and the others are kept.
func TestReportEvents_NamesTheBadBesideTheGood(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(*ingestv1.ReportedEvent){
		"carrier_code":          func(e *ingestv1.ReportedEvent) { e.CarrierCode = "SF" },
		"waybill_number":        func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "" },
		"event_time":            func(e *ingestv1.ReportedEvent) { e.EventTime = "yesterday" },
		"sub_status":            func(e *ingestv1.ReportedEvent) { e.SubStatus = trackingv1.SubStatus_SUB_STATUS_PENDING_NO_DATA },
		"target_event_id":       func(e *ingestv1.ReportedEvent) { e.Kind = trackingv1.EventKind_EVENT_KIND_VOID },
		"location.country":      func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "China"} },
		"next_location.country": func(e *ingestv1.ReportedEvent) { e.NextLocation = &trackingv1.Location{Country: "China"} },
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			good := []*ingestv1.ReportedEvent{reported("SF1000000000001", "1"), reported("SF1000000000001", "2")}
			bad := reported("SF1000000000001", "bad")
			spoil(bad)
			resp, err := w.client().ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{good[0], bad, good[1]}})
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetAcceptedCount() != 2 || len(resp.GetRejectedEvents()) != 1 || !resp.GetAcceptTime().AsTime().Equal(received) {
				t.Fatalf("the answer is %v", resp)
			}
			if no := resp.GetRejectedEvents()[0]; no.GetIndex() != 1 || no.GetField() != field || no.GetDescription() == "" {
				t.Errorf("the bad one is said to be %v", no)
			}
			w.wantEvents(w.wantNumbers("SF1000000000001")[0], good...)
		})
	}
}

// Without anything good there is no time of acceptance.
func TestReportEvents_AcceptsNothingOfTheBadAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = &memory{fail: errAway} }) // not needed
	resp, err := w.client().ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{}, {}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetAcceptedCount() != 0 || resp.GetAcceptTime() != nil || len(resp.GetRejectedEvents()) != 2 || resp.GetRejectedEvents()[1].GetIndex() != 1 {
		t.Errorf("the answer is %v", resp)
	}
}

func TestReportEvents_BoundsARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client()
	_, err := c.ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{})
	wantInvalid(t, err, "events", "must be 1 to 1000, and there are 0")
	_, err = c.ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1001)})
	wantInvalid(t, err, "events", "must be 1 to 1000, and there are 1001")
	w.wantNothing()
	resp, err := c.ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1000)})
	if err != nil || resp.GetAcceptedCount() != 1000 {
		t.Fatalf("1,000 events gave %v, %v", resp, err)
	}
	w.wantEvents(w.wantNumbers("SF1000000000001")[0], events("SF1000000000001", 1000)...)
}

// The answer depends on the stream's acknowledgement: it can't come before.
func TestReportEvents_AnswersAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	for _, outcome := range []error{nil, errAway} {
		t.Run(fmt.Sprint(outcome), func(t *testing.T) {
			t.Parallel()
			raw := newBlocked()
			w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
			c := w.client()
			answered := make(chan error, 1)
			go func() {
				_, err := c.ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1)})
				answered <- err
			}()
			<-raw.asked
			select {
			case err := <-answered:
				t.Fatalf("it answered %v before the acknowledgement", err)
			default:
			}
			raw.ack <- outcome
			if err := <-answered; outcome != nil {
				wantUnavailable(t, err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReportEvents_SaysTryAgainWhenTheStreamIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.js.DeleteStream(t.Context(), stream.Raw); err != nil {
		t.Fatal(err)
	}
	_, err := w.client().ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1)})
	wantUnavailable(t, err)
}

// A caller that gives up isn't told that Posthaste is away.
func TestReportEvents_EndsWithItsCaller(t *testing.T) {
	t.Parallel()
	raw := newBlocked()
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.service.Reports().ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1)})
		done <- err
	}()
	<-raw.asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestReports_PassTheTraceOn(t *testing.T) {
	t.Parallel()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracetest.NewInMemoryExporter()))
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Messaging = obs.NewMessaging(provider) })
	c, _ := w.dial(provider)
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
	if _, err := c.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: events("SF1000000000001", 1)}); err != nil {
		t.Fatal(err)
	}
	s := open(ctx, t, c)
	send(t, s, events("SF1000000000002", 1)...)
	if _, err := s.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.wantNumbers("SF1000000000001", "SF1000000000002") {
		got := m.header["traceparent"]
		if len(got) != 1 || !strings.HasPrefix(got[0], "00-"+traceID+"-") || strings.Contains(got[0], "b7ad6b7169203331") || !strings.HasSuffix(got[0], "-01") {
			t.Errorf("traceparent of %s is %q", m.M.GetWaybillNumber(), got)
		}
	}
}

type eventStream = grpc.ClientStreamingClient[ingestv1.StreamEventsRequest, ingestv1.StreamEventsResponse]

func open(ctx context.Context, t *testing.T, c ingestv1.IngestServiceClient) eventStream {
	t.Helper()
	s, err := c.StreamEvents(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s eventStream, events ...*ingestv1.ReportedEvent) {
	t.Helper()
	if err := s.Send(&ingestv1.StreamEventsRequest{Events: events}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestStreamEvents_KeepsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := open(t.Context(), t, w.client())
	const messages = 40
	for i := range messages {
		send(t, s, events(fmt.Sprintf("SF1%03d", i), 3)...)
	}
	resp, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&ingestv1.StreamEventsResponse{AcceptedCount: 3 * messages}, resp, protocmp.Transform()); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
	kept := map[string]bool{}
	for _, m := range w.raws() {
		kept[m.M.GetWaybillNumber()] = true
		w.wantEvents(m, events(m.M.GetWaybillNumber(), 3)...)
	}
	if len(kept) != messages {
		t.Errorf("%d waybills are kept, want %d", len(kept), messages)
	}
}

// The place of a bad event counts from the stream's beginning.
func TestStreamEvents_NamesTheBadBesideTheGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := open(t.Context(), t, w.client())
	bad := reported("SF1000000000001", "bad")
	bad.EventTime = ""
	send(t, s, events("SF1000000000001", 2)...)
	send(t, s, reported("SF1000000000002", "1"), bad)
	send(t, s, &ingestv1.ReportedEvent{})
	resp, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetAcceptedCount() != 3 || resp.GetRejectedCount() != 2 || len(resp.GetRejectedEvents()) != 2 {
		t.Fatalf("the answer is %v", resp)
	}
	for i, want := range []*ingestv1.RejectedEvent{{Index: 3, Field: "event_time"}, {Index: 4, Field: "carrier_code"}} {
		if got := resp.GetRejectedEvents()[i]; got.GetIndex() != want.GetIndex() || got.GetField() != want.GetField() || got.GetDescription() == "" {
			t.Errorf("bad event %d is said to be %v, want %v", i, got, want)
		}
	}
	if n := len(w.raws()); n != 2 {
		t.Errorf("RAW has %d messages, want 2", n)
	}
}

func TestStreamEvents_CountsTheBadItDoesNotName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := open(t.Context(), t, w.client())
	bad := make([]*ingestv1.ReportedEvent, 600)
	for i := range bad {
		bad[i] = &ingestv1.ReportedEvent{}
	}
	send(t, s, bad...)
	send(t, s, bad...)
	resp, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(resp.GetRejectedEvents()); resp.GetRejectedCount() != 1200 || n != 1000 || resp.GetRejectedEvents()[n-1].GetIndex() != 999 {
		t.Errorf("%d are counted and %d named", resp.GetRejectedCount(), n)
	}
	w.wantNothing()
}

func TestStreamEvents_BoundsAMessage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		events      []*ingestv1.ReportedEvent
		description string
	}{
		"empty":    {nil, "must be 1 to 1000, and there are 0"},
		"too many": {events("SF1000000000002", 1001), "must be 1 to 1000, and there are 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := open(t.Context(), t, w.client())
			send(t, s, events("SF1000000000001", 2)...)
			send(t, s, tt.events...)
			_, err := s.CloseAndRecv()
			wantInvalid(t, err, "events", tt.description)
			// What came before it may be kept, and nothing of it is.
			for _, m := range w.raws() {
				w.wantEvents(m, events("SF1000000000001", 2)...)
			}
		})
	}
	t.Run("no message", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		resp, err := open(t.Context(), t, w.client()).CloseAndRecv()
		if err != nil || !proto.Equal(resp, &ingestv1.StreamEventsResponse{}) {
			t.Errorf("the answer is %v, %v", resp, err)
		}
		w.wantNothing()
	})
}

// signalled says when messages are on disk.
type signalled struct {
	next *stream.Publisher
	kept chan struct{}
}

// Publish is what the service calls.
func (s signalled) Publish(ctx context.Context, msgs ...stream.Message) error {
	err := s.next.Publish(ctx, msgs...)
	if err == nil {
		s.kept <- struct{}{}
	}
	return err
}

// A stream that breaks off loses nothing that was on disk.
func TestStreamEvents_KeepsWhatCameBeforeItBrokeOff(t *testing.T) {
	t.Parallel()
	kept := make(chan struct{}, 2)
	w := newWorld(t)
	cfg := baseConfig()
	cfg.Raw, cfg.Rejected = signalled{w.raw, kept}, w.rejected
	w.service = newService(t, cfg)
	c, stop := w.dial(sdktrace.NewTracerProvider())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := open(ctx, t, c)
	send(t, s, events("SF1000000000001", 2)...)
	<-kept
	send(t, s, events("SF1000000000002", 1)...)
	<-kept
	cancel()
	if _, err := s.CloseAndRecv(); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v", err)
	}
	stop() // the service has let go of it
	all := w.wantNumbers("SF1000000000001", "SF1000000000002")
	w.wantEvents(all[0], events("SF1000000000001", 2)...)
	w.wantEvents(all[1], events("SF1000000000002", 1)...)
}

// A stream of which a part can't be kept is no success.
func TestStreamEvents_SaysTryAgainWhenTheStreamIsAway(t *testing.T) {
	t.Parallel()
	raw := newBlocked()
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
	s := open(t.Context(), t, w.client())
	send(t, s, events("SF1000000000001", 1)...)
	<-raw.asked
	send(t, s, events("SF1000000000002", 1)...)
	<-raw.asked
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	raw.ack <- nil
	raw.ack <- errAway
	_, err := s.CloseAndRecv()
	wantUnavailable(t, err)
}

// The answer depends on every acknowledgement, and while some are awaited the
// service reads on, up to a bound.
func TestStreamEvents_AnswersAfterTheLastAcknowledgement(t *testing.T) {
	t.Parallel()
	raw := newBlocked()
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
	s := open(t.Context(), t, w.client())
	const messages, inFlight = 40, 16
	for i := range messages {
		send(t, s, events(fmt.Sprintf("SF1%03d", i), 1)...)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := s.CloseAndRecv()
		answered <- err
	}()
	for range inFlight {
		<-raw.asked
	}
	for left := messages - inFlight; left > 0; left-- {
		select {
		case <-raw.asked:
			t.Fatalf("more than %d wait at once", inFlight)
		case err := <-answered:
			t.Fatalf("it answered %v before the acknowledgements", err)
		default:
		}
		raw.ack <- nil
		<-raw.asked
	}
	for range inFlight {
		select {
		case err := <-answered:
			t.Fatalf("it answered %v before the last acknowledgement", err)
		default:
		}
		raw.ack <- nil
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
