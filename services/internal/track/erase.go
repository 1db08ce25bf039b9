package track

import "strings"

// ownAttribute begins the attributes that Posthaste gives events itself: they say
// nothing of anybody.
const ownAttribute = "posthaste."

// Erase takes out of an event what may say who somebody is, or where they live:
// its texts, names, phone numbers, pictures, exact places, the vehicle, and
// whatever else the source said. What counts stays: what happened, when, in which
// city and facility, and the codes. It reports whether there was anything.
//
// The id stays too, so that a repeat of the event is told from a new one. It is a
// hash that a long text can't be read from.
func Erase(e *Event) (erased bool) {
	clear := func(s *string) {
		erased = erased || *s != ""
		*s = ""
	}
	for _, s := range []*string{
		&e.Text, &e.Language, &e.Courier.Name, &e.Courier.Phone, &e.Signer, &e.Vehicle,
		&e.Location.Text, &e.Location.Postcode, &e.NextLocation.Text, &e.NextLocation.Postcode,
	} {
		clear(s)
	}
	for _, l := range []*Location{&e.Location, &e.NextLocation} {
		erased = erased || l.Coordinates != nil
		l.Coordinates = nil
	}
	erased = erased || len(e.ProofURLs) > 0
	e.ProofURLs = nil
	var kept map[string]string
	for k, v := range e.Attributes {
		if !strings.HasPrefix(k, ownAttribute) {
			erased = true
			continue
		}
		if kept == nil {
			kept = make(map[string]string, 1)
		}
		kept[k] = v
	}
	e.Attributes = kept
	return erased
}

// EraseEvents is events without personal data, those that had some stamped with
// a revision unless that is zero. It copies before it changes.
func EraseEvents(events []Event, revision Revision) []Event {
	out := make([]Event, len(events))
	for i := range events {
		out[i] = events[i]
		if Erase(&out[i]) && revision > 0 {
			out[i].Revision = revision
		}
	}
	return out
}

// Erased says whether the waybill's personal data was erased: what is told of it
// later comes in without any, repeats of what was erased too.
func (t *Trace) Erased() bool { return !t.EraseTime.IsZero() }
