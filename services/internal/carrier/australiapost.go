package carrier

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

type auspostEvent struct{ Description, Date, Location text }

type auspostResult struct {
	TrackingID text `json:"tracking_id"`
	Items      []struct {
		Events []auspostEvent
		Items  []struct {
			ArticleID text `json:"article_id"`
			Events    []auspostEvent
		}
	} `json:"trackable_items"`
}

func australiapost() Source {
	return polled(spec{
		code: "australiapost", carrier: "australia-post", newestFirst: true, codes: one("description"), words: true,
		cut: func(doc []byte) ([]Part, error) {
			return list(doc, "tracking_results", func(doc []byte) ([]json.RawMessage, *FieldError) {
				var a struct {
					Results []json.RawMessage `json:"tracking_results"`
				}
				wrong := unmarshal("answer", doc, &a)
				return a.Results, wrong
			}, func(body []byte) (text, *FieldError) {
				var r auspostResult
				wrong := unmarshal("result", body, &r)
				return r.TrackingID, wrong
			}, "australia-post")
		},
		read: func(raw *Raw) (told, *FieldError) {
			var r auspostResult
			if wrong := unmarshal("result", raw.Body, &r); wrong != nil {
				return told{}, wrong
			}
			var t told
			add := func(path, piece string, events []auspostEvent) {
				for i, e := range events {
					code, _, _ := strings.Cut(e.Description.String(), " facility in ") // "In transit to next facility in SUNSHINE WEST VIC"
					if code != e.Description.String() {
						code += " facility"
					}
					t.events = append(t.events, said{field: fmt.Sprintf("%s.events[%d].date", path, i), time: e.Date.String(), event: track.Event{
						RawCode: code, Text: e.Description.String(), Language: "en", Location: track.Location{Text: e.Location.String()}, Piece: piece,
					}})
				}
			}
			for i, item := range r.Items {
				path := fmt.Sprintf("trackable_items[%d]", i)
				add(path, "", item.Events)
				for j, piece := range item.Items {
					id := piece.ArticleID.String()
					if id == string(raw.Waybill.Number) {
						id = ""
					}
					add(fmt.Sprintf("%s.items[%d]", path, j), id, piece.Events)
				}
			}
			return t, nil
		},
	}, "Australia Post", "answers of the tracking API", "with an offset", "There are no codes: the descriptions are looked up as they are.", "An error of one number comes inside HTTP 200: it tells of no events.")
}
