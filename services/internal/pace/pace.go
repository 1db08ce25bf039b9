// Package pace decides which changes of a waybill a subscription is told at once,
// and which are held back and come with a later push. What is held back is never
// dropped: the next push's range begins where the last one ended. The package is
// pure: time is an argument, and what is held is the caller's to keep.
package pace

import (
	"slices"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Tier is how often a subscription is pushed to.
type Tier int16

// The tiers, as in subscription.v1.Tier; zero counts as [Realtime].
const (
	Realtime  Tier = 1 // every change
	Milestone Tier = 2 // changes of the status
	Digest    Tier = 3 // the newest state, at most once in an interval
)

// Limits of a digest's interval.
const (
	MinInterval = time.Minute
	MaxInterval = 7 * 24 * time.Hour
)

// Code is where a parcel stands, as one number: a sub-status, or a status times
// 100 when no more is known. It is how a filter names a whole status, too.
type Code int16

// Forgotten is the code of a state that isn't known any more.
const Forgotten Code = -1

// CodeOf is a status and sub-status as a code.
func CodeOf(s status.Status, sub status.Sub) Code {
	if sub != 0 {
		return Code(sub)
	}
	return Code(s) * 100
}

func (c Code) status() status.Status { return status.Sub(c).Status() }

func (c Code) terminal() bool { return c >= 0 && status.Terminal(c.status(), status.Sub(c)) }

// Rule is what a subscription's owner wants.
type Rule struct {
	Tier     Tier
	Interval time.Duration // of a digest
	Filter   []Code        // empty for everything
}

// Plain says that the rule holds nothing back.
func (r *Rule) Plain() bool { return r.Tier <= Realtime && len(r.Filter) == 0 }

// Equal says whether two rules are the same.
func (r *Rule) Equal(other *Rule) bool {
	return r.Tier == other.Tier && r.Interval == other.Interval && slices.Equal(r.Filter, other.Filter)
}

// Seen is the push before: what the receiver knows.
type Seen struct {
	Revision track.Revision // 0 when there was none
	State    Code           // at that revision
	Time     time.Time      // when it was handed over
}

// Decide says whether a trace above the revision seen is pushed now. If not, due
// is when to ask again although nothing changes; zero for never. A last call is
// the one before the subscription ends: whatever was held back goes out. Of the
// trace's events those above the revision seen are needed.
func (r *Rule) Decide(t *track.Trace, seen Seen, now time.Time, last bool) (push bool, due time.Time) {
	if r.Plain() {
		return true, time.Time{}
	}
	if !last && !r.wants(t, seen) {
		return false, time.Time{}
	}
	if r.Tier == Digest && seen.Revision > 0 {
		if due = seen.Time.Add(r.Interval); now.Before(due) {
			return false, due
		}
	}
	return true, time.Time{}
}

// wants says whether there is something in a trace that is worth a push.
func (r *Rule) wants(t *track.Trace, seen Seen) bool {
	code := CodeOf(t.State.Status, t.State.Sub)
	switch {
	case seen.Revision > 0 && seen.State == Forgotten:
		return true
	case code != seen.State && (t.State.Terminal || seen.State.terminal()):
		return true // the end of a journey, or that it wasn't the end
	case r.Tier == Milestone && seen.Revision > 0 && t.State.Status == seen.State.status():
		return false
	case len(r.Filter) == 0:
		return true
	case code != seen.State && (r.matches(code) || seen.Revision > 0 && r.matches(seen.State)):
		return true // it came to what is asked for, or that is no longer so
	}
	for i := range t.Events {
		e := &t.Events[i]
		if e.Revision > seen.Revision && tells(e) && r.matches(CodeOf(e.Status, e.Sub)) {
			return true
		}
	}
	return false
}

func (r *Rule) matches(c Code) bool {
	return slices.Contains(r.Filter, c) || slices.Contains(r.Filter, c/100*100)
}

// tells says whether an event is in force and says where the parcel is.
func tells(e *track.Event) bool {
	return (e.Kind == track.KindEvent || e.Kind == track.KindCorrection) && e.VoidedBy == "" && e.CorrectedBy == "" && e.DuplicateOf == ""
}
