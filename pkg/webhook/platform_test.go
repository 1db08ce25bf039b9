package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
)

// The documents and their signatures are worked out by hand from the platforms'
// published rules.
const (
	kdniaoDocument = `{"PushTime":"2025-03-03 12:05:00","EBusinessID":"1237100","Data":[{"EBusinessID":"1237100","ShipperCode":"YTO","LogisticCode":"YT2500000000001","Success":true,"State":"2","StateEx":"202","Traces":[{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Action":"202"}]}],"Count":"1"}`
	kdniaoKey      = "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"

	kuaidi100Document = `{"status":"polling","message":"","lastResult":{"message":"ok","nu":"V030344422","ischeck":"0","com":"yuantong","status":"200","state":"0","data":[{"time":"2012-08-28 16:33:19","ftime":"2012-08-28 16:33:19","context":"上海分拨中心"}]}}`
	kuaidi100Salt     = "testsalt"
)

func kdniaoForm(change func(url.Values)) string {
	f := url.Values{
		"RequestData": {kdniaoDocument}, "RequestType": {"102"}, "EBusinessID": {"1237100"}, "DataType": {"2"},
		"DataSign": {webhook.KdniaoSign(kdniaoDocument, kdniaoKey)},
	}
	if change != nil {
		change(f)
	}
	return f.Encode()
}

func postForm(h http.Handler, kind, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/", strings.NewReader(body))
	maps.Copy(r.Header, header)
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const formType = "application/x-www-form-urlencoded"

func TestKdniaoHandler_TakesWhatIsSignedAndAnswersInItsForm(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(url.Values)
		err    error
		want   bool
		took   bool
	}{
		"as signed":        {want: true, took: true},
		"type 101":         {change: func(f url.Values) { f.Set("RequestType", "101") }, want: true, took: true},
		"handler fails":    {err: errors.New("secret detail"), took: true},
		"another document": {change: func(f url.Values) { f.Set("RequestData", strings.Replace(kdniaoDocument, "202", "301", 1)) }},
		"another account":  {change: func(f url.Values) { f.Set("EBusinessID", "1") }},
		"no sign":          {change: func(f url.Values) { f.Del("DataSign") }},
		"another type":     {change: func(f url.Values) { f.Set("RequestType", "107") }},
		"not the document": {change: func(f url.Values) { f.Set("RequestData", "[]"); f.Set("DataSign", webhook.KdniaoSign("[]", kdniaoKey)) }},
		"signed, of another's": {change: func(f url.Values) {
			d := `{"EBusinessID":"2","Data":[{}]}`
			f.Set("RequestData", d)
			f.Set("DataSign", webhook.KdniaoSign(d, kdniaoKey))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := false
			h := webhook.KdniaoHandler(webhook.KdniaoConfig{EBusinessID: "1237100", AppKey: kdniaoKey}, func(_ context.Context, p webhook.KdniaoPush) error {
				took = true
				if p.Data[0].LogisticCode != "YT2500000000001" || len(p.Data[0].Traces) != 1 || p.PushID != "" {
					t.Errorf("the push is %+v", p)
				}
				return tt.err
			})
			w := postForm(h, formType, kdniaoForm(tt.change), nil)
			var a struct {
				EBusinessID, UpdateTime, Reason string
				Success                         bool
			}
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			if _, err := time.Parse("2006-01-02 15:04:05", a.UpdateTime); err != nil || w.Code != http.StatusOK || a.EBusinessID != "1237100" {
				t.Errorf("the answer is %d %s", w.Code, w.Body)
			}
			if a.Success != tt.want || took != tt.took || (a.Reason == "") != tt.want || strings.Contains(a.Reason, "secret") {
				t.Errorf("Success is %v, the handler was called: %v, reason %q", a.Success, took, a.Reason)
			}
		})
	}
}

