package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// Mutant is a change of a good record that makes it a bad one.
type Mutant struct {
	Name string
	// Caught is the invariant that must see it.
	Caught string
	// apply returns false when the record has nothing to change.
	apply func(r *record.Run) bool
}

// SelfTest changes a good record in each way, and returns what the judge made of
// each: an empty string when it saw it, and otherwise why not.
func SelfTest(r *record.Run) map[string]string {
	results := make(map[string]string)
	for _, m := range Mutants() {
		results[m.Name] = m.Try(r)
	}
	return results
}

// Try applies a mutant to a copy of a record and judges it: empty when the
// invariant that must see it does.
func (m Mutant) Try(r *record.Run) string {
	c := clone(r)
	if !m.apply(c) {
		return "the record has nothing to change"
	}
	for _, v := range Judge(c) {
		if v.ID == m.Caught {
			if v.Result == Violated {
				return ""
			}
			return fmt.Sprintf("%s says %q", m.Caught, v.Result)
		}
	}
	return m.Caught + " isn't judged"
}

func clone(r *record.Run) *record.Run {
	c := *r
	c.Events, c.Ops, c.Faults = slices.Clone(r.Events), slices.Clone(r.Ops), slices.Clone(r.Faults)
	c.Pushes, c.Samples, c.Follows = slices.Clone(r.Pushes), slices.Clone(r.Samples), slices.Clone(r.Follows)
	c.Finals = slices.Clone(r.Finals)
	for i := range c.Finals {
		f := &c.Finals[i]
		f.Waybills, f.Subscriptions, f.Raw = slices.Clone(f.Waybills), slices.Clone(f.Subscriptions), slices.Clone(f.Raw)
		f.OwedRows, f.Consumers = slices.Clone(f.OwedRows), slices.Clone(f.Consumers)
	}
	return &c
}

