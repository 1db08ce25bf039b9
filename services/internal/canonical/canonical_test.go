package canonical_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

var (
	received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	parcel   = track.Waybill{Carrier: "sf-express", Number: "SF1000000000001"}
)

// minimal is an event with what is required and nothing else.
func minimal(changes ...func(*ingestv1.ReportedEvent)) *ingestv1.ReportedEvent {
	e := &ingestv1.ReportedEvent{CarrierCode: "sf-express", WaybillNumber: "SF1000000000001", EventTime: "2026-03-01T08:01:02+08:00"}
	for _, change := range changes {
		change(e)
	}
	return e
}

// full is an event with every field.
func full() *ingestv1.ReportedEvent {
	place := func(name string, latitude, longitude float64) *trackingv1.Location {
		return &trackingv1.Location{
			Text: name + " text", City: name + " city", Region: name + " region", Country: "CN", Postcode: name + " postcode",
			FacilityCode: name + " code", FacilityName: name + " name", FacilityType: name + " type", Latitude: &latitude, Longitude: &longitude,
		}
	}
	return &ingestv1.ReportedEvent{
		CarrierCode: "sf-express", WaybillNumber: " sf 1000 0000 00001 ", EventId: "own", Kind: trackingv1.EventKind_EVENT_KIND_CORRECTION,
		TargetEventId: "earlier", EventTime: "2026-03-01T08:01:02+08:00", Status: trackingv1.Status_STATUS_IN_TRANSIT,
		SubStatus: trackingv1.SubStatus_SUB_STATUS_IN_TRANSIT_DEPARTED, Text: "【深圳市】已发出", Language: "zh", Location: place("here", 22.5, 114.1),
		NextLocation: place("there", -33.9, -70.7), Courier: &trackingv1.Person{Name: "courier", Phone: "13800000000"}, Signer: "signer",
		ReasonCode: "reason", RawCode: "raw", OrderHint: 7, EstimateTime: "2026-03-03", Attributes: map[string]string{"dock": "7", "": ""},
	}
}

func mapped(t testing.TB, e *ingestv1.ReportedEvent) track.Event {
	t.Helper()
	w, got, bad := canonical.Event(e, received)
	if bad != nil {
		t.Fatalf("it is refused: %v", bad)
	}
	if w != parcel {
		t.Fatalf("it is of %v", w)
	}
	return got
}

func TestEvent_MapsEveryField(t *testing.T) {
	t.Parallel()
	e := full()
	// A new field must be in here, and in what is wanted below.
	wantAllFields(t, e.ProtoReflect())
	place := func(name string, latitude, longitude float64) track.Location {
		return track.Location{
			Text: name + " text", City: name + " city", Region: name + " region", Country: "CN", Postcode: name + " postcode",
			FacilityCode: name + " code", FacilityName: name + " name", FacilityType: name + " type",
			Coordinates: &track.Coordinates{Latitude: latitude, Longitude: longitude},
		}
	}
	want := track.Event{
		ID: track.DeriveID(track.IDParts{Waybill: parcel, SourceID: "own"}), Kind: track.KindCorrection,
		Target: track.DeriveID(track.IDParts{Waybill: parcel, SourceID: "earlier"}),
		Time: track.Time{
			Wall: time.Date(2026, 3, 1, 8, 1, 2, 0, time.UTC), Offset: 8 * time.Hour, OffsetSource: track.OffsetGiven, Precision: track.PrecisionSecond,
		},
		ReceiveTime: received, OrderHint: 7, Status: status.InTransit, Sub: status.InTransitDeparted, ReasonCode: "reason", RawCode: "raw",
		Text: "【深圳市】已发出", Language: "zh", Location: place("here", 22.5, 114.1), NextLocation: place("there", -33.9, -70.7),
		Courier: track.Person{Name: "courier", Phone: "13800000000"}, Signer: "signer",
		Estimate:   track.Time{Wall: time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC), Precision: track.PrecisionDate},
		Provenance: track.Provenance{Source: "canonical", Kind: track.SourceTeam, MappingVersion: canonical.MappingVersion, Confidence: 100},
		Attributes: map[string]string{"dock": "7", "": ""},
	}
	if diff := cmp.Diff(want, mapped(t, e)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func wantAllFields(t *testing.T, m protoreflect.Message) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			t.Errorf("%s is not set", f.FullName())
		}
		if f.Message() != nil && !f.IsMap() {
			wantAllFields(t, m.Get(f).Message())
		}
	}
}

