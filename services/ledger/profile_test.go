package ledger

import (
	"maps"
	"slices"
	"testing"

	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/ledger/judge"
	"github.com/posthaste/posthaste/services/ledger/record"
)

// Every planted fault is hunted, by invariants that exist.
func TestHunts_AreForEveryPlantedFault(t *testing.T) {
	t.Parallel()
	all := hunts()
	want, have := slices.Sorted(maps.Keys(fault.Planted)), slices.Sorted(maps.Keys(all))
	if !slices.Equal(want, have) {
		t.Errorf("planted are %v, hunted are %v", want, have)
	}
	known := make(map[string]bool)
	for _, v := range judge.Judge(&record.Run{}) {
		known[v.ID] = true
	}
	for name, h := range all {
		if len(h.by) == 0 {
			t.Errorf("%s is to be seen by nothing", name)
		}
		for _, id := range h.by {
			if !known[id] {
				t.Errorf("%s is to be seen by %s, which isn't judged", name, id)
			}
		}
	}
}

// An empty record is no pass.
func TestJudge_AnEmptyRecordIsViolated(t *testing.T) {
	t.Parallel()
	for _, v := range judge.Judge(&record.Run{}) {
		if v.Result == judge.Holds {
			t.Errorf("%s holds for a record with nothing in it", v.ID)
		}
	}
}

func TestSize_ReadsUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"2GiB": 2 << 30, "384MiB": 384 << 20} {
		if n, err := size(text); err != nil || n != want {
			t.Errorf("%s is %d, %v", text, n, err)
		}
	}
	if _, err := size("12"); err == nil {
		t.Error("a size without a unit is taken")
	}
}
