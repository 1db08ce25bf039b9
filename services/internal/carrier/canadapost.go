package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type canadapostDetail struct {
	Pin       text `xml:"pin"`
	ReturnPin text `xml:"return-pin"`
	Expected  text `xml:"expected-delivery-date"`
	Changed   text `xml:"changed-expected-date"`
	Events    []struct {
		Code        text `xml:"event-identifier"`
		Date        text `xml:"event-date"`
		Time        text `xml:"event-time"`
		Zone        text `xml:"event-time-zone"`
		Description text `xml:"event-description"`
		Signer      text `xml:"signatory-name"`
		Site        text `xml:"event-site"`
		Province    text `xml:"event-province"`
	} `xml:"significant-events>occurrence"`
}

// canadaZones are the names that Canada Post gives clocks.
var canadaZones = map[string]string{
	"NST": "-03:30", "NDT": "-02:30", "AST": "-04:00", "ADT": "-03:00", "EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00",
	"MST": "-07:00", "MDT": "-06:00", "PST": "-08:00", "PDT": "-07:00",
}

func canadapost() Source {
	return polled(spec{
		code: "canadapost", carrier: "canada-post", newestFirst: true, codes: one("identifier"), words: true,
		cut: cutXMLParts("canada-post", "tracking-detail", "messages", func(body []byte) (text, error) {
			var d canadapostDetail
			err := readXML(body, &d)
			return d.Pin, err
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var d canadapostDetail
			if err := readXML(raw.Body, &d); err != nil {
				return told{}, &FieldError{"tracking-detail", "is not XML: " + err.Error()}
			}
			t := told{links: linkTo(track.LinkReturn, raw.Waybill, raw.Waybill.Carrier, d.ReturnPin.String())}
			for i, e := range d.Events {
				t.events = append(t.events, said{
					field: fmt.Sprintf("significant-events[%d].event-date", i), time: words(" ", e.Date, e.Time),
					zone: givenZone(canadaZones[e.Zone.String()], zone{}),
					event: track.Event{
						RawCode: e.Code.String(), Text: e.Description.String(), Language: "en", Signer: e.Signer.String(),
						Location: address(e.Site, e.Province, "", "CA"),
					},
				})
			}
			if when := first(d.Changed, d.Expected); when != "" {
				t.expected = &expected{field: "expected-delivery-date", from: when}
			}
			return t, nil
		},
	}, "Canada Post", "tracking details in XML", "wall clock with the clock's name, such as EST")
}

// cutXMLParts cuts a document into the elements of a name, each a waybill's. A
// document with the element none instead tells of no waybill.
func cutXMLParts(c track.Carrier, name, none string, number func(body []byte) (text, error)) func(doc []byte) ([]Part, error) {
	return func(doc []byte) ([]Part, error) {
		bodies, err := cutXML(doc, name)
		if err != nil {
			return nil, &FieldError{"document", err.Error()}
		}
		if len(bodies) == 0 {
			if nothing, err := cutXML(doc, none); none != "" && err == nil && len(nothing) > 0 {
				return nil, nil
			}
			return nil, &FieldError{name, "is missing"}
		}
		parts := make([]Part, len(bodies))
		for i, body := range bodies {
			field := fmt.Sprintf("%s[%d]", name, i)
			n, err := number(body)
			if err != nil {
				parts[i] = Part{Body: body, Err: &FieldError{field, "is not XML: " + err.Error()}}
				continue
			}
			parts[i] = partOf(c, field, n.String(), body)
		}
		return parts, nil
	}
}
