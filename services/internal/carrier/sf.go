package carrier

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// sf takes SF Express's RoutePushService, in XML and in JSON, and the answer of
// EXP_RECE_SEARCH_ROUTES.
func sf() Source {
	s := define(spec{
		code: "sf", kind: track.SourceCarrierPush, carrier: "sf-express",
		cut: cutSF, read: readSF, codes: one("opCode"),
	}, Facts{
		Name:    "SF Express (顺丰, 丰桥)",
		Reports: "RoutePushService in XML or JSON; answers of EXP_RECE_SEARCH_ROUTES",
		Account: "a name of yours; the secret is a key of yours that stands in the URL",
		Verify:  "the key in the path, since SF signs no route pushes: `/v1/sources/sf/{account}/{key}`, or `?key=`. Let only SF's addresses through to it",
		Answer:  "in XML `<Response service=\"RoutePushService\"><Head>OK</Head></Response>`, in JSON `{\"return_code\":\"0000\",\"return_msg\":\"成功\"}`",
		Times:   "wall clock in China without an offset; an offset is assumed",
		Notes: []string{
			"Route 8000, which says that the signer can be seen, is a notice: it is no second delivery.",
			"Route 648 names a new waybill in its text: it becomes a link.",
		},
		Unverified: []string{"the JSON layout and its answer", "that routes refused are named by `id_error`: they aren't; they are in the stream of rejected reports"},
	})
	s.Push = &Receiver{Verify: verifySF, Accept: acceptSF, Refuse: refuseSF}
	return s
}

func verifySF(r *Request) (Document, *Refusal) {
	account, no := r.sentBy("", r.keyed)
	if no != nil {
		return Document{}, no
	}
	doc := Document{Account: account, Text: r.Body}
	if !isXML(r.Body) {
		if content := r.Form().Get("content"); content != "" {
			doc.Text = []byte(content)
		}
	}
	if len(trimBOM(doc.Text)) == 0 {
		return doc, missing("content")
	}
	doc.Text = utf8Text(doc.Text)
	if !isXML(doc.Text) {
		doc.Echo = "json"
	}
	return doc, nil
}

type sfAnswer struct {
	XMLName xml.Name `xml:"Response"`
	Service string   `xml:"service,attr"`
	Head    string
	Error   *sfError `xml:"ERROR"`
}

type sfError struct {
	Code string `xml:"code,attr"`
	Text string `xml:",chardata"`
}

func acceptSF(doc Document, _ time.Time) Answer {
	if doc.Echo == "json" {
		return answerJSON(StatusOK, map[string]string{"return_code": "0000", "return_msg": "成功"})
	}
	return answerXML(StatusOK, sfAnswer{Service: "RoutePushService", Head: "OK"})
}

// sfErrorCode is what SF's documents give for an error in the receiver.
const sfErrorCode = "4001"

func refuseSF(doc Document, no *Refusal, _ time.Time) Answer {
	if doc.Echo == "json" {
		return answerJSON(no.Status, map[string]string{"return_code": sfErrorCode, "return_msg": no.Description})
	}
	return answerXML(no.Status, sfAnswer{Service: "RoutePushService", Head: "ERR", Error: &sfError{sfErrorCode, no.Description}})
}

// sfRoute is a route of a push, in XML's attributes or JSON, and of a query.
type sfRoute struct {
	ID         text `json:"id" xml:"id,attr"`
	MailNo     text `json:"mailno" xml:"mailno,attr"`
	OrderID    text `json:"orderid" xml:"orderid,attr"`
	AcceptTime text `json:"acceptTime" xml:"acceptTime,attr"`
	Address    text `json:"acceptAddress" xml:"acceptAddress,attr"`
	Remark     text `json:"remark" xml:"remark,attr"`
	OpCode     text `json:"opCode" xml:"opCode,attr"`
	ReasonCode text `json:"reasonCode" xml:"reasonCode,attr"`
	ReasonName text `json:"reasonName" xml:"reasonName,attr"`
}

