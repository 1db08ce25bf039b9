package track_test

import (
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

var erasable = track.Waybill{Carrier: "sf", Number: "SF0001"}

// signed is an event that names somebody.
func signed(id track.EventID, at time.Time) track.Event {
	return track.Event{
		ID: id, Kind: track.KindEvent, Time: track.Time{Wall: at, Precision: track.PrecisionSecond}, ReceiveTime: at, Status: status.Delivered,
		RawCode: "80", Text: "张三丰 签收 13812345678", Language: "zh", Courier: track.Person{Name: "李四", Phone: "13912345678"}, Signer: "张三丰",
		Location:  track.Location{Text: "幸福路1号", City: "深圳", FacilityCode: "755A", Postcode: "518000", Coordinates: &track.Coordinates{Latitude: 1}},
		ProofURLs: []string{"https://example.com/door.jpg"}, Vehicle: "粤B12345", Attributes: map[string]string{"phone": "138", "posthaste.time": "implausible"},
		Provenance: track.Provenance{Source: "sf"},
	}
}

func named(t *track.Trace) bool {
	for i := range t.Events {
		e := t.Events[i]
		if track.Erase(&e) {
			return true
		}
	}
	return t.State.Signer != ""
}

func TestMerge_ErasesOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	before, _ := track.Merge(nil, track.Report{Waybill: erasable, Events: []track.Event{signed("1", now)}}, now)
	erased, changed := track.Merge(before, track.Report{Waybill: erasable, Erase: now}, now.Add(time.Hour))
	if !changed || erased.Revision != 2 || erased.Events[0].Revision != 2 || named(erased) || !erased.EraseTime.Equal(now) {
		t.Fatalf("erased, it is %+v", erased)
	}
	if e := erased.Events[0]; e.Status != status.Delivered || e.Location.City != "深圳" || e.Location.FacilityCode != "755A" || e.RawCode != "80" || e.Attributes["posthaste.time"] == "" || erased.State.Status != status.Delivered {
		t.Errorf("what counts is gone: %+v", erased)
	}
	if !named(before) {
		t.Error("the trace before was changed")
	}
	for what, r := range map[string]track.Report{
		"asked again":         {Waybill: erasable, Erase: now.Add(time.Minute)},
		"the carrier repeats": {Waybill: erasable, Events: []track.Event{signed("1", now)}},
	} {
		if again, changed := track.Merge(erased, r, now.Add(2*time.Hour)); changed || again != erased {
			t.Errorf("%s: it is %+v", what, again)
		}
	}
	later, changed := track.Merge(erased, track.Report{Waybill: erasable, Events: []track.Event{signed("2", now.Add(3*time.Hour))}}, now.Add(3*time.Hour))
	if !changed || later.Revision != 3 || len(later.Events) != 2 || named(later) || !later.Erased() {
		t.Errorf("what is told later comes in as %+v", later)
	}
}

func TestMerge_HasNothingToEraseOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	if got, changed := track.Merge(nil, track.Report{Waybill: erasable, Erase: time.Now()}, time.Now()); got != nil || changed {
		t.Errorf("it made %+v", got)
	}
}
