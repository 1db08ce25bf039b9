package e2e

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
)

// kdniaoForm is a push of Kdniao, signed as its document says.
func kdniaoForm(data, key string) url.Values {
	sum := md5.Sum([]byte(data + key))
	return url.Values{
		"RequestData": {data}, "RequestType": {"102"},
		"DataSign": {base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))},
	}
}

func kdniaoPush(numbers ...string) string {
	var items []string
	for _, n := range numbers {
		items = append(items, fmt.Sprintf(`{"EBusinessID":%q,"ShipperCode":"SF","LogisticCode":%q,"Success":true,"Reason":"","State":"2","StateEx":"202","Location":"杭州市","Traces":[`+
			`{"AcceptTime":"2026-03-01 08:01:02","AcceptStation":"【深圳市】已揽收","Location":"深圳市","Action":"1"},`+
			`{"AcceptTime":"2026-03-02 09:10:11","AcceptStation":"【杭州市】正在派送","Location":"杭州市","Action":"202"}]}`, kdniaoAccount, n))
	}
	return fmt.Sprintf(`{"EBusinessID":%q,"PushTime":"2026-03-02 09:11:00","Count":"%d","Data":[%s]}`, kdniaoAccount, len(numbers), strings.Join(items, ","))
}

// kuaidiForm is a push of Kuaidi100, signed as its document says.
func kuaidiForm(param, salt string) url.Values {
	sum := md5.Sum([]byte(param + salt))
	return url.Values{"param": {param}, "sign": {strings.ToUpper(hex.EncodeToString(sum[:]))}}
}

func kuaidiPush(number string) string {
	return fmt.Sprintf(`{"status":"shutdown","billstatus":"check","message":"","autoCheck":"0","lastResult":{"message":"ok","nu":%q,"ischeck":"1","com":"shunfeng","status":"200","state":"3","data":[`+
		`{"time":"2026-03-02 18:00:00","ftime":"2026-03-02 18:00:00","context":"[杭州市]已签收","areaName":"浙江,杭州市","status":"签收","statusCode":"3"},`+
		`{"time":"2026-03-01 08:00:00","ftime":"2026-03-01 08:00:00","context":"[深圳市]已揽收","areaName":"广东,深圳市","status":"揽收","statusCode":"1"}]}}`, number)
}

// post posts a form and returns the status and the answer.
func (d *deployment) post(path string, form url.Values) (int, map[string]any) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.HTTP+path, strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		d.t.Fatalf("the answer isn't JSON: %s", body)
	}
	return resp.StatusCode, answer
}

// A source's push in its own form becomes a signed callback.
func TestSources_PushBecomesASignedCallback(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		d.subscribe(c, "SF1000000000001", "SF1000000000002", "SF1000000000003")

		// A wrong signature is refused in the source's form, and has no effect.
		if _, answer := d.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush("SF1000000000001"), "wrong")); answer["Success"] != false {
			t.Errorf("a wrong signature was answered with %v", answer)
		}
		if _, answer := d.post("/v1/sources/kuaidi100/"+kuaidiAccount, kuaidiForm(kuaidiPush("SF1000000000003"), "wrong")); answer["result"] != false {
			t.Errorf("a wrong signature was answered with %v", answer)
		}

		code, answer := d.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush("SF1000000000001", "SF1000000000002"), kdniaoKey))
		if code != http.StatusOK || answer["Success"] != true {
			t.Fatalf("Kdniao was answered %d %v", code, answer)
		}
		for range 2 {
			p := c.nextPush()
			if p.Revision != 1 || p.Waybill.Status != "out_for_delivery" || len(p.Events) != 2 || p.Metadata["order_id"] != "order-"+p.Waybill.WaybillNumber {
				t.Errorf("the push of a Kdniao report is %+v", p)
			}
			if at := p.Events[0].LocalTime; at != "2026-03-01T08:01:02" {
				t.Errorf("local time is %s", at)
			}
		}

		code, answer = d.post("/v1/sources/kuaidi100/"+kuaidiAccount, kuaidiForm(kuaidiPush("SF1000000000003"), kuaidiSalt))
		if code != http.StatusOK || answer["result"] != true {
			t.Fatalf("Kuaidi100 was answered %d %v", code, answer)
		}
		if p := c.nextPush(); p.Waybill.Status != "delivered" || !p.Waybill.Terminal || p.Waybill.WaybillNumber != "SF1000000000003" {
			t.Errorf("the push of a Kuaidi100 report is %+v", p)
		}
	})
}

// Two sources that tell of one waybill make one trace.
func TestSources_OneWaybillIsOneTrace(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		d.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush("SF2000000000001"), kdniaoKey))
		if _, err := d.settled("SF2000000000001", 2); err != nil {
			t.Fatal(err)
		}
		d.report(moving("SF2000000000001", 1))
		w, err := d.settled("SF2000000000001", 3)
		if err != nil {
			t.Fatal(err)
		}
		if w.Revision != 2 || w.ID != (trace.ID{CarrierCode: "sf-express", WaybillNumber: "SF2000000000001"}) {
			t.Errorf("the waybill is %+v", w)
		}
	})
}

// One trace leads from the report to the callback.
func TestTrace_LeadsFromTheReportToTheCallback(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		d.subscribe(c, "SFTRACE1")
		const id = "0af7651916cd43dd8448eb211c80319c"
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+id+"-b7ad6b7169203331-01")
		if _, err := d.Reports.ReportEvents(ctx, []client.ReportedEvent{moving("SFTRACE1", 1)}); err != nil {
			t.Fatal(err)
		}
		if got := c.Next().Header.Get("Traceparent"); !strings.Contains(got, id) {
			t.Errorf("the callback's traceparent is %q, want trace %s", got, id)
		}
	})
}
