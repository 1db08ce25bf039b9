package track

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/pkg/status"
)

// by is an event as a source told it.
func by(source string, kind SourceKind, id string, minute int, sub status.Sub) Event {
	e := told(source+id, 0, sub.Status(), sub)
	e.Time.Wall = day.Add(time.Duration(minute) * time.Minute)
	e.Provenance = Provenance{Source: source, Kind: kind, Confidence: 80}
	return e
}

func counting(t *Trace) (ids []EventID) {
	for i := range t.Events {
		if inForce(&t.Events[i]) {
			ids = append(ids, t.Events[i].ID)
		}
	}
	return ids
}

// TestMerge_OneTruthOfSeveralSources: a carrier's push, an aggregator and a poll
// tell one journey, in any order, in any grouping, any number of times. The end
// is one trace; what one source says after another said it is no change.
func TestMerge_OneTruthOfSeveralSources(t *testing.T) {
	t.Parallel()
	journey := []status.Sub{
		status.PickedUpCollected, status.InTransitDeparted, status.InTransitArrived, status.CustomsCleared, status.OutForDeliveryOnVehicle, status.DeliveredRecipient,
	}
	coarse := map[status.Sub]status.Sub{
		status.InTransitDeparted: status.InTransitMoving, status.InTransitArrived: status.InTransitMoving, status.CustomsCleared: status.InTransitMoving,
		status.DeliveredRecipient: status.DeliveredUnspecified,
	}
	rapid.Check(t, func(t *rapid.T) {
		var set []Event
		for i, sub := range journey {
			minute := i * 60
			set = append(set, by("sf", SourceCarrierPush, strconv.Itoa(i), minute, sub))
			if rapid.Bool().Draw(t, "polled") {
				set = append(set, by("sf", SourceCarrierPoll, fmt.Sprint("polled", i), minute, sub))
			}
			if rapid.Bool().Draw(t, "aggregated") {
				vague := sub
				if c, ok := coarse[sub]; ok && rapid.Bool().Draw(t, "coarse") {
					vague = c
				}
				e := by("17track", SourceAggregatorPush, strconv.Itoa(i), minute+rapid.IntRange(0, 1).Draw(t, "minute"), vague)
				if rapid.Bool().Draw(t, "no offset") {
					e.Time.Offset, e.Time.OffsetSource = 0, OffsetUnknown
				}
				set = append(set, e)
			}
		}
		want, _ := Merge(nil, Report{Waybill: parcel, Events: set}, day)
		if n := len(counting(want)); n != len(journey) {
			t.Fatalf("%d events count: %v", n, counting(want))
		}
		arrivals := rapid.Permutation(append(append([]Event{}, set...), rapid.SliceOf(rapid.SampledFrom(set)).Draw(t, "repeats")...)).Draw(t, "arrivals")
		var got *Trace
		for len(arrivals) > 0 {
			n := rapid.IntRange(1, len(arrivals)).Draw(t, "group")
			next, changed := Merge(got, Report{Waybill: parcel, Events: arrivals[:n]}, day)
			if r := revisionOf(next); changed && r != revisionOf(got)+1 || !changed && r != revisionOf(got) {
				t.Fatalf("revision %d follows %d, changed: %v", r, revisionOf(got), changed)
			}
			got, arrivals = next, arrivals[n:]
		}
		ignored := []cmp.Option{cmpopts.IgnoreFields(Trace{}, "Revision", "UpdateTime"), cmpopts.IgnoreFields(Event{}, "Revision")}
		if diff := cmp.Diff(want, got, ignored...); diff != "" {
			t.Fatalf("trace (-at once +step by step):\n%s", diff)
		}
		if again, changed := Merge(got, Report{Waybill: parcel, Events: set}, day.Add(time.Hour)); changed || again != got {
			t.Fatal("a repeat of everything is a change")
		}
	})
}

// TestMerge_NoSecondPushOfOneThing: whoever tells it second changes nothing that
// is pushed, and is kept.
func TestMerge_NoSecondPushOfOneThing(t *testing.T) {
	t.Parallel()
	own := by("sf", SourceCarrierPush, "1", 0, status.DeliveredRecipient)
	other := by("17track", SourceAggregatorPush, "1", 1, status.DeliveredUnspecified)
	same := by("kdniao", SourceAggregatorPush, "1", 0, status.DeliveredRecipient)
	for _, tt := range []struct {
		name    string
		events  []Event
		changes []bool
		first   EventID
	}{
		{"the carrier first", []Event{own, other}, []bool{true, false}, own.ID},
		{"the carrier second, and says more", []Event{other, own}, []bool{true, true}, own.ID},
		{"the carrier second, and says as much", []Event{same, own}, []bool{true, false}, own.ID},
		{"three", []Event{own, same, other}, []bool{true, false, false}, own.ID},
	} {
		var tr *Trace
		for i, e := range tt.events {
			next, changed := Merge(tr, Report{Waybill: parcel, Events: []Event{e}}, day)
			if changed != tt.changes[i] || len(next.Events) != i+1 {
				t.Errorf("%s: event %d changes: %v, and %d are kept", tt.name, i, changed, len(next.Events))
			}
			tr = next
		}
		if ids := counting(tr); len(ids) != 1 || ids[0] != tt.first || tr.State.EventID != tt.first || tr.State.Sub != status.DeliveredRecipient {
			t.Errorf("%s: %v count, and the state is %+v", tt.name, ids, tr.State)
		}
	}
}

