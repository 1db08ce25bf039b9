// Package carrier turns what sources say into canonical events: it takes a
// source's document apart by waybill, and maps each part to a report by the
// source's table of codes.
//
// A source has a file: what its documents look like, how its pushes are verified
// and answered, and what is known of it. What its codes mean stands in a table.
//
// It is pure. Taking documents in over HTTP and keeping them is ingest's; what a
// report does to a trace is track's.
package carrier

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// MappingVersion is the version of all mapping tables of this package. It goes
// up with every change of a table, so that a stored event says by which it was
// mapped.
const MappingVersion = "2"

// Source is one format of reports and its mapping.
type Source struct {
	Code string // "kdniao"
	Kind track.SourceKind
	// Split takes a verified document apart into one part for each waybill. It fails only
	// when nothing of the document can be used.
	Split func(doc []byte) ([]Part, error)
	// Map makes a report of one part. The same part gives the same events with
	// the same ids, whenever and however often it is mapped.
	Map func(Raw) (track.Report, error)
	// Push is how its pushes are taken in; nil when it is only queried.
	Push *Receiver
	// Facts are for docs/sources.md.
	Facts Facts

	// remap gives a stored event its kind and status anew.
	remap func(*track.Event) (unknown []string)
}

// Facts are what is known of a source, in words for its user.
type Facts struct {
	Name    string // of the company
	Reports string // what is taken in
	Account string // what an account's name and secret are; empty when it is only queried
	Verify  string
	Answer  string
	Times   string // how its times are told
	Notes   []string
	// Unverified are details that no document of the source confirms. Each is one
	// place in the source's file.
	Unverified []string
}

// Answer takes a query's answer apart. Where the answer names no waybill, it is
// of the one that was asked for.
func (s Source) Answer(doc []byte, asked track.Waybill) ([]Part, error) {
	parts, err := s.Split(doc)
	for i := range parts {
		if p := &parts[i]; p.Number == "" && p.Err == errNoNumber {
			p.Carrier, p.Number, p.Err = asked.Carrier, asked.Number, nil
		}
	}
	return parts, err
}

// errNoNumber says that a document names no waybill, because who asked knows it.
var errNoNumber = &FieldError{"number", "the document doesn't name its waybill: say which was asked for"}

// Part is a document's share of one waybill, or what is wrong with it.
type Part struct {
	Carrier track.Carrier
	Number  track.Number
	Body    []byte            // byte for byte
	Context map[string]string // what Map needs from around Body
	Err     *FieldError       // not nil: the part can't be used

	path string // of Body in a document that has several; for errors
}

// FieldError says which field of a document is wrong and how.
type FieldError struct{ Field, Description string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Description }

// Raw is one part as it was taken in.
type Raw struct {
	Waybill     track.Waybill
	Kind        track.SourceKind
	Account     string
	Body        []byte
	Context     map[string]string
	ReceiveTime time.Time
}

// Lookup finds a source by its code.
func Lookup(code string) (Source, bool) {
	s, ok := byCode()[code]
	return s, ok
}

var byCode = sync.OnceValue(func() map[string]Source {
	all := map[string]Source{}
	for _, s := range Sources() {
		all[s.Code] = s
	}
	return all
})

// Sources lists all, in order of their code.
var Sources = sync.OnceValue(func() []Source {
	all := []Source{
		kdniao(), kuaidi100(),
		// Carriers that push.
		sf(), zto(), yto(), sto(), jtexpress(), ups(), fedex(), usps(), dhl(),
		// Aggregators that push.
		seventeenTrack(), aftership(), easypost(), ship24(), trackingmore(), shippo(),
		// Carriers that are asked.
		asendia(), australiapost(), canadapost(), chronopost(), dhlExpress(), dhlParcelDE(), dhlUniversal(), dicom(), geodis(), hayPost(), hermes(),
		landmark(), laposte(), mydhl(), parcelone(), roadie(), royalmail(), seko(), smartkargo(), teleship(), tnt(),
	}
	slices.SortFunc(all, func(a, b Source) int { return strings.Compare(a.Code, b.Code) })
	return all
})

// Codes are the codes of all sources, in order.
func Codes() []string {
	var codes []string
	for _, s := range Sources() {
		codes = append(codes, s.Code)
	}
	return codes
}
