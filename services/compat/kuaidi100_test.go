package compat_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decode64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	subscribed = `{"result":true,"returnCode":"200","message":"提交成功"}`
	duplicate  = `{"result":false,"returnCode":"501","message":"重复订阅"}`
)

func TestKuaidi100_TakesSubscriptionsThatClientsSend(t *testing.T) {
	t.Parallel()
	const (
		param = `{"company":"yuantong","number":"YT2500000000001","from":"广东省深圳市","to":"武汉","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/kuaidi?orderId=1001&a=b%20c","salt":"testsalt","resultv2":"4","autoCom":"0","interCom":"0","phone":""}}`
		gson  = `{"company":"yuantong","number":"YT2500000000001","key":"TESTKEY0123456","parameters":{"callbackurl":"http:\/\/shop.example\/kuaidi?orderId\u003d1001\u0026a\u003db%20c","salt":"testsalt","resultv2":4}}`
		py    = `{"company": "yuantong", "number": "YT2500000000001", "from": "\u5e7f\u4e1c", "key": "TESTKEY0123456", "parameters": {"callbackurl": "http://shop.example/kuaidi?orderId=1001&a=b%20c", "salt": "testsalt", "resultv2": "4"}}`
	)
	body := func(encode func(string) string, param string) string { return "schema=json&param=" + encode(param) }
	w := newWorld(t)
	//nolint:paralleltest // they share the waybill
	for name, raw := range map[string]string{
		"PHP":               request("POST", "/poll", body(php, param), "Content-Type: application/x-www-form-urlencoded"),
		"Java":              request("POST", "/poll", "url=&"+body(php, gson), formHeader),
		"Python":            request("POST", "/poll", body(php, py), formHeader),
		"C#":                request("POST", "/poll", body(csharp, param), formHeader, "Expect: 100-continue"),
		"Node":              request("POST", "/poll", body(node, py), formHeader),
		"Go, in the URL":    request("POST", "/poll?"+body(php, param), ""),
		"without a schema":  request("POST", "/poll/", "param="+php(param), formHeader),
		"map":               request("POST", "/pollmap", body(php, param), formHeader),
		"twice encoded":     request("POST", "/poll", body(java, param), formHeader),
		"parameters a text": request("POST", "/poll", body(php, `{"company":"YUANTONG","number":"YT2500000000001","key":"TESTKEY0123456","parameters":`+strconv.Quote(`{"callbackurl":"http://shop.example/kuaidi?orderId=1001&a=b%20c","salt":"testsalt","resultv2":"4"}`)+`}`), formHeader),
		"multipart": request("POST", "/poll", "--xyz\r\nContent-Disposition: form-data; name=\"schema\"\r\n\r\njson\r\n--xyz\r\nContent-Disposition: form-data; name=\"param\"\r\n\r\n"+param+"\r\n--xyz--\r\n",
			"Content-Type: multipart/form-data; boundary=xyz"),
	} {
		t.Run(name, func(t *testing.T) {
			w.forget()
			if code, got := w.raw(raw); code != 200 || got != subscribed {
				t.Fatalf("answered %d %s", code, got)
			}
			terms, url, live := w.subscriptionOf("yto-express", "YT2500000000001")
			if live != 1 || url != "http://shop.example/kuaidi" || terms["query"] != "orderId=1001&a=b%20c" || terms["salt"] != "testsalt" || terms["level"] != 4.0 {
				t.Errorf("%d subscriptions to %s, with %v", live, url, terms)
			}
			if _, got := w.raw(raw); got != duplicate {
				t.Errorf("the second is answered %s", got)
			}
		})
	}
}

func (w *world) poll(param string) string {
	w.t.Helper()
	code, body := w.raw(request("POST", "/poll", "schema=json&param="+php(param), formHeader))
	if code != 200 {
		w.t.Errorf("answered %d", code)
	}
	return body
}

