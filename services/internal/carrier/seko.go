package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type sekoConsignment struct {
	ConsignmentNo text
	Events        []struct{ EventDT, Code, OmniCode, Description, Location, Part text }
}

func seko() Source {
	return polled(spec{
		code: "seko", carrier: "seko", codes: func(omni, _ string) []coded { return []coded{{"omniCode", omni}} }, words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "consignments", array, func(body []byte) (text, *FieldError) {
				var c sekoConsignment
				wrong := unmarshal("consignment", body, &c)
				return c.ConsignmentNo, wrong
			}, "seko")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var c sekoConsignment
			if wrong := unmarshal("consignment", raw.Body, &c); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range c.Events {
				t.events = append(t.events, said{field: fmt.Sprintf("Events[%d].EventDT", i), time: e.EventDT.String(), event: track.Event{
					RawCode: e.OmniCode.String(), RawSubCode: e.Code.String(), Text: e.Description.String(), Language: "en", Location: track.Location{Text: e.Location.String()},
				}})
			}
			return t, nil
		},
	}, "SEKO Omni-Channel", "consignments of the tracking API", "without an offset, which is unknown", "Codes are SEKO's OmniCodes; the code of who delivers is kept beside.")
}