// Mutants are the changes.
func Mutants() []Mutant {
	return []Mutant{
		{"an acknowledged push is dropped", "L1", dropPush},
		{"an acknowledged push is dropped from the chain", "L10", dropPush},
		{"a parked push is gone", "L9", func(r *record.Run) bool {
			f := r.Final("quiesced")
			s := find(f.Subscriptions, func(s *record.Subscription) bool {
				return s.Acknowledged == s.Pushed && s.Pushed > 0 && s.State == "active"
			})
			if s == nil {
				return false
			}
			s.Acknowledged--
			return true
		}},
		{"an update on NATS is dropped", "L1n", func(r *record.Run) bool {
			i := slices.IndexFunc(r.Follows, func(f record.Follow) bool { return len(f.Tokens) > 0 && accepted(r, f.Tokens[0]) })
			if i < 0 {
				return false
			}
			lost := r.Follows[i].Tokens
			r.Follows = slices.DeleteFunc(r.Follows, func(f record.Follow) bool {
				return slices.ContainsFunc(f.Tokens, func(t string) bool { return slices.Contains(lost, t) })
			})
			return true
		}},
		{"two pushes of a subscription are swapped", "L3", swap},
		{"a push comes before what it follows", "L3", func(r *record.Run) bool {
			p := find(r.Pushes, func(p *record.Push) bool { return p.After > 0 && calm(r, p.Received) })
			if p == nil {
				return false
			}
			p.After += 2
			p.Revision += 2
			return true
		}},
		{"two attempts of a subscription overlap", "L3", func(r *record.Run) bool {
			p := find(r.Pushes, func(p *record.Push) bool { return p.After > 0 && calm(r, p.Received) })
			if p == nil {
				return false
			}
			twin := *p
			twin.ID, twin.After, twin.Revision = p.ID+"x", p.After, p.Revision
			twin.Received += time.Millisecond
			p.Answered = p.Received + 500*time.Millisecond
			r.Pushes = append(r.Pushes, twin)
			return true
		}},
		{"a byte of a repeat is another", "L5", func(r *record.Run) bool {
			p := repeated(r)
			if p == nil {
				return false
			}
			p.Body = "0" + p.Body[1:] + "0"
			return true
		}},
		{"a repeat has another id", "L5", func(r *record.Run) bool {
			p := repeated(r)
			if p == nil {
				return false
			}
			p.ID += "-2"
			return true
		}},
		{"an id is used for two subscriptions", "L5", func(r *record.Run) bool {
			for i := 1; i < len(r.Pushes); i++ {
				if r.Pushes[i].Subscription != r.Pushes[0].Subscription {
					r.Pushes[i].ID = r.Pushes[0].ID
					return true
				}
			}
			return false
		}},
		{"an acknowledged push comes again without a cause", "L5", func(r *record.Run) bool {
			p := find(r.Pushes, func(p *record.Push) bool { return p.Acknowledged() && calm(r, p.Received) })
			if p == nil {
				return false
			}
			twin := *p
			twin.Received, twin.Answered, twin.Timestamp = p.Answered+3*time.Second, p.Answered+3*time.Second+time.Millisecond, p.Timestamp+3
			r.Pushes = append(r.Pushes, twin)
			return true
		}},
		{"a phantom", "L2", func(r *record.Run) bool {
			r.Pushes[0].Tokens = append(slices.Clone(r.Pushes[0].Tokens), r.Meta.Run+"FFFF-9999")
			return true
		}},
		{"poison is pushed", "L2", func(r *record.Run) bool {
			e := find(r.Events, func(e *record.Event) bool { return e.Bad })
			if e == nil {
				return false
			}
			p := find(r.Pushes, func(p *record.Push) bool { return p.Waybill == e.Waybill })
			if p == nil {
				return false
			}
			p.Tokens = append(slices.Clone(p.Tokens), e.Token)
			return true
		}},
		{"a push comes to another tenant", "L2", func(r *record.Run) bool {
			r.Pushes[len(r.Pushes)/2].Tenant = "somebody-else"
			return true
		}},
		{"a push comes to another endpoint", "L2", func(r *record.Run) bool {
			p := &r.Pushes[len(r.Pushes)/2]
			for _, e := range r.Meta.Endpoints {
				if e.Index != p.Endpoint && e.Tenant == p.Tenant {
					p.Endpoint = e.Index
					return true
				}
			}
			return false
		}},
		{"an event is pushed with another waybill", "L2", func(r *record.Run) bool {
			a := find(r.Pushes, func(p *record.Push) bool { return len(p.Tokens) > 0 })
			b := find(r.Pushes, func(p *record.Push) bool { return len(p.Tokens) > 0 && p.Waybill != a.Waybill })
			if b == nil {
				return false
			}
			b.Tokens = append(slices.Clone(b.Tokens), a.Tokens[0])
			return true
		}},
		{"a signature doesn't verify", "L6", func(r *record.Run) bool { r.Pushes[0].Key = 0; return true }},
		{"a push was signed long ago", "L6", func(r *record.Run) bool {
			p := find(r.Pushes, func(p *record.Push) bool { return calm(r, p.Received) })
			if p == nil {
				return false
			}
			p.Signed = 10 * time.Minute
			return true
		}},
		{"an attempt comes long after a cancellation", "L11", lateCancel},
		{"the API says another status", "L4", func(r *record.Run) bool {
			return restate(r, func(w *record.Waybill, s record.State) { s.Status = "returned"; w.GRPC = &s })
		}},
		{"the projection lacks an event", "L4", func(r *record.Run) bool {
			return restate(r, func(w *record.Waybill, s record.State) { s.Tokens = s.Tokens[1:]; w.SQL = &s })
		}},
		{"the projection is a revision behind", "L4", func(r *record.Run) bool {
			return restate(r, func(w *record.Waybill, s record.State) { s.Revision--; w.SQL = &s })
		}},
		{"an accepted event isn't in RAW", "L14", func(r *record.Run) bool {
			i := slices.IndexFunc(r.Final("healed").Raw, func(t string) bool { return accepted(r, t) })
			if i < 0 {
				return false
			}
			f := r.Final("healed")
			f.Raw = slices.Delete(f.Raw, i, i+1)
			return true
		}},
		{"an event is accepted while NATS is down", "L14", func(r *record.Run) bool {
			r.Faults = append(r.Faults, record.Fault{
				ID: 1000, Kind: record.FaultKill, Targets: []string{"nats"}, Begin: r.Meta.TroubleFrom, End: r.Meta.LoadEnd,
				DownFrom: r.Meta.TroubleFrom, DownTo: r.Meta.LoadEnd,
			})
			return true
		}},
		{"it doesn't recover from a fault", "L7", func(r *record.Run) bool {
			at := r.Meta.CalmUntil
			r.Faults = append(r.Faults, record.Fault{ID: 1000, Kind: record.FaultKill, Targets: []string{"ingest"}, Begin: at, End: at + 1})
			for i := range r.Ops {
				if r.Ops[i].Kind == record.KindEvent && r.Ops[i].Begin > at {
					r.Ops[i].Outcome = record.Unknown
				}
			}
			r.Meta.LoadEnd = r.Meta.End
			return true
		}},
		{"it doesn't come to rest", "L9", func(r *record.Run) bool {
			r.Final("quiesced").Quiesced = false
			return true
		}},
		{"a retry comes too soon", "L8", func(r *record.Run) bool {
			p := find(r.Pushes, func(p *record.Push) bool { return !p.Acknowledged() && calm(r, p.Received) && acksNothing(r, p) })
			if p == nil {
				return false
			}
			twin := *p
			twin.Received, twin.Answered = p.Answered+time.Millisecond, p.Answered+2*time.Millisecond
			r.Pushes = append(r.Pushes, twin)
			return true
		}},
		{"a subscription vanishes", "L9", func(r *record.Run) bool {
			f := r.Final("healed")
			cancelled := make(map[string]bool)
			for _, o := range r.Ops {
				if o.Kind == record.KindCancel {
					cancelled[o.Subscription] = true
				}
			}
			i := slices.IndexFunc(f.Subscriptions, func(s record.Subscription) bool { return s.State == "active" && !cancelled[s.ID] })
			if i < 0 {
				return false
			}
			f.Subscriptions = slices.Delete(f.Subscriptions, i, i+1)
			return true
		}},
		{"a row of what is owed is left behind", "L15", func(r *record.Run) bool {
			f := r.Final("healed")
			f.OwedRows = append(f.OwedRows, "sub_left")
			return true
		}},
		{"goroutines leak", "L13", func(r *record.Run) bool {
			changed := false
			for i := range r.Samples {
				if s := &r.Samples[i]; s.Goroutines > 0 && s.At > r.Meta.End-5*time.Second {
					s.Goroutines = 10*s.Goroutines + 1000
					changed = true
				}
			}
			return changed
		}},
		{"others' trouble slows a good endpoint", "L12", func(r *record.Run) bool {
			good := make(map[int]bool)
			for _, e := range r.Meta.Endpoints {
				good[e.Index] = e.Class == record.Good
			}
			changed := false
			for i := range r.Pushes {
				if p := &r.Pushes[i]; good[p.Endpoint] && p.Received > r.Meta.TroubleFrom {
					p.Received += 10 * time.Second
					p.Answered += 10 * time.Second
					changed = true
				}
			}
			return changed
		}},
	}
}

