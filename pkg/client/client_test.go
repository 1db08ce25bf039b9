package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
)

func TestEndpoint_ComesBackAsItWasMade(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := dial(t, f, client.WithTenant("shop"))
	retry := &client.RetryPolicy{Delays: []time.Duration{time.Second, time.Minute}, Horizon: time.Hour, MaxAttempts: 5}
	made, err := c.CreateEndpoint(t.Context(), client.NewEndpoint{
		URL: "https://example.com/cb", IncludeTrace: true, MaxInFlight: 4, Timeout: 3 * time.Second, Retry: retry, DisplayName: "orders",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := client.Endpoint{
		Name: "tenants/shop/endpoints/ep_1", URL: "https://example.com/cb", Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", IncludeTrace: true,
		MaxInFlight: 4, Timeout: 3 * time.Second, Retry: retry, State: client.EndpointEnabled, DisplayName: "orders", CreateTime: epoch,
	}
	if !reflect.DeepEqual(made, want) || made.ID() != "ep_1" {
		t.Errorf("made %+v, want %+v", made, want)
	}
	for _, name := range []string{made.ID(), made.Name} {
		if got, err := c.GetEndpoint(t.Context(), name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("get %s gives %+v, %v", name, got, err)
		}
	}

	// Only what is named changes; what is set to its zero value is cleared.
	got, err := c.UpdateEndpoint(t.Context(), made.ID(), client.EndpointUpdate{
		State: new(client.EndpointPaused), DisplayName: new(""), Retry: &client.RetryPolicy{}, MaxInFlight: new(9),
	})
	want.State, want.DisplayName, want.Retry, want.MaxInFlight = client.EndpointPaused, "", nil, 9
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("updated to %+v, %v, want %+v", got, err, want)
	}
	got, err = c.UpdateEndpoint(t.Context(), made.ID(), client.EndpointUpdate{
		URL: new("https://example.com/2"), Secret: new(client.Secret("whsec_2")), IncludeTrace: new(false), Timeout: new(time.Duration(0)),
	})
	want.URL, want.Secret, want.IncludeTrace, want.Timeout = "https://example.com/2", "whsec_2", false, 0
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("updated to %+v, %v, want %+v", got, err, want)
	}
	if got, err = c.UpdateEndpoint(t.Context(), made.ID(), client.EndpointUpdate{}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("an empty update gives %+v, %v, want %+v", got, err, want)
	}

	if err := c.DeleteEndpoint(t.Context(), made.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetEndpoint(t.Context(), made.ID()); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error is %v, want %v", err, client.ErrNotFound)
	}
}

func TestSecret_IsNotPrinted(t *testing.T) {
	t.Parallel()
	e := client.Endpoint{Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	encoded, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%v %+v %#v %s %q %x", e, e, e, e.Secret, e.Secret, e.Secret) + string(encoded) + e.Secret.LogValue().String() + e.Secret.String(); strings.Contains(all, "MfKQ") {
		t.Errorf("the secret is in %s", all)
	}
}

func TestEndpoints_WalksEveryPage(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := dial(t, f)
	for range 5 {
		if _, err := c.CreateEndpoint(t.Context(), client.NewEndpoint{URL: "https://example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	all := c.Endpoints(t.Context())
	for range 2 { // a list can be walked again
		var ids []string
		for e, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID())
		}
		if got := strings.Join(ids, " "); got != "ep_1 ep_2 ep_3 ep_4 ep_5" {
			t.Errorf("list is %s", got)
		}
	}
	calls := 0
	f.fail = func(string) error {
		if calls++; calls == 2 {
			return errors.New("away")
		}
		return nil
	}
	var last error
	n := 0
	for _, err := range all {
		if last != nil {
			t.Error("something comes after an error")
		}
		if last = err; err == nil {
			n++
		}
	}
	if n != 2 || !errors.Is(last, client.ErrInternal) {
		t.Errorf("%d endpoints and %v, want the first page and an error", n, last)
	}
	calls = 2
	for _, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if calls != 3 {
		t.Errorf("%d pages were asked for after the loop was left", calls-3)
	}
}

func TestSubscription_LivesItsLife(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{}, client.WithTenant("shop"))
	made, err := c.CreateSubscription(t.Context(), client.NewSubscription{
		Endpoint: "ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, Metadata: map[string]string{"order_id": "A-1"},
		Tail: time.Hour, ExpireTime: epoch.Add(24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := client.Subscription{
		Name: "tenants/shop/subscriptions/sub_1", Endpoint: "tenants/shop/endpoints/ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"},
		Metadata: map[string]string{"order_id": "A-1"}, Tail: time.Hour, ExpireTime: epoch.Add(24 * time.Hour), State: client.SubscriptionActive, CreateTime: epoch,
	}
	if !reflect.DeepEqual(made, want) || made.ID() != "sub_1" {
		t.Errorf("made %+v, want %+v", made, want)
	}
	if got, err := c.GetSubscription(t.Context(), "sub_1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("get gives %+v, %v", got, err)
	}
	got, err := c.UpdateSubscription(t.Context(), "sub_1", client.SubscriptionUpdate{
		Metadata: map[string]string{}, Tail: new(2 * time.Hour), ExpireTime: new(epoch.Add(time.Hour)),
	})
	want.Metadata, want.Tail, want.ExpireTime = nil, 2*time.Hour, epoch.Add(time.Hour)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("updated to %+v, %v, want %+v", got, err, want)
	}
	if got, err = c.UpdateSubscription(t.Context(), "sub_1", client.SubscriptionUpdate{}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("an empty update gives %+v, %v, want %+v", got, err, want)
	}
	for _, step := range []struct {
		name string
		do   func() (client.Subscription, error)
		want client.SubscriptionState
	}{
		{"pause", func() (client.Subscription, error) { return c.PauseSubscription(t.Context(), "sub_1") }, client.SubscriptionPaused},
		{"resume", func() (client.Subscription, error) { return c.ResumeSubscription(t.Context(), "sub_1") }, client.SubscriptionActive},
		{"cancel", func() (client.Subscription, error) { return c.CancelSubscription(t.Context(), "sub_1") }, client.SubscriptionCancelled},
	} {
		if got, err := step.do(); err != nil || got.State != step.want {
			t.Errorf("%s gives %s, %v, want %s", step.name, got.State, err, step.want)
		}
	}
	_, err = c.PauseSubscription(t.Context(), "sub_9")
	if !errors.Is(err, client.ErrNotFound) || !strings.HasPrefix(err.Error(), "pause tenants/shop/subscriptions/sub_9: ") {
		t.Errorf("error is %v, want %v", err, client.ErrNotFound)
	}
}

func TestSubscriptions_AreFiltered(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{})
	for i := range 5 {
		if _, err := c.CreateSubscription(t.Context(), client.NewSubscription{
			Endpoint: fmt.Sprint("ep_", i%2), Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: fmt.Sprint("SF10", i)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PauseSubscription(t.Context(), "sub_3"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter client.SubscriptionFilter
		want   string
	}{
		{client.SubscriptionFilter{}, "sub_1 sub_2 sub_3 sub_4 sub_5"},
		{client.SubscriptionFilter{Endpoint: "ep_0"}, "sub_1 sub_3 sub_5"},
		{client.SubscriptionFilter{States: []client.SubscriptionState{client.SubscriptionPaused, client.SubscriptionCancelled}}, "sub_3"},
		{client.SubscriptionFilter{CarrierCode: "sf", WaybillNumber: "SF103"}, "sub_4"},
		{client.SubscriptionFilter{CarrierCode: "zto"}, ""},
	} {
		var ids []string
		for s, err := range c.Subscriptions(t.Context(), tt.filter) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.ID())
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%+v gives %q, want %q", tt.filter, got, tt.want)
		}
	}
}

func TestCreateSubscriptions_GivesAResultForEach(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := dial(t, f)
	asked := make([]client.NewSubscription, 2500)
	for i := range asked {
		asked[i] = client.NewSubscription{Endpoint: "ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: fmt.Sprint("SF", 1000+i)}}
	}
	asked[1700].Waybill.WaybillNumber = "SF"
	results, err := c.CreateSubscriptions(t.Context(), asked)
	if err != nil || len(results) != len(asked) {
		t.Fatalf("%d results, %v, want %d", len(results), err, len(asked))
	}
	for i, r := range results {
		if i == 1700 {
			e, ok := errors.AsType[*client.Error](r.Err)
			if !ok || !errors.Is(r.Err, client.ErrInvalid) || e.Reason != "INVALID_ARGUMENT" || len(e.Fields) != 1 || e.Fields[0].Field != "subscription.waybill_number" {
				t.Errorf("error of a bad number is %+v", r.Err)
			}
			continue
		}
		if r.Err != nil || r.Subscription.Waybill != asked[i].Waybill {
			t.Fatalf("result %d is %+v, want one of %v", i, r, asked[i].Waybill)
		}
	}
	// The second batch fails as a whole: the results of the first are there.
	calls := 0
	f.fail = func(string) error {
		if calls++; calls == 2 {
			return errors.New("away")
		}
		return nil
	}
	results, err = c.CreateSubscriptions(t.Context(), asked)
	if len(results) != 1000 || !errors.Is(err, client.ErrInternal) {
		t.Errorf("%d results and %v, want 1000 and an error", len(results), err)
	}
}

// fullEvent has every field set.
func fullEvent() client.ReportedEvent {
	return client.ReportedEvent{
		Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, EventID: "1", Kind: trace.KindCorrection, TargetEventID: "0",
		Time: time.Date(2025, 3, 1, 10, 2, 11, 5e8, time.FixedZone("", 8*3600)), LocalTime: "not used", Status: status.InTransit,
		SubStatus: status.InTransitDeparted, Text: "text", Language: "en", Location: trace.Location{City: "深圳", Latitude: new(22.5), Longitude: new(114.0)},
		NextLocation: trace.Location{City: "广州"}, Courier: trace.Person{Name: "王", Phone: "138"}, Signer: "李", ReasonCode: "weather", RawCode: "30",
		OrderHint: 7, EstimateLocalTime: "2025-03-05", Attributes: map[string]string{"k": "v"},
	}
}

func TestReportEvents_SaysEverything(t *testing.T) {
	t.Parallel()
	f := &fake{}
	if _, err := dial(t, f).ReportEvents(t.Context(), []client.ReportedEvent{fullEvent(), {LocalTime: "2025-03-01"}}); err != nil {
		t.Fatal(err)
	}
	want := &ingestv1.ReportedEvent{
		CarrierCode: "sf", WaybillNumber: "SF100", EventId: "1", Kind: trackingv1.EventKind_EVENT_KIND_CORRECTION, TargetEventId: "0",
		EventTime: "2025-03-01T10:02:11.5+08:00", Status: trackingv1.Status_STATUS_IN_TRANSIT, SubStatus: trackingv1.SubStatus_SUB_STATUS_IN_TRANSIT_DEPARTED,
		Text: "text", Language: "en", Location: &trackingv1.Location{City: "深圳", Latitude: new(22.5), Longitude: new(114.0)},
		NextLocation: &trackingv1.Location{City: "广州"}, Courier: &trackingv1.Person{Name: "王", Phone: "138"}, Signer: "李", ReasonCode: "weather",
		RawCode: "30", OrderHint: 7, EstimateTime: "2025-03-05", Attributes: map[string]string{"k": "v"},
	}
	if got := f.reported[0][0]; !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	// A field of the message that stays unset here was forgotten.
	fields := want.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if !f.reported[0][0].ProtoReflect().Has(fields.Get(i)) {
			t.Errorf("%s is never sent", fields.Get(i).Name())
		}
	}
	if got, want := f.reported[0][1], (&ingestv1.ReportedEvent{EventTime: "2025-03-01"}); !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

func TestReportEvents_RefusesAKindThatIsNone(t *testing.T) {
	t.Parallel()
	f := &fake{}
	if _, err := dial(t, f).ReportEvents(t.Context(), []client.ReportedEvent{{Kind: "withdrawal"}}); err != nil {
		t.Fatal(err)
	}
	// Sent as unspecified, a misspelt void would pass for an event.
	if got := f.reported[0][0].GetKind(); got == trackingv1.EventKind_EVENT_KIND_UNSPECIFIED || got == trackingv1.EventKind_EVENT_KIND_EVENT {
		t.Errorf("kind is %v", got)
	}
}

func TestReportEvents_SplitsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := dial(t, f)
	events := make([]client.ReportedEvent, 2100)
	for i := range events {
		events[i] = client.ReportedEvent{LocalTime: "2025-03-01"}
	}
	events[1500].LocalTime = ""
	report, err := c.ReportEvents(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	want := client.Report{Accepted: 2099, Rejected: 1, Rejections: []client.Rejection{{Index: 1500, Field: "event_time", Description: "it is required"}}}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("report is %+v, want %+v", report, want)
	}
	if got := sizes(f.reported); got != "1000 1000 100" {
		t.Errorf("batches are %s", got)
	}

	f.reported = nil
	for i := range events {
		events[i] = client.ReportedEvent{LocalTime: "2025-03-01", Text: strings.Repeat("文", 4000)}
	}
	if _, err := c.ReportEvents(t.Context(), events[:600]); err != nil {
		t.Fatal(err)
	}
	if got := sizes(f.reported); got != "261 261 78" {
		t.Errorf("batches are %s, want none above 4 MiB", got)
	}
	if report, err := c.ReportEvents(t.Context(), nil); err != nil || report.Accepted != 0 {
		t.Errorf("nothing reported gives %+v, %v", report, err)
	}
}

func TestReporter_CountsTheWholeStream(t *testing.T) {
	t.Parallel()
	f := &fake{}
	r, err := dial(t, f).NewReporter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := client.ReportedEvent{LocalTime: "2025-03-01"}
	for _, batch := range [][]client.ReportedEvent{{good}, {}, {good, {}}, {good}} {
		if err := r.Report(batch...); err != nil {
			t.Fatal(err)
		}
	}
	report, err := r.Close()
	want := client.Report{Accepted: 3, Rejected: 1, Rejections: []client.Rejection{{Index: 2, Field: "event_time", Description: "it is required"}}}
	if err != nil || !reflect.DeepEqual(report, want) {
		t.Errorf("report is %+v, %v, want %+v", report, err, want)
	}
	if err := r.Report(good); !errors.Is(err, client.ErrPrecondition) {
		t.Errorf("a closed reporter takes events: %v", err)
	}
	if _, err := r.Close(); !errors.Is(err, client.ErrPrecondition) {
		t.Errorf("a closed reporter closes: %v", err)
	}
}

func TestReporter_SaysWhyTheServerEnded(t *testing.T) {
	t.Parallel()
	r, err := dial(t, &fake{}).NewReporter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // until the refusal has come back
		err = r.Report(client.ReportedEvent{LocalTime: "2025-03-01", Text: "break off"})
	}
	if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is away") {
		t.Errorf("error is %v", err)
	}
	if _, err := r.Close(); err == nil {
		t.Error("a broken reporter closes as if all were well")
	}
}

func TestWaybill_IsFoundByNumbersOfAnyForm(t *testing.T) {
	t.Parallel()
	c := dial(t, known("SF%2F100", 3))
	id := trace.ID{CarrierCode: "sf", WaybillNumber: "SF/100"}
	if _, err := c.GetWaybill(t.Context(), id); err != nil {
		t.Error(err)
	}
	_, err := c.GetWaybill(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF200"})
	if !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error is %v, want %v", err, client.ErrNotFound)
	}
	var texts []string
	for e, err := range c.TraceEvents(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, e.Text)
	}
	if got := strings.Join(texts, ", "); got != "scan 1, scan 2, scan 3" {
		t.Errorf("the trace is %s", got)
	}
}

func TestGetWaybills_AsksInBatches(t *testing.T) {
	t.Parallel()
	f := &fake{waybills: make(map[string]*trackingv1.TraceUpdate)}
	var ids []trace.ID
	for i := range 450 {
		id := trace.ID{CarrierCode: "sf", WaybillNumber: fmt.Sprint("SF", 1000+i)}
		if i%3 > 0 {
			f.waybills[id.Name()] = update(id.WaybillNumber, 2)
		}
		ids = append(ids, id)
	}
	found, err := dial(t, f).GetWaybills(t.Context(), ids)
	if err != nil || len(found) != 300 {
		t.Fatalf("%d are found, %v, want 300", len(found), err)
	}
	for i, id := range ids {
		if w, ok := found[id]; ok != (i%3 > 0) || ok && w.ID != id {
			t.Fatalf("%v is %+v, %t", id, w, ok)
		}
	}
}

func TestPushes_AreOfAWaybillOrASubscription(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{})
	for p, err := range c.Pushes(t.Context(), "sub_1") {
		want := client.Push{
			ID: "psh_1_2", Subscription: "tenants/default/subscriptions/sub_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF/100"},
			AfterRevision: 1, Revision: 2, State: client.PushParked, AttemptCount: 3, ParkReason: "horizon",
		}
		if err != nil || p != want {
			t.Errorf("push is %+v, %v, want %+v", p, err, want)
		}
	}
	id := trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}
	for a, err := range c.Attempts(t.Context(), id.Name(), client.AttemptFilter{PushID: "psh_1_2"}) {
		want := client.Attempt{
			ID: "att_1", PushID: "psh_1_2", Subscription: "waybills/sf/SF100", Number: 1, HTTPStatus: 503, ErrorClass: "http_503", Outcome: client.AttemptRetry,
		}
		if err != nil || a != want {
			t.Errorf("attempt is %+v, %v, want %+v", a, err, want)
		}
	}
}

func sizes(batches [][]*ingestv1.ReportedEvent) string {
	var all []string
	for _, b := range batches {
		all = append(all, strconv.Itoa(len(b)))
	}
	return strings.Join(all, " ")
}
