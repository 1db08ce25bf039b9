// Package trace is a waybill and its events as plain Go types: what packages
// client and feed return, however it came. The JSON of a callback has types of
// its own, in package payload, with the same words.
//
// Statuses and sub-statuses of later versions keep their numbers; an unknown
// sub-status isn't valid and is best shown as its status.
package trace

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// ID is the identity of a parcel: carrier and number together.
type ID struct {
	// CarrierCode is Posthaste's, lower case, such as "sf".
	CarrierCode string
	// WaybillNumber is the carrier's, upper case, without blanks.
	WaybillNumber string
}

// String is "sf/SF1234567890123".
func (id ID) String() string { return id.CarrierCode + "/" + id.WaybillNumber }

const collection = "waybills/"

// Name is the resource name, "waybills/{carrier_code}/{waybill_number}", with
// the number escaped as in a URL's path.
func (id ID) Name() string {
	return collection + id.CarrierCode + "/" + url.PathEscape(id.WaybillNumber)
}

// ParseName reads a name made by [ID.Name].
func ParseName(name string) (ID, error) {
	rest, ok := strings.CutPrefix(name, collection)
	carrier, escaped, found := strings.Cut(rest, "/")
	if !ok || !found || carrier == "" || escaped == "" || strings.Contains(escaped, "/") {
		return ID{}, fmt.Errorf("%q is not the name of a waybill", name)
	}
	number, err := url.PathUnescape(escaped)
	if err != nil {
		return ID{}, fmt.Errorf("%q: the number is not escaped as in a URL's path", name)
	}
	return ID{CarrierCode: carrier, WaybillNumber: number}, nil
}

// Waybill is where a parcel stands.
type Waybill struct {
	ID ID
	// Revision counts the changes: 1, 2, 3 … without a gap.
	Revision  uint64
	Status    status.Status
	SubStatus status.Sub
	// StatusTime is the time of the event that gave the status; zero when none
	// did.
	StatusTime    Time
	StatusEventID string
	// Terminal says that the journey has ended.
	Terminal bool
	// EventCount counts the whole trace, withdrawn events included.
	EventCount int
	Estimate   *Estimate
	// Milestones are the first time of each status, in order of time.
	Milestones []Milestone
	// Signer is personal data.
	Signer     string
	Links      []Link
	CreateTime time.Time
	UpdateTime time.Time
	// EraseTime is when its personal data was erased, zero when it was not: then no
	// event has a text, and none will.
	EraseTime time.Time
}

// Estimate is when a source expects the parcel.
type Estimate struct {
	From Time
	// To is zero when the source gave one time.
	To          Time
	Source      string
	ReceiveTime time.Time
}

// Milestone is the first time a status was reached.
type Milestone struct {
	Status status.Status
	Time   Time
}

// Role is the part another number of the same parcel plays.
type Role string

// The roles. Others may be added.
const (
	RoleLastMile  Role = "last_mile"
	RoleReturn    Role = "return"
	RolePiece     Role = "piece"
	RoleParent    Role = "parent"
	RoleCorrected Role = "corrected"
)

// Link is another number of the same parcel.
type Link struct {
	Role Role
	ID   ID
}

// Kind says what an event does to the trace.
type Kind string

// The kinds.
const (
	KindEvent      Kind = "event"      // something happened
	KindInfo       Kind = "info"       // no effect on the status
	KindEstimate   Kind = "estimate"   // only the estimate changes
	KindVoid       Kind = "void"       // withdraws TargetEventID
	KindCorrection Kind = "correction" // replaces TargetEventID
)

// OffsetSource says how the UTC offset of a time was found.
type OffsetSource string

// The ways an offset is found.
const (
	OffsetUnknown        OffsetSource = "unknown"
	OffsetGiven          OffsetSource = "given"
	OffsetFacility       OffsetSource = "facility"
	OffsetCountry        OffsetSource = "country"
	OffsetCarrierDefault OffsetSource = "carrier_default"
)

// Precision is the smallest unit that a source told.
type Precision string

// The precisions.
const (
	PrecisionSecond Precision = "second"
	PrecisionMinute Precision = "minute"
	PrecisionDate   Precision = "date"
)

// Time is when something happened.
type Time struct {
	// Instant is in a zone that shows the clock at the place. When the offset is
	// unknown it is that clock in UTC: right to print, wrong to reckon with.
	Instant time.Time
	// Local is the clock alone, as "2025-03-01T10:02:11", or a date.
	Local        string
	OffsetSource OffsetSource
	Precision    Precision
}

// IsZero reports whether t was never set.
func (t Time) IsZero() bool { return t == Time{} }

// Event is one thing that happened to a parcel.
type Event struct {
	// ID is stable over repeats of the same report.
	ID            string
	Kind          Kind
	TargetEventID string
	// VoidedBy is the void that withdrew this event, and CorrectedBy the
	// correction that replaced it.
	VoidedBy    string
	CorrectedBy string
	// DuplicateOf is the event that tells of the same thing and counts: another
	// source told of it too, or a scan came twice.
	DuplicateOf string
	// Revision is the waybill's in which the event came or last changed.
	Revision    uint64
	Time        Time
	ReceiveTime time.Time
	// OrderHint breaks ties of equal times, ascending.
	OrderHint  int
	Status     status.Status
	SubStatus  status.Sub
	ReasonCode string
	RawCode    string
	RawSubCode string
	Text       string
	// Language is the BCP 47 language of Text.
	Language     string
	Location     Location
	NextLocation Location
	// Courier and Signer are personal data.
	Courier       Person
	Signer        string
	ProofURLs     []string
	TransportMode string
	Vehicle       string
	Piece         string
	// Leg is zero when the waybill's own carrier makes this part of the journey.
	Leg ID
	// Estimate is when the parcel is expected according to this event, and
	// EstimateTo the latest time if the source gave two.
	Estimate   Time
	EstimateTo Time
	Provenance Provenance
	Attributes map[string]string
}

// Location is where something happened; any field can be empty.
type Location struct {
	Text, City, Region, Country, Postcode    string
	FacilityCode, FacilityName, FacilityType string
	// Latitude and Longitude are degrees north and east, nil when unknown.
	Latitude, Longitude *float64
}

// Person is personal data: a name and a phone number as given.
type Person struct{ Name, Phone string }

// SourceKind says by which way a report came in.
type SourceKind string

// The kinds of source.
const (
	SourceCarrierPush    SourceKind = "carrier_push"
	SourceCarrierPoll    SourceKind = "carrier_poll"
	SourceAggregatorPush SourceKind = "aggregator_push"
	SourceAggregatorPoll SourceKind = "aggregator_poll"
	SourceTeam           SourceKind = "team"
)

// Provenance says who told an event, and how it was mapped.
type Provenance struct {
	Source         string
	Kind           SourceKind
	MappingVersion string
	// MappingRule is the rule that gave the status, such as
	// "kdniao/StateEx/202".
	MappingRule string
	// Confidence is 0 to 100; 0 when the code was unknown.
	Confidence int
}

// After returns the events that came or changed after a revision, in order.
func After(events []Event, revision uint64) []Event {
	var after []Event
	for i := range events {
		if events[i].Revision > revision {
			after = append(after, events[i])
		}
	}
	return after
}
