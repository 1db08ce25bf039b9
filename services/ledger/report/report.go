// Package report tells on one page what a run showed.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/judge"
	"github.com/posthaste/posthaste/services/ledger/record"
)

// Report is what a run showed.
type Report struct {
	Meta     record.Meta     `json:"meta"`
	Verdicts []judge.Verdict `json:"verdicts"`
	Summary  Summary         `json:"summary"`
}

// Summary is the last line that a run prints.
type Summary struct {
	Ledger string `json:"ledger"`
	Seed   uint64 `json:"seed"`
	// Judged is how many (event, subscription) pairs were judged, Lost how many of
	// them got lost.
	Judged       int `json:"judged"`
	Lost         int `json:"lost"`
	Order        int `json:"order"`
	WithoutCause int `json:"duplicates_without_cause"`
	Phantoms     int `json:"phantoms"`
	Events       int `json:"events"`
	Pushes       int `json:"pushes"`
	Repeats      int `json:"duplicates"`
	// Violated and Unjudged are invariants.
	Violated []string           `json:"violated"`
	Unjudged []string           `json:"unjudged"`
	Faults   map[string]int     `json:"faults"`
	Recovery map[string]float64 `json:"recovery_s"`
}

// Make judges a run.
func Make(r *record.Run) *Report {
	p := &Report{Meta: r.Meta, Verdicts: judge.Judge(r)}
	s := Summary{
		Ledger: r.Meta.Profile, Seed: r.Meta.Seed, Pushes: len(r.Pushes), Violated: []string{}, Unjudged: []string{},
		Faults: make(map[string]int), Recovery: make(map[string]float64),
	}
	for i := range r.Ops {
		if r.Ops[i].Kind == record.KindEvent {
			s.Events++
		}
	}
	for i := range r.Faults {
		s.Faults[string(r.Faults[i].Kind)]++
	}
	for _, v := range p.Verdicts {
		switch v.Result {
		case judge.Violated:
			s.Violated = append(s.Violated, v.ID)
		case judge.Unjudged:
			s.Unjudged = append(s.Unjudged, v.ID)
		default:
		}
		switch v.ID {
		case "L1":
			s.Judged, s.Lost = v.Checked, v.Violations
		case "L2":
			s.Phantoms = v.Violations
		case "L3":
			s.Order = v.Violations
		case "L5":
			s.WithoutCause, s.Repeats = int(v.Figures["without_cause"]), int(v.Figures["repeats"])
		case "L7":
			maps.Copy(s.Recovery, v.Figures)
		}
	}
	for kind, d := range s.Recovery {
		s.Recovery[kind] = float64(int(d*100)) / 100
	}
	p.Summary = s
	return p
}

// Holds says whether nothing was violated.
func (p *Report) Holds() bool { return len(p.Summary.Violated) == 0 }

// Write writes report.json and report.md into the run folder.
func (p *Report) Write(dir string) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.md"), []byte(p.Page(dir)), 0o600)
}

