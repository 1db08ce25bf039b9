package workload

import (
	"slices"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/ledger/receiver"
	"github.com/posthaste/posthaste/services/ledger/record"
)

func config(seed uint64) Config {
	return Config{Seed: seed, Load: time.Minute, Rate: 40, TroubleFrom: 10 * time.Second, Classes: MixOf(12)}
}

// A seed replays.
func TestPlan_FollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	a, b, c := New(config(1)), New(config(1)), New(config(2))
	if a.Hash() != b.Hash() {
		t.Error("one seed makes two plans")
	}
	if a.Hash() == c.Hash() {
		t.Error("two seeds make one plan")
	}
}

// A plan has of everything that goes wrong.
func TestPlan_HasDisorder(t *testing.T) {
	t.Parallel()
	p := New(config(1))
	kinds, poison, repeats, late := make(map[record.Kind]int), make(map[string]int), 0, 0
	told := make(map[int]int)
	for i, s := range p.Steps {
		if i > 0 && s.At < p.Steps[i-1].At {
			t.Fatalf("step %d is before step %d", i, i-1)
		}
		kinds[s.Kind]++
		if s.Kind != record.KindEvent {
			continue
		}
		if s.Repeat {
			repeats++
		}
		if s.Poison != "" {
			poison[s.Poison]++
		}
		if newest := slices.Max(s.Events); newest < told[s.Waybill] {
			late++
		} else {
			told[s.Waybill] = newest
		}
	}
	for _, k := range []record.Kind{record.KindSubscribe, record.KindCancel, record.KindPause, record.KindResume, record.KindRotate, record.KindMove} {
		if kinds[k] == 0 {
			t.Errorf("nothing of %s", k)
		}
	}
	for _, k := range []string{"field", "signature", "garbage"} {
		if poison[k] == 0 {
			t.Errorf("no poison of kind %s", k)
		}
	}
	if repeats == 0 || late == 0 {
		t.Errorf("%d repeats, %d told late", repeats, late)
	}
}

// Tokens are found in every text, and are of one event each.
func TestPlan_TokensTellEventsApart(t *testing.T) {
	t.Parallel()
	p := New(config(1))
	seen := make(map[string]bool)
	for _, j := range p.journeys {
		for _, e := range j.events {
			if seen[e.Token] {
				t.Errorf("token %s is used twice", e.Token)
			}
			seen[e.Token] = true
			if found := receiver.Token.FindAllString(e.text, -1); len(found) != 1 || found[0] != e.Token {
				t.Errorf("in %q are the tokens %v, want %s", e.text, found, e.Token)
			}
		}
	}
}
