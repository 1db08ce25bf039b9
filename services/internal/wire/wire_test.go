package wire_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

func drawTime(t *rapid.T, precision track.Precision) track.Time {
	at := track.Time{
		Wall:      time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "wall"), 0).UTC(),
		Precision: precision, OffsetSource: rapid.SampledFrom([]track.OffsetSource{track.OffsetUnknown, track.OffsetGiven, track.OffsetCarrierDefault}).Draw(t, "offset source"),
	}
	if at.OffsetSource != track.OffsetUnknown {
		at.Offset = time.Duration(rapid.IntRange(-12, 14).Draw(t, "offset")) * time.Hour
	}
	if precision == track.PrecisionDate {
		at.Wall = at.Wall.Truncate(24 * time.Hour)
	}
	return at
}

func drawEvent(t *rapid.T) track.Event {
	text := rapid.StringN(0, 20, -1)
	e := track.Event{
		ID: track.EventID(text.Draw(t, "id")), Kind: track.Kind(rapid.IntRange(1, 5).Draw(t, "kind")), Target: track.EventID(text.Draw(t, "target")),
		VoidedBy: track.EventID(text.Draw(t, "voided")), CorrectedBy: track.EventID(text.Draw(t, "corrected")), DuplicateOf: track.EventID(text.Draw(t, "duplicate")), Revision: track.Revision(rapid.Uint64().Draw(t, "revision")),
		Time: drawTime(t, track.Precision(rapid.IntRange(1, 3).Draw(t, "precision"))), ReceiveTime: time.Unix(1, 2).UTC(), OrderHint: rapid.IntRange(-9, 9).Draw(t, "hint"),
		Status: status.Delivered, Sub: status.DeliveredLocker, ReasonCode: text.Draw(t, "reason"), RawCode: text.Draw(t, "code"), RawSubCode: "b",
		Text: text.Draw(t, "text"), Language: "zh", Signer: text.Draw(t, "signer"), TransportMode: "air", Vehicle: "CA123", Piece: "1",
		Leg: track.Waybill{Carrier: "dhl", Number: "LEG1"}, Estimate: drawTime(t, track.PrecisionMinute),
		Provenance: track.Provenance{Source: "kdniao", Kind: track.SourceAggregatorPush, MappingVersion: "1", MappingRule: "r", Confidence: 90},
	}
	if rapid.Bool().Draw(t, "rich") {
		e.Location = track.Location{Text: "深圳", City: "深圳市", Region: "广东省", Country: "CN", Postcode: "518000", FacilityCode: "c", FacilityName: "n", FacilityType: "hub", Coordinates: &track.Coordinates{Latitude: 0, Longitude: 114}}
		e.NextLocation = track.Location{Text: "杭州"}
		e.Courier = track.Person{Name: "王", Phone: "1"}
		e.ProofURLs = []string{"https://proof"}
		e.EstimateTo = drawTime(t, track.PrecisionSecond)
		e.Attributes = map[string]string{"a": "b"}
	}
	return e
}

// What is written and read again is the same.
func TestTrace_SurvivesTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := &track.Trace{
			Waybill: track.Waybill{Carrier: "sf-express", Number: "SF/1000"}, Revision: 7, CreateTime: time.Unix(5, 0).UTC(), UpdateTime: time.Unix(6, 0).UTC(),
			State: track.State{
				Status: status.Exception, Sub: status.ExceptionLost, Since: drawTime(t, track.PrecisionSecond), EventID: "e", Terminal: true, Signer: "s",
				Estimate:   &track.Estimate{From: drawTime(t, track.PrecisionDate), To: drawTime(t, track.PrecisionDate), Source: "kdniao", ReceiveTime: time.Unix(7, 0).UTC()},
				Milestones: []track.Milestone{{Status: status.PickedUp, Time: drawTime(t, track.PrecisionMinute)}},
			},
			Links: []track.Link{{Role: track.LinkReturn, Waybill: track.Waybill{Carrier: "a", Number: "b"}}},
		}
		for range rapid.IntRange(0, 3).Draw(t, "events") {
			want.Events = append(want.Events, drawEvent(t))
		}
		data, err := proto.Marshal(wire.TraceUpdate(want))
		if err != nil {
			t.Fatal(err)
		}
		var u trackingv1.TraceUpdate
		if err := proto.Unmarshal(data, &u); err != nil {
			t.Fatal(err)
		}
		got, err := wire.Trace(&u)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("trace (-want +got):\n%s", diff)
		}
		checkSplit(t, data, want)
	})
}