func TestEvent_NeedsLittle(t *testing.T) {
	t.Parallel()
	want := track.Event{
		ID:          track.DeriveID(track.IDParts{Waybill: parcel, Time: "2026-03-01T08:01:02+08:00", Code: "STATUS_UNSPECIFIED/SUB_STATUS_UNSPECIFIED"}),
		Kind:        track.KindEvent,
		Time:        track.Time{Wall: time.Date(2026, 3, 1, 8, 1, 2, 0, time.UTC), Offset: 8 * time.Hour, OffsetSource: track.OffsetGiven, Precision: track.PrecisionSecond},
		ReceiveTime: received,
		Provenance:  track.Provenance{Source: "canonical", Kind: track.SourceTeam, MappingVersion: canonical.MappingVersion, Confidence: 100},
	}
	if diff := cmp.Diff(want, mapped(t, minimal())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// change is what a test does to an event.
type change = func(*ingestv1.ReportedEvent)

// attributes are n of them.
func attributes(n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all[strconv.Itoa(i)] = "x"
	}
	return all
}

func at(latitude, longitude float64) *trackingv1.Location {
	return &trackingv1.Location{Latitude: &latitude, Longitude: &longitude}
}

func TestEvent_TakesWhatIsWithinLimits(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]change{
		"2 characters of carrier": func(e *ingestv1.ReportedEvent) { e.CarrierCode = "sf" },
		"40 of carrier":           func(e *ingestv1.ReportedEvent) { e.CarrierCode = "az09-_" + strings.Repeat("x", 34) },
		"4 of number":             func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "1234" },
		"64 of number":            func(e *ingestv1.ReportedEvent) { e.WaybillNumber = strings.Repeat("A", 64) },
		"signs in the number":     func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "1Z-9_9" },
		"4,000 of text":           func(e *ingestv1.ReportedEvent) { e.Text = strings.Repeat("字", 4000) },
		"32 attributes":           func(e *ingestv1.ReportedEvent) { e.Attributes = attributes(32) },
		"the poles":               func(e *ingestv1.ReportedEvent) { e.Location, e.NextLocation = at(90, 180), at(-90, -180) },
		"the null island":         func(e *ingestv1.ReportedEvent) { e.Location = at(0, 0) },
		"the largest hint":        func(e *ingestv1.ReportedEvent) { e.OrderHint = math.MaxInt32 },
		"the smallest hint":       func(e *ingestv1.ReportedEvent) { e.OrderHint = math.MinInt32 },
		"an empty place":          func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{} },
		"an estimate beside":      func(e *ingestv1.ReportedEvent) { e.EstimateTime = "2026-03-03 18:00" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, bad := canonical.Event(minimal(change), received); bad != nil {
				t.Errorf("it is refused: %v", bad)
			}
		})
	}
}