func find[T any](list []T, is func(*T) bool) *T {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// calm is a time that no fault explains anything of.
func calm(r *record.Run, at time.Duration) bool {
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Begin-20*time.Second <= at && at <= f.End+20*time.Second {
			return false
		}
	}
	return true
}

func accepted(r *record.Run, token string) bool {
	return slices.ContainsFunc(r.Ops, func(o record.Op) bool {
		return o.Kind == record.KindEvent && o.Outcome == record.OK && slices.Contains(o.Tokens, token) && !slices.Contains(o.Refused, token)
	})
}

// dropPush takes all copies of a push out whose events no other push tells.
func dropPush(r *record.Run) bool {
	wanted := make(map[string]bool)
	for _, o := range r.Ops {
		if o.Kind == record.KindSubscribe && o.Outcome == record.OK && !strings.Contains(o.Status, "short tail") {
			wanted[o.Subscription] = true
		}
	}
	for _, o := range r.Ops {
		if o.Kind == record.KindCancel {
			delete(wanted, o.Subscription)
		}
	}
	told := make(map[string]int)
	seen := make(map[string]bool)
	for _, p := range r.Pushes {
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		for _, t := range p.Tokens {
			told[p.Subscription+t]++
		}
	}
	victim := find(r.Pushes, func(p *record.Push) bool {
		return wanted[p.Subscription] && slices.ContainsFunc(p.Tokens, func(t string) bool { return told[p.Subscription+t] == 1 && accepted(r, t) })
	})
	if victim == nil {
		return false
	}
	id := victim.ID
	r.Pushes = slices.DeleteFunc(r.Pushes, func(p record.Push) bool { return p.ID == id })
	return true
}

// swap exchanges the times of two acknowledged pushes that follow each other.
func swap(r *record.Run) bool {
	for i := range r.Pushes {
		a := &r.Pushes[i]
		if !a.Acknowledged() || !calm(r, a.Received) {
			continue
		}
		b := find(r.Pushes, func(p *record.Push) bool {
			return p.Subscription == a.Subscription && p.After == a.Revision && p.Acknowledged()
		})
		if b != nil && calm(r, b.Received) && b.Received > a.Answered {
			a.Received, b.Received = b.Received, a.Received
			a.Answered, b.Answered = b.Answered, a.Answered
			return true
		}
	}
	return false
}

// repeated is the second copy of a push.
func repeated(r *record.Run) *record.Push {
	seen := make(map[string]bool)
	for i := range r.Pushes {
		if seen[r.Pushes[i].ID] {
			return &r.Pushes[i]
		}
		seen[r.Pushes[i].ID] = true
	}
	return nil
}

// lateCancel lets a push of a cancelled subscription come late.
func lateCancel(r *record.Run) bool {
	for i := range r.Ops {
		o := &r.Ops[i]
		if o.Kind != record.KindCancel || o.Outcome != record.OK || !calm(r, o.End+5*time.Second) {
			continue
		}
		p := find(r.Pushes, func(p *record.Push) bool { return p.Subscription == o.Subscription })
		if p == nil {
			continue
		}
		twin := *p
		twin.Received, twin.Answered = o.End+5*time.Second, o.End+5*time.Second+time.Millisecond
		r.Pushes = append(r.Pushes, twin)
		return true
	}
	return false
}

// restate changes what somebody says of a waybill at the end.
func restate(r *record.Run, change func(w *record.Waybill, s record.State)) bool {
	w := find(r.Final("healed").Waybills, func(w *record.Waybill) bool { return w.Stream != nil && len(w.Stream.Tokens) > 1 })
	if w == nil {
		return false
	}
	change(w, *w.Stream)
	return true
}

// acksNothing says that an endpoint acknowledged nothing about the time of a
// push.
func acksNothing(r *record.Run, p *record.Push) bool {
	return !slices.ContainsFunc(r.Pushes, func(o record.Push) bool {
		return o.Endpoint == p.Endpoint && o.Acknowledged() && o.Answered > p.Received-2*time.Second && o.Answered < p.Received+2*time.Second
	})
}
