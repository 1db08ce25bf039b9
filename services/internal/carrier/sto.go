package carrier

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// sto takes STO's STO_TRACE_PLATFORM_PUSH: one event of one waybill.
func sto() Source {
	s := define(spec{
		code: "sto", kind: track.SourceCarrierPush, carrier: "sto-express",
		cut: cutSTO, read: readSTO, codes: one("scanType"),
	}, Facts{
		Name:       "STO Express (申通)",
		Reports:    "trace pushes, `STO_TRACE_PLATFORM_PUSH`",
		Account:    "a name of yours, or to_code, and the secretKey",
		Verify:     "`data_digest` = base64(md5(content + secretKey))",
		Answer:     "`{\"success\":\"true\",\"errorCode\":\"\",\"errorMsg\":\"\"}`",
		Times:      "wall clock with its offset in `tz`; without it, China's time is assumed",
		Notes:      []string{"The event's id is `outBizCode`: STO pushes again after a time-out on its side, and says to look at it."},
		Unverified: []string{"the envelope's names api_name, from_code and to_code", "the answer's wording"},
	})
	s.Push = &Receiver{Verify: verifySTO, Accept: acceptSTO, Refuse: refuseSTO}
	return s
}

func verifySTO(r *Request) (Document, *Refusal) {
	form := r.Form()
	content := form.Get("content")
	account, no := r.sentBy(form.Get("to_code"), func(secret string) bool {
		text, ok := signedForm(form.Get("content"), form.Get("data_digest"), func(text string) string { return md5Base64(text + secret) })
		if ok {
			content = text
		}
		return ok
	})
	if no != nil {
		return Document{}, no
	}
	doc := Document{Account: account, Text: utf8Text([]byte(content))}
	if content == "" {
		return doc, missing("content")
	}
	return doc, nil
}

type stoAnswer struct {
	Success   string `json:"success"`
	ErrorCode string `json:"errorCode"`
	ErrorMsg  string `json:"errorMsg"`
}

func acceptSTO(Document, time.Time) Answer { return answerJSON(StatusOK, stoAnswer{Success: "true"}) }

func refuseSTO(_ Document, no *Refusal, _ time.Time) Answer {
	return answerJSON(no.Status, stoAnswer{"false", no.Reason, no.Description})
}

type stoPush struct {
	WaybillNo, LinkCode text
	Trace               struct {
		OutBizCode                                           text
		OpOrgName, OpOrgCode, OpOrgType, OpOrgTel            text
		OpOrgCityName, OpOrgProvinceName                     text
		OpTime, ScanType, Memo, Tz, IssueName, SignoffPeople text
		OpEmpName, OpEmpCode, BizEmpName, BizEmpTel          text
		NextOrgName, NextOrgCode, NextOrgType                text
		Address, Weight, Remark                              text
	}
}

func cutSTO(doc []byte) ([]Part, error) {
	var p stoPush
	if wrong := unmarshal("content", doc, &p); wrong != nil {
		return nil, wrong
	}
	return []Part{partOf("sto-express", "waybillNo", p.WaybillNo.String(), doc)}, nil
}

// stoFacilities are the kinds of a facility.
var stoFacilities = map[text]string{"1": "branch", "2": "hub", "3": "pickup_point"}

func readSTO(raw *Raw) (told, *FieldError) {
	var p stoPush
	if wrong := unmarshal("content", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	t := &p.Trace
	event := track.Event{
		RawCode: t.ScanType.String(), Text: t.Memo.String(), Signer: t.SignoffPeople.String(),
		Courier: track.Person{Name: t.BizEmpName.String(), Phone: t.BizEmpTel.String()},
		Location: track.Location{
			Text: words(" ", t.OpOrgProvinceName, t.OpOrgCityName, t.OpOrgName), Region: t.OpOrgProvinceName.String(), City: t.OpOrgCityName.String(),
			FacilityCode: t.OpOrgCode.String(), FacilityName: t.OpOrgName.String(), FacilityType: stoFacilities[t.OpOrgType],
		},
		Attributes: attributes("issue", t.IssueName, "facility_phone", t.OpOrgTel, "remark", t.Remark, "address", t.Address),
	}
	if event.Courier == (track.Person{}) {
		if event.Courier = courierIn(event.Text); event.Courier == (track.Person{}) {
			event.Courier.Name = t.OpEmpName.String()
		}
	}
	if t.NextOrgName != "" {
		event.NextLocation = track.Location{
			Text: t.NextOrgName.String(), FacilityCode: t.NextOrgCode.String(), FacilityName: t.NextOrgName.String(), FacilityType: stoFacilities[t.NextOrgType],
		}
	}
	return told{events: []said{{
		field: "trace.opTime", time: t.OpTime.String(), zone: givenZone(t.Tz.String(), chinaZone), id: t.OutBizCode.String(), event: event,
	}}}, nil
}
