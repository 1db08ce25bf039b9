package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type hermesShipment struct {
	ShipmentID text
	Forecast   struct {
		Date     text
		TimeSlot struct{ From, To text }
	} `json:"deliveryForecast"`
	Status []struct {
		Timestamp, Code, Description text
		Unit                         struct{ Name, City, CountryCode text } `json:"scanningUnit"`
	}
}

func hermes() Source {
	return polled(spec{
		code: "hermes", carrier: "hermes", codes: one("code"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "shipmentinfo", func(doc []byte) ([]json.RawMessage, *FieldError) {
				var a struct{ Shipmentinfo []json.RawMessage }
				wrong := unmarshal("answer", doc, &a)
				return a.Shipmentinfo, wrong
			}, func(body []byte) (text, *FieldError) {
				var s hermesShipment
				wrong := unmarshal("shipment", body, &s)
				return s.ShipmentID, wrong
			}, "hermes")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var s hermesShipment
			if wrong := unmarshal("shipment", raw.Body, &s); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range s.Status {
				l := address(e.Unit.City, "", "", e.Unit.CountryCode)
				l.FacilityName = e.Unit.Name.String()
				t.events = append(t.events, said{field: fmt.Sprintf("status[%d].timestamp", i), time: e.Timestamp.String(), event: track.Event{
					RawCode: e.Code.String(), Text: e.Description.String(), Location: l,
				}})
			}
			if day := s.Forecast.Date.String(); day != "" {
				t.expected = &expected{field: "deliveryForecast", from: words(" ", text(day), s.Forecast.TimeSlot.From), to: words(" ", text(day), s.Forecast.TimeSlot.To)}
			}
			return t, nil
		},
	}, "Hermes (Germany)", "answers of shipmentinfo", "with an offset")
}
