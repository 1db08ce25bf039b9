package journey

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

var china = time.FixedZone("CST", 8*60*60)

func chinaTime(t time.Time) string { return t.In(china).Format(time.DateTime) }

// KdniaoItem is what Kdniao says of a waybill: a query's answer, or an entry of a
// push.
type KdniaoItem struct {
	EBusinessID  string
	OrderCode    string
	ShipperCode  string
	LogisticCode string
	Success      bool
	Reason       string
	State        string
	StateEx      string
	Location     string
	CallBack     string `json:"CallBack,omitempty"`
	Traces       []KdniaoTrace
}

// KdniaoTrace is an event as Kdniao says it.
type KdniaoTrace struct{ AcceptTime, AcceptStation, Location, Action string }

// Kdniao tells events as Kdniao does, in ascending order.
func Kdniao(account, shipper, number string, told []Event) KdniaoItem {
	item := KdniaoItem{EBusinessID: account, ShipperCode: shipper, LogisticCode: number, State: "0", StateEx: "0", Traces: []KdniaoTrace{}}
	if len(told) == 0 {
		item.Reason = "暂无轨迹信息"
		return item
	}
	item.Success = true
	for _, e := range told {
		item.Traces = append(item.Traces, KdniaoTrace{chinaTime(e.At), e.Text, e.City, e.Kdniao})
	}
	last := told[len(told)-1]
	item.State, item.StateEx, item.Location = kdniaoState(told), last.Kdniao, last.City
	return item
}

// kdniaoState is the coarse state: once a parcel was a problem, it stays one
// until it is signed for.
func kdniaoState(told []Event) string {
	state := told[len(told)-1].Kdniao[:1]
	for _, e := range told {
		if state != "3" && strings.HasPrefix(e.Kdniao, "4") {
			return "4"
		}
	}
	return state
}

// KdniaoPush is the document of a push 102 of several waybills.
func KdniaoPush(account string, now time.Time, items ...KdniaoItem) []byte {
	return encode(struct {
		PushTime    string
		EBusinessID string
		Data        []KdniaoItem
		Count       string
	}{chinaTime(now), account, items, count(len(items))})
}

// Kuaidi100Result is what Kuaidi100 says of a waybill: a query's answer, or
// lastResult of a push.
type Kuaidi100Result struct {
	Message   string          `json:"message"`
	Nu        string          `json:"nu"`
	Ischeck   string          `json:"ischeck"`
	Condition string          `json:"condition"`
	Com       string          `json:"com"`
	Status    string          `json:"status"`
	State     string          `json:"state"`
	Data      []Kuaidi100Node `json:"data"`
}

// Kuaidi100Node is an event as Kuaidi100 says it.
type Kuaidi100Node struct {
	Time       string `json:"time"`
	Context    string `json:"context"`
	Ftime      string `json:"ftime"`
	AreaCode   string `json:"areaCode"`
	AreaName   string `json:"areaName"`
	Location   string `json:"location"`
	StatusCode string `json:"statusCode"`
}

// Kuaidi100 tells events as Kuaidi100 does with resultv2=4, the newest first.
func Kuaidi100(com, number string, told []Event) Kuaidi100Result {
	r := Kuaidi100Result{Message: "ok", Nu: number, Com: com, Ischeck: "0", Status: "200", State: "0", Data: []Kuaidi100Node{}}
	for _, e := range slices.Backward(told) {
		at := chinaTime(e.At)
		n := Kuaidi100Node{Time: at, Ftime: at, Context: e.Text, Location: e.City, AreaName: e.City, StatusCode: e.Kuaidi100}
		if e.AreaName != "" {
			n.AreaCode, n.AreaName = e.AreaCode, e.AreaName
		}
		r.Data = append(r.Data, n)
	}
	if len(told) == 0 {
		r.Message, r.Status = "快递公司参数异常：单号不存在或者已经过期", "201"
		return r
	}
	r.State = told[len(told)-1].Kuaidi100
	if Signed(told) {
		r.Ischeck = "1"
	}
	return r
}

// Kuaidi100Push is the document of a push.
func Kuaidi100Push(result Kuaidi100Result) []byte {
	state := "polling"
	if result.Ischeck == "1" {
		state = "shutdown"
	}
	return encode(struct {
		Status     string          `json:"status"`
		Billstatus string          `json:"billstatus"`
		Message    string          `json:"message"`
		AutoCheck  string          `json:"autoCheck"`
		ComOld     string          `json:"comOld"`
		ComNew     string          `json:"comNew"`
		LastResult Kuaidi100Result `json:"lastResult"`
	}{state, "", "", "0", "", "", result})
}

// Signed says whether events end with somebody having taken the parcel.
func Signed(told []Event) bool {
	if len(told) == 0 {
		return false
	}
	code := told[len(told)-1].Kuaidi100
	return strings.HasPrefix(code, "3") || code == "4"
}

// DHL tells events as DHL's Shipment Tracking – Unified does, the newest first.
func DHL(number string, told []Event) []byte {
	type address struct {
		Locality string `json:"addressLocality"`
		Country  string `json:"countryCode"`
	}
	type location struct {
		Address address `json:"address"`
	}
	type event struct {
		Timestamp   string   `json:"timestamp"`
		Location    location `json:"location"`
		StatusCode  string   `json:"statusCode"`
		Status      string   `json:"status"`
		Description string   `json:"description"`
	}
	events := make([]event, 0, len(told))
	for _, e := range slices.Backward(told) {
		events = append(events, event{e.At.UTC().Format(time.RFC3339), location{address{e.City, "CN"}}, e.DHL, strings.ToUpper(e.DHL), e.Text})
	}
	type shipment struct {
		ID      string  `json:"id"`
		Service string  `json:"service"`
		Status  event   `json:"status"`
		Events  []event `json:"events"`
	}
	return encode(map[string]any{"shipments": []shipment{{number, "express", events[0], events}}})
}

func count(n int) string {
	b, _ := json.Marshal(n) // never fails
	return string(b)
}

// encode writes JSON as sources do: on one line, with no escapes for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		panic("journey: " + err.Error()) // none of ours fails
	}
	return bytes.TrimSpace(b.Bytes())
}
