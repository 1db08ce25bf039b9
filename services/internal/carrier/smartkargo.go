package carrier

import (
	"github.com/posthaste/posthaste/services/internal/track"
)

type smartkargoEvent struct {
	Prefix, AirWaybill, PieceReference, EventType, EventDate text
	FlightNumber, EventLocation, Description                 text
	Destination                                              text `json:"flightSegmentDestination"`
	Expected                                                 text `json:"estimatedDeliveryDate"`
	Location                                                 struct {
		City, State, Zip, CountryID text
		Latitude, Longitude         text
	}
}

func smartkargo() Source {
	return polled(spec{
		code: "smartkargo", carrier: "smartkargo", newestFirst: true, codes: one("eventType"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "events", array, func(body []byte) (text, *FieldError) {
				var e smartkargoEvent
				wrong := unmarshal("event", body, &e)
				if e.Prefix == "" || e.AirWaybill == "" {
					return "", wrong
				}
				return e.Prefix + "-" + e.AirWaybill, wrong
			}, "smartkargo")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var e smartkargoEvent
			if wrong := unmarshal("event", raw.Body, &e); wrong != nil {
				return told{}, wrong
			}
			l := address(e.Location.City, e.Location.State, e.Location.Zip, e.Location.CountryID)
			l.FacilityCode, l.Coordinates = e.EventLocation.String(), coordinates(e.Location.Latitude, e.Location.Longitude)
			if l.Text == "" {
				l.Text = l.FacilityCode
			}
			event := track.Event{
				RawCode: e.EventType.String(), Text: e.Description.String(), Language: "en", Location: l, Piece: e.PieceReference.String(),
				Vehicle: e.FlightNumber.String(), NextLocation: track.Location{Text: e.Destination.String(), FacilityCode: e.Destination.String()},
			}
			if event.Vehicle != "" {
				event.TransportMode = "air"
			}
			t := told{events: []said{{field: "eventDate", time: e.EventDate.String(), event: event}}}
			if e.Expected != "" {
				t.expected = &expected{field: "estimatedDeliveryDate", from: e.Expected.String()}
			}
			return t, nil
		},
	}, "SmartKargo", "events of the tracking API", "without an offset, which is unknown", "The waybill is prefix and air waybill, AXB-00006510; every event is a part of its own.")
}