// checkSplit holds that a message which is taken apart says the same.
func checkSplit(t *rapid.T, data []byte, want *track.Trace) {
	s, err := wire.SplitUpdate(data)
	if err != nil {
		t.Fatal(err)
	}
	after := track.Revision(rapid.Uint64Range(0, 3).Draw(t, "after"))
	got, err := s.Since(after)
	if err != nil {
		t.Fatal(err)
	}
	part := *want
	part.Events = slices.Clone(want.Events)
	for i, e := range want.Events {
		if after > 0 && e.Revision <= after {
			part.Events[i] = track.Event{ID: e.ID, Revision: e.Revision}
		}
	}
	if diff := cmp.Diff(&part, got); diff != "" {
		t.Fatalf("trace since %d (-want +got):\n%s", after, diff)
	}
	for i, e := range s.Events {
		var m trackingv1.TraceEvent
		if err := proto.Unmarshal(e.Data, &m); err != nil || track.EventID(e.ID) != want.Events[i].ID || e.Revision != want.Events[i].Revision {
			t.Fatalf("event %d is %s of revision %d, %v", i, e.ID, e.Revision, err)
		}
	}
}

func FuzzSplitUpdate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x0a\x01\xff"))
	if data, err := proto.Marshal(wire.TraceUpdate(&track.Trace{Waybill: track.Waybill{Carrier: "a", Number: "b"}, Revision: 2, Events: []track.Event{{ID: "e", Revision: 2}}})); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := wire.SplitUpdate(data)
		if err != nil {
			return
		}
		var u trackingv1.TraceUpdate
		if err := proto.Unmarshal(data, &u); err == nil && len(u.GetEvents()) != len(s.Events) {
			t.Errorf("%d events, decoding finds %d", len(s.Events), len(u.GetEvents()))
		}
	})
}

func TestTrace_RefusesWhatIsNoTrace(t *testing.T) {
	t.Parallel()
	for _, u := range []*trackingv1.TraceUpdate{
		nil,
		{},
		{Waybill: &trackingv1.Waybill{CarrierCode: "sf", WaybillNumber: "SF1000"}},
		{Waybill: &trackingv1.Waybill{CarrierCode: "sf", WaybillNumber: "SF1000", Revision: 1}, Events: []*trackingv1.TraceEvent{{Time: &trackingv1.EventTime{}}}},
	} {
		if _, err := wire.Trace(u); err == nil {
			t.Errorf("%v was read", u)
		}
		data, err := proto.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := wire.SplitUpdate(data); err == nil {
			if _, err := s.Since(0); err == nil {
				t.Errorf("%v was read when it was taken apart", u)
			}
		}
	}
}

// The conversion is by number, so the numbers must be the same.
func TestNumbers_AreTheSameOnBothSides(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{
		"kind":      int32(track.KindCorrection) == int32(trackingv1.EventKind_EVENT_KIND_CORRECTION) && int32(track.KindEvent) == int32(trackingv1.EventKind_EVENT_KIND_EVENT) && int32(track.KindVoid) == int32(trackingv1.EventKind_EVENT_KIND_VOID),
		"offset":    int32(track.OffsetUnknown) == 0 && int32(track.OffsetGiven) == int32(trackingv1.OffsetSource_OFFSET_SOURCE_GIVEN) && int32(track.OffsetCarrierDefault) == int32(trackingv1.OffsetSource_OFFSET_SOURCE_CARRIER_DEFAULT),
		"precision": int32(track.PrecisionSecond) == int32(trackingv1.TimePrecision_TIME_PRECISION_SECOND) && int32(track.PrecisionDate) == int32(trackingv1.TimePrecision_TIME_PRECISION_DATE),
		"source":    int32(track.SourceCarrierPush) == int32(trackingv1.SourceKind_SOURCE_KIND_CARRIER_PUSH) && int32(track.SourceTeam) == int32(trackingv1.SourceKind_SOURCE_KIND_TEAM),
		"role":      int32(track.LinkLastMile) == int32(trackingv1.LinkRole_LINK_ROLE_LAST_MILE) && int32(track.LinkCorrected) == int32(trackingv1.LinkRole_LINK_ROLE_CORRECTED),
	} {
		if !same {
			t.Errorf("the numbers of %s differ", name)
		}
	}
	for _, s := range status.All() {
		if _, ok := trackingv1.Status_name[int32(s)]; !ok {
			t.Errorf("status %s has no message value", s)
		}
		for _, sub := range s.Subs() {
			if _, ok := trackingv1.SubStatus_name[int32(sub)]; !ok {
				t.Errorf("sub-status %s has no message value", sub)
			}
		}
	}
}
