package nemesis

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

var everything = Abilities{
	Programs: []string{"ingest", "normalizer", "subscription", "delivery"}, Proxies: []string{"delivery-nats", "sources-ingest"},
	PostgreSQL: true, NATS: true, Full: true,
}

// The smoke run kills each program, NATS and PostgreSQL once.
func TestSmoke_KillsEach(t *testing.T) {
	t.Parallel()
	var killed []string
	for _, f := range Smoke(7, 0, time.Minute, everything) {
		if f.Kind == record.FaultKill {
			killed = append(killed, f.Targets...)
		}
	}
	slices.Sort(killed)
	want := []string{"delivery", "ingest", world.NATS, "normalizer", world.PostgreSQL, "subscription"}
	slices.Sort(want)
	if !slices.Equal(killed, want) {
		t.Errorf("killed are %v, want %v", killed, want)
	}
}

// Chaos follows from its seed, stays in its span, and over some seeds has of
// every kind.
func TestChaos_FollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	const to = 10 * time.Minute
	if !reflect.DeepEqual(Chaos(1, 0, to, everything), Chaos(1, 0, to, everything)) {
		t.Error("one seed makes two plans")
	}
	kinds := make(map[record.FaultKind]bool)
	for seed := range uint64(20) {
		for _, f := range Chaos(seed, time.Minute, to, everything) {
			kinds[f.Kind] = true
			if f.At < time.Minute || f.At > to || f.Length <= 0 || len(f.Targets) == 0 {
				t.Errorf("seed %d: %+v", seed, f)
			}
		}
	}
	for _, kind := range []record.FaultKind{
		record.FaultKill, record.FaultPause, record.FaultRestart, record.FaultCut, record.FaultBlackHole, record.FaultLatency,
		record.FaultClock, record.FaultExhaust, record.FaultTerminate, record.FaultDiskFull,
	} {
		if !kinds[kind] {
			t.Errorf("no seed has %s", kind)
		}
	}
}