func TestEvent_NamesTheFieldAtFault(t *testing.T) {
	t.Parallel()
	nan, north := math.NaN(), 1.0
	const nul = "a\x00b"
	void := func(e *ingestv1.ReportedEvent) {
		e.Kind, e.TargetEventId = trackingv1.EventKind_EVENT_KIND_VOID, "earlier"
	}
	for field, changes := range map[string][]change{
		"carrier_code": {
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = "" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = "s" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = strings.Repeat("x", 41) },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = "SF" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = " sf" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = "s.f" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = "顺丰" },
			func(e *ingestv1.ReportedEvent) { e.CarrierCode = nul },
		},
		"waybill_number": {
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "" },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "123" },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = " 123 " },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = strings.Repeat("1", 65) },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "1234\n" },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "12\u200b34" },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "12\xff34" },
			func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "1234" + nul },
		},
		"event_id": {func(e *ingestv1.ReportedEvent) { e.EventId = nul }},
		"target_event_id": {
			func(e *ingestv1.ReportedEvent) { void(e); e.TargetEventId = nul },
			func(e *ingestv1.ReportedEvent) { void(e); e.TargetEventId = "" },
			func(e *ingestv1.ReportedEvent) { void(e); e.EventId = "earlier" },
			func(e *ingestv1.ReportedEvent) { void(e); e.Kind = trackingv1.EventKind_EVENT_KIND_UNSPECIFIED },
			func(e *ingestv1.ReportedEvent) { void(e); e.Kind = trackingv1.EventKind_EVENT_KIND_EVENT },
			func(e *ingestv1.ReportedEvent) { void(e); e.Kind = trackingv1.EventKind_EVENT_KIND_INFO },
			func(e *ingestv1.ReportedEvent) {
				void(e)
				e.Kind, e.EstimateTime = trackingv1.EventKind_EVENT_KIND_ESTIMATE, "2026-03-03"
			},
			func(e *ingestv1.ReportedEvent) { e.Kind = trackingv1.EventKind_EVENT_KIND_CORRECTION },
		},
		"kind": {
			func(e *ingestv1.ReportedEvent) { e.Kind = 6 },
			func(e *ingestv1.ReportedEvent) { e.Kind = -1 },
		},
		"event_time": {func(e *ingestv1.ReportedEvent) { e.EventTime = "" }, func(e *ingestv1.ReportedEvent) { e.EventTime = "yesterday" }},
		"estimate_time": {
			func(e *ingestv1.ReportedEvent) { e.Kind = trackingv1.EventKind_EVENT_KIND_ESTIMATE },
			func(e *ingestv1.ReportedEvent) { e.EstimateTime = "soon" },
		},
		"status": {
			func(e *ingestv1.ReportedEvent) { e.Status = 15 },
			func(e *ingestv1.ReportedEvent) { e.Status = -1 },
			func(e *ingestv1.ReportedEvent) { e.Status = 256 + 4 }, // the number of a byte would be right
		},
		"sub_status": {
			func(e *ingestv1.ReportedEvent) { e.Status, e.SubStatus = trackingv1.Status_STATUS_IN_TRANSIT, 499 },
			func(e *ingestv1.ReportedEvent) { e.Status, e.SubStatus = trackingv1.Status_STATUS_IN_TRANSIT, -401 },
			func(e *ingestv1.ReportedEvent) {
				e.Status, e.SubStatus = trackingv1.Status_STATUS_IN_TRANSIT, 1<<16+401
			},
			func(e *ingestv1.ReportedEvent) { e.Status, e.SubStatus = trackingv1.Status_STATUS_IN_TRANSIT, 301 },
			func(e *ingestv1.ReportedEvent) { e.SubStatus = 401 },
		},
		"text":          {func(e *ingestv1.ReportedEvent) { e.Text = strings.Repeat("字", 4001) }, func(e *ingestv1.ReportedEvent) { e.Text = nul }},
		"language":      {func(e *ingestv1.ReportedEvent) { e.Language = nul }},
		"courier.name":  {func(e *ingestv1.ReportedEvent) { e.Courier = &trackingv1.Person{Name: nul} }},
		"courier.phone": {func(e *ingestv1.ReportedEvent) { e.Courier = &trackingv1.Person{Phone: nul} }},
		"signer":        {func(e *ingestv1.ReportedEvent) { e.Signer = nul }},
		"reason_code":   {func(e *ingestv1.ReportedEvent) { e.ReasonCode = nul }},
		"raw_code":      {func(e *ingestv1.ReportedEvent) { e.RawCode = nul }},
		"attributes": {
			func(e *ingestv1.ReportedEvent) { e.Attributes = attributes(33) },
			func(e *ingestv1.ReportedEvent) { e.Attributes = map[string]string{nul: "x"} },
			func(e *ingestv1.ReportedEvent) { e.Attributes = map[string]string{"x": nul} },
		},
		"location.text":          {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Text: nul} }},
		"location.city":          {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{City: nul} }},
		"location.region":        {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Region: nul} }},
		"location.postcode":      {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Postcode: nul} }},
		"location.facility_code": {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{FacilityCode: nul} }},
		"location.facility_name": {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{FacilityName: nul} }},
		"location.facility_type": {func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{FacilityType: nul} }},
		"location.country": {
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "cn"} },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "CHN"} },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "C"} },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "C1"} },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: "é"} },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Country: nul} },
		},
		"location.latitude": {
			func(e *ingestv1.ReportedEvent) { e.Location = at(90.1, 0) },
			func(e *ingestv1.ReportedEvent) { e.Location = at(math.Inf(-1), 0) },
			func(e *ingestv1.ReportedEvent) { e.Location = at(nan, 0) },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Longitude: &north} },
		},
		"location.longitude": {
			func(e *ingestv1.ReportedEvent) { e.Location = at(0, -180.1) },
			func(e *ingestv1.ReportedEvent) { e.Location = at(0, nan) },
			func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Latitude: &north} },
		},
		"next_location.city":      {func(e *ingestv1.ReportedEvent) { e.NextLocation = &trackingv1.Location{City: nul} }},
		"next_location.country":   {func(e *ingestv1.ReportedEvent) { e.NextLocation = &trackingv1.Location{Country: "x"} }},
		"next_location.latitude":  {func(e *ingestv1.ReportedEvent) { e.NextLocation = at(91, 0) }},
		"next_location.longitude": {func(e *ingestv1.ReportedEvent) { e.NextLocation = at(0, 181) }},
	} {
		for i, change := range changes {
			t.Run(fmt.Sprint(field, " ", i), func(t *testing.T) {
				t.Parallel()
				_, got, bad := canonical.Event(minimal(change), received)
				if bad == nil {
					t.Fatal("it is taken")
				}
				if bad.Field != field || bad.Description == "" {
					t.Errorf("the error is %v", bad)
				}
				if diff := cmp.Diff(track.Event{}, got); diff != "" {
					t.Errorf("an event beside the error:\n%s", diff)
				}
			})
		}
	}
}

