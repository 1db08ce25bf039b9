package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// A tenant's accounts at the two platforms.
const (
	shopID, shopKey           = "1237100", "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"
	shopCustomer, shopPollKey = "TESTCUSTOMER", "TESTKEY0123456"
)

// platforms makes a tenant's accounts, and returns the address of the faces.
func (d *deployment) platforms(callback string) (faces string) {
	d.t.Helper()
	for _, p := range d.processes {
		if p.program != app.AllInOne && p.program != app.Subscription {
			continue
		}
		conn, err := grpc.NewClient("passthrough:///"+p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			d.t.Fatal(err)
		}
		defer conn.Close()
		for _, a := range []*tenantv1.PlatformAccount{
			{Platform: tenantv1.Platform_PLATFORM_KDNIAO, AccountId: shopID, Key: shopKey, CallbackUrl: callback},
			{Platform: tenantv1.Platform_PLATFORM_KUAIDI100, AccountId: shopCustomer, Key: shopPollKey},
		} {
			req := &tenantv1.CreatePlatformAccountRequest{Parent: "tenants/shop", PlatformAccount: a}
			if _, err := tenantv1.NewPlatformAccountServiceClient(conn).CreatePlatformAccount(d.t.Context(), req); err != nil {
				d.t.Fatal(err)
			}
		}
		faces = "http://" + p.http
	}
	return faces
}

// posted posts a form to a face and returns the answer.
func (d *deployment) posted(address string, form url.Values) map[string]any {
	d.t.Helper()
	was := d.HTTP
	d.HTTP = ""
	code, answer := d.post(address, form)
	d.HTTP = was
	if code != http.StatusOK {
		d.t.Errorf("%s answered %d", address, code)
	}
	return answer
}

// A client of Kdniao changes its base URL: it subscribes, its receiver gets the
// platform's push until it says the word, and it queries.
func TestCompat_AKdniaoClientMovesByItsBaseURL(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		rc := testkit.NewReceiver(t)
		rc.Script(testkit.Status(http.StatusOK)) // a success, without the word
		rc.Always(testkit.StatusBody(http.StatusOK, `{" EBusinessID":1237100," UpdateTime":"2026-03-02T09:12:01"," Success":"true"}`))
		faces := d.platforms(rc.URL + "/kdniao.php")
		call := func(kind, data string) map[string]any {
			form := kdniaoForm(data, shopKey)
			form.Set("EBusinessID", shopID)
			form.Set("RequestType", kind)
			form.Set("DataType", "2")
			return d.posted(faces+"/api/dist", form)
		}
		const number = "SF3000000000001"
		if answer := call("1002", `{"ShipperCode":"SF","LogisticCode":"`+number+`","CustomerName":"1234"}`); answer["Success"] != false || answer["State"] != "0" {
			t.Errorf("before the first trace it answers %v", answer)
		}
		if answer := call("8008", `{"ShipperCode":"SF","LogisticCode":"`+number+`","OrderCode":"A-1","Callback":"order=7"}`); answer["Success"] != true {
			t.Fatalf("the subscription is answered %v", answer)
		}
		d.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush(number), kdniaoKey))

		tries := rc.Await(2)
		if string(tries[0].Body) != string(tries[1].Body) || tries[0].Path != "/kdniao.php" {
			t.Error("the repeat says something else")
		}
		form, err := url.ParseQuery(string(tries[1].Body))
		if err != nil {
			t.Fatal(err)
		}
		data := form.Get("RequestData")
		if want := kdniaoForm(data, shopKey).Get("DataSign"); form.Get("DataSign") != want || form.Get("RequestType") != "102" {
			t.Errorf("the push is %v", form)
		}
		var push struct {
			EBusinessID, Count string
			Data               []map[string]any
		}
		if err := json.Unmarshal([]byte(data), &push); err != nil {
			t.Fatal(err)
		}
		want := []map[string]any{{
			"EBusinessID": shopID, "OrderCode": "A-1", "ShipperCode": "SF", "LogisticCode": number, "Success": true, "Reason": "", "State": "2", "StateEx": "202",
			"Location": "杭州市", "CallBack": "order=7", "Callback": "order=7", "Traces": []any{
				map[string]any{"AcceptTime": "2026-03-01 08:01:02", "AcceptStation": "【深圳市】已揽收", "Location": "深圳市", "Action": "1", "Remark": ""},
				map[string]any{"AcceptTime": "2026-03-02 09:10:11", "AcceptStation": "【杭州市】正在派送", "Location": "杭州市", "Action": "202", "Remark": ""},
			},
		}}
		if diff := cmp.Diff(want, push.Data); diff != "" || push.EBusinessID != shopID || push.Count != "1" {
			t.Errorf("push (-want +got):\n%s", diff)
		}
		if answer := call("8001", `{"ShipperCode":"SF","LogisticCode":"`+number+`"}`); answer["StateEx"] != "202" || !cmp.Equal(answer["Traces"], want[0]["Traces"]) {
			t.Errorf("the query is answered %v", answer)
		}

		// The acknowledged push isn't repeated: the next thing is the next change.
		d.report(client.ReportedEvent{Waybill: waybill(number), LocalTime: "2026-03-02 18:00:00", Status: status.Delivered, Text: "已签收"})
		form, err = url.ParseQuery(string(rc.Await(3)[2].Body))
		if err != nil {
			t.Fatal(err)
		}
		if got := form.Get("RequestData"); !strings.Contains(got, `"State":"3"`) || !strings.Contains(got, "已签收") || !strings.Contains(got, "已揽收") {
			t.Errorf("the second push is %s", got)
		}
	})
}

