package track

import (
	"cmp"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// place is the moment by which an event is ordered. A date without a time of
// day stands at the end of its day, since most carriers that tell only dates
// mean "by then"; what begins a journey stands at the day's beginning.
func place(e *Event) time.Time {
	at := e.Time.Instant()
	if e.Time.Precision != PrecisionDate || e.Status.Rank() <= status.PickedUp.Rank() && e.Status != status.Unknown {
		return at
	}
	return at.Add(24*time.Hour - 1)
}

// Place is where an event stands in a trace: by moment, order hint, status rank,
// and at last by id.
type Place struct {
	Moment time.Time
	Hint   int
	Rank   int
	ID     EventID
}

// Place is where the event stands.
func (e *Event) Place() Place {
	return Place{Moment: place(e), Hint: e.OrderHint, Rank: e.Status.Rank(), ID: e.ID}
}

// Compare is the order of places.
func (p Place) Compare(q Place) int {
	if c := p.Moment.Compare(q.Moment); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(p.Hint, q.Hint), cmp.Compare(p.Rank, q.Rank), cmp.Compare(p.ID, q.ID))
}

// Compare is a strict total order of events with different ids.
func Compare(a, b *Event) int { return a.Place().Compare(b.Place()) }