func TestEvent_OfNothingIsRefused(t *testing.T) {
	t.Parallel()
	for _, e := range []*ingestv1.ReportedEvent{nil, {}} {
		if _, _, bad := canonical.Event(e, received); bad == nil || bad.Field != "carrier_code" {
			t.Errorf("the error is %v", bad)
		}
	}
}

func TestEvent_Kinds(t *testing.T) {
	t.Parallel()
	target := track.DeriveID(track.IDParts{Waybill: parcel, SourceID: "earlier"})
	for given, want := range map[trackingv1.EventKind]struct {
		kind   track.Kind
		target track.EventID
	}{
		trackingv1.EventKind_EVENT_KIND_UNSPECIFIED: {track.KindEvent, ""},
		trackingv1.EventKind_EVENT_KIND_EVENT:       {track.KindEvent, ""},
		trackingv1.EventKind_EVENT_KIND_INFO:        {track.KindInfo, ""},
		trackingv1.EventKind_EVENT_KIND_ESTIMATE:    {track.KindEstimate, ""},
		trackingv1.EventKind_EVENT_KIND_VOID:        {track.KindVoid, target},
		trackingv1.EventKind_EVENT_KIND_CORRECTION:  {track.KindCorrection, target},
	} {
		e := minimal(func(e *ingestv1.ReportedEvent) { e.Kind, e.EstimateTime = given, "2026-03-03" })
		if want.target != "" {
			e.TargetEventId = "earlier"
		}
		if got := mapped(t, e); got.Kind != want.kind || got.Target != want.target {
			t.Errorf("%s became %d of %q", given, got.Kind, got.Target)
		}
	}
	if n := len(trackingv1.EventKind_name); n != 6 {
		t.Errorf("there are %d kinds, and this test knows 6", n)
	}
}

