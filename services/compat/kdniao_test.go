package compat_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func sign(data string) string { return push.SignKdniao(data, kdniaoKey) }

var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

// The ways in which clients in several languages encode a form.
var (
	php    = url.QueryEscape // and Python, Go, Java
	csharp = func(s string) string { return escapes.ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower) }
	node   = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") } // encodeURIComponent
	java   = func(s string) string { return url.QueryEscape(url.QueryEscape(s)) }                // the demo, which encodes twice
)

func kdniaoForm(encode func(string) string, kind, data string) string {
	return "RequestData=" + encode(data) + "&EBusinessID=" + kdniaoID + "&RequestType=" + kind + "&DataSign=" + encode(sign(data)) + "&DataType=2"
}

// Each request is what some client sends, down to the bytes.
func TestKdniao_TakesWhatClientsSend(t *testing.T) {
	t.Parallel()
	const (
		path   = "/api/dist"
		plain  = `{"OrderCode":"","ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`
		single = `{'OrderCode':'','ShipperCode':'YTO','LogisticCode':'YT2500000000001'}`
		blanks = `{"OrderCode": "", "ShipperCode": "YTO", "LogisticCode": "YT2500000000001", "Remark": "\u5c0f\u5fc3 a+b%"}`
	)
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(`{"ShipperCode":"YTO","LogisticCode":"YT2500000000001","Remark":"小心轻放"}`)
	if err != nil {
		t.Fatal(err)
	}
	multipart := func(fields ...string) string {
		var b strings.Builder
		for i := 0; i < len(fields); i += 2 {
			b.WriteString("--xyz\r\nContent-Disposition: form-data; name=\"" + fields[i] + "\"\r\n\r\n" + fields[i+1] + "\r\n")
		}
		return b.String() + "--xyz--\r\n"
	}
	http10 := func(target, body string) string {
		return "POST " + target + " HTTP/1.0\r\nHost:api.kdniao.com\r\nContent-Type:application/x-www-form-urlencoded\r\nContent-Length:" +
			strconv.Itoa(len(body)) + "\r\nConnection:close\r\n\r\n" + body
	}
	w := newWorld(t)
	//nolint:paralleltest // they share the waybill
	for name, raw := range map[string]string{
		"PHP, HTTP/1.0 by hand":      http10("/Ebusiness/EbusinessOrderHandle.aspx", kdniaoForm(php, "1008", single)),
		"PHP, which encodes twice":   http10("/api/dist", kdniaoForm(java, "1008", plain)),
		"Java, which encodes twice":  request("POST", path, kdniaoForm(java, "8008", blanks), formHeader),
		"Java, single quotes":        request("POST", path, kdniaoForm(java, "8008", single), formHeader),
		"C#":                         request("POST", path, kdniaoForm(csharp, "8008", blanks), formHeader, "Expect: 100-continue"),
		"C#, which encodes the sign": request("POST", path, "RequestData="+csharp(plain)+"&EBusinessID="+kdniaoID+"&RequestType=8008&DataSign="+csharp(csharp(sign(plain)))+"&DataType=2", formHeader),
		"Python":                     request("POST", path, kdniaoForm(php, "8008", blanks), "Content-Type: application/x-www-form-urlencoded", "Accept-Encoding: utf-8", "'User-Agent': python"),
		"Node, which encodes twice":  request("POST", path, kdniaoForm(func(s string) string { return node(node(s)) }, "8008", plain), formHeader),
		"Node":                       request("POST", path, kdniaoForm(node, "8008", blanks), formHeader),
		"in the URL":                 request("POST", path+"?"+kdniaoForm(php, "8008", plain), "", formHeader),
		"in the URL, another body":   request("POST", path+"?"+kdniaoForm(php, "8008", plain), `{}`, "Content-Type: application/json"),
		"in the URL, empty form":     request("POST", path+"?"+kdniaoForm(php, "8008", plain), "RequestData=&EBusinessID=", formHeader),
		"GET":                        request("GET", path+"?"+kdniaoForm(php, "8008", plain), ""),
		"another case":               request("POST", "/API/Dist/", strings.NewReplacer("RequestData", "requestdata", "EBusinessID", "eBusinessID", "DataSign", "dataSign", "RequestType", "requestType").Replace(kdniaoForm(php, "8008", plain)), formHeader),
		"slashes":                    request("POST", "//api//dist", kdniaoForm(php, "8008", plain), formHeader),
		"no type":                    request("POST", path, kdniaoForm(php, "8008", plain)),
		"another type":               request("POST", path, kdniaoForm(php, "8008", plain), "Content-Type: text/plain"),
		"multipart":                  request("POST", path, multipart("RequestData", blanks, "EBusinessID", kdniaoID, "RequestType", "8008", "DataSign", sign(blanks)), "Content-Type: multipart/form-data; boundary=xyz"),
		"JSON":                       request("POST", path, `{"RequestData":`+strconv.Quote(plain)+`,"EBusinessID":1237100,"RequestType":8008,"DataSign":"`+sign(plain)+`"}`, "Content-Type: application/json"),
		"not encoded":                request("POST", path, "RequestData="+blanks+"&EBusinessID="+kdniaoID+"&RequestType=8008&DataSign="+sign(blanks), formHeader),
		"not encoded, a plus":        request("POST", path, "RequestData="+single+"&EBusinessID="+kdniaoID+"&RequestType=8008&DataSign="+sign(single), formHeader),
		"GBK":                        request("POST", path, kdniaoForm(php, "8008", gbk), "Content-Type: application/x-www-form-urlencoded;charset=gbk"),
		"data type 20":               request("POST", path, strings.Replace(kdniaoForm(php, "8008", plain), "DataType=2", "DataType=20", 1), formHeader),
		"sandbox":                    request("POST", "/kdniaosandbox/gateway/exterfaceInvoke.json", kdniaoForm(php, "8008", plain), formHeader),
		"order service":              request("POST", "/api/oorderservice", kdniaoForm(php, "1008", plain), formHeader),
		"e-waybill service":          request("POST", "/api/EOrderService", kdniaoForm(php, "1008", plain), formHeader),
		"upper-case sign": request("POST", path, "RequestData="+php(plain)+"&EBusinessID="+kdniaoID+"&RequestType=8008&DataSign="+
			php(upperSign(t, sign(plain))), formHeader),
		"lower-case carrier": request("POST", path, kdniaoForm(php, "8008", strings.Replace(plain, "YTO", "yto", 1)), formHeader),
		"numbers":            request("POST", path, kdniaoForm(php, "8008", `{"ShipperCode":"YTO","LogisticCode":"YT2500000000001","PayType":1,"Cost":1.0,"OrderCode":null,"Sender":{},"Receiver":{"Name":""}}`), formHeader),
		"account in the document": request("POST", path, "RequestData="+php(`{"EBusinessID":1237100,"ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`)+
			"&RequestType=8008&DataSign="+php(sign(`{"EBusinessID":1237100,"ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`)), formHeader),
	} {
		t.Run(name, func(t *testing.T) {
			w.forget()
			code, body := w.raw(raw)
			if got := object(t, body); code != 200 || got["Success"] != true || got["Reason"] != "" || got["EBusinessID"] != kdniaoID {
				t.Fatalf("answered %d %s", code, body)
			}
			if _, url, live := w.subscriptionOf("yto-express", "YT2500000000001"); live != 1 || url != "http://shop.example/kdniao" {
				t.Errorf("there are %d subscriptions, to %s", live, url)
			}
		})
	}
}

