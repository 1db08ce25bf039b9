package judge

import (
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// noLoss is L1: an accepted event is in an acknowledged push to every
// subscription of its waybill, or in one that is parked and can be seen.
func noLoss(f *facts, v *Verdict) {
	final := f.last()
	subs, raw, waybills := finalSubs(final), map[string]bool{}, finalWaybills(final)
	if final == nil {
		v.violate("the run didn't come to its end: there is no final state")
	} else {
		raw = setOf(final.Raw)
	}
	parked := 0
	for _, s := range f.judged() {
		acknowledged, pushed := make(map[string]bool), make(map[string]bool)
		for _, p := range s.pushes {
			for _, t := range p.Tokens {
				pushed[t] = true
				if p.Acknowledged() {
					acknowledged[t] = true
				}
			}
		}
		held := false
		if end := subs[s.id]; end != nil {
			for _, p := range end.Pushes {
				held = held || p.State == "parked" && p.Reason != ""
			}
		}
		ended, journeyEnded := f.terminal(s.waybill)
		for _, t := range f.waybills[s.waybill] {
			if !t.ok || s.shortTail && journeyEnded && t.okEnd >= ended {
				continue
			}
			v.Checked++
			switch {
			case acknowledged[t.Token]:
			case held:
				parked++
			default:
				v.violate("%s of %s, accepted at %s, never reached %s at endpoint %d (%s): it was last seen %s",
					t.Token, s.waybill, short(t.okEnd), s.id, s.endpoint, f.endpoints[s.endpoint].class(), stage(t.Token, raw, waybills[s.waybill], pushed))
			}
		}
	}
	if parked > 0 {
		v.note("%d are parked", parked)
	}
	unknown := 0
	for _, t := range f.tokens {
		if t.possible && !t.ok {
			unknown++
		}
	}
	v.figure("unknown_outcomes", float64(unknown))
}

func (e *endpoint) class() record.Class {
	if e == nil {
		return "unknown"
	}
	return e.Class
}

// stage says how far an event got.
func stage(token string, raw map[string]bool, w *record.Waybill, pushed map[string]bool) string {
	switch {
	case pushed[token]:
		return "in a push that was not acknowledged"
	case w != nil && w.Stream != nil && setOf(w.Stream.Tokens)[token]:
		return "in TRACE"
	case raw[token]:
		return "in RAW"
	default:
		return "in the answer to who reported it"
	}
}

// noLossOnNATS is L1 for a durable reader of TRACE.
func noLossOnNATS(f *facts, v *Verdict) {
	if len(f.Meta.Durables) == 0 {
		v.unjudged("the run had no durable reader")
		return
	}
	seen := make(map[string]bool)
	revisions := make(map[string]uint64)
	for _, u := range f.Follows {
		for _, t := range u.Tokens {
			seen[t] = true
		}
		revisions[u.Waybill] = max(revisions[u.Waybill], u.Revision)
	}
	for _, t := range f.tokens {
		if !t.ok {
			continue
		}
		v.Checked++
		if !seen[t.Token] {
			v.violate("%s of %s never came", t.Token, t.Waybill)
		}
	}
	for name, w := range finalWaybills(f.last()) {
		if w.Stream == nil {
			continue
		}
		v.Checked++
		if revisions[name] != w.Stream.Revision {
			v.violate("%s is at revision %d, and the newest that came is %d", name, w.Stream.Revision, revisions[name])
		}
	}
}

// honestAnswers is L14: what was answered with success is in RAW, and nothing is
// answered so while the stream is away.
func honestAnswers(f *facts, v *Verdict) {
	final := f.last()
	if final == nil {
		final = f.Final("quiesced")
	}
	if final == nil {
		v.violate("the run has no final state to compare with")
		return
	}
	raw := setOf(final.Raw)
	for _, t := range f.tokens {
		if !t.ok {
			continue
		}
		v.Checked++
		if !raw[t.Token] {
			v.violate("%s was accepted at %s and is not in RAW", t.Token, short(t.okEnd))
		}
	}
	for i := range f.Faults {
		ft := &f.Faults[i]
		if ft.DownTo == 0 || !touches(ft, "nats") {
			continue
		}
		for j := range f.Ops {
			o := &f.Ops[j]
			if o.Kind != record.KindEvent || o.Begin < ft.DownFrom || o.End > ft.DownTo {
				continue
			}
			v.Checked++
			if o.Outcome == record.OK {
				v.violate("%v was accepted at %s while NATS was down", o.Tokens, short(o.End))
			}
		}
	}
}

// noGap is L10: what a subscription was told chains from its beginning to the
// newest revision.
func noGap(f *facts, v *Verdict) {
	final := f.last()
	waybills, subs := finalWaybills(final), finalSubs(final)
	for _, s := range f.judged() {
		w := waybills[s.waybill]
		if w == nil || w.Stream == nil {
			continue // nothing was ever reported of it
		}
		if end := subs[s.id]; end != nil && end.State != "active" {
			continue // it ended before
		}
		v.Checked++
		if len(s.pushes) == 0 {
			v.violate("%s of %s was told nothing, and the waybill is at revision %d", s.id, s.waybill, w.Stream.Revision)
			continue
		}
		if first := s.pushes[0]; first.After != 0 {
			v.violate("the first push of %s begins after revision %d", s.id, first.After)
		}
		covered, moved := uint64(0), true
		for moved {
			moved = false
			for _, p := range s.pushes {
				if p.Acknowledged() && p.After <= covered && p.Revision > covered {
					covered, moved = p.Revision, true
				}
			}
		}
		if covered != w.Stream.Revision {
			v.violate("%s of %s: acknowledged ranges chain up to revision %d, and the waybill is at %d", s.id, s.waybill, covered, w.Stream.Revision)
		}
	}
}

// conservation is L9: at rest, every revision that a subscription is owed is
// acknowledged or parked; and when its endpoint has healed, acknowledged.
func conservation(f *facts, v *Verdict) {
	for _, phase := range []string{"quiesced", "healed"} {
		final := f.Final(phase)
		if final == nil {
			v.violate("the run didn't reach the phase %q", phase)
			continue
		}
		v.Checked++
		if !final.Quiesced {
			v.violate("not everything came to rest (%s): %s", phase, final.Unsettled)
		}
		f.conserved(v, final)
	}
}

func (f *facts) conserved(v *Verdict, final *record.Final) {
	waybills, subs := finalWaybills(final), finalSubs(final)
	var acknowledged, parked float64
	for _, s := range f.judged() {
		v.Checked++
		end := subs[s.id]
		if end == nil {
			v.violate("%s: %s, which was made at %s, isn't known any more", final.Phase, s.id, short(s.made))
			continue
		}
		revision := uint64(0)
		if w := waybills[s.waybill]; w != nil && w.Stream != nil {
			revision = w.Stream.Revision
		}
		if end.State == "completed" {
			revision = end.Pushed
		}
		held := false
		for _, p := range end.Pushes {
			held = held || p.State == "parked"
			if p.State == "parked" && p.Reason == "" {
				v.violate("%s: %s is parked without a reason", final.Phase, p.ID)
			}
			if p.State == "pending" && final.Quiesced {
				v.violate("%s: %s of %s is pending, and all is at rest", final.Phase, p.ID, s.id)
			}
		}
		switch {
		case end.State != "active" && end.State != "completed":
			v.violate("%s: %s is %s, and nobody wanted that", final.Phase, s.id, end.State)
		case end.Pushed != revision:
			v.violate("%s: %s of %s was pushed up to revision %d, and the waybill is at %d", final.Phase, s.id, s.waybill, end.Pushed, revision)
		case end.Acknowledged == revision, end.State == "completed" && end.Acknowledged > revision:
			// What is resent is rendered from the newest trace, whatever came after the end.
			acknowledged++
		case held && final.Phase == "quiesced":
			parked++
		case held:
			v.violate("%s: %s is still parked, and its endpoint has healed", final.Phase, s.id)
		default:
			v.violate("%s: %s of %s is acknowledged up to revision %d of %d, and nothing is parked", final.Phase, s.id, s.waybill, end.Acknowledged, revision)
		}
	}
	v.figure(final.Phase+"_acknowledged", acknowledged)
	v.figure(final.Phase+"_parked", parked)
}

// cleanUp is L15: what has ended leaves nothing behind.
func cleanUp(f *facts, v *Verdict) {
	final := f.last()
	if final == nil {
		v.violate("the run has no final state")
		return
	}
	subs := finalSubs(final)
	for _, s := range f.ordered {
		end := subs[s.id]
		if end == nil {
			continue // L9 says so
		}
		_, journeyEnded := f.terminal(s.waybill)
		w := finalWaybills(final)[s.waybill]
		told := w != nil && w.Stream != nil && w.Stream.Status == "delivered"
		switch {
		case s.cancelled != never:
			v.Checked++
			if end.State != "cancelled" {
				v.violate("%s was cancelled at %s and is %s", s.id, short(s.cancelled), end.State)
			}
		case s.shortTail && journeyEnded && told && s.cancelBegin == never:
			v.Checked++
			if end.State != "completed" {
				v.violate("the journey of %s ended, and its tail of a second with it; it is %s", s.id, end.State)
			}
		}
	}
	for _, id := range final.OwedRows {
		v.Checked++
		v.violate("%s is owed something in a row, and all is acknowledged", id)
	}
	v.Checked++
	for _, c := range final.Consumers {
		if !knownConsumer(c, f.Meta.Durables) {
			v.violate("consumer %s is nobody's", c)
		}
	}
	// Trimmed every few seconds; bundles make few messages of many pushes.
	const most = 500
	if final.PushMessages > most {
		v.violate("%d messages are left in PUSH, at most %d may", final.PushMessages, most)
	}
}

func knownConsumer(name string, durables []string) bool {
	for _, prefix := range []string{"ingest-", "normalizer-", "subscription-", "delivery-", "query-", "verify-", "recogn"} {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			return true
		}
	}
	return setOf(durables)[name]
}

