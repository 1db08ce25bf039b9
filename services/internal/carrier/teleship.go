package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type teleshipLeg struct{ Carrier, TrackingNumber text }

type teleshipAnswer struct {
	TrackingNumber      text
	EstimatedDelivery   text
	FirstMile, LastMile teleshipLeg
	Events              []struct{ Timestamp, Code, Description, Location text }
}

func teleship() Source {
	return polled(spec{
		code: "teleship", carrier: "teleship", words: true,
		codes: one("code"),
		cut: whole("teleship", "trackingNumber", func(doc []byte) (text, *FieldError) {
			var a teleshipAnswer
			wrong := unmarshal("answer", doc, &a)
			return a.TrackingNumber, wrong
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var a teleshipAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			t := told{links: append(
				linkTo(track.LinkParent, raw.Waybill, carrierNamed(a.FirstMile.Carrier.String()), a.FirstMile.TrackingNumber.String()),
				linkTo(track.LinkLastMile, raw.Waybill, carrierNamed(a.LastMile.Carrier.String()), a.LastMile.TrackingNumber.String())...)}
			sortLinks(t.links)
			for i, e := range a.Events {
				code := e.Code.String()
				// Out for delivery has the code in_transit: there the words tell more.
				if code == "in_transit" && e.Description.String() == "Out for delivery" {
					code = "out_for_delivery"
				}
				t.events = append(t.events, said{field: fmt.Sprintf("events[%d].timestamp", i), time: e.Timestamp.String(), event: track.Event{
					RawCode: code, Text: e.Description.String(), Language: "en", Location: track.Location{Text: e.Location.String()},
				}})
			}
			if when := a.EstimatedDelivery.String(); when != "" {
				t.expected = &expected{field: "estimatedDelivery", from: when}
			}
			return t, nil
		},
	}, "Teleship", "answers of the tracking API", "in UTC, with `Z`", "The numbers of the first and the last mile become links.")
}
