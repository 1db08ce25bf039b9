package ingest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
)

const (
	kuaidiPath     = "/v1/sources/kuaidi100/" + kuaidiAccount
	kuaidiOK       = `{"result":true,"returnCode":"200","message":"成功"}`
	kuaidiUnsigned = `{"result":false,"returnCode":"500","message":"签名错误"}`
)

func kuaidiNo(message string) string {
	return fmt.Sprintf(`{"result":false,"returnCode":"500","message":%q}`, message)
}

func TestKuaidi100_KeepsTheResultByteForByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	result := kuaidiResult("sf1000000000001")
	w.want(w.post(kuaidiPath, kuaidiForm(kuaidiPush(result))), http.StatusOK, kuaidiOK)
	all := w.wantNumbers("SF1000000000001")
	got := all[0].M
	if string(got.GetBody()) != result {
		t.Errorf("the body is %s, want %s", got.GetBody(), result)
	}
	if got.GetSource() != "kuaidi100" || got.GetSourceKind() != trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_PUSH || got.GetAccount() != kuaidiAccount ||
		got.GetCarrierCode() != "sf-express" || !got.GetReceiveTime().AsTime().Equal(received) {
		t.Errorf("it is %v", got)
	}
	if diff := cmp.Diff(map[string]string{"status": "polling", "message": "变化"}, got.GetContext()); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	if want := subject.Raw("kuaidi100", "sf-express", "SF1000000000001"); all[0].subject != want {
		t.Errorf("it is on %s, want %s", all[0].subject, want)
	}
}

// The vectors of the format's documents, and clients' ways to encode them.
func TestKuaidi100_TakesWhatIsSignedHoweverItIsEncoded(t *testing.T) {
	t.Parallel()
	const (
		param     = `{"status":"abort","billstatus":"","message":"3天查询无记录","autoCheck":"0","comOld":"","comNew":"","lastResult":{"message":"快递公司参数异常：单号不存在或者已经过期","nu":"4310508235533","ischeck":"0","condition":"","com":"yunda","status":"201","state":"0","data":[]}}`
		sign      = "BBF8B9D721EBE01D561065A12CE23630"
		plainSign = "4A79B63346812EAA80A09BE7D9E88550" // with the empty salt
	)
	form := url.Values{"param": {param}, "sign": {sign}}
	twice := url.Values{"param": {url.QueryEscape(param)}, "sign": {sign}}
	object, err := json.Marshal(map[string]any{"param": param, "sign": sign, "schema": nil})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ account, query, contentType, body string }{
		"a form":                   {kuaidiAccount, "", formType, form.Encode()},
		"lower case":               {kuaidiAccount, "", formType, url.Values{"param": {param}, "sign": {strings.ToLower(sign)}}.Encode()},
		"encoded twice":            {kuaidiAccount, "", formType, twice.Encode()},
		"in the URL":               {kuaidiAccount, "?" + form.Encode(), "", ""},
		"a form said to be text":   {kuaidiAccount, "", "text/html", form.Encode()},
		"a form said to be JSON":   {kuaidiAccount, "", jsonType, form.Encode()},
		"a JSON object":            {kuaidiAccount, "", jsonType, string(object)},
		"an empty salt":            {plainAccount, "", formType, url.Values{"param": {param}, "sign": {plainSign}}.Encode()},
		"an account without salt":  {plainAccount, "", formType, url.Values{"param": {param}}.Encode()},
		"other parameters of ours": {kuaidiAccount, "?orderId=1", formType, form.Encode()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.send(http.MethodPost, "/v1/sources/kuaidi100/"+tt.account+tt.query, tt.contentType, tt.body), http.StatusOK, kuaidiOK)
			all := w.wantNumbers("4310508235533")
			if body := string(all[0].M.GetBody()); !strings.Contains(param, body) {
				t.Errorf("the body is %s", body)
			}
			if all[0].M.GetAccount() != tt.account {
				t.Errorf("the account is %q", all[0].M.GetAccount())
			}
		})
	}
}

