// Package carrier turns what sources say into canonical events: it takes a
// source's document apart by waybill, and maps each part to a report by the
// source's table of codes.
//
// It is pure. Taking documents in, checking their signatures and answering in
// the source's form is ingest's; what a report does to a trace is track's.
package carrier

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// MappingVersion is the version of all mapping tables of this package. It goes
// up with every change of a table, so that a stored event says by which it was
// mapped.
const MappingVersion = "1"

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
}

// Part is a document's share of one waybill, or what is wrong with it.
type Part struct {
	Carrier track.Carrier
	Number  track.Number
	Body    []byte            // byte for byte
	Context map[string]string // what Map needs from around Body
	Err     *FieldError       // not nil: the part can't be used
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
	for _, s := range Sources() {
		if s.Code == code {
			return s, true
		}
	}
	return Source{}, false
}

// Sources lists all, in order of their code.
func Sources() []Source {
	return []Source{
		{Code: kdniaoCode, Kind: track.SourceAggregatorPush, Split: splitKdniao, Map: mapKdniao},
		{Code: kuaidi100Code, Kind: track.SourceAggregatorPush, Split: splitKuaidi100, Map: mapKuaidi100},
	}
}
