package carrier

import (
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

type landmarkPackage struct {
	Number   text `xml:"TrackingNumber"`
	Landmark text `xml:"LandmarkTrackingNumber"`
	Events   []struct {
		Status   text `xml:"Status"`
		DateTime text `xml:"DateTime"`
		Location text `xml:"Location"`
		Code     text `xml:"EventCode"`
	} `xml:"Events>Event"`
}

func landmark() Source {
	return polled(spec{
		code: "landmark", carrier: "landmarkglobal", codes: one("eventCode"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			parts, err := cutXMLParts("landmarkglobal", "Package", "Errors", func(body []byte) (text, error) {
				var p landmarkPackage
				err := readXML(body, &p)
				return text(first(p.Landmark, p.Number)), err
			})(doc)
			if err != nil {
				return parts, err
			}
			// Who delivers stands outside the packages.
			if ends, err := cutXML(doc, "EndDeliveryCarrier"); err == nil && len(ends) == 1 {
				var name string
				if readXML(ends[0], &name) == nil {
					for i := range parts {
						parts[i].Context = map[string]string{}
						set(parts[i].Context, contextLastCarrier, string(carrierNamed(strings.TrimSpace(name))))
					}
				}
			}
			return parts, nil
		},
		read: func(raw *Raw) (told, *FieldError) {
			var p landmarkPackage
			if err := readXML(raw.Body, &p); err != nil {
				return told{}, &FieldError{"Package", "is not XML: " + err.Error()}
			}
			t := told{links: linkTo(track.LinkLastMile, raw.Waybill, track.Carrier(raw.Context[contextLastCarrier]), p.Number.String())}
			for i, e := range p.Events {
				t.events = append(t.events, said{field: fmt.Sprintf("Events[%d].DateTime", i), time: americanTime(e.DateTime.String()), event: track.Event{
					RawCode: e.Code.String(), Text: oneLine(e.Status.String()), Language: "en", Location: track.Location{Text: e.Location.String()},
				}})
			}
			return t, nil
		},
	}, "Landmark Global", "answers of the tracking API in XML", "without an offset, which is unknown; 09/25/2025 09:10 AM or 2025-10-27 05:48:01; 00:00 stands for no time",
		"The waybill is Landmark's own number; the number of who delivers becomes a link.", "Events 200, 225 and 275 say several things, and are told coarsely.")
}

// americanTime writes 09/25/2025 02:05 PM as 2025-09-25 14:05. A midnight, which
// stands for no time, is left out.
func americanTime(s string) string {
	day, clock, _ := strings.Cut(s, " ")
	if parts := strings.Split(day, "/"); len(parts) == 3 {
		day = parts[2] + "-" + parts[0] + "-" + parts[1]
		hour, rest, _ := strings.Cut(clock, ":")
		minute, half, ok := strings.Cut(rest, " ")
		if ok && len(hour) == 2 && hour[0] >= '0' && hour[0] <= '9' && hour[1] >= '0' && hour[1] <= '9' {
			h := int(hour[0]-'0')*10 + int(hour[1]-'0')
			switch {
			case half == "PM" && h < 12:
				h += 12
			case half == "AM" && h == 12:
				h = 0
			}
			clock = fmt.Sprintf("%02d:%s", h, minute)
		}
	}
	switch clock {
	case "00:00", "00:00:00":
		clock = ""
	}
	return strings.TrimSpace(day + " " + clock)
}

// oneLine puts blanks of all kinds into one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
