package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// oneState is L4: the API, the projection, the stream and the last push say the
// same of a waybill, and what the events of the plan make of it.
func oneState(f *facts, v *Verdict) {
	final := f.last()
	if final == nil {
		v.violate("the run has no final state")
		return
	}
	waybills := finalWaybills(final)
	for name, tokens := range f.waybills {
		reported := slices.ContainsFunc(tokens, func(t *token) bool { return t.ok })
		w := waybills[name]
		if !reported && w == nil {
			continue
		}
		v.Checked++
		if w == nil || w.Stream == nil {
			v.violate("%s was reported and isn't in TRACE", name)
			continue
		}
		for who, s := range map[string]*record.State{"gRPC": w.GRPC, "PostgreSQL": w.SQL} {
			if diff := differ(w.Stream, s); diff != "" {
				v.violate("%s: TRACE and %s differ: %s", name, who, diff)
			}
		}
		f.fold(v, name, tokens, w.Stream)
	}
	f.lastPushes(v, waybills, finalSubs(final))
}

func differ(a, b *record.State) string {
	switch {
	case b == nil:
		return "one doesn't know it"
	case a.Revision != b.Revision:
		return fmt.Sprintf("revision %d and %d", a.Revision, b.Revision)
	case a.Status != b.Status:
		return fmt.Sprintf("status %s and %s", a.Status, b.Status)
	case a.EventCount != b.EventCount:
		return fmt.Sprintf("%d and %d events", a.EventCount, b.EventCount)
	case a.LastTime != b.LastTime:
		return fmt.Sprintf("last event at %s and %s", a.LastTime, b.LastTime)
	}
	x, y := slices.Sorted(slices.Values(a.Tokens)), slices.Sorted(slices.Values(b.Tokens))
	if !slices.Equal(x, y) {
		return fmt.Sprintf("events %v and %v", x, y)
	}
	return ""
}

// fold compares a state with what the events of the plan make: all that were
// accepted, none that were refused, and the status of the latest that counts.
func (f *facts) fold(v *Verdict, name string, tokens []*token, s *record.State) {
	have := setOf(s.Tokens)
	var counted []*token
	replaced := make(map[string]bool)
	for _, t := range tokens {
		switch {
		case t.ok && !have[t.Token]:
			v.violate("%s was accepted and isn't in the trace of %s", t.Token, name)
		case have[t.Token] && (!t.possible || t.Bad):
			v.violate("%s was refused and is in the trace of %s", t.Token, name)
		}
		if have[t.Token] {
			counted = append(counted, t)
			if t.Replaces != "" {
				replaced[t.Replaces] = true
			}
		}
	}
	if len(counted) != len(have) {
		v.violate("the trace of %s has %d events, and the plan knows %d of them", name, len(have), len(counted))
	}
	if s.EventCount != len(have) {
		v.violate("%s says that it has %d events, and has %d", name, s.EventCount, len(have))
	}
	slices.SortStableFunc(counted, func(a, b *token) int { return a.Time.Compare(b.Time) })
	want := ""
	for _, t := range counted {
		if t.Status != "" && !replaced[t.Token] && want != "delivered" {
			want = t.Status
		}
	}
	if want == "" {
		want = "unknown"
	}
	if s.Status != want {
		v.violate("%s is %s, and its events make it %s", name, s.Status, want)
	}
}

// lastPushes compares the newest acknowledged push of every active subscription
// with the waybill.
func (f *facts) lastPushes(v *Verdict, waybills map[string]*record.Waybill, subs map[string]*record.Subscription) {
	for _, s := range f.judged() {
		w, end := waybills[s.waybill], subs[s.id]
		if w == nil || w.Stream == nil || end == nil || end.State != "active" || end.Acknowledged != w.Stream.Revision {
			continue // L9 and L10 have their say about those
		}
		var newest *record.Push
		for _, p := range s.pushes {
			if p.Acknowledged() && (newest == nil || p.Revision > newest.Revision) {
				newest = p
			}
		}
		v.Checked++
		switch {
		case newest == nil:
			v.violate("%s is acknowledged up to revision %d, and its endpoint acknowledged nothing", s.id, end.Acknowledged)
		case newest.Revision != w.Stream.Revision || newest.Status != w.Stream.Status || newest.EventCount != w.Stream.EventCount:
			v.violate("the last push of %s says revision %d, %s, %d events; TRACE says %d, %s, %d", s.id,
				newest.Revision, newest.Status, newest.EventCount, w.Stream.Revision, w.Stream.Status, w.Stream.EventCount)
		}
	}
}

