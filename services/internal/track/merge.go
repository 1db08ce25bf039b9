package track

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Merge adds what a report says to a trace; old is nil for a waybill that
// nothing is known of. When that changes anything that is pushed, it returns the
// trace with the next revision, in which the events that are new or changed are
// stamped with it; otherwise false, and old where nothing at all is new. old
// stays as it was, and the new trace shares what didn't change with it.
//
// An event that is there already changes nothing, unless its source now says
// something else of it: then what was mapped by the newer tables stands, of one
// mapping what was received later, and of two received at once the greater. What
// a source leaves out of a repeat it doesn't take back.
//
// What another source told before, told once more, is kept and counts once: see
// [Event]'s DuplicateOf. By itself it is no change: the trace that holds it has
// the revision of the old one, and what it adds is stamped with the next.
//
// A report that asks for erasing takes the personal data out of all events, once: see
// [Erase]. What comes later comes without any. Of a waybill that nothing is known of
// there is nothing to erase.
func Merge(old *Trace, r Report, now time.Time) (t *Trace, changed bool) {
	t = &Trace{Waybill: r.Waybill, CreateTime: now}
	if old != nil {
		*t = *old
	}
	erase := old != nil && !old.Erased() && !r.Erase.IsZero()
	before, was := t.Events, t.State
	t.Revision++
	t.UpdateTime = now
	reported := fold(r.Events)
	if erase {
		t.EraseTime = r.Erase
		before = EraseEvents(before, t.Revision)
	}
	if t.Erased() {
		reported = EraseEvents(reported, 0)
	}
	events, added := addEvents(before, reported, t.Revision)
	added = added || erase
	if added {
		mark(events, t.Revision)
		markDuplicates(events, t.Revision)
		slices.SortFunc(events, func(a, b Event) int { return Compare(&a, &b) })
		t.Events = events
		t.State = stateOf(events)
	}
	links, linked := addLinks(t.Links, r.Links)
	t.Links = links
	switch {
	case !added && !linked:
		return old, false
	case old != nil && !linked && !erase && tellsNothingNew(before, events, &was, &t.State):
		t.Revision, t.UpdateTime = old.Revision, old.UpdateTime
		return t, false
	}
	return t, true
}

// fold makes one event of several in a report that have one id.
func fold(reported []Event) []Event {
	if len(reported) < 2 {
		return reported
	}
	at := make(map[EventID]int, len(reported))
	folded := reported
	for i := range reported {
		e := &reported[i]
		first, twice := at[e.ID]
		switch {
		case !twice:
			at[e.ID] = len(at)
			if len(at) <= i { // something was folded before
				folded = append(folded, *e)
			}
		default:
			if len(folded) == len(reported) && len(at) == i { // the first to fold
				folded = append(make([]Event, 0, len(reported)), reported[:i]...)
			}
			folded[first], _ = reconcile(e, &folded[first])
		}
	}
	return folded
}

// addEvents returns the events with those of a report, stamped with the
// revision in which they came, and whether there is a difference. It copies
// before it changes.
func addEvents(have, reported []Event, revision Revision) (events []Event, added bool) {
	events = have
	for i := range reported {
		e := reported[i]
		at := slices.IndexFunc(events, func(x Event) bool { return x.ID == e.ID })
		if at >= 0 {
			var differs bool
			if e, differs = reconcile(&e, &events[at]); !differs {
				continue
			}
		}
		if !added {
			added = true
			events = append(make([]Event, 0, len(have)+len(reported)-i), have...)
		}
		e.Revision, e.VoidedBy, e.CorrectedBy, e.DuplicateOf = revision, "", "", ""
		if at >= 0 {
			events[at] = e
		} else {
			events = append(events, e)
		}
	}
	return events, added
}

// complete adds to a repeat what it leaves out of what is known.
func complete(e, x *Event) {
	if e.Courier == (Person{}) {
		e.Courier = x.Courier
	}
	if e.Signer == "" {
		e.Signer = x.Signer
	}
	if e.NextLocation == (Location{}) {
		e.NextLocation = x.NextLocation
	}
	if e.Estimate.IsZero() {
		e.Estimate, e.EstimateTo = x.Estimate, x.EstimateTo
	}
	if len(e.ProofURLs) == 0 {
		e.ProofURLs = x.ProofURLs
	}
	if len(x.Attributes) > 0 {
		attributes := maps.Clone(x.Attributes)
		maps.Copy(attributes, e.Attributes)
		e.Attributes = attributes
	}
}

// reconcile returns what stands when a source says e of an event of which x is
// known, and whether that differs from x.
func reconcile(e, x *Event) (Event, bool) {
	c := compareContent(e, x)
	if c == 0 {
		return *x, false
	}
	newer, older := *e, x
	if cmp.Or(compareMapping(e, x), e.ReceiveTime.Compare(x.ReceiveTime), c) < 0 {
		newer, older = *x, e
	}
	complete(&newer, older)
	return newer, compareContent(&newer, x) != 0
}

