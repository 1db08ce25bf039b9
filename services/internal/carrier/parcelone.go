package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type parceloneAnswer struct {
	Results struct {
		CarrierTrackingID text
		CarrierIDLMC      text
		SignedBy          text
		Events            []struct{ DateTime, Location, Description, StatusCode text }
	}
}

func parcelone() Source {
	return polled(spec{
		code: "parcelone", carrier: "parcelone", newestFirst: true, codes: one("statusCode"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			var a parceloneAnswer
			if wrong := unmarshal("answer", doc, &a); wrong != nil {
				return nil, wrong
			}
			return []Part{{Body: doc, Err: errNoNumber}}, nil
		},
		read: func(raw *Raw) (told, *FieldError) {
			var a parceloneAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			r := &a.Results
			t := told{links: linkTo(track.LinkLastMile, raw.Waybill, carrierNamed(r.CarrierIDLMC.String()), r.CarrierTrackingID.String())}
			for i, e := range r.Events {
				event := track.Event{
					RawCode: e.StatusCode.String(), Text: e.Description.String(), Language: "en", Location: track.Location{Text: e.Location.String()},
				}
				if event.RawCode == "DELIVERED" {
					event.Signer = r.SignedBy.String()
				}
				t.events = append(t.events, said{field: fmt.Sprintf("results.Events[%d].DateTime", i), time: e.DateTime.String(), event: event})
			}
			return t, nil
		},
	}, "Parcel.One", "answers of the tracking API", "without an offset, which is unknown", "An answer doesn't name its number: it is that which was asked for. The number of who delivers becomes a link.")
}