func cutSF(doc []byte) ([]Part, error) {
	if isXML(doc) {
		routes, err := cutXML(doc, "WaybillRoute")
		if err != nil {
			return nil, &FieldError{"content", err.Error()}
		}
		if len(routes) == 0 {
			return nil, &FieldError{"WaybillRoute", "is missing"}
		}
		parts := make([]Part, len(routes))
		for i, body := range routes {
			var route sfRoute
			field := fmt.Sprintf("WaybillRoute[%d]", i)
			if err := readXML(body, &route); err != nil {
				parts[i] = Part{Body: body, Err: &FieldError{field, "is not XML: " + err.Error()}}
				continue
			}
			parts[i] = partOf("sf-express", field+".mailno", route.MailNo.String(), body)
		}
		return parts, nil
	}
	var push struct {
		Body struct{ WaybillRoute []json.RawMessage }
		// A query's answer.
		APIResultData string `json:"apiResultData"`
		MsgData       json.RawMessage
	}
	if wrong := unmarshal("content", doc, &push); wrong != nil {
		return nil, wrong
	}
	if push.APIResultData != "" || push.MsgData != nil {
		return cutSFQuery(doc, push.APIResultData)
	}
	if push.Body.WaybillRoute == nil {
		return nil, &FieldError{"Body.WaybillRoute", "is missing"}
	}
	parts := make([]Part, len(push.Body.WaybillRoute))
	for i, body := range push.Body.WaybillRoute {
		var route sfRoute
		field := fmt.Sprintf("Body.WaybillRoute[%d]", i)
		if wrong := unmarshal(field, body, &route); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		parts[i] = partOf("sf-express", field+".mailno", route.MailNo.String(), body)
	}
	return parts, nil
}

type sfRoutes struct {
	MailNo text `json:"mailNo"`
	Routes []sfRoute
}

// cutSFQuery takes an answer apart of which the data is JSON in a string, or was
// taken out of it.
func cutSFQuery(doc []byte, inner string) ([]Part, error) {
	if inner != "" {
		doc = []byte(inner)
	}
	var answer struct {
		MsgData struct{ RouteResps []json.RawMessage }
	}
	if wrong := unmarshal("apiResultData", doc, &answer); wrong != nil {
		return nil, wrong
	}
	parts := make([]Part, len(answer.MsgData.RouteResps))
	for i, body := range answer.MsgData.RouteResps {
		var routes sfRoutes
		field := fmt.Sprintf("routeResps[%d]", i)
		if wrong := unmarshal(field, body, &routes); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		parts[i] = partOf("sf-express", field+".mailNo", routes.MailNo.String(), body)
	}
	return parts, nil
}

func readSF(raw *Raw) (told, *FieldError) {
	var one struct {
		sfRoute

		Routes []sfRoute
	}
	if isXML(raw.Body) {
		if err := readXML(raw.Body, &one.sfRoute); err != nil {
			return told{}, &FieldError{"WaybillRoute", "is not XML: " + err.Error()}
		}
	} else if wrong := unmarshal("route", raw.Body, &one); wrong != nil {
		return told{}, wrong
	}
	routes := one.Routes
	if routes == nil {
		routes = []sfRoute{one.sfRoute}
		if one.AcceptTime == "" && one.OpCode == "" && one.ID == "" { // an answer that knows of no routes
			return told{}, nil
		}
	}
	path := func(i int) string {
		if one.Routes == nil {
			return ""
		}
		return fmt.Sprintf("routes[%d].", i)
	}
	var t told
	for i := range routes {
		r := &routes[i]
		e := said{
			field: path(i) + "acceptTime", time: r.AcceptTime.String(), zone: chinaZone, id: r.ID.String(),
			event: track.Event{
				RawCode: r.OpCode.String(), ReasonCode: r.ReasonCode.String(), Text: clean(string(r.Remark)), Location: place(r.Address.String()),
				Courier: courierIn(string(r.Remark)),
			},
		}
		if name := r.ReasonName.String(); name != "" {
			e.event.Attributes = map[string]string{"reason": name}
		}
		t.events = append(t.events, e)
		if e.event.RawCode == "648" {
			if m := sfNewNumber.FindString(strings.ReplaceAll(e.event.Text, string(raw.Waybill.Number), "")); m != "" {
				t.links = append(t.links, linkTo(track.LinkReturn, raw.Waybill, raw.Waybill.Carrier, m)...)
			}
		}
	}
	return t, nil
}

// sfNewNumber is a waybill number of SF's in a text.
var sfNewNumber = regexp.MustCompile(`SF\d{12,13}|\d{12}`)
