// Package carrier turns what sources say into canonical events. It is pure.
package carrier

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Source is one format of reports and its mapping.
type Source struct {
	Code string // "kdniao"
	Kind track.SourceKind
	// Split takes a verified document apart into one part for each waybill. It fails only
	// when nothing of the document can be used.
	Split func(doc []byte) ([]Part, error)
	// Map makes a report of one part.
	Map func(Raw) (track.Report, error)
}

// Part is a document's share of one waybill, or what is wrong with it.
type Part struct {
	Carrier track.Carrier
	Number  track.Number
	Body    []byte // byte for byte
	Context map[string]string
	Err     *FieldError // not nil: the part can't be used
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
func Lookup(code string) (Source, bool) { panic("not built") }

// Sources lists all, in order of their code.
func Sources() []Source { panic("not built") }
