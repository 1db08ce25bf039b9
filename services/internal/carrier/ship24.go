package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

// ship24 takes Ship24's webhooks, and trackers that were asked for.
func ship24() Source {
	s := define(spec{
		code: "ship24", kind: track.SourceAggregatorPush, newestFirst: true,
		cut: cutShip24, read: readShip24, codes: two("statusCode", "statusMilestone"),
	}, Facts{
		Name:    "Ship24",
		Reports: "webhooks of the topic tracking/events; results of a tracker",
		Account: "a name of yours, and the webhook's secret",
		Verify:  "header `Authorization: Bearer` and the secret",
		Answer:  "HTTP 200; HEAD is answered 200 too",
		Times:   "local, with an offset, in UTC or a date alone; without an offset it is unknown",
		Notes: []string{
			"An event is taken in for the number and the courier that it names, since a tracker has no courier of its own; the tracker's number is kept as an attribute, and becomes a link where the document tells its courier.",
			"Other topics, such as proofs of delivery, have no effect.",
		},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool { return r.bears(secret, "Authorization") })
	})
	return s
}

type ship24Event struct {
	EventID             text
	TrackingNumber      text
	EventTrackingNumber text
	Status              text
	OccurrenceDatetime  text
	Order               text
	Location            text
	CourierCode         text
	StatusCode          text
	StatusMilestone     text
	HasNoTime           text
	UTCOffset           text
}

type ship24Tracking struct {
	Metadata struct{ Topic text }
	Tracker  struct{ TrackingNumber text }
	Shipment struct {
		Delivery struct {
			Expected struct{ From, To text } `json:"courierEstimatedDeliveryDate"`
			SignedBy text
		}
	}
	Events []json.RawMessage
}

const (
	contextTracker    = "tracker_number"
	contextCourier    = "tracker_carrier"
	contextExpected   = "expected_from"
	contextExpectedTo = "expected_to"
	contextSigner     = "signed_by"
)

func cutShip24(doc []byte) ([]Part, error) {
	var push struct {
		Trackings []json.RawMessage
		Data      struct{ Trackings []json.RawMessage }
	}
	if wrong := unmarshal("body", doc, &push); wrong != nil {
		return nil, wrong
	}
	trackings := append(push.Trackings, push.Data.Trackings...)
	if trackings == nil {
		return nil, &FieldError{"trackings", "is missing"}
	}
	var parts []Part
	for i, body := range trackings {
		field := fmt.Sprintf("trackings[%d]", i)
		var t ship24Tracking
		if wrong := unmarshal(field, body, &t); wrong != nil {
			parts = append(parts, Part{Body: body, Err: wrong})
			continue
		}
		parts = append(parts, t.parts(field)...)
	}
	return parts, nil
}

// parts are the tracking's events, each for the waybill that it names.
func (t *ship24Tracking) parts(field string) []Part {
	parts := make([]Part, len(t.Events))
	own := track.Carrier("")
	events := make([]ship24Event, len(t.Events))
	for i, body := range t.Events {
		name := fmt.Sprintf("%s.events[%d]", field, i)
		e := &events[i]
		if wrong := unmarshal(name, body, e); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		number := e.EventTrackingNumber
		if number == "" {
			number = t.Tracker.TrackingNumber
		}
		c := carrierNamed(e.CourierCode.String())
		if number == t.Tracker.TrackingNumber && own == "" {
			own = c
		}
		parts[i] = partOf(c, name+".eventTrackingNumber", number.String(), body)
		if c == "" {
			parts[i].Err = &FieldError{name + ".courierCode", "is empty"}
		}
	}
	for i := range parts {
		context := map[string]string{}
		set(context, contextTracker, t.Tracker.TrackingNumber.String())
		set(context, contextCourier, string(own))
		set(context, contextExpected, t.Shipment.Delivery.Expected.From.String())
		set(context, contextExpectedTo, t.Shipment.Delivery.Expected.To.String())
		set(context, contextSigner, t.Shipment.Delivery.SignedBy.String())
		parts[i].Context = context
	}
	return parts
}

func readShip24(raw *Raw) (told, *FieldError) {
	var e ship24Event
	if wrong := unmarshal("events", raw.Body, &e); wrong != nil {
		return told{}, wrong
	}
	event := track.Event{
		RawCode: e.StatusCode.String(), RawSubCode: e.StatusMilestone.String(), Text: e.Status.String(), Location: track.Location{Text: e.Location.String()},
	}
	when := e.OccurrenceDatetime.String()
	if e.HasNoTime.String() == "true" && len(when) > 10 {
		when = when[:10]
	}
	if event.RawSubCode == "delivered" {
		event.Signer = raw.Context[contextSigner]
	}
	t := told{events: []said{{
		field: "occurrenceDatetime", time: when, zone: givenZone(e.UTCOffset.String(), zone{}), id: e.EventID.String(), event: event,
	}}}
	if n := raw.Context[contextTracker]; n != "" && n != string(raw.Waybill.Number) {
		t.events[0].event.Attributes = map[string]string{contextTracker: n}
		t.links = linkTo(track.LinkParent, raw.Waybill, track.Carrier(raw.Context[contextCourier]), n)
	}
	if from := raw.Context[contextExpected]; from != "" {
		t.expected = &expected{field: "courierEstimatedDeliveryDate", from: from, to: raw.Context[contextExpectedTo]}
	}
	return t, nil
}