// A client of Kuaidi100 does the same by its own calls.
func TestCompat_AKuaidi100ClientMovesByItsBaseURL(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		rc := testkit.NewReceiver(t)
		rc.Script(testkit.StatusBody(http.StatusOK, `{"result":false,"returnCode":"500","message":"失败"}`))
		rc.Always(testkit.StatusBody(http.StatusOK, `{"result":"true","returnCode":200,"message":"成功"}`, "Content-Type: text/html"))
		faces := d.platforms("")
		const number = "SF3000000000002"
		param := `{"company":"shunfeng","number":"` + number + `","from":"","to":"","key":"` + shopPollKey +
			`","parameters":{"callbackurl":"` + rc.URL + `/kuaidi?orderId=1001&x=%20","salt":"testsalt","resultv2":"4","phone":"8888"}}`
		subscribe := func() map[string]any {
			return d.posted(faces+"/poll", url.Values{"schema": {"json"}, "param": {param}})
		}
		if answer := subscribe(); answer["returnCode"] != "200" || answer["result"] != true {
			t.Fatalf("the subscription is answered %v", answer)
		}
		if answer := subscribe(); answer["returnCode"] != "501" {
			t.Errorf("the second subscription is answered %v", answer)
		}
		query := func() map[string]any {
			const param = `{"com":"shunfeng","num":"` + number + `","phone":"8888","resultv2":"4","show":"0","order":"desc"}`
			return d.posted(faces+"/poll/query.do", url.Values{
				"customer": {shopCustomer}, "param": {param}, "sign": {kuaidiForm(param, shopPollKey+shopCustomer).Get("sign")},
			})
		}
		if answer := query(); answer["returnCode"] != "500" || answer["result"] != false {
			t.Errorf("before the first trace it answers %v", answer)
		}
		d.post("/v1/sources/kuaidi100/"+kuaidiAccount, kuaidiForm(kuaidiPush(number), kuaidiSalt))

		tries := rc.Await(2)
		if string(tries[0].Body) != string(tries[1].Body) || tries[0].Path != "/kuaidi?orderId=1001&x=%20" {
			t.Errorf("posted to %s, and the repeat to %s", tries[0].Path, tries[1].Path)
		}
		form, err := url.ParseQuery(string(tries[1].Body))
		if err != nil {
			t.Fatal(err)
		}
		if want := kuaidiForm(form.Get("param"), "testsalt").Get("sign"); form.Get("sign") != want {
			t.Errorf("the sign is %s, want %s", form.Get("sign"), want)
		}
		var push map[string]any
		if err := json.Unmarshal([]byte(form.Get("param")), &push); err != nil {
			t.Fatal(err)
		}
		last, _ := push["lastResult"].(map[string]any)
		nodes, _ := last["data"].([]any)
		if push["status"] != "shutdown" || last["state"] != "3" || last["ischeck"] != "1" || last["com"] != "shunfeng" || last["nu"] != number || len(nodes) != 2 {
			t.Fatalf("the push is %v", push)
		}
		first, _ := nodes[0].(map[string]any)
		if first["context"] != "[杭州市]已签收" || first["time"] != "2026-03-02 18:00:00" || first["statusCode"] != "3" || first["areaName"] != "浙江,杭州市" {
			t.Errorf("the newest node is %v", first)
		}
		answer := query()
		delete(answer, "condition")
		delete(last, "condition")
		if diff := cmp.Diff(last, answer); diff != "" {
			t.Errorf("the query differs from the push (-push +query):\n%s", diff)
		}
	})
}
