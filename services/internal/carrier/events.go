package carrier

import (
	"slices"

	"github.com/posthaste/posthaste/services/internal/track"
)

// ascending puts a list's events in order of time: a list that runs backwards
// as a whole is turned round, and what is left out of order is moved. Events of
// one instant keep the list's order. newestFirst says how the list runs when
// its times don't tell.
func ascending(events []track.Event, newestFirst bool) {
	if n := len(events); n > 1 {
		if c := events[0].Time.Instant().Compare(events[n-1].Time.Instant()); c != 0 {
			newestFirst = c > 0
		}
	}
	if newestFirst {
		slices.Reverse(events)
	}
	slices.SortStableFunc(events, func(a, b track.Event) int { return a.Time.Instant().Compare(b.Time.Instant()) })
}

// number gives events their place in the list, and drops what the list says
// twice: the same time, code, place and text are the same event.
func number(events []track.Event) []track.Event {
	seen := make(map[track.EventID]bool, len(events))
	kept := events[:0]
	for i := range events {
		if seen[events[i].ID] {
			continue
		}
		seen[events[i].ID] = true
		events[i].OrderHint = len(kept) + 1
		kept = append(kept, events[i])
	}
	return kept
}

// unmapped collects codes that no rule knew, each once.
type unmapped []string

func (u *unmapped) add(code string) {
	if code != "" && !slices.Contains(*u, code) {
		*u = append(*u, code)
	}
}

// notice is an event that a report tells beside the parcel's own, as of the
// newest of them. It takes that one's time: with the report's time in it, a
// report repeated later would be a change. For the same reason there is no
// notice where there are no events.
func notice(raw Raw, source string, newest *track.Event, code string) track.Event {
	return track.Event{
		ID:   track.DeriveID(track.IDParts{Waybill: raw.Waybill, Time: newest.Time.Wall.String(), Code: code}),
		Kind: track.KindInfo, Time: newest.Time, ReceiveTime: raw.ReceiveTime, RawCode: code, Provenance: provenance(raw, source),
	}
}

func provenance(raw Raw, source string) track.Provenance {
	kind := raw.Kind
	if kind == 0 {
		kind = track.SourceAggregatorPush
	}
	return track.Provenance{Source: source, Kind: kind, MappingVersion: MappingVersion}
}

// estimate is the event that tells when the parcel is expected. An estimate
// told otherwise without a new event stands in the place of the one before.
func estimate(raw Raw, source, field, given string, newest *track.Event) (track.Event, bool) {
	expected, err := parseTime(given, chinaZone)
	if err != nil {
		return track.Event{}, false
	}
	e := notice(raw, source, newest, field)
	e.Kind, e.Estimate = track.KindEstimate, expected
	e.Provenance.MappingRule, e.Provenance.Confidence = source+"/"+field, sureCode
	return e, true
}
