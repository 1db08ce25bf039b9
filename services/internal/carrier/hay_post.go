package carrier

import (
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

type haypostAnswer struct {
	Order  struct{ TrackingID text }
	States []struct {
		ID, StateID, CreateDate text
	} `json:"orderStateHistories"`
}

func hayPost() Source {
	return polled(spec{
		code: "hay_post", carrier: "haypost", codes: one("state"),
		cut: whole("haypost", "order.trackingId", func(doc []byte) (text, *FieldError) {
			var a haypostAnswer
			wrong := unmarshal("answer", doc, &a)
			return a.Order.TrackingID, wrong
		}),
		read: func(raw *Raw) (told, *FieldError) {
			var a haypostAnswer
			if wrong := unmarshal("answer", raw.Body, &a); wrong != nil {
				return told{}, wrong
			}
			var t told
			for i, e := range a.States {
				t.events = append(t.events, said{
					field: fmt.Sprintf("orderStateHistories[%d].createDate", i), time: e.CreateDate.String(), id: e.ID.String(), event: track.Event{RawCode: e.StateID.String()},
				})
			}
			return t, nil
		},
	}, "Haypost (Armenia)", "answers of the order API", "without an offset, which is unknown; up to four digits of a fraction", "`0001-01-01T00:00:00` stands for none.")
}
