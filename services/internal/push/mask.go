package push

import (
	"github.com/posthaste/posthaste/services/internal/privacy"
	"github.com/posthaste/posthaste/services/internal/track"
)

// masked is a trace without personal data. The trace itself stays as it is.
func masked(t *track.Trace) *track.Trace {
	out := *t
	number := string(t.Waybill.Number)
	out.State.Signer = privacy.Name(out.State.Signer)
	out.Events = make([]track.Event, len(t.Events))
	for i := range t.Events {
		e := t.Events[i]
		e.Text = privacy.Mask(e.Text, number)
		e.Courier = track.Person{Name: privacy.Name(e.Courier.Name), Phone: privacy.Phone(e.Courier.Phone)}
		e.Signer = privacy.Name(e.Signer)
		e.Location.Text, e.NextLocation.Text = privacy.Mask(e.Location.Text, number), privacy.Mask(e.NextLocation.Text, number)
		e.ProofURLs = nil // a picture of a door or a signature
		if len(e.Attributes) > 0 {
			attributes := make(map[string]string, len(e.Attributes))
			for k, v := range e.Attributes {
				attributes[k] = privacy.Mask(v, number)
			}
			e.Attributes = attributes
		}
		out.Events[i] = e
	}
	return &out
}
