package track

import (
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// Carrier is Posthaste's code of a carrier: lower case, such as "sf".
type Carrier string

// Number is a carrier's waybill number in normal form: see [NormalNumber].
type Number string

// Waybill is the identity of a parcel: carrier and number together.
type Waybill struct {
	Carrier Carrier
	Number  Number
}

// Revision counts the changes of one waybill from 1, without a gap. Zero is
// before the first.
type Revision uint64

// EventID is stable over repeats of the same report: see [DeriveID].
type EventID string

// Kind says what an event does to the trace.
type Kind uint8

// The kinds; zero is not valid.
const (
	KindEvent      Kind = iota + 1 // something happened
	KindInfo                       // no effect on the status
	KindEstimate                   // only the estimate changes
	KindVoid                       // withdraws Target
	KindCorrection                 // replaces Target
)

// OffsetSource says how the offset of a time was found; zero is unknown.
type OffsetSource uint8

// The ways an offset is found.
const (
	OffsetUnknown OffsetSource = iota
	OffsetGiven
	OffsetFacility
	OffsetCountry
	OffsetCarrierDefault
)

// Precision is the smallest unit a source told.
type Precision uint8

// The precisions; zero is not valid.
const (
	PrecisionSecond Precision = iota + 1
	PrecisionMinute
	PrecisionDate
)

// SourceKind says by which way a report came in.
type SourceKind uint8

// The kinds of source; zero is not valid.
const (
	SourceCarrierPush SourceKind = iota + 1
	SourceCarrierPoll
	SourceAggregatorPush
	SourceAggregatorPoll
	SourceTeam
)

// Time is when something happened. Wall is the wall clock at the place, held
// in UTC so that it can't be mistaken for an instant; Offset says how far east
// of UTC that place's clock was.
type Time struct {
	Wall         time.Time     // location is always UTC
	Offset       time.Duration // zero when OffsetSource is OffsetUnknown
	OffsetSource OffsetSource
	Precision    Precision
}

// Instant is the moment in UTC; an unknown offset counts as zero.
func (t Time) Instant() time.Time { return t.Wall.Add(-t.Offset) }

// IsZero reports whether t was never set.
func (t Time) IsZero() bool { return t.Wall.IsZero() }

// Location is where something happened; any field can be empty.
type Location struct {
	Text, City, Region, Country, Postcode    string
	FacilityCode, FacilityName, FacilityType string
	Coordinates                              *Coordinates
}

// Coordinates are in degrees, north and east.
type Coordinates struct{ Latitude, Longitude float64 }

// Person is personal data: a name and a phone number as given.
type Person struct{ Name, Phone string }

// Provenance says who told an event and how it was mapped.
type Provenance struct {
	Source         string // "kdniao"
	Kind           SourceKind
	MappingVersion string // of the source's mapping table
	MappingRule    string // "kdniao/StateEx/202"; empty when no rule matched
	Confidence     int    // 0 to 100; 0 when the code was unknown
}

// Event is one thing that happened to a parcel, in canonical form. Events are
// values: a merge copies what it changes.
type Event struct {
	ID          EventID
	Kind        Kind
	Target      EventID // for KindVoid and KindCorrection
	VoidedBy    EventID // set by the merge
	CorrectedBy EventID // set by the merge
	DuplicateOf EventID // set by the merge: the event that tells of the same thing and counts
	Revision    Revision
	Time        Time
	ReceiveTime time.Time
	OrderHint   int // ascending in time; breaks ties on equal instants
	Status      status.Status
	Sub         status.Sub
	ReasonCode  string
	RawCode     string
	RawSubCode  string
	Text        string
	Language    string // BCP 47

	Location      Location
	NextLocation  Location
	Courier       Person
	Signer        string
	ProofURLs     []string
	TransportMode string
	Vehicle       string
	Piece         string
	Leg           Waybill // zero when it is the waybill's own

	Estimate   Time // for KindEstimate, or an event that tells one beside
	EstimateTo Time // latest; zero when one time was given

	Provenance Provenance
	Attributes map[string]string
}
