package track

import (
	"cmp"
	"slices"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// How far apart two tellings of one thing may be: by two sources, which copy
// each other's times and round them, and by one that scans twice.
const (
	nearSources = 2 * time.Minute
	nearScans   = 5 * time.Minute
)

// markDuplicates says of each event whether it is another's, told once more, and
// stamps those for which that changed. It is a function of the set of events:
//
//   - Two sources that tell of about the same moment, and of the same status or
//     one of them of nothing but that the parcel moves, tell of one thing.
//   - So does one source that scans twice at one facility with one code.
//   - Of two that are one, that which says more stands; of two that say as much,
//     the carrier's own over a team's and an aggregator's, a push over an answer;
//     then the surer, the earlier, the one with the lesser id.
//   - What the carrier withdrew isn't put back by another source that told it too.
func markDuplicates(events []Event, revision Revision) {
	if !severalTell(events) && !slices.ContainsFunc(events, func(e Event) bool { return e.DuplicateOf != "" }) {
		return
	}
	order := make([]*Event, 0, len(events))
	for i := range events {
		if e := &events[i]; e.Kind == KindEvent || e.Kind == KindCorrection {
			order = append(order, e)
		}
	}
	slices.SortFunc(order, func(a, b *Event) int {
		return cmp.Or(
			cmp.Compare(withdrawn(b), withdrawn(a)), cmp.Compare(exact(b), exact(a)), cmp.Compare(trust(b), trust(a)),
			cmp.Compare(b.Provenance.Confidence, a.Provenance.Confidence), a.Time.Instant().Compare(b.Time.Instant()), cmp.Compare(a.ID, b.ID),
		)
	})
	var first []*Event
	for _, e := range order {
		of := EventID("")
		for _, p := range first {
			if oneThing(e, p) {
				of = p.ID
				break
			}
		}
		if of == "" {
			first = append(first, e)
		}
		if e.DuplicateOf != of {
			e.DuplicateOf, e.Revision = of, revision
		}
	}
}

// severalTell says whether there can be duplicates at all: events of several
// sources, or of facilities.
func severalTell(events []Event) bool {
	for i := range events {
		e := &events[i]
		if !oneWay(e, &events[0]) || facility(e) != "" {
			return true
		}
	}
	return false
}

// oneWay says whether one source told both events, and in one way: a push and an
// answer of one source have no ids in common.
func oneWay(a, b *Event) bool {
	return a.Provenance.Source == b.Provenance.Source && a.Provenance.Kind == b.Provenance.Kind
}

// oneThing says whether e tells of what p tells of, which ranks before it.
func oneThing(e, p *Event) bool {
	if oneWay(e, p) {
		return withdrawn(p) == 0 && withdrawn(e) == 0 && e.Kind == KindEvent && p.Kind == KindEvent && e.RawCode != "" && e.RawCode == p.RawCode &&
			e.Status == p.Status && e.Sub == p.Sub && e.Piece == p.Piece && facility(e) != "" && facility(e) == facility(p) &&
			e.Time.Precision != PrecisionDate && apart(e.Time, p.Time) <= nearScans
	}
	return e.Piece == p.Piece && together(e.Time, p.Time) && alike(e, p)
}

// alike says whether two events of one moment can be one: they are of one
// status, and at most one says more of it; or one says only that the parcel
// moves, while the other doesn't end its way.
func alike(a, b *Event) bool {
	if a.Status == b.Status {
		return a.Sub == b.Sub || exact(a) == 0 || exact(b) == 0
	}
	moves := func(x, y *Event) bool {
		return x.Status == status.InTransit && exact(x) == 0 && !status.Terminal(y.Status, y.Sub) && y.Status != status.Unknown
	}
	return moves(a, b) || moves(b, a)
}

// together says whether two sources' times are of one moment. Where one of them
// doesn't know where it was, what the clocks showed is compared; where one knows
// only the day, the days are.
func together(a, b Time) bool {
	if a.Precision == PrecisionDate || b.Precision == PrecisionDate {
		return a.Wall.Truncate(24 * time.Hour).Equal(b.Wall.Truncate(24 * time.Hour))
	}
	return apart(a, b) <= nearSources
}

func apart(a, b Time) time.Duration {
	if a.OffsetSource == OffsetUnknown || b.OffsetSource == OffsetUnknown {
		return a.Wall.Sub(b.Wall).Abs()
	}
	return a.Instant().Sub(b.Instant()).Abs()
}

// general are the sub-statuses that say no more than their status.
var general = map[status.Sub]bool{
	0: true, status.PendingNoData: true, status.InfoReceivedOrderCreated: true, status.PickedUpCollected: true, status.PickedUpAccepted: true,
	status.InTransitMoving: true, status.CustomsInClearance: true, status.OutForDeliveryOnVehicle: true, status.AvailableForPickupPickupPoint: true,
	status.DeliveryFailedAttempted: true, status.DeliveredUnspecified: true, status.ExceptionUnspecified: true, status.ReturningInTransit: true,
	status.ReturnedToSender: true, status.CancelledUnspecified: true, status.ExpiredNoUpdates: true, status.UnknownUnspecified: true,
}

// exact is 1 when an event says more than its status.
func exact(e *Event) int {
	if general[e.Sub] {
		return 0
	}
	return 1
}

// withdrawn is 1 when an event was withdrawn or replaced.
func withdrawn(e *Event) int {
	if e.VoidedBy != "" || e.CorrectedBy != "" {
		return 1
	}
	return 0
}

// trust orders the ways that events come in by.
func trust(e *Event) int {
	switch e.Provenance.Kind {
	case SourceCarrierPush:
		return 5
	case SourceCarrierPoll:
		return 4
	case SourceTeam:
		return 3
	case SourceAggregatorPush:
		return 2
	case SourceAggregatorPoll:
		return 1
	default:
		return 0
	}
}

func facility(e *Event) string { return cmp.Or(e.Location.FacilityCode, e.Location.FacilityName) }

// tellsNothingNew says whether what counts in a trace is as it was: an event that
// is new there stands for one that counted before and said the same.
func tellsNothingNew(before, after []Event, was, is *State) bool {
	if was.Status != is.Status || was.Sub != is.Sub || was.Terminal != is.Terminal || was.Signer != is.Signer || !sameEstimate(was.Estimate, is.Estimate) {
		return false
	}
	old := make(map[EventID]*Event, len(before))
	for i := range before {
		old[before[i].ID] = &before[i]
	}
	for i := range after {
		e := &after[i]
		x := old[e.ID]
		switch {
		case x != nil && (x.VoidedBy != e.VoidedBy || x.CorrectedBy != e.CorrectedBy):
			return false
		case e.DuplicateOf != "":
		case x != nil && x.DuplicateOf == "" && compareContent(e, x) == 0:
		case !standsFor(e, after, old):
			return false
		}
	}
	return true
}

// standsFor says whether one of the events that e's telling covers counted
// before and said the same.
func standsFor(e *Event, after []Event, old map[EventID]*Event) bool {
	for i := range after {
		if d := &after[i]; d.DuplicateOf == e.ID {
			if x := old[d.ID]; x != nil && x.DuplicateOf == "" && x.Status == e.Status && x.Sub == e.Sub {
				return true
			}
		}
	}
	return false
}

func sameEstimate(a, b *Estimate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return compareTime(a.From, b.From) == 0 && compareTime(a.To, b.To) == 0
}
