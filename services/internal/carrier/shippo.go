package carrier

import (
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// shippo takes Shippo's webhook track_updated.
func shippo() Source {
	s := define(spec{
		code: "shippo", kind: track.SourceAggregatorPush,
		cut: cutShippo, read: readShippo, codes: one("status"),
	}, Facts{
		Name:       "Shippo",
		Reports:    "webhook track_updated; answers of /tracks",
		Account:    "a name of yours, and the webhook's secret",
		Verify:     "header `Shippo-Auth-Signature: t=…,v1=` hex(HMAC-SHA256(secret, t + \".\" + body)), at most 72 hours old; or the secret as the key in the path, which Shippo calls a token",
		Answer:     "HTTP 200",
		Times:      "with `Z`",
		Notes:      []string{"RETURNED covers a return under way and one that ended; it is taken as under way."},
		Unverified: []string{"the layout and the signature. Use the key in the path"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			var at, sign string
			for pair := range strings.SplitSeq(r.Header("Shippo-Auth-Signature"), ",") {
				switch name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); name {
				case "t":
					at = value
				case "v1":
					sign = value
				}
			}
			signed := same(strings.ToLower(sign), macHex(secret, []byte(at+"."), r.Body))
			return signed && fresh(r.Now, at, webhookWindow) || r.keyed(secret)
		})
	})
	return s
}

type shippoStatus struct {
	ObjectID  text `json:"object_id"`
	Status    text
	Substatus struct{ Code, Text text }
	Details   text `json:"status_details"`
	Date      text `json:"status_date"`
	Location  struct{ City, State, Zip, Country text }
}

type shippoTrack struct {
	Carrier, Eta   text
	TrackingNumber text           `json:"tracking_number"`
	Status         *shippoStatus  `json:"tracking_status"`
	History        []shippoStatus `json:"tracking_history"`
}

type shippoPush struct {
	shippoTrack

	Event text
	Data  *shippoTrack
}

func (p *shippoPush) track() *shippoTrack {
	if p.Data != nil {
		return p.Data
	}
	return &p.shippoTrack
}

func cutShippo(doc []byte) ([]Part, error) {
	var p shippoPush
	if wrong := unmarshal("body", doc, &p); wrong != nil {
		return nil, wrong
	}
	if e := p.Event.String(); e != "" && e != "track_updated" {
		return nil, nil
	}
	t := p.track()
	c := carrierNamed(t.Carrier.String())
	part := partOf(c, "data.tracking_number", t.TrackingNumber.String(), doc)
	if c == "" {
		part.Err = &FieldError{"data.carrier", "is empty"}
	}
	return []Part{part}, nil
}

func readShippo(raw *Raw) (told, *FieldError) {
	var p shippoPush
	if wrong := unmarshal("body", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	s := p.track()
	list := s.History
	if s.Status != nil && !s.has(s.Status) {
		list = append(list, *s.Status)
	}
	var t told
	for i := range list {
		e := &list[i]
		t.events = append(t.events, said{
			field: fmt.Sprintf("data.tracking_history[%d].status_date", i), time: e.Date.String(),
			event: track.Event{
				RawCode: strings.ToUpper(e.Status.String()), RawSubCode: e.Substatus.Code.String(), Text: e.Details.String(), Language: "en",
				Location: address(e.Location.City, e.Location.State, e.Location.Zip, e.Location.Country),
			},
		})
	}
	if s.Eta != "" {
		t.expected = &expected{field: "eta", from: s.Eta.String()}
	}
	return t, nil
}

// has reports whether the history has a status.
func (s *shippoTrack) has(x *shippoStatus) bool {
	for i := range s.History {
		if s.History[i] == *x || s.History[i].Date == x.Date && s.History[i].Status == x.Status && s.History[i].Details == x.Details {
			return true
		}
	}
	return false
}
