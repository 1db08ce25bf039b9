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

// notice is an event that tells of the report rather than of the parcel: its
// id has no time of its own, so that a repeat is the same event.
func notice(raw Raw, source string, at track.Time, code, about, words string) track.Event {
	e := track.Event{
		ID:   track.DeriveID(track.IDParts{Waybill: raw.Waybill, Time: about, Code: code, Text: words}),
		Kind: track.KindInfo, Time: at, ReceiveTime: raw.ReceiveTime, RawCode: code, Text: words, Language: languageOf(words),
		Provenance: provenance(raw, source),
	}
	return e
}

func provenance(raw Raw, source string) track.Provenance {
	kind := raw.Kind
	if kind == 0 {
		kind = track.SourceAggregatorPush
	}
	return track.Provenance{Source: source, Kind: kind, MappingVersion: MappingVersion}
}

// estimate is the event that tells when the parcel is expected. Its id depends
// on the newest event too, so that an estimate told again after another is new.
func estimate(raw Raw, source, field, given string, at track.Time, newest string) (track.Event, bool) {
	expected, err := parseTime(given, chinaZone)
	if err != nil {
		return track.Event{}, false
	}
	e := notice(raw, source, at, field, newest, given)
	e.Kind, e.Text, e.Language, e.Estimate = track.KindEstimate, "", "", expected
	e.Provenance.MappingRule, e.Provenance.Confidence = source+"/"+field, sureCode
	return e, true
}
