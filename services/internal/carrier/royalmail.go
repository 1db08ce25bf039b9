package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type royalmailPiece struct {
	MailPieceID text
	Summary     struct {
		OneDBarcode, DestinationCountryCode text
	}
	Signature struct{ RecipientName text }
	Expected  struct{ Date, StartOfEstimatedWindow, EndOfEstimatedWindow text } `json:"estimatedDelivery"`
	Events    []struct{ EventCode, EventName, EventDateTime, LocationName text }
}

func royalmail() Source {
	return polled(spec{
		code: "royalmail", carrier: "royal-mail", newestFirst: true, codes: one("eventCode"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "mailPieces", func(doc []byte) ([]json.RawMessage, *FieldError) {
				var a struct{ MailPieces json.RawMessage }
				if wrong := unmarshal("answer", doc, &a); wrong != nil {
					return nil, wrong
				}
				if len(a.MailPieces) == 0 {
					return nil, &FieldError{"mailPieces", "is missing"}
				}
				return array(a.MailPieces)
			}, func(body []byte) (text, *FieldError) {
				var p royalmailPiece
				wrong := unmarshal("mailPiece", body, &p)
				return text(first(p.Summary.OneDBarcode, p.MailPieceID)), wrong
			}, "royal-mail")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var p royalmailPiece
			if wrong := unmarshal("mailPiece", raw.Body, &p); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range p.Events {
				l := track.Location{Text: e.LocationName.String(), FacilityName: e.LocationName.String()}
				t.events = append(t.events, said{field: fmt.Sprintf("events[%d].eventDateTime", i), time: e.EventDateTime.String(), event: track.Event{
					RawCode: e.EventCode.String(), Text: e.EventName.String(), Language: "en", Location: l,
				}})
			}
			if day := p.Expected.Date; day != "" {
				t.expected = &expected{field: "estimatedDelivery", from: words(" ", day, p.Expected.StartOfEstimatedWindow), to: words(" ", day, p.Expected.EndOfEstimatedWindow)}
			}
			return t, nil
		},
	}, "Royal Mail", "mail pieces of Tracking v2", "with an offset", "The waybill is the barcode, FQ087430672GB.")
}
