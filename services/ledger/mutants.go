package ledger

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/ledger/judge"
	"github.com/posthaste/posthaste/services/ledger/nemesis"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// hunt is how a planted fault is looked for, and which invariants must see it:
// one of them is enough.
type hunt struct {
	profile
	by []string
}

// basic is what a planted fault needs to show: some endpoints that fail, and a
// short load.
func basic(classes ...record.Class) profile {
	return profile{
		load: 12 * time.Second, rate: 40, classes: append(classes, record.Good, record.Good, record.Good), calm: 12 * time.Second,
		deployment: world.Services, still: 2 * time.Second, quiesce: 12 * time.Second,
	}
}

// killing is a hunt that kills programs again and again.
func killing(every time.Duration, targets ...string) profile {
	p := basic(record.Flapping)
	p.calm = 3 * time.Second
	p.faults = func(_ uint64, from, to time.Duration, _ nemesis.Abilities) []nemesis.Planned {
		return nemesis.Kills(from, to, every, 200*time.Millisecond, targets...)
	}
	return p
}

func hunts() map[string]hunt {
	cancelling, poisoned, cut := basic(record.Flapping, record.Healing, record.Healing), basic(), basic()
	cancelling.cancels, poisoned.poison = 0.5, 0.6
	cut.calm, cut.disk, cut.must = 4*time.Second, 512, true
	cut.faults = func(_ uint64, from, _ time.Duration, _ nemesis.Abilities) []nemesis.Planned {
		return []nemesis.Planned{{At: from + time.Second, Kind: record.FaultPowerCut, Targets: []string{"all"}}}
	}
	return map[string]hunt{
		"ack-before-publish":    {killing(2*time.Second, "ingest"), []string{"L14", "L1"}},
		"no-fsync":              {cut, []string{"L14", "L1"}},
		"dropped-park":          {basic(record.Flapping), []string{"L1", "L10"}},
		"skipped-revision":      {basic(), []string{"L1", "L10"}},
		"retry-id":              {basic(record.Flapping), []string{"L5"}},
		"lost-projection":       {basic(), []string{"L4"}},
		"match-before-commit":   {killing(2*time.Second, "subscription"), []string{"L1", "L10"}},
		"normalizer-acks-first": {killing(2*time.Second, "normalizer"), []string{"L1", "L4"}},
		"cancel-unchecked":      {cancelling, []string{"L11"}},
		"body-rerendered":       {basic(record.Flapping), []string{"L5"}},
		"out-of-order":          {basic(record.Flapping), []string{"L3"}},
		"stale-signature":       {basic(), []string{"L6"}},
		"gone-ignored":          {basic(record.Gone), []string{"L8"}},
		"signature-unchecked":   {poisoned, []string{"L2"}},
		"repeats-acknowledged":  {basic(), []string{"L5"}},
		"wrong-tenant":          {basic(), []string{"L2"}},
	}
}

// MutantsResult is the last line of a hunt.
type MutantsResult struct {
	Mutants int      `json:"mutants"`
	Caught  int      `json:"caught"`
	Missed  []string `json:"missed"`
	// Control says that the same programs without a planted fault were found to be
	// good.
	Control bool `json:"control"`
}

// Mutants hunts planted faults, all or some by name, in programs that were built
// with them. It begins with a control: a fault that isn't there mustn't be
// found.
func Mutants(ctx context.Context, cfg Config, only []string, out io.Writer) (MutantsResult, error) {
	res := MutantsResult{Missed: []string{}}
	all := hunts()
	names := slices.Sorted(maps.Keys(fault.Planted))
	if len(only) > 0 {
		names = only
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	control := killing(4*time.Second, "delivery")
	control.quiesce = time.Minute
	verdicts, err := hunting(ctx, cfg, "none", control)
	if err != nil {
		return res, err
	}
	res.Control = true
	for _, v := range verdicts {
		if v.Result == judge.Violated {
			res.Control = false
			say("%-22s %s is VIOLATED without a planted fault: %s", "none", v.ID, v.Examples[0])
		}
	}
	for _, name := range names {
		h, ok := all[name]
		if !ok {
			return res, fmt.Errorf("planted fault %q doesn't exist", name)
		}
		res.Mutants++
		began := time.Now()
		verdicts, err := hunting(ctx, cfg, name, h.profile)
		if err != nil {
			return res, fmt.Errorf("hunt %s: %w", name, err)
		}
		caught := ""
		for _, v := range verdicts {
			if v.Result == judge.Violated && slices.Contains(h.by, v.ID) {
				caught = fmt.Sprintf("caught by %s: %s", v.ID, v.Examples[0])
				break
			}
		}
		if caught == "" {
			caught = fmt.Sprintf("MISSED by %v", h.by)
			res.Missed = append(res.Missed, name)
		} else {
			res.Caught++
		}
		say("%-22s %3.0f s  %s", name, time.Since(began).Seconds(), caught)
	}
	return res, nil
}

// hunting runs the programs with a planted fault, and judges.
func hunting(ctx context.Context, cfg Config, name string, p profile) ([]judge.Verdict, error) {
	cfg.Profile, cfg.Mutant, cfg.profile = "mutant", name, &p
	cfg.Out = filepath.Join(cfg.Out, "mutant-"+name)
	if name != "none" {
		cfg.Env = append(cfg.Env, "POSTHASTE_FAULT="+name)
	}
	if err := Run(ctx, cfg); err != nil {
		return nil, err
	}
	r, err := record.Load(cfg.Out)
	if err != nil {
		return nil, err
	}
	return judge.Judge(r), nil
}