// compareMapping orders two events by the version of the tables that mapped
// them.
func compareMapping(a, b *Event) int {
	v, w := a.Provenance.MappingVersion, b.Provenance.MappingVersion
	if v == w {
		return 0
	}
	return cmp.Or(cmp.Compare(len(v), len(w)), cmp.Compare(v, w)) // they are numbers
}

// mark says of each event whether another withdrew or replaced it, and stamps
// those for which that changed. An act that is withdrawn itself has no effect.
// Acts may come before what they act upon.
func mark(events []Event, revision Revision) {
	acts := make(map[EventID][]*Event)
	for i := range events {
		if e := &events[i]; e.Target != "" && (e.Kind == KindVoid || e.Kind == KindCorrection) {
			acts[e.Target] = append(acts[e.Target], e)
		}
	}
	if len(acts) == 0 && !slices.ContainsFunc(events, func(e Event) bool { return e.VoidedBy != "" || e.CorrectedBy != "" }) {
		return
	}
	for _, on := range acts {
		slices.SortFunc(on, Compare)
	}
	// by finds the first act of a kind upon an event that is in effect. Acts that
	// withdraw each other in a circle are cut where the circle closes.
	var by func(id EventID, kind Kind, path []EventID) EventID
	by = func(id EventID, kind Kind, path []EventID) EventID {
		for _, a := range acts[id] {
			if a.Kind != kind || slices.Contains(path, a.ID) {
				continue
			}
			if by(a.ID, KindVoid, append(slices.Clip(path), id)) == "" {
				return a.ID
			}
		}
		return ""
	}
	for i := range events {
		e := &events[i]
		voided, corrected := by(e.ID, KindVoid, nil), by(e.ID, KindCorrection, nil)
		if voided != e.VoidedBy || corrected != e.CorrectedBy {
			e.VoidedBy, e.CorrectedBy, e.Revision = voided, corrected, revision
		}
	}
}

// addLinks returns the union of links in order, and whether it is larger. It
// copies before it changes.
func addLinks(have, reported []Link) ([]Link, bool) {
	links := have
	for _, l := range reported {
		if slices.Contains(links, l) {
			continue
		}
		if len(links) == len(have) {
			links = slices.Clone(have)
		}
		links = append(links, l)
	}
	if len(links) == len(have) {
		return have, false
	}
	slices.SortFunc(links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Waybill.Carrier, b.Waybill.Carrier), cmp.Compare(a.Waybill.Number, b.Waybill.Number))
	})
	return links, true
}

// compareContent orders two events of one id by what they say; 0 means that
// they say the same. When it was received, by which way and by which rule it
// was mapped, and its place in the source's list are not what it says.
func compareContent(a, b *Event) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Target, b.Target), compareTime(a.Time, b.Time),
		cmp.Compare(a.Status, b.Status), cmp.Compare(a.Sub, b.Sub), cmp.Compare(a.ReasonCode, b.ReasonCode),
		cmp.Compare(a.RawCode, b.RawCode), cmp.Compare(a.RawSubCode, b.RawSubCode),
		cmp.Compare(a.Text, b.Text), cmp.Compare(a.Language, b.Language),
		compareLocation(&a.Location, &b.Location), compareLocation(&a.NextLocation, &b.NextLocation),
		cmp.Compare(a.Courier.Name, b.Courier.Name), cmp.Compare(a.Courier.Phone, b.Courier.Phone), cmp.Compare(a.Signer, b.Signer),
		slices.Compare(a.ProofURLs, b.ProofURLs), cmp.Compare(a.TransportMode, b.TransportMode), cmp.Compare(a.Vehicle, b.Vehicle),
		cmp.Compare(a.Piece, b.Piece), cmp.Compare(a.Leg.Carrier, b.Leg.Carrier), cmp.Compare(a.Leg.Number, b.Leg.Number),
		compareTime(a.Estimate, b.Estimate), compareTime(a.EstimateTo, b.EstimateTo),
		compareAttributes(a.Attributes, b.Attributes),
	)
}

func compareTime(a, b Time) int {
	return cmp.Or(a.Wall.Compare(b.Wall), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.OffsetSource, b.OffsetSource), cmp.Compare(a.Precision, b.Precision))
}

func compareLocation(a, b *Location) int {
	c := cmp.Or(
		cmp.Compare(a.Text, b.Text), cmp.Compare(a.City, b.City), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Country, b.Country),
		cmp.Compare(a.Postcode, b.Postcode), cmp.Compare(a.FacilityCode, b.FacilityCode), cmp.Compare(a.FacilityName, b.FacilityName),
		cmp.Compare(a.FacilityType, b.FacilityType),
	)
	switch {
	case c != 0 || a.Coordinates == nil && b.Coordinates == nil:
		return c
	case a.Coordinates == nil:
		return -1
	case b.Coordinates == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.Coordinates.Latitude, b.Coordinates.Latitude), cmp.Compare(a.Coordinates.Longitude, b.Coordinates.Longitude))
}

func compareAttributes(a, b map[string]string) int {
	if maps.Equal(a, b) {
		return 0
	}
	flat := func(m map[string]string) []string {
		var list []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			list = append(list, k, m[k])
		}
		return list
	}
	return slices.Compare(flat(a), flat(b))
}
