package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type tntConsignment struct {
	Number    text `xml:"ConsignmentNumber"`
	Signatory text `xml:"Signatory"`
	Events    []struct {
		Code        text `xml:"StatusCode"`
		Description text `xml:"StatusDescription"`
		Date        text `xml:"LocalEventDate"`
		Time        text `xml:"LocalEventTime"`
		Depot       text `xml:"Depot"`
		DepotName   text `xml:"DepotName"`
	} `xml:"StatusData"`
}

func tnt() Source {
	return polled(spec{
		code: "tnt", carrier: "tnt", newestFirst: true, codes: one("statusCode"), words: true,
		cut: cutXMLParts("tnt", "Consignment", "TrackResponse", func(body []byte) (text, error) {
			var c tntConsignment
			err := readXML(body, &c)
			return c.Number, err
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var c tntConsignment
			if err := readXML(raw.Body, &c); err != nil {
				return told{}, &FieldError{"Consignment", "is not XML: " + err.Error()}
			}
			var t told
			for i, e := range c.Events {
				when := e.Date.String()
				if clock := e.Time.String(); len(clock) == 4 { // 1020
					when += " " + clock[:2] + ":" + clock[2:]
				}
				if len(when) > 8 {
					when = when[:4] + "-" + when[4:6] + "-" + when[6:]
				}
				event := track.Event{
					RawCode: e.Code.String(), Text: oneLine(e.Description.String()), Language: "en",
					Location: track.Location{Text: e.DepotName.String(), FacilityCode: e.Depot.String(), FacilityName: e.DepotName.String()},
				}
				if event.RawCode == "OK" {
					event.Signer = c.Signatory.String()
				}
				t.events = append(t.events, said{field: fmt.Sprintf("StatusData[%d].LocalEventDate", i), time: when, event: event})
			}
			return t, nil
		},
	}, "TNT", "answers of ExpressConnect tracking in XML", "local wall clock without an offset, which is unknown", "Several consignments with one number are parts of one waybill.")
}