// recovers is L7: after every fault that ends during the load, an event reported
// after it is accepted, and pushed to a good endpoint, in bounded time.
func recovers(f *facts, v *Verdict) {
	// Generous, for machines that are busy with other things: what recovers in
	// seconds must not fail for want of a processor, and what doesn't recover
	// must.
	const acceptedIn, pushedIn = 60 * time.Second, 90 * time.Second
	worst := make(map[record.FaultKind]time.Duration)
	for i := range f.Faults {
		ft := &f.Faults[i]
		if ft.End == 0 || ft.End > f.Meta.LoadEnd-5*time.Second {
			continue
		}
		v.Checked++
		accepted, pushed := f.recovered(ft.End)
		switch {
		case accepted == never:
			v.violate("after %s of %v nothing was accepted", ft.Kind, ft.Targets)
		case accepted > acceptedIn:
			v.violate("after %s of %v it took %s until an event was accepted", ft.Kind, ft.Targets, short(accepted))
		case pushed == never:
			v.violate("after %s of %v nothing was pushed", ft.Kind, ft.Targets)
		case pushed > pushedIn:
			v.violate("after %s of %v it took %s until an event was pushed", ft.Kind, ft.Targets, short(pushed))
		}
		worst[ft.Kind] = max(worst[ft.Kind], pushed)
	}
	for kind, d := range worst {
		v.figure(string(kind), max(d, 0).Seconds())
	}
	for _, final := range f.Finals {
		v.Checked++
		if !final.Quiesced {
			v.violate("in the end it didn't come to rest: %s", final.Unsettled)
		}
	}
	if len(f.Faults) == 0 && v.Violations == 0 {
		v.note("the run had no faults; only that it came to rest")
	}
}

// recovered is how long after a moment the first event that was reported after
// it was accepted, and the first of those pushed and acknowledged.
func (f *facts) recovered(since time.Duration) (accepted, pushed time.Duration) {
	accepted, pushed = never, never
	for _, t := range f.tokens {
		if t.ok && t.okBegin >= since && (accepted == never || t.okEnd-since < accepted) {
			accepted = t.okEnd - since
		}
	}
	for _, e := range f.endpoints {
		if e.Class != record.Good {
			continue
		}
		for _, p := range e.pushes {
			if !p.Acknowledged() || p.Received < since || pushed != never && p.Answered-since >= pushed {
				continue
			}
			for _, name := range p.Tokens {
				if t := f.tokens[name]; t != nil && t.ok && t.okBegin >= since {
					pushed = p.Answered - since
					break
				}
			}
		}
	}
	return accepted, pushed
}
