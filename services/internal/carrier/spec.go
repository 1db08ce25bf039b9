package carrier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// spec is what most sources need to say of themselves; the rest is common.
type spec struct {
	code    string
	kind    track.SourceKind
	carrier track.Carrier // of all its waybills; empty when a document names it
	// newestFirst says how its lists run when their times don't tell.
	newestFirst bool
	// cut takes a document apart by waybill. A part's Err is set where the
	// waybill can't be told.
	cut func(doc []byte) ([]Part, error)
	// read reads a part.
	read func(raw *Raw) (told, *FieldError)
	// codes are an event's codes from its RawCode and RawSubCode, the finest
	// first. They are all that decides its status, so that a stored event can be
	// mapped again.
	codes func(raw, sub string) []coded
	// agree says whether a finer code may speak beside a coarser one; nil means
	// always.
	agree func(fine meaning, coarse coded) bool
	// words lets an event's text speak where its codes say nothing.
	words bool
}

// told is what a part says.
type told struct {
	events   []said
	links    []track.Link
	expected *expected
}

// said is an event as it was said: its time, and what of the event needs no
// table.
type said struct {
	field string // of the time, for errors
	time  string // as given
	zone  zone   // where time doesn't tell its own
	id    string // the source's own; stable
	event track.Event
}

// expected is when a source expects the parcel.
type expected struct {
	field    string
	from, to string
	zone     zone
}

// define makes a source of a spec.
func define(s spec, facts Facts) Source {
	return Source{
		Code: s.code, Kind: s.kind, Facts: facts,
		Split: s.split, Map: s.mapPart, remap: s.classify,
	}
}

// split cuts a document, and finds what can't be read in its parts: an event
// without a time has no place in a trace.
func (s *spec) split(doc []byte) ([]Part, error) {
	doc = trimBOM(doc)
	if deepJSON(doc) && !isXML(doc) {
		return nil, &FieldError{"document", "nests deeper than " + strconv.Itoa(maxDepth)}
	}
	parts, err := s.cut(doc)
	if err != nil {
		return nil, err
	}
	for i := range parts {
		p := &parts[i]
		if p.Err != nil {
			continue
		}
		if p.Carrier == "" {
			p.Carrier = s.carrier
		}
		raw := Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Body: p.Body, Context: p.Context}
		said, wrong := s.read(&raw)
		for j := range said.events {
			if wrong != nil {
				break
			}
			if _, err := parseTime(said.events[j].time, said.events[j].zone); err != nil {
				wrong = &FieldError{said.events[j].field, err.Error()}
			}
		}
		if wrong != nil && p.path != "" {
			wrong = &FieldError{p.path + "." + wrong.Field, wrong.Description}
		}
		p.Err = wrong
	}
	return parts, nil
}

// mapPart makes a report of a part.
func (s *spec) mapPart(raw Raw) (track.Report, error) {
	said, wrong := s.read(&raw)
	if wrong != nil {
		return track.Report{}, fmt.Errorf("map %s: %w", s.code, wrong)
	}
	var unknown unmapped
	events := make([]track.Event, 0, len(said.events)+1)
	for i := range said.events {
		e, err := s.event(&raw, &said.events[i], &unknown)
		if err != nil {
			return track.Report{}, fmt.Errorf("map %s: %w", s.code, err)
		}
		events = append(events, e)
	}
	ascending(events, s.newestFirst)
	if x := said.expected; x != nil && len(events) > 0 {
		if e, ok := s.estimate(&raw, x, &events[len(events)-1]); ok {
			events = append(events, e)
		}
	}
	return track.Report{Waybill: raw.Waybill, Events: number(events), Links: said.links, ReceiveTime: raw.ReceiveTime, Unmapped: unknown}, nil
}

func (s *spec) event(raw *Raw, said *said, unknown *unmapped) (track.Event, error) {
	at, err := parseTime(said.time, said.zone)
	if err != nil {
		return track.Event{}, &FieldError{said.field, err.Error()}
	}
	e := said.event
	code := e.RawCode
	if e.RawSubCode != "" {
		code += "|" + e.RawSubCode
	}
	// The source is part of the id: what two sources say of one event is compared
	// by the merge, and neither repeat is a change of the other's.
	id := track.IDParts{Waybill: raw.Waybill, Time: said.time, Code: s.code + "|" + code, Location: e.Location.Text, Text: e.Text}
	if said.id != "" {
		id.SourceID = s.code + "|" + said.id
	}
	e.ID = track.DeriveID(id)
	e.Time, e.ReceiveTime = at, raw.ReceiveTime
	if e.Language == "" {
		e.Language = languageOf(e.Text)
	}
	e.Provenance = s.provenance(raw)
	for _, c := range s.classify(&e) {
		unknown.add(c)
	}
	if e.Kind == track.KindEstimate && e.Estimate.IsZero() {
		e.Kind = track.KindInfo
	}
	if e.Status == status.Delivered && e.Signer == "" {
		e.Signer = signerIn(e.Text)
	}
	return e, nil
}

