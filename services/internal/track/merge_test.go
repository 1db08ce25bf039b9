package track

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/pkg/status"
)

var (
	parcel = Waybill{Carrier: "sf-express", Number: "SF1000"}
	day    = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

func at(hour int) Time {
	return Time{Wall: day.Add(time.Duration(hour) * time.Hour), Offset: 8 * time.Hour, OffsetSource: OffsetCarrierDefault, Precision: PrecisionSecond}
}

func told(id string, hour int, s status.Status, sub status.Sub) Event {
	return Event{ID: EventID(id), Kind: KindEvent, Time: at(hour), ReceiveTime: day, Status: s, Sub: sub, Text: id}
}

func merged(t testing.TB, reports ...[]Event) *Trace {
	t.Helper()
	var tr *Trace
	for _, events := range reports {
		tr, _ = Merge(tr, Report{Waybill: parcel, Events: events}, day)
	}
	return tr
}

func events(t *rapid.T) []Event {
	n := rapid.IntRange(1, 8).Draw(t, "events")
	list := make([]Event, n)
	for i := range list {
		s := rapid.SampledFrom(status.All()).Draw(t, "status")
		var sub status.Sub
		if subs := s.Subs(); len(subs) > 0 {
			sub = rapid.SampledFrom(subs).Draw(t, "sub")
		}
		e := told(fmt.Sprint("e", i), rapid.IntRange(0, 5).Draw(t, "hour"), s, sub)
		e.OrderHint = rapid.IntRange(0, 2).Draw(t, "hint")
		e.Kind = rapid.SampledFrom([]Kind{KindEvent, KindEvent, KindEvent, KindInfo, KindEstimate, KindVoid, KindCorrection}).Draw(t, "kind")
		if e.Kind == KindVoid || e.Kind == KindCorrection {
			e.Target = EventID(fmt.Sprint("e", rapid.IntRange(0, i).Draw(t, "target")))
			if e.Target == e.ID {
				e.Target = "unknown"
			}
		}
		if rapid.Bool().Draw(t, "date") {
			e.Time.Precision = PrecisionDate
		}
		list[i] = e
	}
	return list
}

// Any order, any grouping and any repetition of one set of events gives one
// trace, by a chain of revisions without a gap.
func TestMerge_EndsTheSameWhateverTheWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := events(t)
		want, _ := Merge(nil, Report{Waybill: parcel, Events: set}, day)
		arrivals := rapid.Permutation(append(append([]Event{}, set...), rapid.SliceOf(rapid.SampledFrom(set)).Draw(t, "repeats")...)).Draw(t, "arrivals")
		var got *Trace
		for len(arrivals) > 0 {
			n := rapid.IntRange(1, len(arrivals)).Draw(t, "group")
			next, changed := Merge(got, Report{Waybill: parcel, Events: arrivals[:n]}, day)
			switch {
			case changed && next.Revision != revisionOf(got)+1:
				t.Fatalf("revision %d follows %d", next.Revision, revisionOf(got))
			case !changed && next != got:
				t.Fatal("nothing changed, and the trace is another")
			}
			got, arrivals = next, arrivals[n:]
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Trace{}, "Revision"), cmpopts.IgnoreFields(Event{}, "Revision")); diff != "" {
			t.Fatalf("trace (-at once +step by step):\n%s", diff)
		}
		if again, changed := Merge(got, Report{Waybill: parcel, Events: set}, day.Add(time.Hour)); changed || again != got {
			t.Fatal("a repeat of everything is a change")
		}
	})
}

func revisionOf(t *Trace) Revision {
	if t == nil {
		return 0
	}
	return t.Revision
}

func TestMerge_LeavesTheOldTraceAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := events(t)
		old, _ := Merge(nil, Report{Waybill: parcel, Events: set[:len(set)/2+1]}, day)
		before := *old
		before.Events = append([]Event{}, old.Events...)
		_, _ = Merge(old, Report{Waybill: parcel, Events: set, Links: []Link{{Role: LinkReturn, Waybill: parcel}}}, day)
		if diff := cmp.Diff(&before, old); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestMerge_StampsWhatIsNewOrChanged(t *testing.T) {
	t.Parallel()
	void := told("v", 4, status.Unknown, 0)
	void.Kind, void.Target = KindVoid, "b"
	tr := merged(t, []Event{told("a", 1, status.PickedUp, 0), told("b", 2, status.Delivered, 0)}, []Event{void})
	got := map[EventID]Revision{}
	for _, e := range tr.Events {
		got[e.ID] = e.Revision
	}
	if diff := cmp.Diff(map[EventID]Revision{"a": 1, "b": 2, "v": 2}, got); diff != "" {
		t.Error(diff)
	}
	if tr.State.Status != status.PickedUp || tr.State.Terminal || tr.Revision != 2 {
		t.Errorf("after the withdrawal it is %+v", tr.State)
	}
}