// A withdrawal and a correction find their event by the id that its team gave
// it, over spellings of the number.
func TestEvent_ActsUponTheEventItNames(t *testing.T) {
	t.Parallel()
	first := mapped(t, minimal(func(e *ingestv1.ReportedEvent) { e.EventId, e.Status = "first", trackingv1.Status_STATUS_PICKED_UP }))
	for _, tt := range []struct {
		kind trackingv1.EventKind
		want status.Status
	}{
		{trackingv1.EventKind_EVENT_KIND_VOID, status.Unknown},
		{trackingv1.EventKind_EVENT_KIND_CORRECTION, status.Customs},
	} {
		second := mapped(t, minimal(func(e *ingestv1.ReportedEvent) {
			e.Kind, e.TargetEventId, e.Status, e.WaybillNumber = tt.kind, "first", trackingv1.Status_STATUS_CUSTOMS, "sf 1000000000001"
		}))
		if second.Target != first.ID {
			t.Errorf("%s is of %q, want %q", tt.kind, second.Target, first.ID)
		}
		trace, _ := track.Merge(nil, track.Report{Waybill: parcel, Events: []track.Event{first, second}}, received)
		if trace.State.Status != tt.want {
			t.Errorf("after %s the status is %s, want %s", tt.kind, trace.State.Status, tt.want)
		}
	}
}

// The numbers of the taxonomy are the messages' numbers.
func TestEvent_KnowsTheWholeTaxonomy(t *testing.T) {
	t.Parallel()
	var subs int
	for n := range trackingv1.Status_name {
		s := status.Status(n)
		for _, sub := range append(s.Subs(), 0) {
			got := mapped(t, minimal(func(e *ingestv1.ReportedEvent) {
				e.Status, e.SubStatus = trackingv1.Status(n), trackingv1.SubStatus(sub)
			}))
			if got.Status != s || got.Sub != sub {
				t.Errorf("%d/%d became %s/%s", n, sub, got.Status, got.Sub)
			}
			if _, known := trackingv1.SubStatus_name[int32(sub)]; !known {
				t.Errorf("sub-status %s has no message value", sub)
			}
			subs++
		}
	}
	if n := len(trackingv1.SubStatus_name) - 1 + len(trackingv1.Status_name); subs != n {
		t.Errorf("%d pairs were tried, and there are %d", subs, n)
	}
}