func TestKuaidi100_RefusesWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	param := kuaidiPush(kuaidiResult("SF1000000000001"))
	sign := kuaidiSign(param, kuaidiSalt)
	for name, tt := range map[string]struct {
		account string
		form    url.Values
	}{
		"another salt":           {kuaidiAccount, url.Values{"param": {param}, "sign": {kuaidiSign(param, "wrong")}}},
		"another account's salt": {kuaidiAccount, url.Values{"param": {param}, "sign": {kuaidiSign(param, "another salt")}}},
		"the empty salt":         {kuaidiAccount, url.Values{"param": {param}, "sign": {kuaidiSign(param, "")}}},
		"none":                   {kuaidiAccount, url.Values{"param": {param}}},
		"an empty one":           {kuaidiAccount, url.Values{"param": {param}, "sign": {""}}},
		"changed data":           {kuaidiAccount, url.Values{"param": {param + " "}, "sign": {sign}}},
		"base64":                 {kuaidiAccount, url.Values{"param": {param}, "sign": {kdniaoSign(param, kuaidiSalt)}}},
		"a wrong one, no salt":   {plainAccount, url.Values{"param": {param}, "sign": {sign}}},
		"the name Kdniao uses":   {kuaidiAccount, url.Values{"param": {param}, "DataSign": {sign}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.post("/v1/sources/kuaidi100/"+tt.account, tt.form), http.StatusOK, kuaidiUnsigned)
			w.wantNothing()
		})
	}
}

func TestKuaidi100_RefusesAnUnknownAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	param := kuaidiPush(kuaidiResult("SF1000000000001"))
	for _, sign := range []string{kuaidiSign(param, kuaidiSalt), kuaidiSign(param, ""), ""} {
		w.want(w.post("/v1/sources/kuaidi100/nobody", url.Values{"param": {param}, "sign": {sign}}), http.StatusNotFound, kuaidiNo("unknown account"))
	}
	w.wantNothing()
}

// A parcel abroad has a second waybill. A bad one takes nothing with it.
func TestKuaidi100_KeepsTheGoodLegBesideTheBad(t *testing.T) {
	t.Parallel()
	first := kuaidiResult("SF1000000000001")
	for name, tt := range map[string]struct{ second, field string }{
		"both good":  {kuaidiResult("SF1000000000002"), ""},
		"no carrier": {`{"nu":"EX015142583SG", "com":"","data":[]}`, "destResult.com"},
		"no number":  {`{"nu":"","com":"speedpost","data":[{"time":"2026-03-01 08:00:00"}]}`, "destResult.nu"},
		"no time":    {`{"nu":"EX015142583SG","com":"speedpost","data":[{"context":"x"}]}`, "destResult.data[0].time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			push := strings.TrimSuffix(kuaidiPush(first), "}") + `,"destResult":` + tt.second + `}`
			w.want(w.post(kuaidiPath, kuaidiForm(push)), http.StatusOK, kuaidiOK)
			if tt.field == "" {
				w.wantNumbers("SF1000000000001", "SF1000000000002")
				return
			}
			w.wantNumbers("SF1000000000001")
			w.wantRejected("kuaidi100", kuaidiAccount, tt.second, "", "bad_field", tt.field)
		})
	}
}

func TestKuaidi100_RefusesWhatCannotBeUsedAndSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ param, reason, field, message string }{
		"no result":   {`{"status":"polling"}`, "bad_field", "lastResult", "lastResult: is missing"},
		"broken":      {`{"status":`, "bad_field", "param", "param: is not JSON: unexpected end of JSON input"},
		"no document": {"hello", "bad_field", "param", "param: is not a JSON object"},
		"not UTF-8":   {"{\"status\":\"\xff\"}", "bad_body", "", "the document is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			form := kuaidiForm(tt.param)
			w.want(w.post(kuaidiPath, form), http.StatusOK, kuaidiNo(tt.message))
			w.wantNumbers()
			w.wantRejected("kuaidi100", kuaidiAccount, form.Encode(), formType, tt.reason, tt.field)
		})
	}
	t.Run("the one result bad", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		bad := `{"nu":"","com":"shunfeng", "data":[]}`
		w.want(w.post(kuaidiPath, kuaidiForm(kuaidiPush(bad))), http.StatusOK, kuaidiNo("lastResult.nu: is empty"))
		w.wantNumbers()
		w.wantRejected("kuaidi100", kuaidiAccount, bad, "", "bad_field", "lastResult.nu")
	})
	t.Run("no param", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.want(w.send(http.MethodPost, kuaidiPath, formType, "sign=x"), http.StatusOK, kuaidiNo("param is missing"))
		w.wantNumbers()
		w.wantRejected("kuaidi100", kuaidiAccount, "sign=x", formType, "bad_body", "param")
	})
}