func TestMerge_StatusFollowsTheRules(t *testing.T) {
	t.Parallel()
	info := told("n", 9, status.Exception, status.ExceptionLost)
	info.Kind = KindInfo
	for name, tt := range map[string]struct {
		events []Event
		want   status.Status
		sub    status.Sub
	}{
		"late in transit":             {[]Event{told("d", 5, status.Delivered, status.DeliveredRecipient), told("t", 3, status.InTransit, 0)}, status.Delivered, status.DeliveredRecipient},
		"in transit after the end":    {[]Event{told("d", 5, status.Delivered, 0), told("t", 6, status.InTransit, 0)}, status.Delivered, 0},
		"told more exactly":           {[]Event{told("d", 5, status.Delivered, 0), told("e", 6, status.Delivered, status.DeliveredLocker)}, status.Delivered, status.DeliveredLocker},
		"not told less exactly":       {[]Event{told("d", 5, status.Delivered, status.DeliveredLocker), told("e", 6, status.Delivered, status.DeliveredUnspecified)}, status.Delivered, status.DeliveredLocker},
		"return after delivery":       {[]Event{told("d", 5, status.Delivered, 0), told("r", 6, status.Returning, 0), told("s", 7, status.Returned, 0)}, status.Returned, 0},
		"no delivery after a return":  {[]Event{told("s", 5, status.Returned, 0), told("d", 7, status.Delivered, 0)}, status.Returned, 0},
		"lost ends it":                {[]Event{told("l", 5, status.Exception, status.ExceptionLost), told("t", 6, status.InTransit, 0)}, status.Exception, status.ExceptionLost},
		"an exception doesn't":        {[]Event{told("l", 5, status.Exception, status.ExceptionDelayed), told("t", 6, status.InTransit, 0)}, status.InTransit, 0},
		"expired revives":             {[]Event{told("x", 5, status.Expired, 0), told("t", 6, status.InTransit, 0)}, status.InTransit, 0},
		"unknown codes keep it":       {[]Event{told("t", 5, status.InTransit, 0), told("u", 6, status.Unknown, 0)}, status.InTransit, 0},
		"information has no effect":   {[]Event{told("t", 5, status.InTransit, 0), info}, status.InTransit, 0},
		"equal times go by rank":      {[]Event{told("o", 5, status.OutForDelivery, 0), told("t", 5, status.InTransit, 0)}, status.OutForDelivery, 0},
		"nothing but unknown is that": {[]Event{told("u", 5, status.Unknown, 0)}, status.Unknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s := merged(t, tt.events).State; s.Status != tt.want || s.Sub != tt.sub {
				t.Errorf("status is %s %s, want %s %s", s.Status, s.Sub, tt.want, tt.sub)
			}
		})
	}
}