func TestKuaidi100Handler_TakesWhatIsSignedAndAnswersInItsForm(t *testing.T) {
	t.Parallel()
	sign := webhook.Kuaidi100Sign(kuaidi100Document, kuaidi100Salt)
	for name, tt := range map[string]struct {
		form url.Values
		err  error
		want bool
		took bool
	}{
		"as signed":        {form: url.Values{"param": {kuaidi100Document}, "sign": {sign}}, want: true, took: true},
		"in lower case":    {form: url.Values{"param": {kuaidi100Document}, "sign": {strings.ToLower(sign)}}, want: true, took: true},
		"handler fails":    {form: url.Values{"param": {kuaidi100Document}, "sign": {sign}}, err: errors.New("secret detail"), took: true},
		"another document": {form: url.Values{"param": {kuaidi100Document + " "}, "sign": {sign}}},
		"no sign":          {form: url.Values{"param": {kuaidi100Document}}},
		"not the document": {form: url.Values{"param": {"{}"}, "sign": {webhook.Kuaidi100Sign("{}", kuaidi100Salt)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := false
			h := webhook.Kuaidi100Handler(webhook.Kuaidi100Config{Salt: kuaidi100Salt}, func(_ context.Context, p webhook.Kuaidi100Push) error {
				took = true
				if p.LastResult.Number != "V030344422" || len(p.LastResult.Data) != 1 {
					t.Errorf("the push is %+v", p)
				}
				return tt.err
			})
			w := postForm(h, formType, tt.form.Encode(), nil)
			var a struct {
				Result     bool
				ReturnCode string
				Message    string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			code := map[bool]string{true: "200", false: "500"}[tt.want]
			if w.Code != http.StatusOK || a.Result != tt.want || a.ReturnCode != code || took != tt.took || strings.Contains(a.Message, "secret") {
				t.Errorf("the answer is %d %s, the handler was called: %v", w.Code, w.Body, took)
			}
		})
	}
}

// With a verifier a platform's push must have Posthaste's headers too, and has an
// id that can be trusted.
func TestPlatformHandlers_CheckPosthastesHeadersToo(t *testing.T) {
	t.Parallel()
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	v := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	var id string
	h := webhook.KdniaoHandler(webhook.KdniaoConfig{EBusinessID: "1237100", AppKey: kdniaoKey, Verifier: v}, func(_ context.Context, p webhook.KdniaoPush) error {
		id = p.PushID
		return nil
	})
	for _, kind := range []string{formType, "application/json;charset=utf-8"} {
		body := kdniaoForm(nil)
		if kind != formType {
			body = kdniaoDocument
		}
		if w := postForm(h, kind, body, nil); id != "" || !strings.Contains(w.Body.String(), `"Success":false`) {
			t.Errorf("without headers %s is answered %s", kind, w.Body)
		}
		signed := http.Header{}
		webhook.SetHeaders(signed, "psh_1_1", time.Now(), []byte(body), secret)
		if w := postForm(h, kind, body, signed); id != "psh_1_1" || !strings.Contains(w.Body.String(), `"Success":true`) {
			t.Errorf("with headers %s is answered %s, and the id is %q", kind, w.Body, id)
		}
		id = ""
	}
	plain := webhook.KdniaoHandler(webhook.KdniaoConfig{EBusinessID: "1237100", AppKey: kdniaoKey}, func(context.Context, webhook.KdniaoPush) error {
		t.Error("an unsigned document is taken")
		return nil
	})
	postForm(plain, "application/json", kdniaoDocument, nil)
}

func ExampleKdniaoHandler() {
	h := webhook.KdniaoHandler(webhook.KdniaoConfig{EBusinessID: "1237100", AppKey: kdniaoKey}, func(_ context.Context, p webhook.KdniaoPush) error {
		for _, item := range p.Data {
			fmt.Println(item.ShipperCode, item.LogisticCode, item.StateEx, item.Traces[len(item.Traces)-1].AcceptStation)
		}
		return nil
	})
	w := postForm(h, formType, kdniaoForm(nil), nil)
	fmt.Println(w.Code, strings.Contains(w.Body.String(), `"Success":true`))
	// Output:
	// YTO YT2500000000001 202 【武汉市】正在派件
	// 200 true
}

func ExampleKuaidi100Handler() {
	h := webhook.Kuaidi100Handler(webhook.Kuaidi100Config{Salt: kuaidi100Salt}, func(_ context.Context, p webhook.Kuaidi100Push) error {
		fmt.Println(p.LastResult.Company, p.LastResult.Number, p.LastResult.Data[0].Text)
		return nil
	})
	form := url.Values{"param": {kuaidi100Document}, "sign": {webhook.Kuaidi100Sign(kuaidi100Document, kuaidi100Salt)}}
	fmt.Println(postForm(h, formType, form.Encode(), nil).Body)
	// Output:
	// yuantong V030344422 上海分拨中心
	// {"result":true,"returnCode":"200","message":"成功"}
}
