package carrier

import "github.com/posthaste/posthaste/services/internal/track"

// RemapSource is the source of a raw trace that asks for a waybill's history to be
// mapped anew. It is no source of reports.
const RemapSource = "remap"

// EraseSource is the source of a raw trace that asks for a waybill's personal data to
// be erased. It is no source of reports.
const EraseSource = "erase"

// Remap maps a stored event anew, by the tables of today and what is kept of its
// codes. It returns the event and true where that makes another of it: the id is
// the same, so that the carrier's next repeat, mapped by the same tables, is
// silent. What the tables of today don't know, stays as it was mapped.
func Remap(e track.Event) (track.Event, bool) {
	s, known := Lookup(e.Provenance.Source)
	if !known || e.Provenance.MappingVersion == MappingVersion || e.RawCode == "" || e.Kind != track.KindEvent && e.Kind != track.KindInfo {
		return e, false
	}
	anew := e
	anew.Provenance.MappingVersion = MappingVersion
	if unknown := s.remap(&anew); len(unknown) > 0 || anew.Provenance.MappingRule == "" || anew.Kind != track.KindEvent && anew.Kind != track.KindInfo {
		return e, false
	}
	return anew, anew.Kind != e.Kind || anew.Status != e.Status || anew.Sub != e.Sub
}

// RemapTrace is the events of a trace that the tables of today make others of.
func RemapTrace(t *track.Trace) []track.Event {
	var anew []track.Event
	for i := range t.Events {
		if e, changed := Remap(t.Events[i]); changed {
			anew = append(anew, e)
		}
	}
	return anew
}
