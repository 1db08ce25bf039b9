package carrier

import (
	"encoding/xml"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// yto takes YTO's status push, UpdateInfo: one event of one waybill.
func yto() Source {
	s := define(spec{
		code: "yto", kind: track.SourceCarrierPush, carrier: "yto-express",
		cut: cutYTO, read: readYTO, codes: one("infoContent"),
	}, Facts{
		Name:       "YTO Express (圆通)",
		Reports:    "status pushes, `UpdateInfo` with infoType STATUS",
		Account:    "clientId and the partnerId, which is its secret",
		Verify:     "`data_digest` = base64(md5(logistics_interface + partnerId))",
		Answer:     "`<Response>` with logisticProviderID, txLogisticID and success",
		Times:      "wall clock with `CST`, which here is China's time; one-digit days occur",
		Unverified: []string{"the answer's elements"},
	})
	s.Push = &Receiver{Verify: verifyYTO, Accept: acceptYTO, Refuse: refuseYTO}
	return s
}

func verifyYTO(r *Request) (Document, *Refusal) {
	form := r.Form()
	text := form.Get("logistics_interface")
	account, no := r.sentBy(form.Get("clientId"), func(secret string) bool {
		signed, ok := signedForm(form.Get("logistics_interface"), form.Get("data_digest"), func(text string) string { return md5Base64(text + secret) })
		if ok {
			text = signed
		}
		return ok
	})
	if no != nil {
		return Document{}, no
	}
	doc := Document{Account: account, Text: utf8Text([]byte(text))}
	if text == "" {
		return doc, missing("logistics_interface")
	}
	var info ytoInfo
	if parts, err := cutXML(doc.Text, "UpdateInfo"); err == nil && len(parts) == 1 && readXML(parts[0], &info) == nil {
		doc.Echo = info.OrderID.String()
	}
	return doc, nil
}

type ytoAnswer struct {
	XMLName  xml.Name `xml:"Response"`
	Provider string   `xml:"logisticProviderID"`
	OrderID  string   `xml:"txLogisticID"`
	Success  bool     `xml:"success"`
	Reason   string   `xml:"reason,omitempty"`
}

func acceptYTO(doc Document, _ time.Time) Answer {
	return answerXML(StatusOK, ytoAnswer{Provider: "YTO", OrderID: doc.Echo, Success: true})
}

func refuseYTO(doc Document, no *Refusal, _ time.Time) Answer {
	return answerXML(no.Status, ytoAnswer{Provider: "YTO", OrderID: doc.Echo, Reason: no.Description})
}

type ytoInfo struct {
	MailNo     text `xml:"mailNo"`
	OrderID    text `xml:"txLogisticID"`
	InfoType   text `xml:"infoType"`
	Content    text `xml:"infoContent"`
	Weight     text `xml:"weight"`
	SignedName text `xml:"signedName"`
	AcceptTime text `xml:"acceptTime"`
	Remark     text `xml:"remark"`
}

func cutYTO(doc []byte) ([]Part, error) {
	infos, err := cutXML(doc, "UpdateInfo")
	if err != nil {
		return nil, &FieldError{"logistics_interface", err.Error()}
	}
	if len(infos) == 0 {
		return nil, &FieldError{"UpdateInfo", "is missing"}
	}
	parts := make([]Part, 0, len(infos))
	for _, body := range infos {
		var info ytoInfo
		if err := readXML(body, &info); err != nil {
			parts = append(parts, Part{Body: body, Err: &FieldError{"UpdateInfo", "is not XML: " + err.Error()}})
			continue
		}
		parts = append(parts, partOf("yto-express", "mailNo", info.MailNo.String(), body))
	}
	return parts, nil
}

func readYTO(raw *Raw) (told, *FieldError) {
	var info ytoInfo
	if err := readXML(raw.Body, &info); err != nil {
		return told{}, &FieldError{"UpdateInfo", "is not XML: " + err.Error()}
	}
	if kind := info.InfoType.String(); kind != "" && kind != "STATUS" { // about weight or money
		return told{}, nil
	}
	event := track.Event{
		RawCode: info.Content.String(), Text: info.Remark.String(), Signer: info.SignedName.String(), Courier: courierIn(info.Remark.String()),
	}
	if w := info.Weight.String(); strings.Trim(w, "0.") != "" {
		event.Attributes = map[string]string{"weight_kg": w}
	}
	return told{events: []said{{
		field: "acceptTime", time: strings.TrimSuffix(info.AcceptTime.String(), " CST"), zone: chinaZone, event: event,
	}}}, nil
}