// isolation is L12: while others' endpoints are in trouble and nothing else is,
// good endpoints get their pushes about as soon as before.
func isolation(f *facts, v *Verdict) {
	const least = 50
	// A machine that is busy with other things has hiccups longer than a push takes.
	const hiccup = 750 * time.Millisecond
	base := f.latencies(3*time.Second, f.Meta.TroubleFrom)
	// What is accepted just before the first fault may be under way when it comes.
	const underway = 2 * time.Second
	trouble := f.latencies(f.Meta.TroubleFrom, f.Meta.CalmUntil-underway)
	if len(base) < least || len(trouble) < least {
		v.unjudged("there are %d pushes before others' trouble and %d during it and before the first fault; %d are needed", len(base), len(trouble), least)
		return
	}
	v.Checked = len(base) + len(trouble)
	a, b := p99(base), p99(trouble)
	v.figure("p99_before_s", a.Seconds())
	v.figure("p99_trouble_s", b.Seconds())
	if limit := max(2*a, a+hiccup); b > limit {
		v.violate("the 99th percentile of good endpoints was %s, and %s while others were in trouble", short(a), short(b))
	}
}

// latencies are the times from an event's acceptance to its first arrival at
// good endpoints, of those accepted in a span, sorted.
func (f *facts) latencies(from, to time.Duration) []time.Duration {
	var all []time.Duration
	for _, e := range f.endpoints {
		if e.Class != record.Good {
			continue
		}
		seen := make(map[string]bool)
		for _, p := range e.pushes {
			s := f.subs[p.Subscription]
			for _, name := range p.Tokens {
				t := f.tokens[name]
				key := p.Subscription + name
				if t == nil || !t.ok || seen[key] {
					continue
				}
				seen[key] = true
				// What was there before the subscription has no latency.
				if t.okEnd >= from && t.okEnd < to && s != nil && s.made < t.okBegin {
					all = append(all, max(p.Received-t.okEnd, 0))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func p99(sorted []time.Duration) time.Duration {
	return sorted[int(math.Ceil(0.99*float64(len(sorted))))-1]
}

// bounded is L13: at the end everything is as it was; over a long run, memory
// doesn't grow.
func bounded(f *facts, v *Verdict) {
	const settle = 5 * time.Second
	long := f.Meta.LoadEnd >= 30*time.Minute
	type series struct{ base, end []float64 }
	all := make(map[string]*series)
	add := func(name string, at time.Duration, value int64) {
		s := all[name]
		if s == nil {
			s = &series{}
			all[name] = s
		}
		switch {
		case value == 0:
		case long && at >= f.Meta.LoadEnd/4 && at < f.Meta.LoadEnd/2, !long && at >= settle && at < max(f.Meta.CalmUntil, 3*settle):
			s.base = append(s.base, float64(value))
		case long && at >= f.Meta.LoadEnd*3/4 && at < f.Meta.LoadEnd, !long && at > f.Meta.End-settle:
			s.end = append(s.end, float64(value))
		}
	}
	for i := range f.Samples {
		s := &f.Samples[i]
		if s.Program == "" {
			add("connections of PostgreSQL", s.At, int64(s.Backends))
			continue
		}
		add("files of "+s.Program, s.At, int64(s.FDs))
		add("goroutines of "+s.Program, s.At, int64(s.Goroutines))
		if long {
			add("memory of "+s.Program, s.At, s.RSS)
		}
	}
	for _, name := range slices.Sorted(keys(all)) {
		s := all[name]
		if len(s.base) == 0 || len(s.end) == 0 {
			continue
		}
		v.Checked++
		a, b := median(s.base), median(s.end)
		// Connections to endpoints are kept for a while, each with two goroutines.
		slack := 40 + 32*float64(len(f.Meta.Endpoints))
		if strings.HasPrefix(name, "memory") {
			slack = 32 << 20
		}
		if b > 1.2*a+slack {
			v.violate("%s were %.0f and are %.0f", name, a, b)
		}
	}
	if !long {
		v.note("memory isn't judged in runs below 30 minutes: it grows with the number of waybills at first")
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func median[T cmp.Ordered](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}
