package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type roadieShipment struct {
	TrackingNumber text `json:"tracking_number"`
	Signatory      text `json:"signatory_name"`
	Driver         struct{ Name, Phone text }
	Events         []struct {
		Name     text
		At       text `json:"occurred_at"`
		Location struct{ Latitude, Longitude text }
	}
}

func roadie() Source {
	return polled(spec{
		code: "roadie", carrier: "roadie", codes: one("event"),
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "shipments", array, func(body []byte) (text, *FieldError) {
				var s roadieShipment
				wrong := unmarshal("shipment", body, &s)
				return s.TrackingNumber, wrong
			}, "roadie")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var s roadieShipment
			if wrong := unmarshal("shipment", raw.Body, &s); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range s.Events {
				event := track.Event{
					RawCode: e.Name.String(), Courier: track.Person{Name: s.Driver.Name.String(), Phone: s.Driver.Phone.String()},
					Location: track.Location{Coordinates: coordinates(e.Location.Latitude, e.Location.Longitude)},
				}
				if event.RawCode == "delivery_confirmed" {
					event.Signer = s.Signatory.String()
				}
				t.events = append(t.events, said{field: fmt.Sprintf("events[%d].occurred_at", i), time: e.At.String(), event: event})
			}
			return t, nil
		},
	}, "Roadie", "shipments of the API", "in UTC, with `Z`", "Several parcels can have one number: their events are of one trace.")
}
