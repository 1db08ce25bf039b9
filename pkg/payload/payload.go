// Package payload is what a push says: the JSON body of a callback, as Go types
// for writing and reading it, and as a JSON Schema.
//
// A body is written once, with [Push.AppendJSON], stored, and sent as the same
// bytes on every attempt. It is read with encoding/json into the same types:
//
//	var p payload.Push
//	err := json.Unmarshal(body, &p)
//
// Package webhook does that and checks the signature before.
//
// # Evolution
//
// Every field is always present: null, "", [] or {} when there is nothing to
// say, never missing. Fields are added in time and never removed or given
// another meaning, so a reader ignores those it doesn't know. Statuses are a
// closed list; sub-statuses, reasons, sources and link roles may grow, and a
// reader that meets an unknown sub-status falls back to the status.
//
// # Times
//
// Times are RFC 3339 with an offset. The clock of an event's time is always
// the one at the place; when its offset is unknown the time is written with
// "Z", and offset_source says "unknown".
package payload

import "time"

// TypeTraceUpdated is the type of every push so far.
const TypeTraceUpdated = "trace.updated"

// Push tells one subscription the changes of one waybill: the revisions
// (AfterRevision, Revision]. The ranges of a subscription chain without a gap.
type Push struct {
	// Type is [TypeTraceUpdated].
	Type string `json:"type"`
	// PushID is the same on every attempt, and the webhook-id header.
	PushID         string `json:"push_id"`
	SubscriptionID string `json:"subscription_id"`
	TenantID       string `json:"tenant_id"`
	// Metadata is the subscriber's own, as it was when the push was made.
	Metadata map[string]string `json:"metadata"`
	// AfterRevision is the revision before the range; 0 when it starts at the
	// waybill's beginning.
	AfterRevision uint64 `json:"after_revision"`
	// Revision is the last of the range, and the waybill's.
	Revision uint64  `json:"revision"`
	Waybill  Waybill `json:"waybill"`
	// Events are those that are new or changed in the range, in order of the
	// trace. A withdrawn or replaced event is among them again, with VoidedBy or
	// CorrectedBy set. It is empty when only links changed.
	Events []Event `json:"events"`
	// Trace is the whole trace in order, and nil unless the endpoint asked for
	// it.
	Trace []Event `json:"trace"`
}

// Waybill is where a parcel stands after the push.
type Waybill struct {
	CarrierCode   string `json:"carrier_code"`
	WaybillNumber string `json:"waybill_number"`
	// Revision counts the waybill's changes: 1, 2, 3 … without a gap.
	Revision uint64 `json:"revision"`
	// Status is one of the 15 codes, such as "in_transit".
	Status string `json:"status"`
	// SubStatus is the full code, such as "in_transit.departed", or "".
	SubStatus     string `json:"sub_status"`
	StatusName    Name   `json:"status_name"`
	SubStatusName Name   `json:"sub_status_name"`
	// StatusTime is the time of the event that gave the status; nil when none
	// did.
	StatusTime    *time.Time `json:"status_time"`
	StatusEventID string     `json:"status_event_id"`
	// Terminal says that the journey has ended.
	Terminal bool `json:"terminal"`
	// Signer is personal data.
	Signer     string      `json:"signer"`
	Estimate   *Estimate   `json:"estimate"`
	Milestones []Milestone `json:"milestones"`
	Links      []Link      `json:"links"`
	// EventCount counts the whole trace, withdrawn events included.
	EventCount int `json:"event_count"`
	// CreateTime is when Posthaste first heard of the waybill.
	CreateTime time.Time `json:"create_time"`
	// UpdateTime is when this revision was made.
	UpdateTime time.Time `json:"update_time"`
}

// Name is a name in two languages; both are empty when there is none.
type Name struct {
	English string `json:"en"`
	Chinese string `json:"zh"`
}

// Window is when a parcel is expected.
type Window struct {
	// From is the earliest, or the only, time.
	From time.Time `json:"from"`
	// To is the latest time; nil when one time was given.
	To           *time.Time `json:"to"`
	Precision    string     `json:"precision"`
	OffsetSource string     `json:"offset_source"`
}

