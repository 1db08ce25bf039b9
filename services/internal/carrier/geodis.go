package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type geodisAnswer struct {
	Contenu struct {
		Number   text `json:"noSuivi"`
		Expected text `json:"dateLivraisonPrevue"`
		Events   []struct {
			Code       text `json:"codeSituationJustification"`
			Label      text `json:"libelleSuivi"`
			Center     text `json:"libelleCentre"`
			CenterCode text `json:"codeSa"`
			Day        text `json:"dateSuivi"`
			Clock      text `json:"heureSuivi"`
		} `json:"listSuivis"`
	}
}

func geodis() Source {
	return polled(spec{
		code: "geodis", carrier: "geodis", newestFirst: true, codes: one("code"), words: true,
		cut: whole("geodis", "contenu.noSuivi", func(doc []byte) (text, *FieldError) {
			var a geodisAnswer
			wrong := unmarshal("answer", doc, &a)
			return a.Contenu.Number, wrong
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var a geodisAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range a.Contenu.Events {
				event := track.Event{
					RawCode: e.Code.String(), Text: e.Label.String(), Language: "fr",
					Location: track.Location{Text: e.Center.String(), FacilityCode: e.CenterCode.String(), FacilityName: e.Center.String()},
				}
				t.events = append(t.events, said{field: fmt.Sprintf("contenu.listSuivis[%d].dateSuivi", i), time: words(" ", e.Day, e.Clock), event: event})
			}
			if e := a.Contenu.Expected; e != "" {
				t.expected = &expected{field: "dateLivraisonPrevue", from: e.String()}
			}
			return t, nil
		},
	}, "Geodis", "answers of the tracking API (zoomclient)", "wall clock in France without an offset, which is unknown")
}