// Page is the report for people.
func (p *Report) Page(dir string) string {
	var b strings.Builder
	m, s := p.Meta, p.Summary
	verdict := "every promise that could be judged held"
	if !p.Holds() {
		verdict = "VIOLATED: " + strings.Join(s.Violated, ", ")
	}
	fmt.Fprintf(&b, "# Ledger %s, seed %d: %s\n\n", m.Profile, m.Seed, verdict)
	fmt.Fprintf(&b, "%s, %s of load, plan %s, %s", m.Deployment, m.Load, m.Plan, m.Began.Format(time.RFC3339))
	if m.Mutant != "" {
		fmt.Fprintf(&b, ", with the planted fault %s", m.Mutant)
	}
	fmt.Fprintf(&b, ". %d reports, %d pushes, %d pairs of event and subscription judged.\n\n", s.Events, s.Pushes, s.Judged)
	b.WriteString("| | promise | | looked at | wrong | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, v := range p.Verdicts {
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %s |\n", v.ID, v.Title, v.Result, v.Checked, v.Violations, remark(v))
	}
	if len(s.Faults) > 0 {
		b.WriteString("\n| fault | times | longest until pushed again, s | repeats it explains |\n| --- | --- | --- | --- |\n")
		for _, kind := range slices.Sorted(maps.Keys(s.Faults)) {
			fmt.Fprintf(&b, "| %s | %d | %.1f | %.0f |\n", kind, s.Faults[kind], s.Recovery[kind], p.figure("L5", "by_"+kind))
		}
	}
	for _, v := range p.Verdicts {
		if len(v.Examples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s: %s\n\n", v.ID, v.Title)
		for _, e := range v.Examples {
			fmt.Fprintf(&b, "- %s\n", e)
		}
		if more := v.Violations - len(v.Examples); more > 0 {
			fmt.Fprintf(&b, "- and %d more\n", more)
		}
	}
	fmt.Fprintf(&b, "\nAgain: `.bin/ledger run --profile=%s --seed=%d --duration=%s --deployment=%s`. Judge this record again: `.bin/ledger judge %s`.\n",
		m.Profile, m.Seed, m.Load, m.Deployment, dir)
	return b.String()
}

func (p *Report) figure(id, name string) float64 {
	for _, v := range p.Verdicts {
		if v.ID == id {
			return v.Figures[name]
		}
	}
	return 0
}

func remark(v judge.Verdict) string {
	parts := []string{}
	if v.Note != "" {
		parts = append(parts, v.Note)
	}
	if v.ID != "L7" { // it has a table of its own
		for _, name := range slices.SortedFunc(maps.Keys(v.Figures), cmp.Compare[string]) {
			if !strings.HasPrefix(name, "by_") {
				parts = append(parts, fmt.Sprintf("%s %.4g", strings.ReplaceAll(name, "_", " "), v.Figures[name]))
			}
		}
	}
	return strings.Join(parts, "; ")
}

// Life is all that a record knows of one event, for finding out what happened.
func Life(r *record.Run, token string) string {
	var b strings.Builder
	line := func(at time.Duration, format string, args ...any) {
		fmt.Fprintf(&b, "%10.3f  %s\n", at.Seconds(), fmt.Sprintf(format, args...))
	}
	waybill := ""
	for _, e := range r.Events {
		if e.Token == token {
			waybill = e.Waybill
			fmt.Fprintf(&b, "%s of %s, %s at %s\n", token, waybill, e.Status, e.Time.Format(time.RFC3339))
		}
	}
	type entry struct {
		at   time.Duration
		text string
	}
	var entries []entry
	add := func(at time.Duration, format string, args ...any) {
		entries = append(entries, entry{at, fmt.Sprintf(format, args...)})
	}
	for _, o := range r.Ops {
		switch {
		case o.Kind == record.KindEvent && slices.Contains(o.Tokens, token):
			add(o.Begin, "reported by %s, try %d: %s (%s) at %.3f", o.Source, o.Try, o.Outcome, o.Status, o.End.Seconds())
		case o.Waybill == waybill && o.Kind == record.KindSubscribe:
			add(o.Begin, "subscribed at endpoint %d: %s %s (%s) at %.3f", o.Endpoint, o.Subscription, o.Outcome, o.Status, o.End.Seconds())
		}
	}
	for _, f := range r.Follows {
		if slices.Contains(f.Tokens, token) {
			add(f.At, "seen on NATS with revision %d", f.Revision)
		}
	}
	for _, p := range r.Pushes {
		if p.Waybill == waybill {
			has := ""
			if slices.Contains(p.Tokens, token) {
				has = ", WITH THE EVENT"
			}
			add(p.Received, "push %s (%d, %d] at endpoint %d, answered %d at %.3f (late %t, left %t)%s", p.ID, p.After, p.Revision, p.Endpoint, p.Answer, p.Answered.Seconds(), p.Late, p.Left, has)
		}
	}
	for _, f := range r.Faults {
		add(f.Begin, "FAULT %s of %v %s until %.3f", f.Kind, f.Targets, f.Detail, f.End.Seconds())
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	for _, e := range entries {
		line(e.at, "%s", e.text)
	}
	return b.String()
}
