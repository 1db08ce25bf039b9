package webhook

import (
	"fmt"

	"github.com/posthaste/posthaste/pkg/payload"
)

// Link says how a push joins what a receiver has of its subscription.
type Link int

// The ways a push joins; zero is none of them.
const (
	// Continues: it begins where the receiver stands. This is the rule.
	Continues Link = iota + 1
	// Repeats: all of it is there already. Acknowledge it and do nothing.
	Repeats
	// Overlaps: it begins before where the receiver stands and goes beyond.
	// Posthaste folds revisions that wait into one push, and sends again from
	// before when it can't know what was taken.
	Overlaps
	// Gap: revisions between are missing. It never happens to a receiver that
	// stores before it acknowledges; if it does, what is missing can be asked
	// for over gRPC, or is in the whole trace of the push.
	Gap
)

// String is "continues", "repeats", "overlaps" or "gap".
func (l Link) String() string {
	switch l {
	case Continues:
		return "continues"
	case Repeats:
		return "repeats"
	case Overlaps:
		return "overlaps"
	case Gap:
		return "gap"
	default:
		return fmt.Sprintf("link(%d)", int(l))
	}
}

// Chain is how far a receiver has got with one subscription. Keep its revision
// in the same transaction as what the pushes said, and there are no repeats and
// no losses. The zero value has nothing.
type Chain struct {
	// Revision is the newest that the receiver has of the waybill.
	Revision uint64
}

// Link says how a push joins, without moving.
func (c Chain) Link(p payload.Push) Link {
	switch {
	case p.Revision <= c.Revision:
		return Repeats
	case p.AfterRevision > c.Revision:
		return Gap
	case p.AfterRevision < c.Revision:
		return Overlaps
	default:
		return Continues
	}
}

// New returns the push's events that the receiver doesn't have in their
// present form.
func (c Chain) New(p payload.Push) []payload.Event {
	var events []payload.Event
	for _, e := range p.Events {
		if e.Revision > c.Revision {
			events = append(events, e)
		}
	}
	return events
}

// Advance moves to the push's revision if it continues or overlaps, and says
// how it joined. A gap doesn't move: set Revision when it is filled.
func (c *Chain) Advance(p payload.Push) Link {
	l := c.Link(p)
	if l == Continues || l == Overlaps {
		c.Revision = p.Revision
	}
	return l
}