func TestKuaidi100_AnswersSubscriptionsWithItsCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	param := func(change ...string) string {
		return strings.NewReplacer(change...).Replace(`{"company":"yuantong","number":"YT2500000000009","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/kuaidi","autoCom":"0"}}`)
	}
	for name, c := range map[string]struct{ param, code string }{
		"wrong key":           {param("TESTKEY", "OTHERKEY"), "600"},
		"no key":              {param(`,"key":"TESTKEY0123456"`, ""), "600"},
		"no company":          {param("yuantong", ""), "700"},
		"unknown company":     {param("yuantong", "nosuchcarrier"), "700"},
		"no number":           {param("YT2500000000009", ""), "700"},
		"short number":        {param("YT2500000000009", "YT250"), "700"},
		"long number":         {param("YT2500000000009", strings.Repeat("1", 33)), "700"},
		"no callback":         {param("http://shop.example/kuaidi", ""), "700"},
		"callback of no use":  {param("http://", "ftp://"), "700"},
		"no param":            {"", "700"},
		"not recognised":      {param("yuantong", "", `"autoCom":"0"`, `"autoCom":"1"`, "YT2500000000009", "-------"), "702"},
		"international name":  {param("shop.example", "回调.例子", "0000000009", "0000000010"), "200"},
		"recognised":          {param("yuantong", "", `"autoCom":"0"`, `"autoCom":1`, "0000000009", "0000000011"), "200"},
		"Kdniao's own code":   {param("yuantong", "YTO", "0000000009", "0000000012"), "200"},
		"salt null":           {param(`"autoCom":"0"`, `"salt":null`, "0000000009", "0000000013"), "200"},
		"salt empty":          {param(`"autoCom":"0"`, `"salt":""`, "0000000009", "0000000014"), "200"},
		"numbers as numbers":  {param(`"YT2500000000009"`, `2500000000015`), "200"},
		"a query with blanks": {param("/kuaidi", "/kuaidi?name=张 三", "0000000009", "0000000016"), "200"},
	} {
		got := object(t, w.poll(c.param))
		if got["returnCode"] != c.code || got["result"] != (c.code == "200") || got["message"] == "" {
			t.Errorf("%s: answered %v, want %s", name, got, c.code)
		}
	}
	for number, want := range map[string]any{"YT2500000000013": nil, "YT2500000000014": ""} {
		if terms, _, live := w.subscriptionOf("yto-express", number); live != 1 || terms["salt"] != want {
			t.Errorf("the salt of %s is %v, want %v", number, terms["salt"], want)
		}
	}
	if terms, _, _ := w.subscriptionOf("yto-express", "YT2500000000016"); terms["query"] != "name=%E5%BC%A0%20%E4%B8%89" {
		t.Errorf("the query is kept as %v", terms["query"])
	}
	if _, url, _ := w.subscriptionOf("yto-express", "YT2500000000010"); !strings.HasPrefix(url, "http://xn--") || !strings.HasSuffix(url, "/kuaidi") {
		t.Errorf("the callback is %s", url)
	}
}

// After the end of a journey the number may be subscribed anew, and is told all.
func TestKuaidi100_SubscribesAnewAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const param = `{"company":"yuantong","number":"YT2500000000009","key":"TESTKEY0123456","parameters":{"callbackurl":"http://shop.example/kuaidi"}}`
	if got := w.poll(param); got != subscribed {
		t.Fatal(got)
	}
	// Another callback of the same account changes nothing: the pair is followed.
	if got := w.poll(strings.Replace(param, "/kuaidi\"", "/other\"", 1)); got != duplicate {
		t.Errorf("answered %s", got)
	}
	if _, err := w.pool.Exec(t.Context(), `UPDATE subscription SET complete_time = now() + '1 day', pushed_revision = 5`); err != nil {
		t.Fatal(err)
	}
	if got := w.poll(param); got != subscribed {
		t.Errorf("answered %s", got)
	}
	var fresh bool
	if err := w.pool.QueryRow(t.Context(), `SELECT bool_and(announce AND pushed_revision = 0) FROM subscription WHERE state = 1`).Scan(&fresh); err != nil || !fresh {
		t.Errorf("the subscription isn't a new one (%v)", err)
	}
}