// An id that Posthaste derives is of what tells the event from others, and of
// nothing that a repeat may have otherwise.
func TestEvent_DerivesItsID(t *testing.T) {
	t.Parallel()
	base := mapped(t, minimal()).ID
	estimate := func(at string) change {
		return func(e *ingestv1.ReportedEvent) { e.Kind, e.EstimateTime = trackingv1.EventKind_EVENT_KIND_ESTIMATE, at }
	}
	void := func(target string) change {
		return func(e *ingestv1.ReportedEvent) {
			e.Kind, e.TargetEventId = trackingv1.EventKind_EVENT_KIND_VOID, target
		}
	}
	ids := map[track.EventID]string{base: "minimal"}
	for name, change := range map[string]change{
		"time":       func(e *ingestv1.ReportedEvent) { e.EventTime = "2026-03-01T08:01:03+08:00" },
		"status":     func(e *ingestv1.ReportedEvent) { e.Status = trackingv1.Status_STATUS_IN_TRANSIT },
		"sub-status": func(e *ingestv1.ReportedEvent) { e.Status, e.SubStatus = trackingv1.Status_STATUS_IN_TRANSIT, 401 },
		"raw code":   func(e *ingestv1.ReportedEvent) { e.RawCode = "202" },
		"place":      func(e *ingestv1.ReportedEvent) { e.Location = &trackingv1.Location{Text: "here"} },
		"text":       func(e *ingestv1.ReportedEvent) { e.Text = "here" },
		"own id":     func(e *ingestv1.ReportedEvent) { e.EventId = "here" },
		"estimate 1": estimate("2026-03-03"), "estimate 2": estimate("2026-03-04"),
		"void 1": void("a"), "void 2": void("b"),
		"correction": func(e *ingestv1.ReportedEvent) {
			e.Kind, e.TargetEventId = trackingv1.EventKind_EVENT_KIND_CORRECTION, "a"
		},
	} {
		id := mapped(t, minimal(change)).ID
		if other, taken := ids[id]; taken {
			t.Errorf("%s and %s have one id", name, other)
		}
		ids[id] = name
	}
	for name, change := range map[string]change{
		"the number's spelling": func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "sf 1000 0000 00001" },
		"the kind said":         func(e *ingestv1.ReportedEvent) { e.Kind = trackingv1.EventKind_EVENT_KIND_EVENT },
		"the courier":           func(e *ingestv1.ReportedEvent) { e.Courier = &trackingv1.Person{Name: "x"} },
		"the hint":              func(e *ingestv1.ReportedEvent) { e.OrderHint = 7 },
		"attributes":            func(e *ingestv1.ReportedEvent) { e.Attributes = map[string]string{"x": "y"} },
		"coordinates":           func(e *ingestv1.ReportedEvent) { e.Location = at(1, 1) },
	} {
		if id := mapped(t, minimal(change)).ID; id != base {
			t.Errorf("%s changes the id", name)
		}
	}
	// Unspecified means EVENT, with an estimate beside too.
	beside := func(kind trackingv1.EventKind) track.EventID {
		return mapped(t, minimal(func(e *ingestv1.ReportedEvent) { e.Kind, e.EstimateTime = kind, "2026-03-03" })).ID
	}
	if beside(trackingv1.EventKind_EVENT_KIND_UNSPECIFIED) != beside(trackingv1.EventKind_EVENT_KIND_EVENT) {
		t.Error("one event has two ids")
	}
	// With a team's own id the rest has no part in it, and the waybill has.
	own := func(e *ingestv1.ReportedEvent) { e.EventId = "own" }
	if got := mapped(t, minimal(own, func(e *ingestv1.ReportedEvent) { e.Text, e.EventTime = "x", "2026-03-02" })).ID; got != mapped(t, minimal(own)).ID {
		t.Error("the text changes an id that a team gave")
	}
	_, other, bad := canonical.Event(minimal(own, func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "SF2000" }), received)
	if bad != nil || other.ID == mapped(t, minimal(own)).ID {
		t.Errorf("events of two waybills have one id, %v", bad)
	}
}

func encoded(t testing.TB, events ...*ingestv1.ReportedEvent) []byte {
	t.Helper()
	body, err := proto.Marshal(&ingestv1.ReportEventsRequest{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestMap_MakesAReportOfAWaybillsEvents(t *testing.T) {
	t.Parallel()
	raw := carrier.Raw{Waybill: parcel, Kind: track.SourceTeam, ReceiveTime: received, Body: encoded(t, full(), minimal())}
	got, err := canonical.Map(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := track.Report{Waybill: parcel, Events: []track.Event{mapped(t, full()), mapped(t, minimal())}, ReceiveTime: received}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	raw.Body = nil
	if got, err := canonical.Map(raw); err != nil || len(got.Events) != 0 {
		t.Errorf("an empty body gave %v, %v", got, err)
	}
}

func TestMap_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body  []byte
		field string
	}{
		"a bad event":       {encoded(t, minimal(), minimal(func(e *ingestv1.ReportedEvent) { e.EventTime = "x" })), "events[1].event_time"},
		"another waybill":   {encoded(t, minimal(), minimal(func(e *ingestv1.ReportedEvent) { e.WaybillNumber = "SF2000" })), "events[1].waybill_number"},
		"another carrier":   {encoded(t, minimal(func(e *ingestv1.ReportedEvent) { e.CarrierCode = "ups" })), "events[0].waybill_number"},
		"not a message":     {[]byte("hello"), ""},
		"text of bad UTF-8": {[]byte{0x0a, 0x03, 0x4a, 0x01, 0xff}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := canonical.Map(carrier.Raw{Waybill: parcel, ReceiveTime: received, Body: tt.body})
			if err == nil || len(got.Events) != 0 {
				t.Fatalf("it gave %v, %v", got, err)
			}
			field := ""
			if f, ok := errors.AsType[*carrier.FieldError](err); ok {
				field = f.Field
			}
			if field != tt.field {
				t.Errorf("the error is %v, want it at %q", err, tt.field)
			}
		})
	}
}
