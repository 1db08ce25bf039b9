package carrier

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// jtexpress takes J&T Express's trace push, logistics/statusFeedback.
func jtexpress() Source {
	s := define(spec{
		code: "jtexpress", kind: track.SourceCarrierPush, carrier: "jt-express-cn",
		cut: cutJT, read: readJT, codes: func(scan, problem string) []coded { return []coded{{"problemType", problem}, {"scanType", scan}} },
	}, Facts{
		Name:    "J&T Express (极兔)",
		Reports: "trace pushes, `logistics/statusFeedback`",
		Account: "apiAccount and the privateKey",
		Verify:  "header `digest` = base64(md5(bizContent + privateKey))",
		Answer:  "`{\"code\":\"1\",\"msg\":\"success\",\"data\":\"SUCCESS\"}`",
		Times:   "wall clock in China without an offset; an offset is assumed",
		Notes: []string{
			"Where an event names its own billCode it counts, not the one around it: J&T's own example has two.",
			"The header `timestamp` isn't signed, so that it proves nothing and isn't looked at. A push played back tells nothing new.",
		},
		Unverified: []string{"the digest's formula", "codes of countries other than China (10, 50, 92, 94, 100): the table has China's"},
	})
	s.Push = &Receiver{Verify: verifyJT, Accept: acceptJT, Refuse: refuseJT}
	return s
}

func verifyJT(r *Request) (Document, *Refusal) {
	content := r.Form().Get("bizContent")
	given := content
	account, no := r.sentBy(r.Header("apiAccount"), func(secret string) bool {
		text, ok := signedForm(given, r.Header("digest"), func(text string) string { return md5Base64(text + secret) })
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
		return doc, missing("bizContent")
	}
	return doc, nil
}

type jtAnswer struct {
	Code string `json:"code"`
	Msg  string `json:"msg"`
	Data string `json:"data"`
}

func acceptJT(Document, time.Time) Answer {
	return answerJSON(StatusOK, jtAnswer{"1", "success", "SUCCESS"})
}

func refuseJT(_ Document, no *Refusal, _ time.Time) Answer {
	return answerJSON(no.Status, jtAnswer{"0", no.Description, ""})
}

type jtDetail struct {
	BillCode, ScanTime, Desc, ScanType, ScanTypeCode      text
	ScanNetworkName, ScanNetworkID, ScanNetworkContact    text
	ScanNetworkProvince, ScanNetworkCity, ScanNetworkArea text
	StaffName, StaffContact, NextStopName                 text
	ProblemType, ProbleDescription                        text // their spelling
	SigPicURL, ElectronicSignaturePicURL, CollectPicURL   text
}

func cutJT(doc []byte) ([]Part, error) {
	var push struct {
		BillCode text
		Details  []json.RawMessage
	}
	if wrong := unmarshal("bizContent", doc, &push); wrong != nil {
		return nil, wrong
	}
	if push.Details == nil {
		return nil, &FieldError{"details", "is missing"}
	}
	parts := make([]Part, len(push.Details))
	for i, body := range push.Details {
		var d jtDetail
		field := fmt.Sprintf("details[%d]", i)
		if wrong := unmarshal(field, body, &d); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		number, name := d.BillCode.String(), field+".billCode"
		if number == "" {
			number, name = push.BillCode.String(), "billCode"
		}
		parts[i] = partOf("jt-express-cn", name, number, body)
		parts[i].path = field
	}
	return parts, nil
}

func readJT(raw *Raw) (told, *FieldError) {
	var d jtDetail
	if wrong := unmarshal("details", raw.Body, &d); wrong != nil {
		return told{}, wrong
	}
	event := track.Event{
		RawCode: d.ScanTypeCode.String(), RawSubCode: d.ProblemType.String(), Text: d.Desc.String(),
		Courier: track.Person{Name: d.StaffName.String(), Phone: d.StaffContact.String()},
		Location: track.Location{
			Text: words(" ", d.ScanNetworkProvince, d.ScanNetworkCity, d.ScanNetworkArea, d.ScanNetworkName), Region: d.ScanNetworkProvince.String(),
			City: d.ScanNetworkCity.String(), FacilityCode: d.ScanNetworkID.String(), FacilityName: d.ScanNetworkName.String(),
		},
		NextLocation: track.Location{Text: d.NextStopName.String(), FacilityName: d.NextStopName.String()},
		Attributes:   attributes("scan_type", d.ScanType, "problem", d.ProbleDescription, "facility_phone", d.ScanNetworkContact),
	}
	for _, u := range []text{d.SigPicURL, d.ElectronicSignaturePicURL, d.CollectPicURL} {
		if u := u.String(); u != "" {
			event.ProofURLs = append(event.ProofURLs, u)
		}
	}
	return told{events: []said{{field: "scanTime", time: d.ScanTime.String(), zone: chinaZone, event: event}}}, nil
}
