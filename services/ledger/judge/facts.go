package judge

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// facts is a run, put in order.
type facts struct {
	*record.Run

	tokens    map[string]*token
	waybills  map[string][]*token // in the order of the plan
	subs      map[string]*sub
	ordered   []*sub // by id
	strangers []*record.Push
	endpoints map[int]*endpoint
	byID      map[string][]*record.Push // copies of a push, in order
}

// token is what is known of one event.
type token struct {
	record.Event

	// tried says that an operation reported it, possible that it may have had an
	// effect, ok that it was accepted.
	tried, possible, ok bool
	begin               time.Duration // of the first operation
	okBegin, okEnd      time.Duration // of the first that was accepted
}

// sub is one subscription.
type sub struct {
	id        string
	endpoint  int
	waybill   string
	made      time.Duration // answered
	shortTail bool
	// cancelBegin and cancelled are when it was first tried and answered; -1 for
	// never.
	cancelBegin, cancelled time.Duration
	pushes                 []*record.Push // in the order of arrival
}

type endpoint struct {
	record.Endpoint

	pushes  []*record.Push  // in the order of arrival
	acks    []time.Duration // rising
	enabled []time.Duration
}

const never = time.Duration(-1)

func gather(r *record.Run) *facts {
	f := &facts{
		Run: r, tokens: make(map[string]*token, len(r.Events)), waybills: make(map[string][]*token),
		subs: make(map[string]*sub), endpoints: make(map[int]*endpoint), byID: make(map[string][]*record.Push),
	}
	for _, e := range r.Events {
		t := &token{Event: e}
		f.tokens[e.Token] = t
		f.waybills[e.Waybill] = append(f.waybills[e.Waybill], t)
	}
	for i := range r.Meta.Endpoints {
		f.endpoints[r.Meta.Endpoints[i].Index] = &endpoint{Endpoint: r.Meta.Endpoints[i]}
	}
	for i := range r.Ops {
		f.op(&r.Ops[i])
	}
	for i := range r.Ops {
		f.cancel(&r.Ops[i])
	}
	pushes := make([]*record.Push, len(r.Pushes))
	for i := range r.Pushes {
		pushes[i] = &r.Pushes[i]
	}
	slices.SortStableFunc(pushes, func(a, b *record.Push) int { return cmp.Compare(a.Received, b.Received) })
	for _, p := range pushes {
		f.push(p)
	}
	for _, s := range f.subs {
		f.ordered = append(f.ordered, s)
	}
	slices.SortFunc(f.ordered, func(a, b *sub) int { return strings.Compare(a.id, b.id) })
	for _, e := range f.endpoints {
		slices.Sort(e.acks)
	}
	return f
}

func (f *facts) op(o *record.Op) {
	switch o.Kind {
	case record.KindEvent:
		for _, name := range o.Tokens {
			t := f.tokens[name]
			if t == nil {
				continue // a record that was tampered with; its pushes are phantoms
			}
			if !t.tried || o.Begin < t.begin {
				t.begin = o.Begin
			}
			t.tried = true
			if o.Outcome == record.Fail || slices.Contains(o.Refused, name) {
				continue
			}
			t.possible = true
			if o.Outcome == record.OK && (!t.ok || o.End < t.okEnd) {
				t.ok, t.okBegin, t.okEnd = true, o.Begin, o.End
			}
		}
	case record.KindSubscribe:
		if o.Outcome != record.OK {
			return
		}
		s := f.subs[o.Subscription]
		if s == nil {
			s = &sub{id: o.Subscription, endpoint: o.Endpoint, waybill: o.Waybill, made: o.End, cancelBegin: never, cancelled: never}
			f.subs[s.id] = s
		}
		s.made = min(s.made, o.End)
		s.shortTail = s.shortTail || strings.Contains(o.Status, "short tail")
	case record.KindEnable:
		if e := f.endpoints[o.Endpoint]; e != nil {
			e.enabled = append(e.enabled, o.Begin)
		}
	default:
	}
}

