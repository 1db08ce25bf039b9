package carrier

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// uspsWindow is how old a signed push may be. It is long, since a repeat may be
// signed with the time of the first try.
const uspsWindow = 72 * time.Hour

// usps takes USPS Subscriptions-Tracking v3, whose body is taken to be that of
// the Tracking API's answer.
func usps() Source {
	s := define(spec{
		code: "usps", kind: track.SourceCarrierPush, carrier: "usps", newestFirst: true,
		cut: cutUSPS, read: readUSPS, codes: one("eventCode"),
	}, Facts{
		Name:    "USPS",
		Reports: "Subscriptions-Tracking v3 pushes; answers of the Tracking API",
		Account: "a name of yours, and the subscription's secret",
		Verify:  "header `X-HMAC` = base64(HMAC-SHA256(secret, X-Timestamp + body)), at most 72 hours from X-Timestamp; or the secret as the key in the path",
		Answer:  "HTTP 200",
		Times:   "local and its offset from GMT side by side",
		Notes: []string{
			"A body without a tracking number, as the handshake at subscribing has, is answered with 200 and has no effect.",
			"USPS deletes a subscription that delivered nothing for 25 days.",
		},
		Unverified: []string{"the names of the headers", "the handshake's form", "the push's body"},
	})
	s.Push = byStatus(verifyUSPS)
	return s
}

func verifyUSPS(r *Request) (Document, *Refusal) {
	doc, no := bodyDocument(r, func(secret string) bool {
		at := strings.TrimSpace(r.Header("X-Timestamp"))
		signed := same(strings.TrimSpace(r.Header("X-HMAC")), macBase64(secret, []byte(at), r.Body))
		return signed && fresh(r.Now, at, uspsWindow) || r.keyed(secret)
	})
	if no == nil || no.Reason != "bad_signature" {
		return doc, no
	}
	var p uspsTracking
	if unmarshal("body", r.Body, &p) == nil && isObject(r.Body) && p.TrackingNumber == "" && p.TrackingEvents == nil && len(p.list()) == 0 {
		return Document{Nothing: true}, nil // the handshake: nobody has signed it, and it tells nothing
	}
	return doc, no
}

type uspsTracking struct {
	TrackingNumber            text
	TrackingEvents            []uspsEvent
	Trackings, TrackingList   []json.RawMessage
	Error                     json.RawMessage
	ExpectedDeliveryDate      text
	ExpectedDeliveryTimestamp text
}

func (t *uspsTracking) list() []json.RawMessage { return append(t.Trackings, t.TrackingList...) }

type uspsEvent struct {
	EventType, EventTimestamp, GMTTimestamp, GMTOffset       text
	EventCountry, EventCity, EventState, EventZIP, EventCode text
	Firm, Name                                               text
}

func cutUSPS(doc []byte) ([]Part, error) {
	bodies := []json.RawMessage{doc}
	if doc[0] == '[' {
		if wrong := unmarshal("body", doc, &bodies); wrong != nil {
			return nil, wrong
		}
	} else {
		var whole uspsTracking
		if wrong := unmarshal("body", doc, &whole); wrong != nil {
			return nil, wrong
		}
		if whole.TrackingNumber == "" && whole.Error != nil { // an answer that there is none
			return nil, nil
		}
		if list := whole.list(); whole.TrackingNumber == "" && len(list) > 0 {
			bodies = list
		}
	}
	parts := make([]Part, len(bodies))
	for i, body := range bodies {
		var t uspsTracking
		if wrong := unmarshal(fmt.Sprintf("trackings[%d]", i), body, &t); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		parts[i] = partOf("usps", "trackingNumber", t.TrackingNumber.String(), body)
	}
	return parts, nil
}

func readUSPS(raw *Raw) (told, *FieldError) {
	var p uspsTracking
	if wrong := unmarshal("body", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	var t told
	for i := range p.TrackingEvents {
		e := &p.TrackingEvents[i]
		country := e.EventCountry
		if country == "" {
			country = "US"
		}
		event := track.Event{
			RawCode: e.EventCode.String(), Text: e.EventType.String(), Language: "en", Signer: e.Name.String(),
			Location: address(e.EventCity, e.EventState, e.EventZIP, country), Attributes: attributes("firm", e.Firm),
		}
		when := e.EventTimestamp
		if when == "" {
			when = e.GMTTimestamp
		}
		t.events = append(t.events, said{
			field: fmt.Sprintf("trackingEvents[%d].eventTimestamp", i), time: when.String(), zone: givenZone(e.GMTOffset.String(), zone{}), event: event,
		})
	}
	if when := words("", p.ExpectedDeliveryTimestamp); when != "" {
		t.expected = &expected{field: "expectedDeliveryTimestamp", from: when}
	} else if when := p.ExpectedDeliveryDate.String(); when != "" {
		t.expected = &expected{field: "expectedDeliveryDate", from: when}
	}
	return t, nil
}
