// Package nemesis breaks things: processes, the connections between them, disks
// and clocks; and mends them again. What it is going to do follows from a seed,
// and what it did is written down.
package nemesis

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// Planned is a fault that is going to be.
type Planned struct {
	At      time.Duration
	Kind    record.FaultKind
	Targets []string
	// Length is how long it lasts.
	Length time.Duration
	// Amount is of its kind: milliseconds of latency, or of a clock's step.
	Amount int
	// Point is a crash point's name.
	Point string
	// OneWay lets one direction through, of a black hole.
	OneWay bool
}

// Smoke kills every service, the bus and PostgreSQL once each, and pauses and
// cuts off one; one after the other in a span.
// The all-in-one, which is one program, is killed as often.
func Smoke(seed uint64, from, to time.Duration, w Abilities) []Planned {
	r := rand.New(rand.NewPCG(seed, 0xfa017)) //nolint:gosec // it has to replay
	faults := []Planned{
		{Kind: record.FaultKill, Targets: []string{"ingest"}},
		{Kind: record.FaultKill, Targets: []string{"normalizer"}},
		{Kind: record.FaultKill, Targets: []string{"subscription"}},
		{Kind: record.FaultKill, Targets: []string{"delivery"}},
		{Kind: record.FaultKill, Targets: []string{world.NATS}},
		{Kind: record.FaultKill, Targets: []string{world.PostgreSQL}},
		{Kind: record.FaultPause, Targets: []string{"delivery"}},
		{Kind: record.FaultCut, Targets: []string{"delivery-postgres"}},
	}
	if !w.NATS {
		for i := range faults {
			faults[i].Targets = w.Programs
			if faults[i].Kind == record.FaultCut {
				faults[i].Targets = []string{"delivery-endpoints"}
			}
		}
	}
	r.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	step := (to - from) / time.Duration(len(faults))
	for i := range faults {
		faults[i].At = from + time.Duration(i)*step
		faults[i].Length = time.Second + time.Duration(r.Int64N(int64(step/4)))
	}
	return faults
}

// Kills kills the same programs again and again.
func Kills(from, to, every, length time.Duration, targets ...string) []Planned {
	var faults []Planned
	for at := from; at < to; at += every {
		faults = append(faults, Planned{At: at, Kind: record.FaultKill, Targets: targets, Length: length})
	}
	return faults
}

// Chaos draws faults of all kinds that can be overlapped, some seconds on and
// some off. Each run has some of the kinds only: then they can be seen apart.
func Chaos(seed uint64, from, to time.Duration, w Abilities) []Planned {
	r := rand.New(rand.NewPCG(seed, 0xc4a05)) //nolint:gosec // it has to replay
	kinds := w.kinds()
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:max(len(kinds)*2/3, min(len(kinds), 4))]
	var faults []Planned
	for at := from; at < to-20*time.Second; {
		count := 1
		if r.IntN(3) == 0 {
			count = 2 // overlapping
		}
		busy := make(map[string]bool)
		longest := time.Duration(0)
		for range count {
			f := w.draw(r, kinds[r.IntN(len(kinds))])
			if slices.ContainsFunc(f.Targets, func(t string) bool { return busy[t] }) || busy["all"] || len(busy) > 0 && alone(f.Kind) {
				continue
			}
			for _, t := range f.Targets {
				busy[t] = true
			}
			if alone(f.Kind) {
				busy["all"] = true
			}
			f.At = at + time.Duration(r.Int64N(int64(3*time.Second)))
			longest = max(longest, f.Length)
			faults = append(faults, f)
		}
		at += longest + 8*time.Second + time.Duration(r.Int64N(int64(10*time.Second)))
	}
	slices.SortStableFunc(faults, func(a, b Planned) int { return cmp.Compare(a.At, b.At) })
	return faults
}

// CrashPoints kills programs from inside at every point, at the first and the
// tenth time that they get there. They have one time: each begins when the one
// before is over.
func CrashPoints(from, _ time.Duration) []Planned {
	var faults []Planned
	for _, hit := range []int{1, 10} {
		for _, point := range fault.Points {
			faults = append(faults, Planned{At: from, Kind: record.FaultCrashPoint, Targets: []string{programOf(point)}, Point: point, Amount: hit})
		}
	}
	return faults
}

// programOf is the program that has a crash point.
func programOf(point string) string {
	switch name, _, _ := strings.Cut(point, "."); name {
	case "ingest":
		return "ingest"
	case "norm":
		return "normalizer"
	case "deliver":
		return "delivery"
	default:
		return "subscription"
	}
}

// alone says that a kind takes everything down, or what others need.
func alone(kind record.FaultKind) bool {
	return kind == record.FaultDiskFull || kind == record.FaultExhaust || kind == record.FaultPowerCut
}

// Abilities are what can be broken.
type Abilities struct {
	Programs []string
	Proxies  []string
	// PostgreSQL says that there is one of its own, NATS the same.
	PostgreSQL, NATS bool
	// Full says that the disk of the streams can be filled.
	Full bool
}

func (w Abilities) kinds() []record.FaultKind {
	kinds := []record.FaultKind{
		record.FaultKill, record.FaultKill, record.FaultKill, record.FaultPause, record.FaultPause, record.FaultRestart,
		record.FaultCut, record.FaultBlackHole, record.FaultBlackHole, record.FaultLatency, record.FaultClock,
	}
	if w.PostgreSQL {
		kinds = append(kinds, record.FaultExhaust, record.FaultTerminate)
	}
	if w.Full {
		kinds = append(kinds, record.FaultDiskFull)
	}
	return kinds
}

func (w Abilities) draw(r *rand.Rand, kind record.FaultKind) Planned {
	f := Planned{Kind: kind, Length: time.Second + time.Duration(r.Int64N(int64(8*time.Second)))}
	switch kind {
	case record.FaultKill, record.FaultPause, record.FaultRestart:
		targets := slices.Clone(w.Programs)
		if w.NATS {
			targets = append(targets, world.NATS)
		}
		if w.PostgreSQL {
			targets = append(targets, world.PostgreSQL)
		}
		switch n := r.IntN(len(targets) + 2); {
		case n < len(targets):
			f.Targets = targets[n : n+1]
		case n == len(targets):
			f.Targets = w.Programs // all services at once
		default:
			f.Targets = targets // and all else with them
		}
		if kind == record.FaultPause && r.IntN(3) == 0 {
			f.Length += 15 * time.Second // longer than a lease
		}
	case record.FaultCut, record.FaultBlackHole, record.FaultLatency:
		f.Targets = []string{w.Proxies[r.IntN(len(w.Proxies))]}
		f.Amount, f.OneWay = 20+r.IntN(400), r.IntN(3) == 0
	case record.FaultClock:
		f.Targets = []string{w.Programs[r.IntN(len(w.Programs))]}
		f.Amount = []int{-300_000, 300_000, -5000, 5000}[r.IntN(4)]
	case record.FaultDiskFull:
		f.Targets = []string{world.NATS}
	default:
		f.Targets = []string{world.PostgreSQL}
	}
	return f
}
