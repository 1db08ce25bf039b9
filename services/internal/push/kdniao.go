package push

import (
	"encoding/json"
	"slices"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// KdniaoTerms are what a subscription by Kdniao's form asks for. Empty fields
// have their defaults, which are those of 8008.
type KdniaoTerms struct {
	// Basic is 1008, whose pushes are 101: without StateEx, places and Action.
	Basic bool `json:"basic,omitempty"`
	// ShipperCode and LogisticCode are as the subscriber wrote them; empty for
	// Kdniao's own.
	ShipperCode  string `json:"shipper_code,omitempty"`
	LogisticCode string `json:"logistic_code,omitempty"`
	OrderCode    string `json:"order_code,omitempty"`
	// CallBack is the subscriber's text that each push gives back; under this name
	// too, if it came so.
	CallBack     string `json:"call_back,omitempty"`
	AlsoCallback bool   `json:"also_callback,omitempty"`
	NewestFirst  bool   `json:"newest_first,omitempty"`
	// CustomerName is what the carrier asks for, such as digits of a phone number. It
	// isn't kept.
	CustomerName string `json:"-"`
}

// KdniaoTrace is a node of Kdniao's list. Without detail Location and Action are
// left out.
type KdniaoTrace struct {
	AcceptTime    string
	AcceptStation string
	Location      *string `json:",omitempty"`
	Action        *string `json:",omitempty"`
	Remark        string
}

// KdniaoItem is what Kdniao says of one waybill, in pushes and in answers. The
// fields that are pointers are the detailed form's.
type KdniaoItem struct {
	EBusinessID           string
	OrderCode             string
	ShipperCode           string
	LogisticCode          string
	Success               bool
	Reason                string
	State                 string
	StateEx               *string `json:",omitempty"`
	Location              *string `json:",omitempty"`
	CallBack              *string `json:",omitempty"`
	Callback              *string `json:",omitempty"`
	EstimatedDeliveryTime string  `json:",omitempty"`
	DeliveryMan           string  `json:",omitempty"`
	DeliveryManTel        string  `json:",omitempty"`
	NextCity              string  `json:",omitempty"`
	Traces                []KdniaoTrace
}

// NoTraceReason is Kdniao's reason for an item without traces.
const NoTraceReason = "暂无轨迹信息"

// KdniaoItemOf says in Kdniao's form where a waybill is. A nil trace, and one
// without a listed event, is none yet.
func KdniaoItemOf(account string, terms KdniaoTerms, w track.Waybill, t *track.Trace) KdniaoItem {
	item := KdniaoItem{
		EBusinessID: account, OrderCode: terms.OrderCode, ShipperCode: terms.ShipperCode, LogisticCode: terms.LogisticCode, Traces: []KdniaoTrace{},
	}
	if item.ShipperCode == "" {
		item.ShipperCode = carrier.CodeOf(carrier.PlatformKdniao, w.Carrier)
	}
	if item.LogisticCode == "" {
		item.LogisticCode = string(w.Number)
	}
	var list []*track.Event
	if t != nil {
		list = listed(t)
	}
	stateEx, location := "0", ""
	if len(list) > 0 {
		item.Success = true
		stateEx = kdniaoStateEx(t)
		location = city(list[len(list)-1])
	} else {
		item.Reason = NoTraceReason
	}
	item.State = stateEx[:1]
	for _, e := range list {
		node := KdniaoTrace{AcceptTime: chinaClock(e.Time), AcceptStation: words(e), Remark: e.Attributes["remark"]}
		if !terms.Basic {
			node.Location, node.Action = new(city(e)), new(kdniaoCode(e))
		}
		item.Traces = append(item.Traces, node)
	}
	if terms.NewestFirst {
		slices.Reverse(item.Traces)
	}
	if terms.Basic {
		return item
	}
	item.StateEx, item.Location = &stateEx, &location
	if len(list) == 0 {
		return item
	}
	p := courier(list)
	item.DeliveryMan, item.DeliveryManTel = p.Name, p.Phone
	item.NextCity = list[len(list)-1].NextLocation.City
	if e := t.State.Estimate; e != nil {
		item.EstimatedDeliveryTime = chinaClock(e.From)
	}
	return item
}

// kdniaoStateEx is the fine state of a waybill of which there is a list.
func kdniaoStateEx(t *track.Trace) string {
	if e := stateEvent(t); e != nil {
		return kdniaoCode(e)
	}
	if code := kdniaoSub[t.State.Sub]; code != "" {
		return code
	}
	return kdniaoStatus[t.State.Status]
}

// kdniaoCode is an event's Action: the one that Kdniao itself gave it, if it
// did, and else its status's.
func kdniaoCode(e *track.Event) string {
	if e.Provenance.Source == carrier.PlatformKdniao {
		if m, ok := carrier.KdniaoMeaning(e.RawCode); ok && m.Status == e.Status && m.Sub == e.Sub {
			return e.RawCode
		}
	}
	if code := kdniaoSub[e.Sub]; code != "" {
		return code
	}
	if code := kdniaoStatus[e.Status]; code != "" {
		return code
	}
	return kdniaoStatus[0]
}

type kdniaoPush struct {
	PushTime    string
	EBusinessID string
	Data        []KdniaoItem
	Count       string
}

// kdniaoHead is kept beside a push's document.
type kdniaoHead struct {
	Type string `json:"type"`
}

// The types of pushes: of 1008, and of 8008.
const (
	kdniaoPushBasic    = "101"
	kdniaoPushDetailed = "102"
)

func keepKdniao(sub Subscription, t *track.Trace) []byte {
	var terms KdniaoTerms
	_ = json.Unmarshal(sub.Terms, &terms) // without them all have their defaults
	item := KdniaoItemOf(sub.AccountID, terms, t.Waybill, t)
	item.CallBack = &terms.CallBack
	if terms.AlsoCallback {
		item.Callback = &terms.CallBack
	}
	head := kdniaoHead{Type: kdniaoPushDetailed}
	if terms.Basic {
		head.Type = kdniaoPushBasic
	}
	// The revision's time, not an attempt's: a repeat is the same to the byte.
	return keep(head, encode(kdniaoPush{PushTime: ChinaTime(t.UpdateTime), EBusinessID: sub.AccountID, Data: []KdniaoItem{item}, Count: "1"}))
}

func attemptKdniao(b []byte, url string, a Account) Attempt {
	head := kdniaoHead{Type: kdniaoPushDetailed}
	data := kept(b, &head)
	if a.JSONBody {
		return Attempt{URL: url, ContentType: "application/json;charset=utf-8", Body: data}
	}
	body := form(
		"RequestData", string(data), "EBusinessID", a.ID, "RequestType", head.Type, "DataSign", SignKdniao(string(data), a.Key), "DataType", "2",
	)
	return Attempt{URL: url, ContentType: formType, Body: body}
}
