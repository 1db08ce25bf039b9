package carrier

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// zto takes ZTO's track push, msg_type Traces: one event of one waybill.
func zto() Source {
	s := define(spec{
		code: "zto", kind: track.SourceCarrierPush, carrier: "zto-express",
		cut: cutZTO, read: readZTO, codes: one("action"),
	}, Facts{
		Name:    "ZTO Express (中通)",
		Reports: "track pushes, `msg_type=Traces`",
		Account: "company_id and the appSecret",
		Verify:  "`data_digest` = base64(md5(data + appSecret))",
		Answer:  "`{\"status\":true,\"message\":\"\",\"result\":\"success\",\"statusCode\":\"0\"}`",
		Times:   "wall clock in China without an offset; an offset is assumed",
		Notes: []string{
			"ZTO gives no event id, sends one event at a time, and in any order. The same scan comes again with another time: it is in the history twice and counts once.",
			"The codes of ZTO's query, `scanType`, mean other things than those of the push; both are in the table.",
		},
		Unverified: []string{"the answer's wording", "the actions PROBLEM, RETURN_SCAN and RETURN_SIGNED"},
	})
	s.Push = &Receiver{Verify: verifyZTO, Accept: acceptZTO, Refuse: refuseZTO}
	return s
}

func verifyZTO(r *Request) (Document, *Refusal) {
	form := r.Form()
	data := form.Get("data")
	account, no := r.sentBy(form.Get("company_id"), func(secret string) bool {
		text, ok := signedForm(form.Get("data"), form.Get("data_digest"), func(text string) string { return md5Base64(text + secret) })
		if ok {
			data = text
		}
		return ok
	})
	if no != nil {
		return Document{}, no
	}
	doc := Document{Account: account, Text: utf8Text([]byte(data))}
	if data == "" {
		return doc, missing("data")
	}
	return doc, nil
}

type ztoAnswer struct {
	Status     bool   `json:"status"`
	Message    string `json:"message"`
	Result     string `json:"result"`
	StatusCode string `json:"statusCode"`
}

func acceptZTO(Document, time.Time) Answer {
	return answerJSON(StatusOK, ztoAnswer{true, "", "success", "0"})
}

func refuseZTO(_ Document, no *Refusal, _ time.Time) Answer {
	return answerJSON(no.Status, ztoAnswer{false, no.Description, "fail", "1"})
}

type ztoEvent struct {
	BillCode, Action, ActionTime                     text
	City, Dist                                       text
	FacilityCode, FacilityName, FacilityContactPhone text
	Courier, CourierPhone, ExpressSigner             text
	NextNodeCode, NextNodeName, NextCity             text
	ComCode, ComName, Address, Desc                  text
}

func cutZTO(doc []byte) ([]Part, error) {
	var e ztoEvent
	if wrong := unmarshal("data", doc, &e); wrong != nil {
		return nil, wrong
	}
	return []Part{partOf("zto-express", "billCode", e.BillCode.String(), doc)}, nil
}

func readZTO(raw *Raw) (told, *FieldError) {
	var e ztoEvent
	if wrong := unmarshal("data", raw.Body, &e); wrong != nil {
		return told{}, wrong
	}
	event := track.Event{
		RawCode: e.Action.String(), Text: e.Desc.String(), Signer: e.ExpressSigner.String(),
		Courier: track.Person{Name: e.Courier.String(), Phone: e.CourierPhone.String()},
		Location: track.Location{
			Text: words(" ", e.City, e.Dist, e.FacilityName), City: e.City.String(), Country: "CN",
			FacilityCode: e.FacilityCode.String(), FacilityName: e.FacilityName.String(),
		},
		Attributes: attributes("facility_phone", e.FacilityContactPhone, "pickup_point_operator", e.ComName, "address", e.Address),
	}
	if e.NextNodeName != "" || e.NextCity != "" {
		event.NextLocation = track.Location{
			Text: words(" ", e.NextCity, e.NextNodeName), City: e.NextCity.String(), FacilityCode: e.NextNodeCode.String(), FacilityName: e.NextNodeName.String(),
		}
	}
	return told{events: []said{{field: "actionTime", time: e.ActionTime.String(), zone: chinaZone, event: event}}}, nil
}

// attributes makes a map of names and texts, of those that aren't empty.
func attributes(pairs ...any) map[string]string {
	var m map[string]string
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		value, _ := pairs[i+1].(text)
		if value := value.String(); value != "" {
			if m == nil {
				m = map[string]string{}
			}
			m[name] = value
		}
	}
	return m
}
