package canonical_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// event draws one of a parcel that is taken.
func event(t *rapid.T) *ingestv1.ReportedEvent {
	word := rapid.StringMatching(`[a-z一-龥 ]{0,3}`)
	moment := rapid.SampledFrom([]string{"2026-03-01", "2026-03-01 08:00", "2026-03-01T08:00:01", "2026-03-01T08:00:01.5+08:00", "2026-03-02T00:00:00Z"})
	place := func(name string) *trackingv1.Location {
		if !rapid.Bool().Draw(t, name) {
			return nil
		}
		l := &trackingv1.Location{Text: word.Draw(t, "place"), City: word.Draw(t, "city")}
		if rapid.Bool().Draw(t, "measured") {
			l.Latitude, l.Longitude = new(rapid.Float64Range(-90, 90).Draw(t, "latitude")), new(rapid.Float64Range(-180, 180).Draw(t, "longitude"))
		}
		return l
	}
	s := rapid.SampledFrom(status.All()).Draw(t, "status")
	e := &ingestv1.ReportedEvent{
		CarrierCode: "sf-express", WaybillNumber: rapid.SampledFrom([]string{"SF1000000000001", "sf 1000000000001"}).Draw(t, "number"),
		EventId: rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "id"), EventTime: moment.Draw(t, "time"),
		Kind:      trackingv1.EventKind(rapid.IntRange(0, len(trackingv1.EventKind_name)-1).Draw(t, "kind")),
		Status:    trackingv1.Status(s),
		SubStatus: trackingv1.SubStatus(rapid.SampledFrom(append(s.Subs(), 0)).Draw(t, "sub")),
		Text:      word.Draw(t, "text"), RawCode: word.Draw(t, "code"), Signer: word.Draw(t, "signer"),
		OrderHint: rapid.Int32Range(-2, 2).Draw(t, "hint"), Location: place("here"), NextLocation: place("next"),
		Attributes: rapid.MapOfN(word, word, 0, 3).Draw(t, "attributes"),
	}
	if e.GetKind() == trackingv1.EventKind_EVENT_KIND_ESTIMATE || rapid.Bool().Draw(t, "estimated") {
		e.EstimateTime = moment.Draw(t, "estimate")
	}
	if e.GetKind() == trackingv1.EventKind_EVENT_KIND_VOID || e.GetKind() == trackingv1.EventKind_EVENT_KIND_CORRECTION {
		e.TargetEventId = "target"
	}
	return e
}

// The same events give the same report, whenever they are taken in, and change
// the trace once.
func TestMap_IsTheSameInARepeat(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Two events of one id that say different things contradict each other.
		events := rapid.SliceOfNDistinct(rapid.Custom(event), 1, 6, func(e *ingestv1.ReportedEvent) track.EventID {
			_, got, _ := canonical.Event(e, received)
			return got.ID
		}).Draw(t, "events")
		report := func(at time.Time) track.Report {
			body, err := proto.Marshal(&ingestv1.ReportEventsRequest{Events: events})
			if err != nil {
				t.Fatal(err)
			}
			r, err := canonical.Map(carrier.Raw{Waybill: parcel, ReceiveTime: at, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first, again, later := report(received), report(received), report(received.Add(time.Hour))
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("it is another:\n%s", diff)
		}
		for i := range later.Events {
			if !later.Events[i].ReceiveTime.Equal(later.ReceiveTime) {
				t.Fatal("an event isn't of its report")
			}
			later.Events[i].ReceiveTime = received
		}
		later.ReceiveTime = received
		if diff := cmp.Diff(first, later); diff != "" {
			t.Fatalf("the time of receiving changes more than itself:\n%s", diff)
		}
		trace, _ := track.Merge(nil, first, received)
		if _, changed := track.Merge(trace, report(received.Add(time.Hour)), received.Add(time.Hour)); changed {
			t.Fatal("a repeat is a change")
		}
	})
}

