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

// Compare is a strict total order of events with different ids: by moment, order
// hint, status rank, and at last by id.
func Compare(a, b *Event) int {
	if c := place(a).Compare(place(b)); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.OrderHint, b.OrderHint),
		cmp.Compare(a.Status.Rank(), b.Status.Rank()),
		cmp.Compare(a.ID, b.ID),
	)
}
