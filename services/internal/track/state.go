package track

import (
	"github.com/posthaste/posthaste/pkg/status"
)

// stateOf says where a parcel stands after events, which are in order and
// marked.
func stateOf(events []Event) State {
	var s State
	for i := range events {
		e := &events[i]
		if !inForce(e) {
			continue
		}
		if !e.Estimate.IsZero() {
			s.Estimate = &Estimate{From: e.Estimate, To: e.EstimateTo, Source: e.Provenance.Source, ReceiveTime: e.ReceiveTime}
		}
		if e.Kind == KindInfo || e.Kind == KindEstimate {
			continue
		}
		if e.Signer != "" {
			s.Signer = e.Signer
		}
		// A code that no rule knew says nothing of where the parcel is.
		if e.Status == status.Unknown {
			continue
		}
		if !reached(s.Milestones, e.Status) {
			s.Milestones = append(s.Milestones, Milestone{Status: e.Status, Time: e.Time})
		}
		if s.EventID != "" && s.Terminal && !movesOn(s, e) {
			continue
		}
		s.Status, s.Sub, s.Since, s.EventID = e.Status, e.Sub, e.Time, e.ID
		s.Terminal = status.Terminal(e.Status, e.Sub)
	}
	return s
}

// inForce says whether an event counts: it wasn't withdrawn or replaced, isn't
// itself a withdrawal, and no other that tells of the same thing counts.
func inForce(e *Event) bool {
	return e.Kind != KindVoid && e.VoidedBy == "" && e.CorrectedBy == "" && e.DuplicateOf == ""
}

// movesOn says whether an event moves a parcel whose journey has ended. After
// a delivery, a return does, and a delivery told more exactly; notices that
// carriers send after the end don't.
func movesOn(s State, e *Event) bool {
	if s.Status != status.Delivered {
		return false
	}
	switch e.Status {
	case status.Returning, status.Returned:
		return true
	case status.Delivered:
		return vague(s.Sub) && !vague(e.Sub)
	default:
		return false
	}
}

func vague(s status.Sub) bool { return s == 0 || s == status.DeliveredUnspecified }

func reached(milestones []Milestone, s status.Status) bool {
	for i := range milestones {
		if milestones[i].Status == s {
			return true
		}
	}
	return false
}
