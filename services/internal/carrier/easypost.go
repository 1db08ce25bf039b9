package carrier

import (
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/posthaste/posthaste/services/internal/track"
)

// easypost takes EasyPost's tracker events, and trackers that were asked for.
func easypost() Source {
	s := define(spec{
		code: "easypost", kind: track.SourceAggregatorPush,
		cut: cutEasyPost, read: readEasyPost, codes: easypostCodes,
	}, Facts{
		Name:       "EasyPost",
		Reports:    "events tracker.created and tracker.updated; trackers that were asked for",
		Account:    "a name of yours, and the webhook's secret",
		Verify:     "header `X-Hmac-Signature` = `hmac-sha256-hex=` hex(HMAC-SHA256(NFKD(secret), body))",
		Answer:     "HTTP 200",
		Times:      "with `Z`",
		Notes:      []string{"Events about other things than trackers are answered and have no effect."},
		Unverified: []string{"that a carrier's local time never comes labelled as UTC"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			given := strings.TrimPrefix(strings.TrimSpace(r.Header("X-Hmac-Signature")), "hmac-sha256-hex=")
			return same(strings.ToLower(given), macHex(norm.NFKD.String(secret), r.Body))
		})
	})
	return s
}

// easypostCodes are the detail, which says nothing where it is status_update,
// and the status.
func easypostCodes(detail, state string) []coded {
	if detail == "status_update" {
		detail = ""
	}
	return []coded{{"status_detail", detail}, {"status", state}}
}

type easypostTracker struct {
	Object         text
	TrackingCode   text `json:"tracking_code"`
	Carrier        text
	SignedBy       text `json:"signed_by"`
	Expected       text `json:"est_delivery_date"`
	TrackingDetail []struct {
		Message  text
		Status   text
		Detail   text `json:"status_detail"`
		Datetime text
		Location struct{ City, State, Country, Zip text } `json:"tracking_location"`
	} `json:"tracking_details"`
}

type easypostEvent struct {
	easypostTracker

	Description text
	Result      *easypostTracker
}

// tracker is the tracker of a document; nil when it is about something else.
func (e *easypostEvent) tracker() *easypostTracker {
	switch {
	case e.Result != nil && e.Result.Object == "Tracker":
		return e.Result
	case e.Object == "Tracker":
		return &e.easypostTracker
	}
	return nil
}

func cutEasyPost(doc []byte) ([]Part, error) {
	var e easypostEvent
	if wrong := unmarshal("body", doc, &e); wrong != nil {
		return nil, wrong
	}
	t := e.tracker()
	if t == nil {
		if e.Object == "" {
			return nil, &FieldError{"object", "is missing"}
		}
		return nil, nil
	}
	c := carrierNamed(t.Carrier.String())
	part := partOf(c, "result.tracking_code", t.TrackingCode.String(), doc)
	if c == "" {
		part.Err = &FieldError{"result.carrier", "is empty"}
	}
	return []Part{part}, nil
}

func readEasyPost(raw *Raw) (told, *FieldError) {
	var e easypostEvent
	if wrong := unmarshal("body", raw.Body, &e); wrong != nil {
		return told{}, wrong
	}
	var t told
	tracker := e.tracker()
	if tracker == nil {
		return t, nil
	}
	for i := range tracker.TrackingDetail {
		d := &tracker.TrackingDetail[i]
		event := track.Event{
			RawCode: d.Detail.String(), RawSubCode: d.Status.String(), Text: d.Message.String(), Language: "en",
			Location: address(d.Location.City, d.Location.State, d.Location.Zip, d.Location.Country),
		}
		if d.Status.String() == "delivered" {
			event.Signer = tracker.SignedBy.String()
		}
		t.events = append(t.events, said{field: fmt.Sprintf("result.tracking_details[%d].datetime", i), time: d.Datetime.String(), event: event})
	}
	if tracker.Expected != "" {
		t.expected = &expected{field: "est_delivery_date", from: tracker.Expected.String()}
	}
	return t, nil
}
