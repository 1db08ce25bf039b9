package carrier

import (
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// How sure a mapping is, of 100.
const (
	sureCode   = 90 // a documented code of the event itself
	sureName   = 80 // the source's name of the status
	sureState  = 60 // the waybill's state, given to its newest event
	sureDigit  = 40 // an unknown code, by the group it stands in
	sureNoCode = 30 // an event without any code
)

// Meaning is what a source's code says of a parcel. Sub can be zero.
type Meaning struct {
	Status status.Status
	Sub    status.Sub
}

// rule is what a code means. Its kind is KindEvent.
type rule struct {
	status status.Status
	sub    status.Sub
}

// of makes the rule of a sub-status, which knows its status.
func of(sub status.Sub) rule { return rule{sub.Status(), sub} }

// apply gives an event its status, and says by which rule and how surely.
func apply(e *track.Event, r rule, name string, confidence int) {
	e.Kind, e.Status, e.Sub = track.KindEvent, r.status, r.sub
	e.Provenance.MappingRule, e.Provenance.Confidence = name, confidence
}

// applyGroup is apply for an unknown code of a known group: the main status
// alone.
func applyGroup(e *track.Event, r rule, name string) {
	apply(e, rule{status: r.status}, name, sureDigit)
	e.Provenance.Confidence = sureDigit
}

// applyUnknown leaves the parcel's status as it is.
func applyUnknown(e *track.Event) {
	e.Kind = track.KindInfo
	e.Provenance.MappingRule, e.Provenance.Confidence = "", 0
}

// moving is the status of an event without any code.
var moving = of(status.InTransitMoving)