func kuaidi100Form(param string) string {
	return "customer=" + customer + "&sign=" + push.SignKuaidi100(param, key+customer) + "&param=" + php(param)
}

func TestKuaidi100_AnswersQueriesAsThePlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.know("yto-express", "YT2500000000001")
	const (
		query  = `{"com":"yuantong","num":"YT2500000000001","phone":"","from":"","to":"","resultv2":"4","show":"0","order":"desc"}`
		first  = `{"time":"2025-03-01 10:02:11","context":"【深圳市】已揽收","ftime":"2025-03-01 10:02:11"`
		second = `{"time":"2025-03-03 09:10:22","context":"【武汉市】正在派件","ftime":"2025-03-03 09:10:22"`
		head   = `{"message":"ok","nu":"YT2500000000001","ischeck":"0","condition":"00","com":"yuantong","status":"200","state":"5","data":[`
	)
	for name, c := range map[string]struct{ body, want string }{
		"plain": {kuaidi100Form(`{"com":"yuantong","num":"YT2500000000001"}`), head + second + `},` + first + `}]}`},
		"oldest first, level 1": {
			kuaidi100Form(`{"com": "yuantong", "num": "YT2500000000001", "resultv2": 1, "order": "asc"}`),
			head + first + `,"areaCode":null,"areaName":"深圳市","status":"揽收"},` + second + `,"areaCode":null,"areaName":"武汉市","status":"派件"}]}`,
		},
		"level 4": {
			kuaidi100Form(query),
			head + second + `,"areaCode":null,"areaName":"武汉市","status":"派件","location":"","areaCenter":null,"areaPinYin":null,"statusCode":"5"},` +
				first + `,"areaCode":null,"areaName":"深圳市","status":"揽收","location":"","areaCenter":null,"areaPinYin":null,"statusCode":"1"}],` +
				`"routeInfo":{"from":{"number":null,"name":"深圳市"},"cur":{"number":null,"name":"武汉市"},"to":null},"isLoop":false}`,
		},
		"recognised":      {kuaidi100Form(`{"com":"auto","num":"yt2500000000001"}`), strings.Replace(head, "YT25", "yt25", 1) + second + `},` + first + `}]}`},
		"lower-case sign": {"customer=" + customer + "&sign=" + strings.ToLower(push.SignKuaidi100(`{"com":"yuantong","num":"YT2500000000001"}`, key+customer)) + "&param=" + php(`{"com":"yuantong","num":"YT2500000000001"}`), head + second + `},` + first + `}]}`},
		"no result":       {kuaidi100Form(`{"com":"yuantong","num":"YT2500000000002"}`), `{"result":false,"returnCode":"500","message":"查询无结果，请隔段时间再查"}`},
		"no phone":        {kuaidi100Form(`{"com":"shunfeng","num":"SF1000000000001"}`), `{"result":false,"returnCode":"408","message":"快递公司参数异常：验证码错误"}`},
		"no company":      {kuaidi100Form(`{"com":"nosuchcarrier","num":"YT2500000000002"}`), `{"result":false,"returnCode":"400","message":"找不到对应公司"}`},
		"short number":    {kuaidi100Form(`{"com":"yuantong","num":"YT2"}`), `{"result":false,"returnCode":"400","message":"提交的数据不完整，或者贵公司没授权"}`},
		"no param":        {"customer=" + customer + "&sign=A", `{"result":false,"returnCode":"400","message":"提交的数据不完整，或者贵公司没授权"}`},
		"wrong sign":      {"customer=" + customer + "&sign=ABC&param=" + php(query), `{"result":false,"returnCode":"503","message":"验证签名失败"}`},
		"stranger":        {strings.Replace(kuaidi100Form(query), customer, "OTHER", 1), `{"result":false,"returnCode":"503","message":"验证签名失败"}`},
		"text not quoted": {kuaidi100Form(`{'com':'yuantong','num':'YT2500000000001'}`), head + second + `},` + first + `}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range []string{
				request("POST", "/poll/query.do", c.body, formHeader), request("GET", "/poll/query.do?"+c.body, ""), request("POST", "/poll/query.do?"+c.body, ""),
			} {
				_, got := w.raw(raw)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			}
		})
	}
	t.Run("map", func(t *testing.T) {
		t.Parallel()
		_, body := w.raw(request("POST", "/poll/maptrack.do", kuaidi100Form(query), formHeader))
		if got := object(t, body); got["trailUrl"] != "" || got["status"] != "200" {
			t.Errorf("answered %s", body)
		}
	})
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		_, got := w.raw(request("GET", "/stdio/queryTrace?kuaidiNum=YT2500000000001&key="+key, ""))
		if want := "2025-03-03 09:10:22 【武汉市】正在派件\n2025-03-01 10:02:11 【深圳市】已揽收\n"; got != want {
			t.Errorf("answered %s", got)
		}
	})
}

func TestKuaidi100_RecognisesNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const first = `[{"lengthPre":15,"comCode":"yuantong","name":"圆通速递"}`
	for name, raw := range map[string]string{
		"GET":           request("GET", "/autonumber/auto?num=YT2500000000001&key="+key, ""),
		"POST, in URL":  request("POST", "/autonumber/auto?num=YT2500000000001&key="+key, ""),
		"POST, a form":  request("POST", "/autonumber/auto", "num=YT2500000000001&key="+key, formHeader),
		"HTTP/1.0":      "GET /autonumber/auto?num=yt2500000000001&key=" + key + " HTTP/1.0\r\n\r\n",
		"in both":       request("POST", "/autonumber/auto?num=YT2500000000001", "key="+key, formHeader),
		"encoded blank": request("GET", "/autonumber/auto?num=%20YT2500000000001&key="+key, ""),
	} {
		if code, got := w.raw(raw); code != 200 || !strings.HasPrefix(got, first) {
			t.Errorf("%s: answered %d %s", name, code, got)
		}
	}
	for target, want := range map[string]string{
		"/autonumber/auto?num=YT2500000000001":           `{"result":false,"returnCode":"701","message":"KEY不能为空"}`,
		"/autonumber/auto?num=YT2500000000001&key=other": `{"result":false,"returnCode":"601","message":"KEY已过期"}`,
		"/autonumber/auto?num=1&key=" + key:              `[]`,
		"/autonumber/autoComNum?text=":                   `{"comCode":"","num":"","auto":[]}`,
	} {
		if _, got := w.raw(request("GET", target, "")); got != want {
			t.Errorf("%s is answered %s", target, got)
		}
	}
	_, got := w.raw(request("GET", "/autonumber/autoComNum?text=YT2500000000001", ""))
	if !strings.HasPrefix(got, `{"comCode":"","num":"YT2500000000001","auto":[{"comCode":"yuantong","id":"","noCount":1,"noPre":"YT","startTime":""}`) {
		t.Errorf("the web form is answered %s", got)
	}
}

// The document's requests, as they are on the wire.
func TestKuaidi100_TakesTheDocumentsRequests(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testkit.SamplesDir(t), "kuaidi100")
	w := newWorld(t)
	for _, file := range []string{"subscribe-request.form.txt", "subscribe-request-auto-company.form.txt"} {
		form, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, got := w.raw(request("POST", "/poll", strings.TrimSpace(string(form)), formHeader)); got != subscribed {
			t.Errorf("%s is answered %s", file, got)
		}
	}
}
