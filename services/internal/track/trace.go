package track

import (
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// Trace is a waybill's state and its whole history. It is a value: [Merge]
// returns a new one and leaves the old one as it was.
type Trace struct {
	Waybill    Waybill
	Revision   Revision
	State      State
	Events     []Event // ordered by instant, order hint, status rank, id
	Links      []Link
	CreateTime time.Time
	UpdateTime time.Time // when this revision was made
	// EraseTime is when erasing its personal data was asked for; zero for never.
	EraseTime time.Time
}

// State is where a parcel stands: a function of the trace's events alone.
type State struct {
	Status     status.Status
	Sub        status.Sub
	Since      Time    // time of the event that gave the status
	EventID    EventID // that event; empty when none did
	Terminal   bool
	Estimate   *Estimate
	Milestones []Milestone // first time of each status, in order of time
	Signer     string
}

// Estimate is when a source expects the parcel.
type Estimate struct {
	From, To    Time // To is zero when the source gave one time
	Source      string
	ReceiveTime time.Time
}

// Milestone is the first time a status was reached.
type Milestone struct {
	Status status.Status
	Time   Time
}

// LinkRole is the part another number of the same parcel plays.
type LinkRole uint8

// The roles; zero is not valid.
const (
	LinkLastMile LinkRole = iota + 1
	LinkReturn
	LinkPiece
	LinkParent
	LinkCorrected
)

// Link is another number of the same parcel.
type Link struct {
	Role    LinkRole
	Waybill Waybill
}

// Report is what one raw trace says of one waybill, in canonical form: the
// input of [Merge].
type Report struct {
	Waybill     Waybill
	Events      []Event
	Links       []Link
	ReceiveTime time.Time
	// Unmapped lists the source's codes that no rule knew.
	Unmapped []string
	// Erase is when somebody asked for the waybill's personal data to be erased; zero
	// when nobody did.
	Erase time.Time
}