// FuzzEvent holds that no event breaks the mapping, and that of what is taken
// everything is in the form that the others rely on.
func FuzzEvent(f *testing.F) {
	add := func(e *ingestv1.ReportedEvent) {
		data, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, e.GetEventTime(), e.GetEstimateTime())
	}
	add(full())
	add(minimal())
	add(&ingestv1.ReportedEvent{})
	add(minimal(func(e *ingestv1.ReportedEvent) {
		e.Kind, e.EstimateTime = trackingv1.EventKind_EVENT_KIND_ESTIMATE, "2026-03-03 18:00"
	}))
	add(minimal(func(e *ingestv1.ReportedEvent) { e.Kind, e.TargetEventId = trackingv1.EventKind_EVENT_KIND_VOID, "x" }))
	add(minimal(func(e *ingestv1.ReportedEvent) { e.EventTime = "2026-02-30T08:01:02.5-18:00" }))
	f.Fuzz(func(t *testing.T, data []byte, at, estimate string) {
		e := &ingestv1.ReportedEvent{}
		if proto.Unmarshal(data, e) != nil {
			return
		}
		e.EventTime, e.EstimateTime = at, estimate
		w, got, bad := canonical.Event(e, received)
		if bad != nil {
			if bad.Field == "" || bad.Description == "" {
				t.Errorf("the error is %v", bad)
			}
			if diff := cmp.Diff(track.Event{}, got); diff != "" {
				t.Errorf("an event beside the error:\n%s", diff)
			}
			return
		}
		c, err := track.NormalCarrier(string(w.Carrier))
		n, err2 := track.NormalNumber(string(w.Number))
		if err != nil || err2 != nil || c != w.Carrier || n != w.Number {
			t.Errorf("the waybill isn't normal: %q", w)
		}
		wantForm(t, got)
		wantTime(t, at, got.Time)
		if estimate != "" {
			wantTime(t, estimate, got.Estimate)
		}
		if again, second, bad := canonical.Event(e, received); bad != nil || again != w || !cmp.Equal(got, second) {
			t.Errorf("the second time it is another, %v", bad)
		}
		body, err := proto.Marshal(&ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{e}})
		if err != nil {
			return // the times aren't UTF-8: no message could carry them
		}
		report, err := canonical.Map(carrier.Raw{Waybill: w, ReceiveTime: received, Body: body})
		if err != nil || len(report.Events) != 1 || !cmp.Equal(got, report.Events[0]) {
			t.Errorf("Map gives %v, %v of %s", report, err, protojson.Format(e))
		}
	})
}

// wantForm holds what stores and readers rely on.
func wantForm(t *testing.T, e track.Event) {
	t.Helper()
	acts := e.Kind == track.KindVoid || e.Kind == track.KindCorrection
	switch {
	case len(e.ID) != 32:
		t.Errorf("the id is %q", e.ID)
	case e.Kind < track.KindEvent || e.Kind > track.KindCorrection || acts != (e.Target != "") || e.Target == e.ID:
		t.Errorf("the kind is %d, of %q", e.Kind, e.Target)
	case e.Kind == track.KindEstimate && e.Estimate.IsZero():
		t.Error("an estimate without a time")
	case !e.Status.Valid() || !e.Sub.Valid() || e.Sub != 0 && e.Sub.Status() != e.Status:
		t.Errorf("the status is %d/%d", e.Status, e.Sub)
	}
	for _, s := range []string{e.Text, e.Language, e.Signer, e.ReasonCode, e.RawCode, e.Courier.Name, e.Courier.Phone, e.Location.Text, e.NextLocation.FacilityType} {
		if strings.Contains(s, "\x00") {
			t.Errorf("NUL in %q", s)
		}
	}
}

// wantTime compares a time with what the standard library reads, where it reads
// the form.
func wantTime(t *testing.T, s string, got track.Time) {
	t.Helper()
	y := got.Wall.Year()
	if got.Wall.Location() != time.UTC || y < 1990 || y > 2200 || got.Offset.Abs() > 18*time.Hour || got.Offset != 0 && got.OffsetSource != track.OffsetGiven ||
		got.Precision < track.PrecisionSecond || got.Precision > track.PrecisionDate {
		t.Errorf("%q became %+v", s, got)
	}
	want, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
	if err == nil && (!want.Equal(got.Instant()) || got.OffsetSource != track.OffsetGiven) {
		t.Errorf("%q became %+v, want %s", s, got, want)
	}
	if err != nil && got.OffsetSource == track.OffsetGiven && got.Precision == track.PrecisionSecond && s[10] != ' ' {
		t.Errorf("%q is taken, and isn't RFC 3339: %v", s, err)
	}
}
