package journey_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/journey"
	"github.com/posthaste/posthaste/services/internal/track"
)

var begin = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

const week = 7 * 24 * time.Hour

// merged is the trace that documents of a source end in, each told twice.
func merged(t *testing.T, source string, docs ...[]byte) *track.Trace {
	t.Helper()
	s, ok := carrier.Lookup(source)
	if !ok {
		t.Fatal(source)
	}
	var trace *track.Trace
	for _, doc := range docs {
		parts, err := s.Split(doc)
		if err != nil || len(parts) != 1 || parts[0].Err != nil {
			t.Fatalf("%s: %v, %v", doc, err, parts)
		}
		p := parts[0]
		report, err := s.Map(carrier.Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Body: p.Body, Context: p.Context, ReceiveTime: begin})
		if err != nil || len(report.Unmapped) > 0 {
			t.Fatalf("%s: %v, %v", doc, err, report.Unmapped)
		}
		trace, _ = track.Merge(trace, report, begin)
		again, changed := track.Merge(trace, report, begin)
		if changed {
			t.Fatalf("a repeat is a change: %v, and before %v", again, trace)
		}
	}
	return trace
}

// Whatever source tells a journey, step by step, it ends where it says.
func TestJourneys_EndWhereTheySayInEverySource(t *testing.T) {
	t.Parallel()
	for _, j := range journey.All() {
		if j.Final == 0 {
			continue
		}
		p := journey.Of(1, journey.Prefix+j.Name+"-1")
		if p.Journey.Name != j.Name {
			t.Fatalf("%s plays %s", j.Name, p.Journey.Name)
		}
		docs := map[string][][]byte{}
		for _, at := range p.Changes() {
			told := p.Told(begin, at)
			docs["kdniao"] = append(docs["kdniao"], journey.KdniaoPush("1", begin, journey.Kdniao("1", "SF", "SF1234", told)))
			docs["kuaidi100"] = append(docs["kuaidi100"], journey.Kuaidi100Push(journey.Kuaidi100("shunfeng", "SF1234", told)))
		}
		for source, docs := range docs {
			trace := merged(t, source, docs...)
			if trace.State.Sub != j.Final || int(trace.Revision) != len(j.Steps) {
				t.Errorf("%s by %s ends as %d after %d revisions, and not as %d", j.Name, source, trace.State.Sub, trace.Revision, j.Final)
			}
		}
	}
}

func TestOf_IsTheSameForASeedAndHasEverythingInIt(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	disorder, correction, repeat := 0, 0, 0
	for i := range 2000 {
		number := "X" + string(rune('A'+i%26)) + time.Duration(i).String()
		p := journey.Of(7, number)
		if diff := cmp.Diff(p, journey.Of(7, number)); diff != "" {
			t.Fatal(diff)
		}
		seen[p.Journey.Name]++
		if p.Faults.Disorder >= 0 {
			disorder++
		}
		if p.Faults.Correction >= 0 {
			correction++
		}
		if p.Faults.Repeat {
			repeat++
		}
	}
	if len(seen) != len(journey.All()) || disorder == 0 || correction == 0 || repeat == 0 {
		t.Errorf("%v, disorder %d, corrections %d, repeats %d", seen, disorder, correction, repeat)
	}
}

// Disorder and corrections are in what is told, and end in the same trace.
func TestTold_WithFaultsEndsTheSame(t *testing.T) {
	t.Parallel()
	for i := range 300 {
		number := "F" + time.Duration(i).String()
		p := journey.Of(3, number)
		if p.Journey.Final == 0 {
			continue
		}
		var docs [][]byte
		before := -1
		for _, at := range append(p.Changes(), week) {
			told := p.Told(begin, at)
			if len(told) < before {
				t.Fatalf("%s forgets", number)
			}
			before = len(told)
			docs = append(docs, journey.KdniaoPush("1", begin, journey.Kdniao("1", "SF", "SF1234", told)))
		}
		if trace := merged(t, "kdniao", docs...); trace.State.Sub != p.Journey.Final {
			t.Errorf("%s (%s, %+v) ends as %d and not as %d", number, p.Journey.Name, p.Faults, trace.State.Sub, p.Journey.Final)
		}
		if !slices.IsSorted(p.Changes()) {
			t.Errorf("%v", p.Changes())
		}
	}
}

func TestDHL_IsJSONInItsForm(t *testing.T) {
	t.Parallel()
	p := journey.Of(1, "SIM-DELIVERED-1")
	var said struct {
		Shipments []struct{ Events []struct{ StatusCode string } }
	}
	if err := json.Unmarshal(journey.DHL("1", p.Told(begin, week)), &said); err != nil || len(said.Shipments[0].Events) != len(p.Journey.Steps) || said.Shipments[0].Events[0].StatusCode != "delivered" {
		t.Errorf("%v: %+v", err, said)
	}
}

func TestReserved_NamesJourneys(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{"SIM-LOCKER-1": "LOCKER", "sim-locker-x-y": "LOCKER", "SIM-LOCKER": "LOCKER", "SIM-NOTHING-1": "", "LOCKER": ""} {
		if got, ok := journey.Reserved(number); got.Name != want || ok != (want != "") {
			t.Errorf("%s is %q", number, got.Name)
		}
	}
}