// Estimate is a window, and who told it when.
type Estimate struct {
	Window
	Source      string    `json:"source"`
	ReceiveTime time.Time `json:"receive_time"`
}

// Milestone is the first time a status was reached.
type Milestone struct {
	Status    string    `json:"status"`
	Time      time.Time `json:"time"`
	Precision string    `json:"precision"`
}

// Link is another number of the same parcel.
type Link struct {
	// Role is "last_mile", "return", "piece", "parent" or "corrected".
	Role          string `json:"role"`
	CarrierCode   string `json:"carrier_code"`
	WaybillNumber string `json:"waybill_number"`
}

// Event is one thing that happened to the parcel.
type Event struct {
	// ID is stable: the same event in a later push has the same.
	ID string `json:"id"`
	// Kind is "event", "info", "estimate", "void" or "correction".
	Kind string `json:"kind"`
	// TargetEventID is the event that a void or a correction acts upon.
	TargetEventID string `json:"target_event_id"`
	VoidedBy      string `json:"voided_by"`
	CorrectedBy   string `json:"corrected_by"`
	// DuplicateOf is the event that tells of the same thing and counts: another
	// source told of it too, or a scan came twice.
	DuplicateOf string `json:"duplicate_of"`
	// Revision is the waybill's in which the event came or last changed.
	Revision uint64 `json:"revision"`
	// EventTime is when it happened, with the clock and offset of the place.
	EventTime time.Time `json:"event_time"`
	// LocalTime is that clock alone: "2025-03-01T10:02:11", or a date when that
	// is all the source told.
	LocalTime string `json:"local_time"`
	// UTCOffsetSeconds is seconds east of UTC; nil when unknown.
	UTCOffsetSeconds *int32 `json:"utc_offset_seconds"`
	// OffsetSource is "given", "facility", "country", "carrier_default" or
	// "unknown".
	OffsetSource string `json:"offset_source"`
	// Precision is "second", "minute" or "date".
	Precision   string    `json:"precision"`
	ReceiveTime time.Time `json:"receive_time"`
	// OrderHint breaks ties of equal times, ascending.
	OrderHint    int       `json:"order_hint"`
	Status       string    `json:"status"`
	SubStatus    string    `json:"sub_status"`
	Text         string    `json:"text"`
	Language     string    `json:"language"`
	Location     Location  `json:"location"`
	NextLocation *Location `json:"next_location"`
	// Courier is personal data.
	Courier *Person `json:"courier"`
	// Signer is personal data.
	Signer        string   `json:"signer"`
	ReasonCode    string   `json:"reason_code"`
	RawCode       string   `json:"raw_code"`
	RawSubCode    string   `json:"raw_sub_code"`
	TransportMode string   `json:"transport_mode"`
	Vehicle       string   `json:"vehicle"`
	Piece         string   `json:"piece"`
	Leg           *Leg     `json:"leg"`
	ProofURLs     []string `json:"proof_urls"`
	// Estimate is when the parcel is expected according to this event.
	Estimate   *Window           `json:"estimate"`
	Source     string            `json:"source"`
	Attributes map[string]string `json:"attributes"`
}

// Location is where something happened; any field can be empty.
type Location struct {
	Text         string   `json:"text"`
	City         string   `json:"city"`
	Region       string   `json:"region"`
	Country      string   `json:"country"`
	Postcode     string   `json:"postcode"`
	Latitude     *float64 `json:"latitude"`
	Longitude    *float64 `json:"longitude"`
	FacilityCode string   `json:"facility_code"`
	FacilityName string   `json:"facility_name"`
	FacilityType string   `json:"facility_type"`
}

// Person is personal data.
type Person struct {
	Name  string `json:"name"`
	Phone string `json:"phone"`
}

// Leg names the carrier and number of a part of the journey that another
// carrier makes.
type Leg struct {
	CarrierCode   string `json:"carrier_code"`
	WaybillNumber string `json:"waybill_number"`
}
