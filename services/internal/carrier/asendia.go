package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type asendiaAnswer struct {
	TrackingNumber text
	TrackingEvents []struct {
		ID, Code, Time, LocationName, LocationCountry, CarrierEventDescription text
	}
}

func asendia() Source {
	return polled(spec{
		code: "asendia", carrier: "asendia", codes: one("code"), words: true,
		cut: whole("asendia", "trackingNumber", func(doc []byte) (text, *FieldError) {
			var a asendiaAnswer
			wrong := unmarshal("answer", doc, &a)
			return a.TrackingNumber, wrong
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var a asendiaAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range a.TrackingEvents {
				l := track.Location{Text: e.LocationName.String(), Country: countryCode(e.LocationCountry.String())}
				t.events = append(t.events, said{field: fmt.Sprintf("trackingEvents[%d].time", i), time: e.Time.String(), event: track.Event{
					RawCode: e.Code.String(), Text: e.CarrierEventDescription.String(), Language: "en", Location: l,
				}})
			}
			return t, nil
		},
	}, "Asendia", "answers of the tracking API", "in UTC, with `Z`", "An event's `id` is its place in the list, and no identity.")
}
