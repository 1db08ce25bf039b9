package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/nemesis"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/workload"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// profile is a kind of run.
type profile struct {
	about string
	// load is how long, and rate how fast, events are reported.
	load time.Duration
	rate float64
	// classes are the endpoints.
	classes []record.Class
	// calm is how much of the load passes before the first fault may come.
	calm       time.Duration
	deployment string
	orderly    bool
	// disk is the size in MiB of a disk of its own, 0 for none; must says that the
	// profile is nothing without it.
	disk int
	must bool
	// cancels and poison are shares; see workload.Config.
	cancels, poison float64
	// still is how long no push may come for all to be at rest; 0 means 5 s.
	still time.Duration
	// quiesce bounds the wait for rest.
	quiesce time.Duration
	faults  func(seed uint64, from, to time.Duration, w nemesis.Abilities) []nemesis.Planned
}

const (
	// calmTime is how long runs with faults go without: half of it with good
	// endpoints only, so that there is something to compare with.
	calmTime = 20 * time.Second
	// lastCalm is how long before the load's end the last fault is planned.
	lastCalm = 10 * time.Second
)

var profiles = map[string]profile{
	"calm": {
		about: "no faults: not one repeat without a cause", load: 60 * time.Second, rate: 60, classes: workload.MixOf(12),
		calm: 60 * time.Second, deployment: world.AllInOne, quiesce: 90 * time.Second,
	},
	"smoke": {
		about: "each service, NATS and PostgreSQL killed once, one paused, one cut off", load: 85 * time.Second, rate: 40, classes: workload.MixOf(12),
		calm: calmTime, deployment: world.Services, quiesce: 2 * time.Minute,
		faults: nemesis.Smoke,
	},
	"chaos": {
		about: "faults of all kinds, overlapping, as the seed draws them", load: 18 * time.Minute, rate: 40, classes: workload.MixOf(16),
		calm: calmTime, deployment: world.Services, disk: 1024, quiesce: 5 * time.Minute, faults: nemesis.Chaos,
	},
	"soak": {
		about: "long: a restart every five minutes, and memory that mustn't grow", load: 65 * time.Minute, rate: 60, classes: workload.MixOf(12),
		calm: calmTime, deployment: world.Services, quiesce: 5 * time.Minute,
		faults: func(_ uint64, from, to time.Duration, w nemesis.Abilities) []nemesis.Planned {
			faults := []nemesis.Planned{}
			for i, at := 0, from+4*time.Minute; at < to; i, at = i+1, at+5*time.Minute {
				faults = append(faults, nemesis.Planned{At: at, Kind: record.FaultRestart, Targets: []string{w.Programs[i%len(w.Programs)]}, Length: time.Second})
			}
			return faults
		},
	},
	"power": {
		about: "the power cut, again and again: success means on disk", load: 40 * time.Second, rate: 60, classes: []record.Class{record.Good, record.Good, record.Flapping},
		calm: 6 * time.Second, deployment: world.Services, disk: 1024, must: true, quiesce: 2 * time.Minute,
		faults: func(_ uint64, from, to time.Duration, _ nemesis.Abilities) []nemesis.Planned {
			var faults []nemesis.Planned
			for at := from; at < to; at += 10 * time.Second {
				faults = append(faults, nemesis.Planned{At: at, Kind: record.FaultPowerCut, Targets: []string{"all"}})
			}
			return faults
		},
	},
	"disk-full": {
		about: "no room for the streams", load: 45 * time.Second, rate: 40, classes: []record.Class{record.Good, record.Good, record.Flapping},
		calm: 8 * time.Second, deployment: world.Services, disk: 512, must: true, quiesce: 2 * time.Minute,
		faults: func(_ uint64, from, _ time.Duration, _ nemesis.Abilities) []nemesis.Planned {
			return []nemesis.Planned{
				{At: from, Kind: record.FaultDiskFull, Targets: []string{world.NATS}, Length: 5 * time.Second},
				{At: from + 15*time.Second, Kind: record.FaultDiskFull, Targets: []string{world.NATS}, Length: 5 * time.Second},
			}
		},
	},
	"crash-points": {
		about: "each program killed from inside at every commit point; needs programs with planted points", load: 7 * time.Minute, rate: 30,
		classes: workload.MixOf(10), calm: 6 * time.Second, deployment: world.Services, quiesce: 2 * time.Minute,
		faults: func(_ uint64, from, to time.Duration, _ nemesis.Abilities) []nemesis.Planned {
			return nemesis.CrashPoints(from, to)
		},
	},
	"bit-flip": {
		about: "a bit of a stream's block changed while NATS was down", load: 30 * time.Second, rate: 40, classes: []record.Class{record.Good, record.Good, record.Flapping},
		calm: 8 * time.Second, deployment: world.Services, quiesce: 2 * time.Minute,
		faults: func(seed uint64, from, _ time.Duration, _ nemesis.Abilities) []nemesis.Planned {
			streams := []string{"POSTHASTE_TRACE", "POSTHASTE_PUSH", "POSTHASTE_RAW"}
			return []nemesis.Planned{
				{At: from, Kind: record.FaultBitFlip, Targets: []string{world.NATS, streams[seed%3]}, Amount: int(seed % 1000)},
				{At: from + 10*time.Second, Kind: record.FaultBitFlip, Targets: []string{world.NATS, streams[(seed+1)%3]}, Amount: int(seed % 1000)},
			}
		},
	},
}

// Profiles tells of the profiles, a line each.
func Profiles() string {
	var names []string
	for name := range profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%-10s %s (%s)\n", name, profiles[name].about, profiles[name].load)
	}
	return b.String()
}
