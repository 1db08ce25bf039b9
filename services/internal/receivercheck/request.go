package receivercheck

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/push"
)

// thing is one push, before it has a form.
type thing struct {
	sub             string
	after, revision uint64
	size            int // at least so many bytes; 0 for the usual
}

// next is the first push of a new subscription.
func (c *checker) next() thing {
	c.number++
	return thing{sub: fmt.Sprintf("sub_receivercheck%s%03d", c.run, c.number), revision: 1}
}

func (t thing) span(after, revision uint64) thing {
	t.after, t.revision = after, revision
	return t
}

func (t thing) id() string {
	return fmt.Sprintf("psh_%s_%d", strings.TrimPrefix(t.sub, "sub_"), t.revision)
}

// request is what is posted.
type request struct {
	id     string
	sent   time.Time
	header http.Header
	form   url.Values
	body   []byte
}

// honest is a push as Posthaste posts it.
func (c *checker) honest(t thing) request {
	r := request{id: t.id(), header: http.Header{"User-Agent": {"Posthaste"}}}
	switch c.cfg.Format {
	case push.Kdniao:
		doc := kdniaoDocument(c.cfg.Account.ID, t)
		if c.cfg.Account.JSONBody {
			r.body = []byte(doc)
			r.header["Content-Type"] = []string{"application/json;charset=utf-8"}
			break
		}
		r.form = url.Values{
			"RequestData": {doc}, "EBusinessID": {c.cfg.Account.ID}, "RequestType": {"102"}, "DataType": {"2"}, "DataSign": {push.SignKdniao(doc, c.cfg.Account.Key)},
		}
	case push.Kuaidi100:
		doc := kuaidi100Document(t)
		sign := push.SignKuaidi100(doc, c.cfg.Account.Salt)
		if c.cfg.Account.LowerSign {
			sign = strings.ToLower(sign)
		}
		r.form = url.Values{"param": {doc}, "sign": {sign}}
	default:
		r.header["Content-Type"] = []string{"application/json"}
		r.body = document(t)
	}
	if r.form != nil {
		r.header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		r.body = []byte(r.form.Encode())
	}
	return c.sign(r)
}

// sign puts Posthaste's headers of now on a request.
func (c *checker) sign(r request) request {
	if s := c.cfg.Signer; s != nil && !s.IsZero() {
		r.header = r.header.Clone()
		r.sent = c.now()
		webhook.SetHeaders(r.header, r.id, r.sent, r.body, s)
	}
	return r
}

// number is a waybill number of a carrier that doesn't exist.
func (t thing) number() string { return "CHECK" + strings.ToUpper(t.sub[len(t.sub)-15:]) }

const text = "【武汉市】快件已发往下一站，这是一次接收方检查 receiver check"

// document is Posthaste's own form.
func document(t thing) []byte {
	at := time.Date(2025, 3, 1, 10, 2, 11, 0, time.FixedZone("", 8*60*60))
	offset := int32(8 * 60 * 60)
	event := func(revision uint64) payload.Event {
		return payload.Event{
			ID: fmt.Sprintf("receivercheck%d", revision), Kind: "event", Revision: revision, EventTime: at.Add(time.Duration(revision) * time.Hour), LocalTime: "2025-03-01T10:02:11",
			UTCOffsetSeconds: &offset, OffsetSource: "carrier_default", Precision: "second", ReceiveTime: at, Status: "in_transit", SubStatus: "in_transit.departed",
			Text: text, Language: "zh", Location: payload.Location{City: "武汉市", Country: "CN"}, Source: "receivercheck",
		}
	}
	p := payload.Push{
		Type: payload.TypeTraceUpdated, PushID: t.id(), SubscriptionID: t.sub, TenantID: "default", Metadata: map[string]string{"receiver_check": "true"},
		AfterRevision: t.after, Revision: t.revision,
		Waybill: payload.Waybill{
			CarrierCode: "receivercheck", WaybillNumber: t.number(), Revision: t.revision, Status: "in_transit", SubStatus: "in_transit.departed",
			StatusName: payload.Name{English: "In transit", Chinese: "运输中"}, StatusTime: &at, EventCount: int(t.revision), CreateTime: at, UpdateTime: at,
		},
	}
	for r := t.after + 1; r <= t.revision; r++ {
		p.Events = append(p.Events, event(r))
	}
	one := len(p.AppendJSON(nil))
	for i := 0; i*one < 2*t.size; i++ {
		e := event(t.revision)
		e.ID = fmt.Sprintf("%s_%d", e.ID, i)
		p.Events = append(p.Events, e)
	}
	return p.AppendJSON(nil)
}

func kdniaoDocument(account string, t thing) string {
	item := webhook.KdniaoItem{EBusinessID: account, ShipperCode: "YTO", LogisticCode: t.number(), Success: true, State: "2", StateEx: "202", Location: "武汉市"}
	for i := 0; i < int(t.revision) || i*len(text) < t.size; i++ {
		item.Traces = append(item.Traces, webhook.KdniaoTrace{AcceptTime: "2025-03-03 09:10:22", AcceptStation: text, Location: "武汉市", Action: "202"})
	}
	return encode(webhook.KdniaoPush{EBusinessID: account, PushTime: "2025-03-03 12:05:00", Count: "1", Data: []webhook.KdniaoItem{item}})
}

func kuaidi100Document(t thing) string {
	p := webhook.Kuaidi100Push{Status: "polling", LastResult: webhook.Kuaidi100Result{
		Message: "ok", Number: t.number(), Signed: "0", Company: "yuantong", Status: "200", State: "0", Condition: "00",
	}}
	for i := 0; i < int(t.revision) || i*len(text) < t.size; i++ {
		p.LastResult.Data = append(p.LastResult.Data, webhook.Kuaidi100Node{Time: "2025-03-03 09:10:22", LocalTime: "2025-03-03 09:10:22", Text: text, Status: "在途"})
	}
	return encode(p)
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of texts
	}
	return string(b)
}