func (s *spec) provenance(raw *Raw) track.Provenance {
	return track.Provenance{Source: s.code, Kind: cmp.Or(raw.Kind, s.kind), MappingVersion: MappingVersion}
}

// classify gives an event its kind and status by its codes, and returns those
// that no table knows.
func (s *spec) classify(e *track.Event) (unknown []string) {
	table := meanings()[s.code]
	codes := slices.DeleteFunc(s.codes(e.RawCode, e.RawSubCode), func(c coded) bool { return c.code == "" })
	for i, c := range codes {
		m, known := table[c]
		if !known {
			m, known = table[coded{c.space, strings.ToLower(c.code)}]
		}
		if !known {
			if i == 0 {
				unknown = append(unknown, c.String())
			}
			continue
		}
		if i+1 < len(codes) && s.agree != nil && !s.agree(m, codes[i+1]) {
			continue
		}
		if i > 0 && len(unknown) > 0 { // a code that nobody knows: the main status alone
			applyGroup(e, m.rule, s.code+"/"+c.String())
			return unknown
		}
		apply(e, m.rule, s.code+"/"+c.String(), m.sure)
		e.Kind = m.kind
		return unknown
	}
	if s.words {
		if m, word, ok := byWords(e.Text); ok {
			apply(e, m, s.code+"/words/"+word, sureWords)
			return unknown
		}
	}
	if len(codes) == 0 && !s.words {
		apply(e, moving, "", sureNoCode)
		return unknown
	}
	if len(codes) == 0 {
		unknown = append(unknown, "words")
	}
	applyUnknown(e)
	return unknown
}

// estimate is the event that tells when the parcel is expected, as of the
// newest event. Told otherwise without a new event, it stands in the place of
// the one before.
func (s *spec) estimate(raw *Raw, x *expected, newest *track.Event) (track.Event, bool) {
	from, err := parseTime(x.from, x.zone)
	if err != nil {
		return track.Event{}, false
	}
	e := notice(*raw, s.code, newest, x.field)
	e.Kind, e.Estimate = track.KindEstimate, from
	if to, err := parseTime(x.to, x.zone); err == nil && x.to != x.from {
		e.EstimateTo = to
	}
	e.Provenance = s.provenance(raw)
	e.Provenance.MappingRule, e.Provenance.Confidence = s.code+"/"+x.field, sureCode
	return e, true
}

// one is the codes of a source whose events have one code.
func one(space string) func(raw, sub string) []coded {
	return func(raw, _ string) []coded { return []coded{{space, raw}} }
}

// two is the codes of a source whose events have a fine code and a coarse one.
func two(fine, coarse string) func(raw, sub string) []coded {
	return func(raw, sub string) []coded { return []coded{{fine, raw}, {coarse, sub}} }
}

// unmarshal reads JSON, and names the field that is wrong.
func unmarshal(path string, doc []byte, v any) *FieldError {
	if !isJSON(doc) {
		return &FieldError{path, "is not JSON"}
	}
	if err := json.Unmarshal(doc, v); err != nil {
		return decodeField(path, err)
	}
	return nil
}

func isJSON(doc []byte) bool {
	doc = trimBOM(doc)
	return len(doc) > 0 && (doc[0] == '{' || doc[0] == '[')
}

// partOf makes a part, with the name of the field that is wrong.
func partOf(c track.Carrier, field, given string, body []byte) Part {
	p := Part{Carrier: c, Body: body, path: field[:strings.LastIndexByte(field, ']')+1]}
	if strings.TrimSpace(given) == "" {
		p.Err = &FieldError{field, "is empty"}
		return p
	}
	n, err := track.NormalNumber(given)
	if err != nil {
		p.Err = &FieldError{field, err.Error()}
		return p
	}
	p.Number = n
	return p
}

// linkTo is a link to another number of the parcel, when both parts of it can
// be read.
func linkTo(role track.LinkRole, w track.Waybill, c track.Carrier, number string) []track.Link {
	n, err := track.NormalNumber(number)
	if err != nil || c == "" {
		return nil
	}
	l := track.Link{Role: role, Waybill: track.Waybill{Carrier: c, Number: n}}
	if l.Waybill == w {
		return nil
	}
	return []track.Link{l}
}

// words joins texts that aren't empty.
func words(sep string, list ...text) string {
	var kept []string
	for _, s := range list {
		if s := s.String(); s != "" && !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, sep)
}

// sortLinks puts links in an order that is always the same.
func sortLinks(links []track.Link) {
	slices.SortFunc(links, func(a, b track.Link) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Waybill.Carrier, b.Waybill.Carrier), cmp.Compare(a.Waybill.Number, b.Waybill.Number))
	})
}
