package compat_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// refuse has every call refused, or, with nil, none.
func (w *world) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusal = err
}

const kuaidi100Wish = `{"company":"yuantong","number":"YT2500000000009","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/kuaidi"}}`

func TestQuota_IsAnsweredInThePlatformsCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	query := request("POST", "/poll/query.do", kuaidi100Form(`{"com":"yuantong","num":"YT2500000000009"}`), formHeader)
	auto := request("GET", "/autonumber/auto?num=YT2500000000009&key="+key, "")
	//nolint:paralleltest // one after the other
	for _, c := range []struct {
		name    string
		refusal error
		kdniao  string // Reason
		code    string // of a recognition
		codes   [3]string
	}{
		{"a day", rpc.QuotaExhausted("tenants/shop", 5*time.Hour, "spent"), "业务错误[没有可用套餐]", "405", [3]string{"601", "601", "601"}},
		{"a second", rpc.QuotaExhausted("tenants/shop", 200*time.Millisecond, "too fast"), "系统繁忙，请稍后再试", "105", [3]string{"500", "502", "500"}},
		{"something else", errors.New("whatever"), "业务错误[没有可用套餐]", "405", [3]string{"601", "601", "601"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.refuse(c.refusal)
			defer w.refuse(nil)
			for _, kind := range []string{"1008", "8008", "1002", "8001", "2002"} {
				got := object(t, w.kdniao(kind, `{"ShipperCode":"YTO","LogisticCode":"YT2500000000009"}`))
				if got["Success"] != false || got["Reason"] != c.kdniao || kind == "2002" && got["Code"] != c.code {
					t.Errorf("%s is answered %v", kind, got)
				}
				if list := map[string]string{"1002": "Traces", "8001": "Traces", "2002": "Shippers"}[kind]; list != "" && !cmp.Equal(got[list], []any{}) {
					t.Errorf("%s is answered without a list: %v", kind, got)
				}
			}
			_, polled := w.raw(query)
			_, recognised := w.raw(auto)
			for i, body := range []string{w.poll(kuaidi100Wish), polled, recognised} {
				if got := object(t, body); got["result"] != false || got["returnCode"] != c.codes[i] {
					t.Errorf("call %d of Kuaidi100 is answered %s, want %s", i, body, c.codes[i])
				}
			}
		})
	}
	// A wrong signature is told so, whatever is left.
	w.refuse(rpc.QuotaExhausted("tenants/shop", time.Hour, "spent"))
	_, got := w.raw(request("POST", "/poll/query.do", "customer="+customer+"&sign=ABC&param=%7B%7D", formHeader))
	if object(t, got)["returnCode"] != "503" {
		t.Errorf("a wrong signature is answered %s", got)
	}
}

func TestQuota_OfSubscriptionsIsAnsweredInThePlatformsCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.pool.Exec(t.Context(), `UPDATE tenant SET active_subscriptions = 1 WHERE id = 'shop'`); err != nil {
		t.Fatal(err)
	}
	if got := w.poll(kuaidi100Wish); got != subscribed {
		t.Fatal(got)
	}
	another := `{"company":"yuantong","number":"YT2500000000010","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/kuaidi"}}`
	if got := object(t, w.poll(another)); got["returnCode"] != "601" || got["result"] != false {
		t.Errorf("Kuaidi100 answers %v", got)
	}
	got := object(t, w.kdniao("1008", `{"ShipperCode":"YTO","LogisticCode":"YT2500000000011"}`))
	if got["Success"] != false || got["Reason"] != "业务错误[没有可用套餐]" {
		t.Errorf("Kdniao answers %v", got)
	}
}

func TestDisabledTenant_IsAStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.pool.Exec(t.Context(), `UPDATE tenant SET state = 2 WHERE id = 'shop'`); err != nil {
		t.Fatal(err)
	}
	if got := object(t, w.kdniao("1008", `{"ShipperCode":"YTO","LogisticCode":"YT2500000000011"}`)); got["Reason"] != "非法参数[请核实ID和key是否正确]" {
		t.Errorf("Kdniao answers %v", got)
	}
	if got := object(t, w.poll(kuaidi100Wish)); got["returnCode"] != "600" {
		t.Errorf("Kuaidi100 answers %v", got)
	}
	_, got := w.raw(request("POST", "/poll/query.do", kuaidi100Form(`{"com":"yuantong","num":"YT2500000000009"}`), formHeader))
	if object(t, got)["returnCode"] != "503" {
		t.Errorf("Kuaidi100 answers a query %s", got)
	}
}

