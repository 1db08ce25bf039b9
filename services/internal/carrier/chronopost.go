package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type chronopostList struct {
	Number text `xml:"skybillNumber"`
	Events []struct {
		Code   text `xml:"code"`
		Date   text `xml:"eventDate"`
		Label  text `xml:"eventLabel"`
		Office text `xml:"officeLabel"`
		Zip    text `xml:"zipCode"`
		Info   []struct {
			Name  text `xml:"name"`
			Value text `xml:"value"`
		} `xml:"infoCompList"`
	} `xml:"events"`
}

func chronopost() Source {
	return polled(spec{
		code: "chronopost", carrier: "chronopost", codes: one("code"), words: true,
		cut: cutXMLParts("chronopost", "listEventInfoComp", "errorCode", func(body []byte) (text, error) {
			var l chronopostList
			err := readXML(body, &l)
			return l.Number, err
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var l chronopostList
			if err := readXML(raw.Body, &l); err != nil {
				return told{}, &FieldError{"listEventInfoComp", "is not XML: " + err.Error()}
			}
			var t told
			for i, e := range l.Events {
				event := track.Event{
					RawCode: e.Code.String(), Text: e.Label.String(),
					Location: track.Location{Text: words(" ", e.Zip, e.Office), Postcode: e.Zip.String(), FacilityName: e.Office.String()},
				}
				for _, info := range e.Info {
					if info.Name.String() == "Consignee's name" {
						event.Signer = info.Value.String()
					}
				}
				t.events = append(t.events, said{field: fmt.Sprintf("events[%d].eventDate", i), time: e.Date.String(), event: event})
			}
			return t, nil
		},
	}, "Chronopost", "answers of trackSkybillV2 in SOAP", "with an offset")
}