func TestMerge_WhatIsNotOneThing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string][2]Event{
		"ten minutes apart": {by("a", SourceCarrierPush, "1", 0, status.InTransitArrived), by("b", SourceAggregatorPush, "1", 10, status.InTransitArrived)},
		"two things":        {by("a", SourceCarrierPush, "1", 0, status.InTransitArrived), by("b", SourceAggregatorPush, "1", 0, status.InTransitDeparted)},
		"an end":            {by("a", SourceCarrierPush, "1", 0, status.DeliveredRecipient), by("b", SourceAggregatorPush, "1", 0, status.InTransitMoving)},
		"one source":        {by("a", SourceCarrierPush, "1", 0, status.InTransitArrived), by("a", SourceCarrierPush, "2", 1, status.InTransitArrived)},
	} {
		if tr := merged(t, []Event{tt[0]}, []Event{tt[1]}); len(counting(tr)) != 2 || tr.Revision != 2 {
			t.Errorf("%s: revision %d, %v count", name, tr.Revision, counting(tr))
		}
	}
}

// TestMerge_OneScanTwiceCountsOnce: ZTO tells of a scan again with another time.
func TestMerge_OneScanTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	first, second := by("zto", SourceCarrierPush, "1", 0, status.DeliveredUnspecified), by("zto", SourceCarrierPush, "2", 2, status.DeliveredUnspecified)
	for _, e := range []*Event{&first, &second} {
		e.RawCode, e.Location.FacilityCode = "SIGNED", "37131"
	}
	for _, order := range [][2]Event{{first, second}, {second, first}} {
		tr, _ := Merge(nil, Report{Waybill: parcel, Events: order[:1]}, day)
		tr, changed := Merge(tr, Report{Waybill: parcel, Events: order[1:]}, day)
		if changed || len(tr.Events) != 2 || len(counting(tr)) != 1 || counting(tr)[0] != first.ID {
			t.Errorf("changed: %v; %v count", changed, counting(tr))
		}
	}
	elsewhere := second
	elsewhere.Location.FacilityCode = "02191"
	if tr := merged(t, []Event{first, elsewhere}); len(counting(tr)) != 2 {
		t.Error("scans at two facilities are one")
	}
}

func TestMerge_WhatTheCarrierWithdrewStaysWithdrawn(t *testing.T) {
	t.Parallel()
	own, other := by("sf", SourceCarrierPush, "1", 60, status.DeliveredUnspecified), by("17track", SourceAggregatorPush, "1", 60, status.DeliveredRecipient)
	void := by("sf", SourceCarrierPush, "2", 70, status.UnknownUnspecified)
	void.Kind, void.Target = KindVoid, own.ID
	start := by("sf", SourceCarrierPush, "0", 0, status.PickedUpCollected)
	for _, order := range [][]Event{{start, own, other, void}, {other, void, start, own}, {void, own, other, start}} {
		var tr *Trace
		for _, e := range order {
			tr, _ = Merge(tr, Report{Waybill: parcel, Events: []Event{e}}, day)
		}
		if tr.State.Status != status.PickedUp {
			t.Errorf("the parcel is %v", tr.State)
		}
	}
}

// TestMerge_OneIDWithTwoContentsInOneReport: such a report repeated is silent.
func TestMerge_OneIDWithTwoContentsInOneReport(t *testing.T) {
	t.Parallel()
	a, b := told("a", 1, status.InTransit, 0), told("a", 1, status.InTransit, 0)
	b.Text = "b"
	for _, report := range [][]Event{{a, b}, {b, a}} {
		tr, _ := Merge(nil, Report{Waybill: parcel, Events: report}, day)
		for i := range report {
			report[i].ReceiveTime = day.Add(time.Hour)
		}
		if again, changed := Merge(tr, Report{Waybill: parcel, Events: report}, day.Add(time.Hour)); changed || again != tr || len(tr.Events) != 1 {
			t.Errorf("a repeat changes %v to %v", tr.Events, again.Events)
		}
	}
}

// TestMerge_ANewerMappingStands: an event mapped anew isn't mapped back by a
// repeat that an older program mapped.
func TestMerge_ANewerMappingStands(t *testing.T) {
	t.Parallel()
	old, anew := told("a", 1, status.InTransit, 0), told("a", 1, status.Customs, status.CustomsHeld)
	old.Provenance.MappingVersion, anew.Provenance.MappingVersion = "9", "10"
	late := old
	late.ReceiveTime = day.Add(time.Hour)
	tr := merged(t, []Event{old}, []Event{anew}, []Event{late})
	if tr.Revision != 2 || tr.State.Sub != status.CustomsHeld || tr.Events[0].Provenance.MappingVersion != "10" {
		t.Errorf("revision %d is %+v", tr.Revision, tr.Events[0])
	}
}
