package carrier

import (
	"fmt"
	"strconv"

	"github.com/posthaste/posthaste/services/internal/track"
)

type dicomAnswer struct {
	TrackingNumber text
	Activities     []struct {
		ActivityDate, Status, StatusDetail, Code, CodeDetail text
		AdditionalInformation, Terminal, ParcelID            text
		Latitude, Longitude                                  text
	}
}

func dicom() Source {
	return polled(spec{
		code: "dicom", carrier: "kdn-dicomexpress", codes: one("code"), words: true,
		cut: whole("kdn-dicomexpress", "trackingNumber", func(doc []byte) (text, *FieldError) {
			var a dicomAnswer
			wrong := unmarshal("answer", doc, &a)
			return a.TrackingNumber, wrong
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var a dicomAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range a.Activities {
				event := track.Event{
					RawCode: e.Code.String(), RawSubCode: e.CodeDetail.String(), Text: words(": ", e.Status, e.StatusDetail), Language: "en", Piece: e.ParcelID.String(),
					Location:   track.Location{FacilityCode: e.Terminal.String(), Coordinates: coordinates(e.Latitude, e.Longitude)},
					Attributes: attributes("information", e.AdditionalInformation),
				}
				t.events = append(t.events, said{field: fmt.Sprintf("activities[%d].activityDate", i), time: e.ActivityDate.String(), event: event})
			}
			return t, nil
		},
	}, "Dicom (GLS Canada)", "answers of the tracking API", "in UTC, with `Z`")
}

// coordinates are those of two texts; nil when they are none.
func coordinates(latitude, longitude text) *track.Coordinates {
	north, err := strconv.ParseFloat(latitude.String(), 64)
	east, err2 := strconv.ParseFloat(longitude.String(), 64)
	if err != nil || err2 != nil || !(north >= -90 && north <= 90) || !(east >= -180 && east <= 180) {
		return nil
	}
	return &track.Coordinates{Latitude: north, Longitude: east}
}
