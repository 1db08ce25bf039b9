package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type laposteAnswer struct {
	Shipment struct {
		IDShip, EstimDate text
		IsFinal           text
		Event             []struct{ Code, Label, Date text }
	}
}

func laposte() Source {
	return polled(spec{
		code: "laposte", carrier: "la-poste-colissimo", newestFirst: true, codes: one("code"),
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "answers", array, func(body []byte) (text, *FieldError) {
				var a laposteAnswer
				wrong := unmarshal("answer", body, &a)
				return a.Shipment.IDShip, wrong
			}, "la-poste-colissimo")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var a laposteAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range a.Shipment.Event {
				t.events = append(t.events, said{field: fmt.Sprintf("shipment.event[%d].date", i), time: e.Date.String(), event: track.Event{
					RawCode: e.Code.String(), Text: e.Label.String(), Language: "fr",
				}})
			}
			if when := a.Shipment.EstimDate.String(); when != "" && a.Shipment.IsFinal.String() != "true" {
				t.expected = &expected{field: "estimDate", from: when}
			}
			return t, nil
		},
	}, "La Poste (Colissimo)", "answers of Suivi v2", "with an offset")
}
