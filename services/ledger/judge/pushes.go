package judge

import (
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// noPhantom is L2: what is pushed was reported, and is for who gets it.
func noPhantom(f *facts, v *Verdict) {
	for i := range f.Pushes {
		p := &f.Pushes[i]
		v.Checked++
		e := f.endpoints[p.Endpoint]
		switch s := f.subs[p.Subscription]; {
		case e == nil:
			v.violate("%s came to endpoint %d, which doesn't exist", p.ID, p.Endpoint)
			continue
		case p.Tenant != e.Tenant:
			v.violate("%s of tenant %s came to endpoint %d of %s", p.ID, p.Tenant, p.Endpoint, e.Tenant)
		case s == nil && !f.mayExist(p):
			v.violate("%s is of %s, which nobody made", p.ID, p.Subscription)
		case s != nil && (s.endpoint != p.Endpoint || s.waybill != p.Waybill):
			v.violate("%s of %s at endpoint %d belongs to %s at endpoint %d", p.ID, p.Waybill, p.Endpoint, s.waybill, s.endpoint)
		}
		for _, name := range p.Tokens {
			switch t := f.tokens[name]; {
			case t == nil, !t.tried:
				v.violate("%s tells %s, which was never reported", p.ID, name)
			case t.Waybill != p.Waybill:
				v.violate("%s of %s tells %s of %s", p.ID, p.Waybill, name, t.Waybill)
			case t.Bad:
				v.violate("%s tells %s, which is poison", p.ID, name)
			case !t.possible:
				v.violate("%s tells %s, which was refused", p.ID, name)
			case t.begin > p.Received:
				v.violate("%s tells %s before it was reported", p.ID, name)
			}
		}
	}
	v.figure("pushes", float64(len(f.Pushes)))
}

// mayExist says whether a push can be of a subscription whose making was never
// answered.
func (f *facts) mayExist(p *record.Push) bool {
	for i := range f.Ops {
		o := &f.Ops[i]
		if o.Kind == record.KindSubscribe && o.Outcome == record.Unknown && o.Endpoint == p.Endpoint && o.Waybill == p.Waybill && o.Begin <= p.Received {
			return true
		}
	}
	return false
}

// order is L3: a subscription's revisions rise, ranges join what is there, and
// no two attempts are under way at once.
func order(f *facts, v *Verdict) {
	excused := 0
	for _, s := range f.ordered {
		// taken is the newest revision that the endpoint has, as it says; ended the
		// latest end of an attempt.
		var taken uint64
		var open []*record.Push
		done := make(map[string]bool)
		for i, p := range s.pushes {
			v.Checked++
			// What was answered before this one came.
			kept := open[:0]
			for _, o := range open {
				if o.Answered > p.Received {
					kept = append(kept, o)
					continue
				}
				if o.Answer >= 200 && o.Answer < 300 {
					taken = max(taken, o.Revision)
					done[o.ID] = true
				}
			}
			open = append(kept, p)
			if i > 0 {
				if o := s.pushes[i-1]; f.end(o)-p.Received > 20*time.Millisecond {
					if f.excuse(o.Received, p.Received) == nil {
						v.violate("%s: %s came at %s while %s was under way until %s", s.id, p.ID, short(p.Received), o.ID, short(f.end(o)))
					} else {
						excused++
					}
				}
			}
			switch {
			case p.Revision <= p.After:
				v.violate("%s: %s has the range (%d, %d]", s.id, p.ID, p.After, p.Revision)
			case p.After > taken && !f.answering(open, p):
				v.violate("%s: %s has the range (%d, %d] at %s, and the endpoint has only %d", s.id, p.ID, p.After, p.Revision, short(p.Received), taken)
			case p.Revision < taken && !done[p.ID]:
				// An older range, for the first time.
				if f.excuse(p.Received-after, p.Received) == nil {
					v.violate("%s: revision %d came at %s for the first time, after %d was acknowledged", s.id, p.Revision, short(p.Received), taken)
				} else {
					excused++
				}
			}
		}
	}
	if excused > 0 {
		v.note("%d repeats or overlaps that a fault explains", excused)
	}
}

// answering says whether a push joins one whose answer is being written down: the
// answer can be read before the clock is.
func (f *facts) answering(open []*record.Push, p *record.Push) bool {
	for _, o := range open {
		if o != p && o.Revision >= p.After && o.Answer >= 200 && o.Answer < 300 && o.Answered-p.Received < 250*time.Millisecond {
			return true
		}
	}
	return false
}

// honestRepeats is L5: an id is one range of one subscription and one body; what
// was acknowledged comes again only because of a fault.
func honestRepeats(f *facts, v *Verdict) {
	byRange := make(map[[2]any]string)
	copies, causes := 0, make(map[record.FaultKind]int)
	for id, all := range f.byID {
		first := all[0]
		if id == "" {
			v.violate("%d pushes have no id", len(all))
			continue
		}
		key := [2]any{first.Subscription, first.Revision}
		if other, ok := byRange[key]; ok {
			v.violate("revision %d of %s has the ids %s and %s", first.Revision, first.Subscription, other, id)
		}
		byRange[key] = id
		var acknowledged *record.Push
		for _, p := range all {
			v.Checked++
			switch {
			case p.Subscription != first.Subscription || p.Revision != first.Revision || p.Waybill != first.Waybill:
				v.violate("%s is revision %d of %s, and revision %d of %s", id, first.Revision, first.Subscription, p.Revision, p.Subscription)
			case p.After != first.After:
				v.violate("%s has the ranges (%d, %d] and (%d, %d]", id, first.After, first.Revision, p.After, p.Revision)
			case p.Body != first.Body:
				v.violate("%s came at %s with another body than at %s", id, short(p.Received), short(first.Received))
			}
			if acknowledged != nil {
				copies++
				if ft := f.excuse(acknowledged.Received, acknowledged.Answered); ft != nil {
					causes[ft.Kind]++
				} else {
					v.figure("without_cause", v.Figures["without_cause"]+1)
					v.violate("%s was acknowledged at %s and came again at %s, and nothing was the matter", id, short(acknowledged.Answered), short(p.Received))
				}
			}
			if acknowledged == nil && p.Acknowledged() {
				acknowledged = p
			}
		}
	}
	v.figure("repeats", float64(copies))
	for kind, n := range causes {
		v.figure("by_"+string(kind), float64(n))
	}
}

// signed is L6: a push verifies with a secret that is valid, and was signed for
// this attempt.
func signed(f *facts, v *Verdict) {
	const fresh, overlap = 5 * time.Second, 10 * time.Second
	rotated := make(map[int]time.Duration)
	for i := range f.Ops {
		if o := &f.Ops[i]; o.Kind == record.KindRotate && o.Outcome == record.OK {
			if at, ok := rotated[o.Endpoint]; !ok || o.End < at {
				rotated[o.Endpoint] = o.End
			}
		}
	}
	clocks := false
	for i := range f.Faults {
		clocks = clocks || f.Faults[i].Kind == record.FaultClock
	}
	for id, all := range f.byID {
		for i, p := range all {
			v.Checked++
			if p.Key == 0 {
				v.violate("%s at %s doesn't verify", id, short(p.Received))
			}
			if at, ok := rotated[p.Endpoint]; ok && p.Key == 1 && p.Received > at+overlap && f.excuse(at, p.Received) == nil {
				v.violate("%s at %s is signed with the secret that was replaced at %s", id, short(p.Received), short(at))
			}
			// The header has whole seconds.
			if age := p.Signed; (age > fresh+time.Second || age < -fresh) && f.stepped(p.Received) == nil && f.excuse(p.Received-max(age, 0), p.Received) == nil {
				v.violate("%s came at %s and says that it was signed %s before", id, short(p.Received), short(age))
			}
			if i > 0 && p.Received-all[i-1].Received > 2*time.Second && p.Timestamp <= all[i-1].Timestamp && !clocks {
				v.violate("%s came at %s and at %s with one timestamp", id, short(all[i-1].Received), short(p.Received))
			}
		}
	}
}

// stepped is a fault of a clock at a time.
func (f *facts) stepped(at time.Duration) *record.Fault {
	for i := range f.Faults {
		if ft := &f.Faults[i]; ft.Kind == record.FaultClock && ft.Begin <= at+before && (ft.End == 0 || at <= ft.End+after) {
			return ft
		}
	}
	return nil
}

// retryPlan is L8: a repeat comes no sooner than planned, and none after the
// endpoint said that it is gone, or more often than allowed.
func retryPlan(f *facts, v *Verdict) {
	for id, all := range f.byID {
		e := f.endpoints[all[0].Endpoint]
		if e == nil {
			continue
		}
		for i := 1; i < len(all); i++ {
			p, o := all[i], all[i-1]
			if o.Acknowledged() || f.excuse(o.Received, p.Received) != nil || e.revived(f.end(o), p.Received) {
				continue
			}
			v.Checked++
			gap := p.Received - o.Received
			least := o.RetryAfter
			if len(e.Delays) > 0 {
				least = max(least, e.Delays[min(i, len(e.Delays))-1])
			}
			if gap < least-20*time.Millisecond {
				v.violate("%s came again at %s, %s after attempt %d, and the plan is %s", id, short(p.Received), short(gap), i, short(least))
			}
		}
		if e.MaxAttempts > 0 {
			v.Checked++
			if n := len(all); n > e.MaxAttempts && f.excuse(all[0].Received, all[n-1].Received) == nil && !e.revived(all[0].Received, all[n-1].Received) {
				v.violate("%s was tried %d times, and the most is %d", id, n, e.MaxAttempts)
			}
		}
	}
	for _, e := range f.endpoints {
		f.afterGone(v, e)
		f.storm(v, e)
	}
	v.note("that retries come soon enough is judged by the time until all is at rest (L7, L9)")
}

// revived says whether an endpoint took something, or was enabled, between: then
// what it is owed comes sooner.
func (e *endpoint) revived(from, to time.Duration) bool {
	for _, list := range [][]time.Duration{e.acks, e.enabled} {
		for _, at := range list {
			if at >= from-time.Second && at <= to {
				return true
			}
		}
	}
	return false
}

// afterGone: an endpoint that said 410 gets nothing until it is enabled again.
func (f *facts) afterGone(v *Verdict, e *endpoint) {
	const inFlight = 2 * time.Second
	gone := never
	for _, p := range e.pushes {
		if gone != never && e.revived(gone, p.Received) {
			gone = never
		}
		if gone != never {
			v.Checked++
			if p.Received > gone+inFlight && f.excuse(gone, p.Received) == nil {
				v.violate("endpoint %d said at %s that it is gone, and got %s at %s", e.Index, short(gone), p.ID, short(p.Received))
			}
		}
		if p.Answer == 410 && gone == never {
			gone = p.Answered
		}
	}
}

// storm: an endpoint that only fails isn't run over.
func (f *facts) storm(v *Verdict, e *endpoint) {
	if e.Class != record.Dead {
		return
	}
	// 16 may be under way when it begins to fail; then one at a time probes.
	const most, window = 40, time.Second
	from := 0
	for i, p := range e.pushes {
		for e.pushes[from].Received < p.Received-window {
			from++
		}
		v.Checked++
		if n := i - from + 1; n > most && p.Received > f.Meta.TroubleFrom+10*time.Second && !e.revived(p.Received-10*time.Second, p.Received) {
			v.violate("endpoint %d fails, and got %d pushes in the second before %s", e.Index, n, short(p.Received))
			return
		}
	}
}

// cancelStops is L11: no attempt begins later than a second after a
// cancellation was answered; and none goes to a URL that was replaced.
func cancelStops(f *facts, v *Verdict) {
	// The way to the endpoint, on a busy machine.
	const allowed, way, moving = time.Second, 500 * time.Millisecond, 5 * time.Second
	excused := 0
	for _, s := range f.ordered {
		if s.cancelled == never {
			continue
		}
		v.Checked++
		for _, p := range s.pushes {
			if p.Received <= s.cancelled+allowed+way {
				continue
			}
			if f.fault(s.cancelBegin, p.Received, before, 5*time.Second, "delivery", "postgres") != nil {
				excused++
				continue
			}
			v.violate("%s was cancelled at %s, and %s came at %s", s.id, short(s.cancelled), p.ID, short(p.Received))
		}
	}
	for i := range f.Ops {
		o := &f.Ops[i]
		if o.Kind != record.KindMove || o.Outcome != record.OK || f.endpoints[o.Endpoint] == nil {
			continue
		}
		for _, p := range f.endpoints[o.Endpoint].pushes {
			v.Checked++
			if p.Path == "a" && p.Received > o.End+moving && f.fault(o.End, p.Received, before, after, "delivery", "postgres") == nil {
				v.violate("endpoint %d moved at %s, and %s came to its old URL at %s", o.Endpoint, short(o.End), p.ID, short(p.Received))
			}
		}
	}
	if excused > 0 {
		v.note("%d attempts after a cancellation that a fault of delivery or PostgreSQL explains", excused)
	}
}
