package push

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestID_NamesSubscriptionAndRevision(t *testing.T) {
	t.Parallel()
	if got, want := ID("sub_018f3c5e7b2a7c3d", 7), "psh_018f3c5e7b2a7c3d_7"; got != want {
		t.Errorf("ID is %s, want %s", got, want)
	}
}

// TestRender_SaysWhatTheTraceSays goes through every field once.
func TestRender_SaysWhatTheTraceSays(t *testing.T) {
	t.Parallel()
	sub := Subscription{ID: "sub_1", TenantID: "acme", Metadata: map[string]string{"order_id": "A-1"}}
	tr := journey()
	got := string(appendPush(Render(sub, tr, 2)))
	const want = `{
	"type": "trace.updated", "push_id": "psh_1_4", "subscription_id": "sub_1", "tenant_id": "acme",
	"metadata": {"order_id": "A-1"}, "after_revision": 2, "revision": 4,
	"waybill": {
		"carrier_code": "sf", "waybill_number": "SF100", "revision": 4, "status": "in_transit", "sub_status": "in_transit.departed",
		"status_name": {"en": "In transit", "zh": "运输中"}, "sub_status_name": {"en": "Left a facility", "zh": "离开网点"},
		"status_time": "2025-03-01T10:02:11+08:00", "status_event_id": "e3", "terminal": false, "signer": "",
		"estimate": {"from": "2025-03-05T00:00:00Z", "to": null, "precision": "date", "offset_source": "unknown", "source": "kdniao", "receive_time": "2025-03-01T03:00:00Z"},
		"milestones": [{"status": "picked_up", "time": "2025-02-28T18:00:00+08:00", "precision": "minute"}],
		"links": [{"role": "return", "carrier_code": "sf", "waybill_number": "SF200"}],
		"event_count": 4, "create_time": "2025-02-28T10:00:01Z", "update_time": "2025-03-01T03:00:01Z"
	},
	"events": [{
		"id": "e2", "kind": "event", "target_event_id": "", "voided_by": "e4", "corrected_by": "", "duplicate_of": "", "revision": 4,
		"event_time": "2025-03-01T00:00:00Z", "local_time": "2025-03-01", "utc_offset_seconds": null, "offset_source": "unknown", "precision": "date",
		"receive_time": "2025-03-01T03:00:00Z", "order_hint": 2, "status": "in_transit", "sub_status": "", "text": "", "language": "",
		"location": {"text": "", "city": "", "region": "", "country": "", "postcode": "", "latitude": null, "longitude": null, "facility_code": "", "facility_name": "", "facility_type": ""},
		"next_location": null, "courier": null, "signer": "", "reason_code": "", "raw_code": "", "raw_sub_code": "", "transport_mode": "", "vehicle": "", "piece": "",
		"leg": null, "proof_urls": [], "estimate": null, "source": "kdniao", "attributes": {}
	}, {
		"id": "e3", "kind": "event", "target_event_id": "", "voided_by": "", "corrected_by": "", "duplicate_of": "", "revision": 3,
		"event_time": "2025-03-01T10:02:11+08:00", "local_time": "2025-03-01T10:02:11", "utc_offset_seconds": 28800, "offset_source": "carrier_default", "precision": "second",
		"receive_time": "2025-03-01T03:00:00Z", "order_hint": 3, "status": "in_transit", "sub_status": "in_transit.departed", "text": "离开【深圳】", "language": "zh",
		"location": {"text": "深圳市福田区", "city": "深圳市", "region": "广东省", "country": "CN", "postcode": "518000", "latitude": 22.5, "longitude": 114, "facility_code": "755A", "facility_name": "福田", "facility_type": "hub"},
		"next_location": {"text": "", "city": "广州市", "region": "", "country": "", "postcode": "", "latitude": null, "longitude": null, "facility_code": "", "facility_name": "", "facility_type": ""},
		"courier": {"name": "王", "phone": "13800000000"}, "signer": "李", "reason_code": "weather", "raw_code": "30", "raw_sub_code": "301", "transport_mode": "road", "vehicle": "粤B12345", "piece": "1",
		"leg": {"carrier_code": "ems", "waybill_number": "EA1"}, "proof_urls": ["https://example.com/p"],
		"estimate": {"from": "2025-03-05T00:00:00+08:00", "to": "2025-03-06T00:00:00+08:00", "precision": "date", "offset_source": "carrier_default"},
		"source": "kdniao", "attributes": {"weight": "1kg"}
	}, {
		"id": "e4", "kind": "void", "target_event_id": "e2", "voided_by": "", "corrected_by": "", "duplicate_of": "", "revision": 4,
		"event_time": "2025-03-01T11:00:00.25+05:30", "local_time": "2025-03-01T11:00:00.25", "utc_offset_seconds": 19800, "offset_source": "given", "precision": "second",
		"receive_time": "2025-03-01T03:00:00Z", "order_hint": 4, "status": "unknown", "sub_status": "", "text": "", "language": "",
		"location": {"text": "", "city": "", "region": "", "country": "", "postcode": "", "latitude": null, "longitude": null, "facility_code": "", "facility_name": "", "facility_type": ""},
		"next_location": null, "courier": null, "signer": "", "reason_code": "", "raw_code": "", "raw_sub_code": "", "transport_mode": "", "vehicle": "", "piece": "",
		"leg": null, "proof_urls": [], "estimate": null, "source": "kdniao", "attributes": {}
	}],
	"trace": null}`
	if diff := cmp.Diff(value(t, want), value(t, got)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestRender_AddsTheWholeTraceOnRequest(t *testing.T) {
	t.Parallel()
	p := Render(Subscription{ID: "sub_1", IncludeTrace: true}, journey(), 3)
	if got, want := ids(p.Events), []string{"e2", "e4"}; !cmp.Equal(got, want) {
		t.Errorf("events are %v, want %v", got, want)
	}
	if got, want := ids(p.Trace), []string{"e1", "e2", "e3", "e4"}; !cmp.Equal(got, want) {
		t.Errorf("the trace is %v, want %v", got, want)
	}
	p = Render(Subscription{ID: "sub_1", IncludeTrace: true}, &track.Trace{Revision: 1}, 0)
	if p.Trace == nil || p.Events == nil {
		t.Error("a trace without events is null, want []")
	}
}

// TestRender_IsAFunctionOfTraceAndRange is what lets a push be rendered anew
// when its time comes: the bytes are the same whenever and wherever that is.
func TestRender_IsAFunctionOfTraceAndRange(t *testing.T) {
	t.Parallel()
	schema := compile(t)
	rapid.Check(t, func(t *rapid.T) {
		tr := drawTrace(t)
		sub := Subscription{
			ID: "sub_1", TenantID: "default", IncludeTrace: rapid.Bool().Draw(t, "include trace"),
			Metadata: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"),
		}
		after := track.Revision(rapid.Uint64Range(0, uint64(tr.Revision)-1).Draw(t, "after"))
		body := appendPush(Render(sub, tr, after))
		if again := appendPush(Render(sub, tr, after)); !bytes.Equal(body, again) {
			t.Fatalf("rendered twice:\n%s\n%s", body, again)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		if err := schema.Validate(doc); err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		var p payload.Push
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatal(err)
		}
		// The events of adjoining ranges make up those of the whole.
		for _, e := range p.Events {
			if e.Revision <= uint64(after) {
				t.Fatalf("event %s of revision %d is in the range after %d", e.ID, e.Revision, after)
			}
		}
		rest := 0
		for _, e := range tr.Events {
			if e.Revision <= after {
				rest++
			}
		}
		if len(p.Events)+rest != len(tr.Events) {
			t.Fatalf("%d events after revision %d and %d before, want %d in all", len(p.Events), after, rest, len(tr.Events))
		}
		for i, e := range p.Trace {
			if want := tr.Events[i].Time.Instant(); !e.EventTime.Equal(want) {
				t.Fatalf("event time is %v, want the instant %v", e.EventTime, want)
			}
			if got, want := e.EventTime.Format(time.DateTime), tr.Events[i].Time.Wall.Format(time.DateTime); got != want {
				t.Fatalf("the clock shows %s, want the place's %s", got, want)
			}
		}
	})
}

func TestSchema_AllowsWhatComesLaterAndNothingLess(t *testing.T) {
	t.Parallel()
	schema := compile(t)
	body := string(appendPush(Render(Subscription{ID: "sub_1", TenantID: "default", IncludeTrace: true}, journey(), 0)))
	for _, tt := range []struct {
		name, old, changed string
		valid              bool
	}{
		{"as it is", "", "", true},
		{"a new field", `{"type":`, `{"later":1,"type":`, true},
		{"a new field inside", `"piece":`, `"later":null,"piece":`, true},
		{"a new sub-status", `"in_transit.departed"`, `"in_transit.beamed"`, true},
		{"no metadata", `"metadata":`, `"later":`, false},
		{"no trace", `"trace":`, `"later":`, false},
		{"no estimate", `"estimate":`, `"later":`, false},
		{"an unknown status", `"status":"in_transit"`, `"status":"lost"`, false},
		{"a time without offset", `"status_time":"2025-03-01T10:02:11+08:00"`, `"status_time":"2025-03-01T10:02:11"`, false},
		{"a number as id", `"push_id":"psh_1_4"`, `"push_id":14`, false},
		{"another type", `"trace.updated"`, `"trace.deleted"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(body, tt.old, tt.changed, 1)
			if changed == body && tt.old != "" {
				t.Fatalf("%s isn't in\n%s", tt.old, body)
			}
			if err := schema.Validate(value(t, changed)); (err == nil) != tt.valid {
				t.Errorf("valid is %t, want %t: %v", err == nil, tt.valid, err)
			}
		})
	}
}

func BenchmarkRender(b *testing.B) {
	tr := journey()
	sub := Subscription{ID: "sub_018f3c5e7b2a7c3d", TenantID: "default", Metadata: map[string]string{"order_id": "A-1"}}
	buf := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		p := Render(sub, tr, 3)
		buf = p.AppendJSON(buf[:0])
	}
}

func appendPush(p payload.Push) []byte { return p.AppendJSON(nil) }

func ids(events []payload.Event) []string {
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func value(t *testing.T, doc string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("push.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("push.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// journey is a trace of four events: the second withdrawn by the fourth.
func journey() *track.Trace {
	china := func(wall time.Time, p track.Precision) track.Time {
		return track.Time{Wall: wall, Offset: 8 * time.Hour, OffsetSource: track.OffsetCarrierDefault, Precision: p}
	}
	day := func(d int) time.Time { return time.Date(2025, 3, d, 0, 0, 0, 0, time.UTC) }
	picked := china(time.Date(2025, 2, 28, 18, 0, 0, 0, time.UTC), track.PrecisionMinute)
	departed := china(time.Date(2025, 3, 1, 10, 2, 11, 0, time.UTC), track.PrecisionSecond)
	kdniao := track.Provenance{Source: "kdniao", Kind: track.SourceAggregatorPush}
	received := time.Date(2025, 3, 1, 11, 0, 0, 0, time.FixedZone("", 8*3600))
	return &track.Trace{
		Waybill:  track.Waybill{Carrier: "sf", Number: "SF100"},
		Revision: 4,
		State: track.State{
			Status: status.InTransit, Sub: status.InTransitDeparted, Since: departed, EventID: "e3",
			Estimate:   &track.Estimate{From: track.Time{Wall: day(5), Precision: track.PrecisionDate}, Source: "kdniao", ReceiveTime: received},
			Milestones: []track.Milestone{{Status: status.PickedUp, Time: picked}},
		},
		Events: []track.Event{
			{ID: "e1", Kind: track.KindEvent, Revision: 1, Time: picked, ReceiveTime: received, OrderHint: 1, Status: status.PickedUp, Provenance: kdniao},
			{
				ID: "e2", Kind: track.KindEvent, VoidedBy: "e4", Revision: 4, Time: track.Time{Wall: day(1), Precision: track.PrecisionDate},
				ReceiveTime: received, OrderHint: 2, Status: status.InTransit, Provenance: kdniao,
			},
			{
				ID: "e3", Kind: track.KindEvent, Revision: 3, Time: departed, ReceiveTime: received, OrderHint: 3,
				Status: status.InTransit, Sub: status.InTransitDeparted, Text: "离开【深圳】", Language: "zh",
				Location: track.Location{
					Text: "深圳市福田区", City: "深圳市", Region: "广东省", Country: "CN", Postcode: "518000", FacilityCode: "755A",
					FacilityName: "福田", FacilityType: "hub", Coordinates: &track.Coordinates{Latitude: 22.5, Longitude: 114},
				},
				NextLocation: track.Location{City: "广州市"}, Courier: track.Person{Name: "王", Phone: "13800000000"}, Signer: "李",
				ReasonCode: "weather", RawCode: "30", RawSubCode: "301", TransportMode: "road", Vehicle: "粤B12345", Piece: "1",
				Leg: track.Waybill{Carrier: "ems", Number: "EA1"}, ProofURLs: []string{"https://example.com/p"},
				Estimate: china(day(5), track.PrecisionDate), EstimateTo: china(day(6), track.PrecisionDate),
				Provenance: kdniao, Attributes: map[string]string{"weight": "1kg"},
			},
			{
				ID: "e4", Kind: track.KindVoid, Target: "e2", Revision: 4, ReceiveTime: received, OrderHint: 4, Provenance: kdniao,
				Time: track.Time{
					Wall: time.Date(2025, 3, 1, 11, 0, 0, 250e6, time.UTC), Offset: 5*time.Hour + 30*time.Minute,
					OffsetSource: track.OffsetGiven, Precision: track.PrecisionSecond,
				},
			},
		},
		Links:      []track.Link{{Role: track.LinkReturn, Waybill: track.Waybill{Carrier: "sf", Number: "SF200"}}},
		CreateTime: time.Date(2025, 2, 28, 18, 0, 1, 0, time.FixedZone("", 8*3600)),
		UpdateTime: time.Date(2025, 3, 1, 3, 0, 1, 0, time.UTC),
	}
}

func drawTrace(t *rapid.T) *track.Trace {
	revision := rapid.Uint64Range(1, 20).Draw(t, "revision")
	carrier := track.Carrier(rapid.StringMatching(`[a-z]{2,8}`).Draw(t, "carrier"))
	number := track.Number(rapid.StringN(4, 20, 64).Draw(t, "number"))
	s, sub := drawStatus(t)
	tr := &track.Trace{
		Waybill: track.Waybill{Carrier: carrier, Number: number}, Revision: track.Revision(revision),
		State:      track.State{Status: s, Sub: sub, Terminal: status.Terminal(s, sub)},
		CreateTime: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "create"), 0),
		UpdateTime: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "update"), 0),
	}
	if rapid.Bool().Draw(t, "has estimate") {
		tr.State.Estimate = &track.Estimate{From: drawTime(t), To: drawTime(t), Source: "canonical"}
	}
	for range rapid.IntRange(0, 3).Draw(t, "milestones") {
		s, _ := drawStatus(t)
		tr.State.Milestones = append(tr.State.Milestones, track.Milestone{Status: s, Time: drawTime(t)})
	}
	for range rapid.IntRange(0, 3).Draw(t, "links") {
		tr.Links = append(tr.Links, track.Link{Role: track.LinkRole(rapid.IntRange(1, 5).Draw(t, "role")), Waybill: tr.Waybill})
	}
	for range rapid.IntRange(0, 6).Draw(t, "events") {
		tr.Events = append(tr.Events, drawEvent(t, revision))
	}
	return tr
}

func drawEvent(t *rapid.T, revision uint64) track.Event {
	text := rapid.String()
	s, sub := drawStatus(t)
	e := track.Event{
		ID:          track.EventID(rapid.StringMatching(`[0-9a-f]{8}`).Draw(t, "id")),
		Kind:        track.Kind(rapid.IntRange(1, 5).Draw(t, "kind")),
		Revision:    track.Revision(rapid.Uint64Range(1, revision).Draw(t, "event revision")),
		Time:        drawTime(t),
		ReceiveTime: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "receive"), 0),
		OrderHint:   rapid.Int().Draw(t, "order hint"),
		Status:      s, Sub: sub, Text: text.Draw(t, "text"), RawCode: text.Draw(t, "raw code"),
		Attributes: rapid.MapOfN(text, text, 0, 3).Draw(t, "attributes"),
		ProofURLs:  rapid.SliceOfN(text, 0, 2).Draw(t, "proof urls"),
	}
	if rapid.Bool().Draw(t, "full") {
		e.Location.Coordinates = &track.Coordinates{
			Latitude: rapid.Float64Range(-90, 90).Draw(t, "latitude"), Longitude: rapid.Float64Range(-180, 180).Draw(t, "longitude"),
		}
		e.NextLocation.City, e.Courier.Phone, e.Leg.Carrier = text.Draw(t, "city"), text.Draw(t, "phone"), "ems"
		e.Estimate = drawTime(t)
	}
	return e
}

func drawStatus(t *rapid.T) (status.Status, status.Sub) {
	s := rapid.SampledFrom(status.All()).Draw(t, "status")
	return s, rapid.SampledFrom(append(s.Subs(), 0)).Draw(t, "sub-status")
}

func drawTime(t *rapid.T) track.Time {
	d := track.Time{
		Wall:      time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "wall"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC(),
		Precision: track.Precision(rapid.IntRange(1, 3).Draw(t, "precision")),
	}
	if rapid.Bool().Draw(t, "offset known") {
		d.OffsetSource = track.OffsetSource(rapid.IntRange(1, 4).Draw(t, "offset source"))
		d.Offset = time.Duration(rapid.IntRange(-12*4, 14*4).Draw(t, "offset")) * 15 * time.Minute
	}
	return d
}