// upperSign is a signature whose hexadecimal is in upper case.
func upperSign(t *testing.T, s string) string {
	t.Helper()
	return encode64(strings.ToUpper(decode64(t, s)))
}

var clock = regexp.MustCompile(`"UpdateTime":"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"`)

func (w *world) kdniao(kind, data string) string {
	w.t.Helper()
	code, body := w.raw(request("POST", "/api/dist", kdniaoForm(php, kind, data), formHeader))
	if code != 200 {
		w.t.Errorf("answered %d", code)
	}
	return clock.ReplaceAllString(body, `"UpdateTime":"now"`)
}

func TestKdniao_AnswersAsThePlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.know("yto-express", "YT2500000000001")
	w.know("yto-express", "YT2500000000002")
	const (
		detailed = `"Traces":[{"AcceptTime":"2025-03-01 10:02:11","AcceptStation":"【深圳市】已揽收","Location":"深圳市","Action":"1","Remark":""},` +
			`{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Location":"武汉市","Action":"202","Remark":""}]`
		known = `{"OrderCode":"A<1>","ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`
	)
	for name, c := range map[string]struct{ kind, data, want string }{
		"subscribe": {
			"1008", `{"ShipperCode":"YTO","LogisticCode":"YT1000000000001","OrderCode":"A&1"}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":true,"Reason":"","OrderCode":"A&1","ShipperCode":"YTO","LogisticCode":"YT1000000000001","EstimatedDeliveryTime":""}`,
		},
		"subscribe without a number": {
			"8008", `{"ShipperCode":"YTO"}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":false,"Reason":"无效的输入[【LogisticCode】不能为空]","ResultCode":"105","OrderCode":"","ShipperCode":"YTO","LogisticCode":"","EstimatedDeliveryTime":""}`,
		},
		"subscribe without a carrier": {
			"8008", `{"LogisticCode":"YT1000000000001"}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":false,"Reason":"无效的输入[【ShipperCode】不能为空]","ResultCode":"105","OrderCode":"","ShipperCode":"","LogisticCode":"YT1000000000001","EstimatedDeliveryTime":""}`,
		},
		"subscribe at an unknown carrier": {
			"1008", `{"ShipperCode":"NOSUCH","LogisticCode":"YT1000000000001"}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":false,"Reason":"无效的输入[【ShipperCode】NOSUCH不正确]","ResultCode":"105","OrderCode":"","ShipperCode":"NOSUCH","LogisticCode":"YT1000000000001","EstimatedDeliveryTime":""}`,
		},
		"1002": {
			"1002", known,
			`{"EBusinessID":"1237100","OrderCode":"A<1>","ShipperCode":"YTO","LogisticCode":"YT2500000000001","Success":true,"Reason":"","State":"2",` +
				`"Traces":[{"AcceptTime":"2025-03-01 10:02:11","AcceptStation":"【深圳市】已揽收","Remark":""},{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Remark":""}]}`,
		},
		"8001": {
			"8001", known,
			`{"EBusinessID":"1237100","OrderCode":"A<1>","ShipperCode":"YTO","LogisticCode":"YT2500000000001","Success":true,"Reason":"","State":"2","StateEx":"202","Location":"武汉市",` + detailed + `,"Station":"","StationTel":"","StationAdd":"","DeliveryMan":"","DeliveryManTel":"","NextCity":""}`,
		},
		"8002 without a carrier": {
			"8002", `{"LogisticCode":"yt2500000000002"}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"YTO","LogisticCode":"yt2500000000002","Success":true,"Reason":"","State":"2","StateEx":"202","Location":"武汉市",` + detailed + `,"Station":"","StationTel":"","StationAdd":"","DeliveryMan":"","DeliveryManTel":"","NextCity":""}`,
		},
		"1002 newest first": {
			"1002", `{"ShipperCode":"YTO","LogisticCode":"YT2500000000001","Sort":1}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"YTO","LogisticCode":"YT2500000000001","Success":true,"Reason":"","State":"2",` +
				`"Traces":[{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Remark":""},{"AcceptTime":"2025-03-01 10:02:11","AcceptStation":"【深圳市】已揽收","Remark":""}]}`,
		},
		"no trace yet": {
			"1002", `{"OrderCode":"","ShipperCode":"STO","LogisticCode":"118461988807"}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"STO","LogisticCode":"118461988807","Success":false,"Reason":"暂无轨迹信息","State":"0","Traces":[]}`,
		},
		"no trace yet, 8001": {
			"8001", `{"ShipperCode":"STO","LogisticCode":"118461988807"}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"STO","LogisticCode":"118461988807","Success":false,"Reason":"暂无轨迹信息","State":"0","StateEx":"0","Location":"","Traces":[],"Station":"","StationTel":"","StationAdd":"","DeliveryMan":"","DeliveryManTel":"","NextCity":""}`,
		},
		"no phone": {
			"1002", `{"ShipperCode":"SF","LogisticCode":"SF1000000000001"}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"SF","LogisticCode":"SF1000000000001","Success":false,"Reason":"手机尾号不能为空","State":"0","Traces":[]}`,
		},
		"unknown carrier": {
			"1002", `{"ShipperCode":"NOSUCH","LogisticCode":"SF1000000000001"}`,
			`{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"NOSUCH","LogisticCode":"SF1000000000001","Success":false,"Reason":"无效的输入[【ShipperCode】NOSUCH不正确]","State":"0","Traces":[]}`,
		},
		"recognise nothing": {
			"2002", `{}`,
			`{"EBusinessID":"1237100","LogisticCode":"","Success":false,"Code":"402","Reason":"无效的输入[【LogisticCode】不能为空]","Shippers":[]}`,
		},
		"recognise a short one": {
			"2002", `{"LogisticCode":"1"}`,
			`{"EBusinessID":"1237100","LogisticCode":"1","Success":false,"Code":"404","Reason":"单号长度不正确","Shippers":[]}`,
		},
		"recognise characters": {
			"2002", `{"LogisticCode":"YT25000<0001"}`,
			`{"EBusinessID":"1237100","LogisticCode":"YT25000<0001","Success":false,"Code":"403","Reason":"单号含有特殊字符","Shippers":[]}`,
		},
		"e-waybill": {
			"1007", `{}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":false,"Reason":"非法参数[不支持的RequestType：1007]","ResultCode":"105","OrderCode":"","ShipperCode":"","LogisticCode":"","EstimatedDeliveryTime":""}`,
		},
		"not JSON": {
			"1008", `hello`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":false,"Reason":"非法参数[RequestData格式不正确]","ResultCode":"105","OrderCode":"","ShipperCode":"","LogisticCode":"","EstimatedDeliveryTime":""}`,
		},
		"batch": {
			"1005", `{'Code':'YTO','Item':[{'No':'YT1005000000001','Bk':'x'},{'No':'YT1005000000002','Bk':''}]}`,
			`{"EBusinessID":"1237100","UpdateTime":"now","Success":true,"Reason":"","OrderCode":"","ShipperCode":"YTO","LogisticCode":"","EstimatedDeliveryTime":""}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, w.kdniao(c.kind, c.data)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKdniao_RecognisesNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := object(t, w.kdniao("2002", `{"LogisticCode":"YT2500000000001"}`))
	shippers, _ := got["Shippers"].([]any)
	if got["Success"] != true || got["Code"] != "100" || got["LogisticCode"] != "YT2500000000001" || len(shippers) == 0 {
		t.Fatalf("the answer is %v", got)
	}
	first, _ := shippers[0].(map[string]any)
	if first["ShipperCode"] != "YTO" || first["ShipperName"] != "圆通速递" {
		t.Errorf("the likeliest is %v", first)
	}
}

// Whoever can't sign learns nothing, not even whether the account is there.
func TestKdniao_RefusesStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const data = `{"ShipperCode":"YTO","LogisticCode":"YT2500000000001"}`
	for name, body := range map[string]string{
		"wrong sign":      "RequestData=" + php(data) + "&EBusinessID=" + kdniaoID + "&RequestType=1008&DataSign=" + php(push.SignKdniao(data, "wrong")),
		"no sign":         "RequestData=" + php(data) + "&EBusinessID=" + kdniaoID + "&RequestType=1008",
		"of another text": "RequestData=" + php(data+" ") + "&EBusinessID=" + kdniaoID + "&RequestType=1008&DataSign=" + php(sign(data)),
		"unknown account": "RequestData=" + php(data) + "&EBusinessID=1&RequestType=1008&DataSign=" + php(sign(data)),
		"another account": "RequestData=" + php(data) + "&EBusinessID=999&RequestType=1008&DataSign=" + php(sign(data)),
	} {
		_, got := w.raw(request("POST", "/api/dist", body, formHeader))
		if o := object(t, got); o["Success"] != false || o["Reason"] != "非法参数[请核实ID和key是否正确]" || o["ResultCode"] != "102" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, _, live := w.subscriptionOf("yto-express", "YT2500000000001"); live != 0 {
		t.Error("a stranger has subscribed")
	}
	_, got := w.raw(request("POST", "/api/dist", "EBusinessID="+kdniaoID, formHeader))
	if o := object(t, got); o["Success"] != false || o["Reason"] != "非法参数[RequestData不能为空]" {
		t.Errorf("no document: %s", got)
	}
	code, _ := w.raw(request("POST", "/api/other", "EBusinessID="+kdniaoID, formHeader))
	if code != 404 {
		t.Errorf("another path is answered %d", code)
	}
	_, got = w.raw(request("POST", "/api/dist", strings.Repeat("a", 1<<20+1), formHeader))
	if o := object(t, got); o["Success"] != false {
		t.Errorf("too much: %s", got)
	}
}

func TestKdniao_SubscribingAgainChangesTheTerms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	subscribe := func(kind, data string) {
		t.Helper()
		if got := object(t, w.kdniao(kind, data)); got["Success"] != true {
			t.Fatalf("answered %v", got)
		}
	}
	subscribe("1008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000001","CallBack":" 1 ","CustomerName":"1234"}`)
	terms, _, _ := w.subscriptionOf("sf-express", "SF1000000000001")
	if terms["basic"] != true || terms["call_back"] != " 1 " || terms["customer_name"] != nil {
		t.Errorf("the terms are %v", terms)
	}
	subscribe("8008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000001","Callback":"2","OrderCode":"A","Sort":"1"}`)
	terms, _, live := w.subscriptionOf("sf-express", "SF1000000000001")
	want := map[string]any{
		"shipper_code": "SF", "logistic_code": "SF1000000000001", "order_code": "A", "call_back": "2", "also_callback": true, "newest_first": true,
	}
	if diff := cmp.Diff(want, terms); diff != "" || live != 1 {
		t.Errorf("%d subscriptions, terms (-want +got):\n%s", live, diff)
	}
	// A callback of its own, as the cross-border form has it.
	subscribe("8008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000001","CallbackUrl":"http://other.example/cb?x=1"}`)
	if _, url, live := w.subscriptionOf("sf-express", "SF1000000000001"); url != "http://other.example/cb?x=1" || live != 1 {
		t.Errorf("%d subscriptions, to %s", live, url)
	}
	subscribe("8008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000002","CallbackUrl":"http://other.example/cb?x=1"}`)
	var endpoints int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM endpoint WHERE url LIKE 'http://other%'`).Scan(&endpoints); err != nil || endpoints != 1 {
		t.Errorf("there are %d endpoints of one callback (%v)", endpoints, err)
	}
	if got := object(t, w.kdniao("8008", `{"ShipperCode":"SF","LogisticCode":"SF1000000000003","CallbackUrl":"ftp://other.example"}`)); got["Success"] != false {
		t.Errorf("a callback of no use is answered %v", got)
	}
	// An account without a callback has nowhere to push to.
	const data = `{"ShipperCode":"SF","LogisticCode":"SF1000000000004"}`
	_, got := w.raw(request("POST", "/api/dist", "RequestData="+php(data)+"&EBusinessID=999&RequestType=1008&DataSign="+php(push.SignKdniao(data, "nowhere")), formHeader))
	if o := object(t, got); o["Success"] != false || !strings.HasPrefix(o["Reason"].(string), "业务错误[没有可用的推送地址]") { //nolint:errcheck // its type is known
		t.Errorf("answered %s", got)
	}
}

// The recorded requests of the document, as they are on the wire.
func TestKdniao_TakesTheDocumentsRequests(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testkit.SamplesDir(t), "kdniao")
	w := newWorld(t)
	for file, field := range map[string]string{
		"subscribe-1008-official-full.form.txt": "UpdateTime", "subscribe-8008-zto-phone-tail.form.txt": "UpdateTime",
		"query-1002-request-single-quoted.form.txt": "Traces", "recognise-2002-request.form.txt": "Shippers",
	} {
		form, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		_, body := w.raw(request("POST", "/Ebusiness/EbusinessOrderHandle.aspx", strings.TrimSpace(string(form)), formHeader))
		got := object(t, body)
		if got[field] == nil || got["ResultCode"] != nil {
			t.Errorf("%s is answered %s", file, body)
		}
	}
}
