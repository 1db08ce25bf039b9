package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type mydhlShipment struct {
	Number   text `json:"shipmentTrackingNumber"`
	Expected text `json:"estimatedTimeOfDelivery"`
	Events   []struct {
		Date, Time, TypeCode, Description, GMTOffset, SignedBy text
		ServiceArea                                            []struct{ Code, Description text }
	}
}

func mydhl() Source {
	return polled(spec{
		code: "mydhl", carrier: "dhl", newestFirst: true, codes: one("eventCode"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "shipments", func(doc []byte) ([]json.RawMessage, *FieldError) {
				var a struct{ Shipments []json.RawMessage }
				wrong := unmarshal("answer", doc, &a)
				return a.Shipments, wrong
			}, func(body []byte) (text, *FieldError) {
				var s mydhlShipment
				wrong := unmarshal("shipment", body, &s)
				return s.Number, wrong
			}, "dhl")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var s mydhlShipment
			if wrong := unmarshal("shipment", raw.Body, &s); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range s.Events {
				event := track.Event{RawCode: e.TypeCode.String(), Text: e.Description.String(), Language: "en", Signer: e.SignedBy.String()}
				if len(e.ServiceArea) > 0 {
					event.Location = track.Location{Text: e.ServiceArea[0].Description.String(), FacilityCode: e.ServiceArea[0].Code.String()}
				}
				t.events = append(t.events, said{
					field: fmt.Sprintf("events[%d].date", i), time: words(" ", e.Date, e.Time), zone: givenZone(e.GMTOffset.String(), zone{}), event: event,
				})
			}
			if when := s.Expected.String(); when != "" {
				t.expected = &expected{field: "estimatedTimeOfDelivery", from: when}
			}
			return t, nil
		},
	}, "DHL Express (MyDHL API)", "answers of the tracking API", "wall clock of the place, mostly without an offset, which is unknown")
}
