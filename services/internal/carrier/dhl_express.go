package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type dhlExpressInfo struct {
	Number text `xml:"AWBNumber"`
	Status text `xml:"Status>ActionStatus"`
	Events []struct {
		Date        text `xml:"Date"`
		Time        text `xml:"Time"`
		Code        text `xml:"ServiceEvent>EventCode"`
		Description text `xml:"ServiceEvent>Description"`
		Signer      text `xml:"Signatory"`
		Area        text `xml:"ServiceArea>ServiceAreaCode"`
		Place       text `xml:"ServiceArea>Description"`
	} `xml:"ShipmentInfo>ShipmentEvent"`
}

func dhlExpress() Source {
	cut := cutXMLParts("dhl", "AWBInfo", "Response", func(body []byte) (text, error) {
		var a dhlExpressInfo
		err := readXML(body, &a)
		return a.Number, err
	})
	return polled(spec{
		code: "dhl_express", carrier: "dhl", codes: one("eventCode"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			parts, err := cut(doc)
			known := parts[:0]
			for _, p := range parts {
				var a dhlExpressInfo
				if p.Err != nil && readXML(p.Body, &a) == nil && a.Number.String() == "" && len(a.Events) == 0 {
					continue // "No Shipments Found": it names no number
				}
				known = append(known, p)
			}
			return known, err
		},
		read: func(raw *Raw) (told, *FieldError) {
			var a dhlExpressInfo
			if err := readXML(raw.Body, &a); err != nil {
				return told{}, &FieldError{"AWBInfo", "is not XML: " + err.Error()}
			}
			var t told
			for i, e := range a.Events {
				event := track.Event{
					RawCode: e.Code.String(), Text: words(" ", text(oneLine(e.Description.String()))), Language: "en",
					Location: track.Location{Text: e.Place.String(), FacilityCode: e.Area.String()},
				}
				if event.RawCode == "OK" { // elsewhere it holds all kinds of things
					event.Signer = e.Signer.String()
				}
				t.events = append(t.events, said{field: fmt.Sprintf("ShipmentEvent[%d].Date", i), time: words(" ", e.Date, e.Time), event: event})
			}
			return t, nil
		},
	}, "DHL Express (XML)", "answers of the XML tracking service", "wall clock of the place without an offset, which is unknown")
}
