package carrier

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// dhlData is an element of DHL Paket's answers, all of which are called data.
type dhlData struct {
	Name       string     `xml:"name,attr"`
	Attributes []xml.Attr `xml:",any,attr"`
	Data       []dhlData  `xml:"data"`
}

func (d *dhlData) get(name string) text {
	for _, a := range d.Attributes {
		if a.Name.Local == name {
			return text(strings.TrimSpace(a.Value))
		}
	}
	return ""
}

// all finds the elements of a name, in order.
func (d *dhlData) all(name string) (found []*dhlData) {
	if d.Name == name {
		return []*dhlData{d}
	}
	for i := range d.Data {
		found = append(found, d.Data[i].all(name)...)
	}
	return found
}

func dhlParcelDE() Source {
	return polled(spec{
		code: "dhl_parcel_de", carrier: "dhl-de", codes: one("ice"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			bodies, err := cutXML(doc, "data")
			if err != nil {
				return nil, &FieldError{"document", err.Error()}
			}
			if len(bodies) == 0 {
				return nil, &FieldError{"data", "is missing"}
			}
			var d dhlData
			if err := readXML(bodies[0], &d); err != nil {
				return nil, &FieldError{"data", "is not XML: " + err.Error()}
			}
			shipments := d.all("piece-shipment")
			if len(shipments) != 1 { // one number is asked for, and one answered
				return nil, &FieldError{"piece-shipment", fmt.Sprintf("must be there once, and is %d times", len(shipments))}
			}
			return []Part{partOf("dhl-de", "piece-code", first(shipments[0].get("piece-code"), shipments[0].get("searched-piece-code")), bodies[0])}, nil
		},
		read: func(raw *Raw) (told, *FieldError) {
			var d dhlData
			if err := readXML(raw.Body, &d); err != nil {
				return told{}, &FieldError{"data", "is not XML: " + err.Error()}
			}
			var t told
			for i, e := range d.all("piece-event") {
				code := e.get("ice").String()
				if ric := e.get("ric").String(); ric != "" {
					code += ":" + ric
				}
				t.events = append(t.events, said{
					field: fmt.Sprintf("piece-event[%d].event-timestamp", i), time: germanTime(e.get("event-timestamp").String()), zone: zone{},
					event: track.Event{
						RawCode: code, RawSubCode: e.get("standard-event-code").String(), Text: first(e.get("event-text"), e.get("event-status")),
						Location: track.Location{Text: words(", ", e.get("event-location"), e.get("event-country")), City: e.get("event-location").String()},
					},
				})
			}
			return t, nil
		},
	}, "DHL Paket (Germany)", "answers of d-get-piece-detail in XML", "German wall clock without seconds, 17.03.2016 11:44; the offset is unknown", "Codes are DHL's ICE event and RIC.")
}

// germanTime writes 17.03.2016 11:44 as 2016-03-17 11:44.
func germanTime(s string) string {
	day, rest, _ := strings.Cut(s, " ")
	parts := strings.Split(day, ".")
	if len(parts) != 3 {
		return s
	}
	return strings.TrimSpace(parts[2] + "-" + parts[1] + "-" + parts[0] + " " + rest)
}