func TestMerge_DatesStandAtTheEndOfTheirDay(t *testing.T) {
	t.Parallel()
	date := told("date", 0, status.Delivered, 0)
	date.Time.Precision = PrecisionDate
	pickup := told("pickup", 0, status.PickedUp, 0)
	pickup.Time.Precision = PrecisionDate
	tr := merged(t, []Event{date, told("timed", 10, status.OutForDelivery, 0), pickup})
	var got []EventID
	for _, e := range tr.Events {
		got = append(got, e.ID)
	}
	if diff := cmp.Diff([]EventID{"pickup", "timed", "date"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMerge_KeepsMilestonesSignerEstimateAndLinks(t *testing.T) {
	t.Parallel()
	signed := told("d", 5, status.Delivered, 0)
	signed.Signer = "门卫"
	eta := told("e", 2, status.Unknown, 0)
	eta.Kind, eta.Estimate = KindEstimate, at(30)
	link := Link{Role: LinkReturn, Waybill: Waybill{"sf-express", "SF2000"}}
	tr, _ := Merge(nil, Report{Waybill: parcel, Events: []Event{signed, eta, told("t", 3, status.InTransit, 0), told("t2", 4, status.InTransit, 0)}, Links: []Link{link, link}}, day)
	if tr.State.Signer != "门卫" || tr.State.Estimate == nil || tr.State.Estimate.From != at(30) {
		t.Errorf("state is %+v", tr.State)
	}
	if diff := cmp.Diff([]Milestone{{status.InTransit, at(3)}, {status.Delivered, at(5)}}, tr.State.Milestones); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Link{link}, tr.Links); diff != "" {
		t.Error(diff)
	}
}

func TestMerge_OneIDWithOtherContentIsAChange(t *testing.T) {
	t.Parallel()
	first, second := told("a", 1, status.InTransit, 0), told("a", 1, status.InTransit, 0)
	second.Text, second.ReceiveTime = "corrected text", day.Add(time.Minute)
	for _, order := range [][][]Event{{{first}, {second}}, {{second}, {first}}} {
		if tr := merged(t, order...); len(tr.Events) != 1 || tr.Events[0].Text != "corrected text" {
			t.Errorf("the trace is %+v", tr.Events)
		}
	}
}

func TestMerge_WhatARepeatLeavesOutIsNotTakenBack(t *testing.T) {
	t.Parallel()
	rich, bare := told("a", 1, status.OutForDelivery, 0), told("a", 1, status.OutForDelivery, 0)
	rich.Courier, rich.Signer, rich.Attributes = Person{Name: "王"}, "门卫", map[string]string{"station": "1"}
	bare.ReceiveTime = day.Add(time.Minute)
	first, _ := Merge(nil, Report{Waybill: parcel, Events: []Event{rich}}, day)
	if _, changed := Merge(first, Report{Waybill: parcel, Events: []Event{bare}}, day); changed {
		t.Error("a repeat that says less is a change")
	}
	tr := merged(t, []Event{bare}, []Event{rich}, []Event{bare})
	if tr.Revision != 2 || tr.Events[0].Courier.Name != "王" || tr.Events[0].Attributes["station"] != "1" {
		t.Errorf("revision %d says %+v", tr.Revision, tr.Events[0])
	}
}

func TestDeriveID_TellsEventsApart(t *testing.T) {
	t.Parallel()
	base := IDParts{Waybill: parcel, Time: "2026-03-01 10:00", Code: "30", Location: "深圳", Text: "x"}
	seen := map[EventID]IDParts{}
	for _, p := range []IDParts{
		base,
		{Waybill: Waybill{"sf-express", "SF1001"}, Time: base.Time, Code: "30", Location: "深圳", Text: "x"},
		{Waybill: parcel, Time: base.Time, Code: "30深", Location: "圳", Text: "x"},
		{Waybill: parcel, Time: base.Time, Code: "30", Location: "深圳"},
		{Waybill: parcel, SourceID: "1"},
	} {
		id := DeriveID(p)
		if other, ok := seen[id]; ok || len(id) != 32 {
			t.Errorf("%+v and %+v are both %s", p, other, id)
		}
		seen[id] = p
	}
	withID := base
	withID.SourceID = "1"
	if DeriveID(withID) != DeriveID(IDParts{Waybill: parcel, SourceID: "1"}) {
		t.Error("the source's id doesn't rule")
	}
}

func TestNormalNumber_IsOneFormOrAnError(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Number{" sf 1000 2\u3000": "SF10002", "ab-c_d": "AB-C_D", "１２３４": "", "ab/cd": "", "SF1234.>": "", "A B\r\nPUB x 1": "", "'; DROP TABLE subscriptions;--": "", "abc": "", "": "", "ab\x00cd": "", "ab\xffcd": ""} {
		got, err := NormalNumber(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]Carrier{" SF-Express ": "sf-express", "a": "", "sf express": "", "顺丰": ""} {
		got, err := NormalCarrier(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func FuzzNormalNumber_IsStable(f *testing.F) {
	f.Add(" sf 1000 ")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := NormalNumber(s)
		if err != nil {
			return
		}
		if again, err := NormalNumber(string(n)); err != nil || again != n {
			t.Errorf("%q became %q, and that %q, %v", s, n, again, err)
		}
	})
}

func BenchmarkMerge_OneEvent(b *testing.B) {
	var list []Event
	for i := range 15 {
		list = append(list, told(fmt.Sprint("e", i), i, status.InTransit, 0))
	}
	tr := merged(b, list)
	next := []Event{told("next", 20, status.InTransit, 0)}
	b.ReportAllocs()
	for b.Loop() {
		if _, changed := Merge(tr, Report{Waybill: parcel, Events: next}, day); !changed {
			b.Fatal("no change")
		}
	}
}
