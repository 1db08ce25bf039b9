package record

import (
	"reflect"
	"testing"
	"time"
)

// What is written down is read back, and a fault's two lines are one fault.
func TestRecord_IsReadBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := Create(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := &Run{
		Meta:    Meta{Profile: "test", Seed: 7},
		Events:  []Event{{Token: "LGTEST0000-0001", Waybill: "sf-express/W1"}},
		Ops:     []Op{{Kind: KindEvent, Tokens: []string{"LGTEST0000-0001"}, Outcome: OK, Begin: 1, End: 2}},
		Pushes:  []Push{{ID: "psh_1", Received: 3, Answered: 4, Answer: 200}},
		Faults:  []Fault{{ID: 1, Kind: FaultKill, Targets: []string{"nats"}, Begin: 5, End: 6}, {ID: 2, Kind: FaultPause, Targets: []string{"ingest"}, Begin: 7}},
		Samples: []Sample{{At: 8, Program: "ingest", RSS: 9}},
		Follows: []Follow{{At: 10, Waybill: "sf-express/W1", Revision: 1}},
		Finals:  []Final{{Phase: "healed", Quiesced: true}},
	}
	w.Event(want.Events[0])
	w.Op(want.Ops[0])
	w.Push(want.Pushes[0])
	w.Fault(Fault{ID: 1, Kind: FaultKill, Targets: []string{"nats"}, Begin: 5})
	w.Fault(want.Faults[1])
	w.Fault(want.Faults[0])
	w.Sample(want.Samples[0])
	w.Follow(want.Follows[0])
	w.Final(want.Finals[0])
	if at, n := w.LastPush(); at != 4 || n != 1 {
		t.Errorf("the last of %d pushes came at %d", n, at)
	}
	if err := w.Meta(want.Meta); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Op(Op{}) // too late, and harmless
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Faults, want.Faults) || !reflect.DeepEqual(got.Ops, want.Ops) || !reflect.DeepEqual(got.Pushes, want.Pushes) {
		t.Errorf("read back is\n%+v\nwant\n%+v", got, want)
	}
	if got.Final("healed") == nil || got.Final("quiesced") != nil || len(got.Samples) != 1 || len(got.Follows) != 1 || len(got.Events) != 1 {
		t.Errorf("read back is %+v", got)
	}
}
