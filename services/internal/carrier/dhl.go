package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

// dhl takes DHL's Shipment Tracking – Unified, pushed or asked for.
func dhl() Source {
	s := define(spec{
		code: "dhl", kind: track.SourceCarrierPush, newestFirst: true,
		cut: cutDHL, read: readDHL, codes: dhlCodes, words: true,
	}, Facts{
		Name:       "DHL",
		Reports:    "Shipment Tracking – Unified: pushes and answers; eCommerce Americas webhooks in the same layout",
		Account:    "a name of yours, and the token that you gave DHL with the subscription",
		Verify:     "the token in the header that you chose, of `Authorization`, `X-API-Key`, `DHL-API-Key` and `X-Posthaste-Token`; or as the key in the path",
		Answer:     "HTTP 200 within 5 seconds",
		Times:      "with an offset or without, in one document; without one it is unknown",
		Notes:      []string{"The service decides the carrier: parcel-de is dhl-de, ecommerce dhlecommerce, all else dhl."},
		Unverified: []string{"the push's body, which DHL says differs by division: that of a query's answer is taken"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			return r.bears(secret, "Authorization", "X-API-Key", "DHL-API-Key", "X-Posthaste-Token") || r.keyed(secret)
		})
	})
	return s
}

// dhlCodes are the ICE event and RIC where there are some, and the unified
// status.
func dhlCodes(ice, unified string) []coded { return []coded{{"ice", ice}, {"statusCode", unified}} }

// dhlCarriers are the carriers of DHL's services that are not dhl.
var dhlCarriers = map[string]track.Carrier{
	"parcel-de": "dhl-de", "post-de": "dhl-de", "ecommerce": "dhlecommerce", "ecommerce-america": "dhlecommerce", "parcel-uk": "dhluk", "parcel-nl": "dhlnetherlands",
}

type dhlShipment struct {
	ID                         text
	Service                    text
	Events                     []dhlEvent
	EstimatedTimeOfDelivery    text
	EstimatedDeliveryTimeFrame struct{ EstimatedFrom, EstimatedThrough text }
	Details                    struct {
		ProofOfDelivery struct{ Signed struct{ Name text } }
	}
}

type dhlEvent struct {
	Timestamp, StatusCode, Status, Description, Remark, NextSteps text
	Location                                                      struct {
		Address struct{ CountryCode, PostalCode, AddressLocality text }
	}
}

func cutDHL(doc []byte) ([]Part, error) {
	var answer struct {
		Shipments []json.RawMessage
		ID        text
		Title     text
	}
	if wrong := unmarshal("body", doc, &answer); wrong != nil {
		return nil, wrong
	}
	bodies := answer.Shipments
	switch {
	case bodies != nil:
	case answer.ID != "":
		bodies = []json.RawMessage{doc}
	case answer.Title != "": // an error, such as that nothing was found
		return nil, nil
	default:
		return nil, &FieldError{"shipments", "is missing"}
	}
	parts := make([]Part, len(bodies))
	for i, body := range bodies {
		var s dhlShipment
		field := fmt.Sprintf("shipments[%d]", i)
		if wrong := unmarshal(field, body, &s); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		c, known := dhlCarriers[s.Service.String()]
		if !known {
			c = "dhl"
		}
		parts[i] = partOf(c, field+".id", s.ID.String(), body)
	}
	return parts, nil
}

func readDHL(raw *Raw) (told, *FieldError) {
	var s dhlShipment
	if wrong := unmarshal("shipment", raw.Body, &s); wrong != nil {
		return told{}, wrong
	}
	var t told
	for i := range s.Events {
		e := &s.Events[i]
		a := &e.Location.Address
		said := said{
			field: fmt.Sprintf("events[%d].timestamp", i), time: e.Timestamp.String(),
			event: track.Event{
				RawSubCode: e.StatusCode.String(), Text: words(" ", e.Description, e.Remark), Language: "en",
				Location: address(a.AddressLocality, "", a.PostalCode, a.CountryCode), Attributes: attributes("status", e.Status, "next_steps", e.NextSteps),
			},
		}
		if e.StatusCode.String() == "delivered" {
			said.event.Signer = s.Details.ProofOfDelivery.Signed.Name.String()
		}
		t.events = append(t.events, said)
	}
	if from := s.EstimatedDeliveryTimeFrame.EstimatedFrom; from != "" {
		t.expected = &expected{field: "estimatedDeliveryTimeFrame", from: from.String(), to: s.EstimatedDeliveryTimeFrame.EstimatedThrough.String()}
	} else if at := s.EstimatedTimeOfDelivery; at != "" {
		t.expected = &expected{field: "estimatedTimeOfDelivery", from: at.String()}
	}
	return t, nil
}