// What a client asks after and nobody has told of is asked for; with the end of
// the phone number, where the client gave one.
func TestQuery_HasWhatIsUnknownAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.know("yto-express", "YT2500000000001")
	w.know("jd-logistics", "JD0000000000001") // it goes on
	w.kdniao("1002", `{"ShipperCode":"STO","LogisticCode":"118461988807"}`)
	w.kdniao("8002", `{"LogisticCode":"SF1000000000001","CustomerName":"138 0013 8000"}`)
	w.kdniao("8001", `{"ShipperCode":"JD","LogisticCode":"JD0000000000001","CustomerName":"010K1234567"}`)
	w.kdniao("1002", `{"ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`)
	w.raw(request("POST", "/poll/query.do", kuaidi100Form(`{"com":"shunfeng","num":"SF1000000000002","phone":"13800138001"}`), formHeader))
	w.raw(request("GET", "/api?id="+key+"&com=yunda&nu=4310508235533", ""))
	w.mu.Lock()
	defer w.mu.Unlock()
	want := map[track.Waybill]string{
		{Carrier: "sto-express", Number: "118461988807"}: "", {Carrier: "sf-express", Number: "SF1000000000001"}: "8000", {Carrier: "jd-logistics", Number: "JD0000000000001"}: "",
		{Carrier: "yto-express", Number: "YT2500000000001"}: "", {Carrier: "sf-express", Number: "SF1000000000002"}: "8001", {Carrier: "yunda-express", Number: "4310508235533"}: "",
	}
	if diff := cmp.Diff(want, w.wanted); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// A subscription brings its waybill into the monitoring queue.
func TestSubscribe_BringsTheWaybillIntoTheQueueWithItsPhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.pool.Exec(t.Context(), `INSERT INTO poll_source (carrier_code, source) VALUES ('sf-express', 'sf')`); err != nil {
		t.Fatal(err)
	}
	for number, ask := range map[string]func(){
		"SF1000000000001": func() {
			w.kdniao("1008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000001","CustomerName":"8001"}`)
		},
		"SF1000000000002": func() {
			w.kdniao("8008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000002","Receiver":{"Mobile":"13800138001"}}`)
		},
		"SF1000000000003": func() {
			w.poll(`{"company":"shunfeng","number":"SF1000000000003","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/k","phone":"13800138001"}}`)
		},
	} {
		ask()
		var phone string
		var due bool
		err := w.pool.QueryRow(t.Context(), `SELECT phone, due_time <= now() FROM poll WHERE carrier_code = 'sf-express' AND waybill_number = $1`, number).Scan(&phone, &due)
		if err != nil || phone != "8001" || !due {
			t.Errorf("%s: phone %q, due %t, %v", number, phone, due, err)
		}
		if terms, _, _ := w.subscriptionOf("sf-express", number); terms["phone"] != nil || terms["customer_name"] != nil {
			t.Errorf("the phone number is kept: %v", terms)
		}
	}
}

// Kuaidi100 corrects carriers: those it recognised, and those that a number's form
// speaks against.
func TestKuaidi100_HasCarriersChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for number, param := range map[string]string{
		"SF1000000000001": `{"company":"yuantong","number":"SF1000000000001","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/k"}}`,
		"YT2500000000001": `{"company":"yuantong","number":"YT2500000000001","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/k"}}`,
		"430056789012345": `{"company":"","number":"430056789012345","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/k","autoCom":"1"}}`,
	} {
		if got := w.poll(param); got != subscribed {
			t.Fatalf("%s: %s", number, got)
		}
		var checked int
		if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM carrier_check WHERE waybill_number = $1`, number).Scan(&checked); err != nil {
			t.Fatal(err)
		}
		if want := number != "YT2500000000001"; (checked == 1) != want {
			t.Errorf("%s is checked: %d, want %t", number, checked, want)
		}
	}
	var recognised string
	err := w.pool.QueryRow(t.Context(), `SELECT terms->>'recognized' FROM subscription WHERE waybill_number = '430056789012345'`).Scan(&recognised)
	if err != nil || recognised == "" {
		t.Errorf("what was recognised isn't kept: %q, %v", recognised, err)
	}
}