func (f *facts) cancel(o *record.Op) {
	s := f.subs[o.Subscription]
	if o.Kind != record.KindCancel || s == nil {
		return
	}
	if s.cancelBegin == never || o.Begin < s.cancelBegin {
		s.cancelBegin = o.Begin
	}
	if o.Outcome == record.OK && (s.cancelled == never || o.End < s.cancelled) {
		s.cancelled = o.End
	}
}

func (f *facts) push(p *record.Push) {
	f.byID[p.ID] = append(f.byID[p.ID], p)
	if e := f.endpoints[p.Endpoint]; e != nil {
		e.pushes = append(e.pushes, p)
		if p.Acknowledged() {
			e.acks = append(e.acks, p.Answered)
		}
	}
	if s := f.subs[p.Subscription]; s != nil {
		s.pushes = append(s.pushes, p)
	} else {
		f.strangers = append(f.strangers, p)
	}
}

// end is when whoever sent a push was done with it at the latest.
func (f *facts) end(p *record.Push) time.Duration {
	if e := f.endpoints[p.Endpoint]; e != nil && e.Timeout > 0 {
		return min(p.Answered, p.Received+e.Timeout)
	}
	return p.Answered
}

// judged are the subscriptions whose owner wants them to the end.
func (f *facts) judged() []*sub {
	return slices.DeleteFunc(slices.Clone(f.ordered), func(s *sub) bool { return s.cancelBegin != never })
}

// touches says whether a fault touches one of some programs, or what lies
// between them and others.
func touches(ft *record.Fault, programs ...string) bool {
	for _, target := range ft.Targets {
		if target == "posthaste" || target == "all" {
			return true
		}
		for _, p := range programs {
			if target == p || strings.HasPrefix(target, p+"-") || strings.HasSuffix(target, "-"+p) {
				return true
			}
		}
	}
	return false
}

// fault finds a fault that touches one of some programs between two moments,
// with some time for its consequences before and after.
func (f *facts) fault(from, to, before, after time.Duration, programs ...string) *record.Fault {
	for i := range f.Faults {
		ft := &f.Faults[i]
		end := ft.End
		if end == 0 {
			end = f.Meta.End
		}
		if ft.Begin-before <= to && from <= end+after && touches(ft, programs...) {
			return ft
		}
	}
	return nil
}

// What a fault explains beyond its own time: what was done shortly before it
// and not written down yet, and what recovers after it.
const (
	before = 3 * time.Second
	after  = 15 * time.Second
)

// pushing are the programs whose faults can repeat a push or put it off.
var pushing = []string{"delivery", "subscription", "nats", "postgres"}

// excuse is a fault on the way of pushes about some time.
func (f *facts) excuse(from, to time.Duration) *record.Fault {
	return f.fault(from, to, before, after, pushing...)
}

// last is the state at the very end, nil if the run didn't get there.
func (f *facts) last() *record.Final { return f.Final("healed") }

// terminal says whether a journey's end was reported, or may have been, and
// since when.
func (f *facts) terminal(waybill string) (time.Duration, bool) {
	at, found := time.Duration(0), false
	for _, t := range f.waybills[waybill] {
		if t.Status == "delivered" && t.possible && (!found || t.begin < at) {
			at, found = t.begin, true
		}
	}
	return at, found
}

func finalSubs(final *record.Final) map[string]*record.Subscription {
	m := make(map[string]*record.Subscription)
	if final != nil {
		for i := range final.Subscriptions {
			m[final.Subscriptions[i].ID] = &final.Subscriptions[i]
		}
	}
	return m
}

func finalWaybills(final *record.Final) map[string]*record.Waybill {
	m := make(map[string]*record.Waybill)
	if final != nil {
		for i := range final.Waybills {
			m[final.Waybills[i].Waybill] = &final.Waybills[i]
		}
	}
	return m
}

func setOf(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }
