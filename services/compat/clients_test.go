package compat_test

import (
	"crypto/md5"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// What public clients of Kuaidi100 send to query and to recognise: the fields that
// they add, where they put them, and how they write the signature.
func TestKuaidi100_TakesQueriesThatClientsSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.know("yto-express", "YT2500000000001")
	const (
		gson   = `{"com":"yuantong","num":"YT2500000000001","phone":"","from":"","to":"","resultv2":"4","show":"0","order":"desc","lang":"zh"}`
		python = `{"com": "yuantong", "num": "YT2500000000001", "phone": "", "from": "\u5e7f\u4e1c", "to": null, "resultv2": 1, "show": 0, "order": "desc"}`
		slash  = `{"com":"yuantong","num":"YT2500000000001","from":"\u5e7f\u4e1c\/\u6df1\u5733"}`
		plain  = `{"com":"yuantong","num":"YT2500000000001","from":"广东省深圳市南山区","to":"北京市朝阳区"}`
	)
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(plain)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(text string) string {
		s := md5.Sum([]byte(text + key + customer))
		return hex.EncodeToString(s[:])
	}
	form := func(param, sign string, more ...string) string {
		return strings.Join(append([]string{"customer=" + customer, "sign=" + sign, "param=" + url.QueryEscape(param)}, more...), "&")
	}
	multipart := func(pairs ...string) string {
		var b strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			b.WriteString("--b\r\nContent-Disposition: form-data; name=\"" + pairs[i] + "\"\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n" + pairs[i+1] + "\r\n")
		}
		return b.String() + "--b--\r\n"
	}
	for name, raw := range map[string]string{
		"Java":                       request("POST", "/poll/query.do", form(gson, strings.ToUpper(sum(gson)), "url="), formHeader, "User-Agent: Apache-HttpClient/4.5"),
		"Java, https in a base path": request("POST", "//poll//query.do", form(gson, strings.ToUpper(sum(gson))), formHeader),
		"Python":                     request("POST", "/poll/query.do", form(python, strings.ToUpper(sum(python))), "Content-Type: application/x-www-form-urlencoded"),
		"PHP":                        request("POST", "/poll/query.do", form(slash, strings.ToUpper(sum(slash)), ""), "Content-Type: application/x-www-form-urlencoded"),
		"Go":                         request("POST", "/poll/query.do?"+form(gson, strings.ToUpper(sum(gson))), ""),
		"Node, lower case":           request("POST", "/poll/query.do", form(gson, sum(gson)), formHeader),
		"Rust, multipart":            request("POST", "/poll/query.do", multipart("customer", customer, "sign", strings.ToUpper(sum(gson)), "param", gson), "Content-Type: multipart/form-data; boundary=b"),
		"JSON":                       request("POST", "/poll/query.do", `{"customer":"`+customer+`","sign":"`+sum(gson)+`","param":`+strconv.Quote(gson)+`}`, "Content-Type: application/json"),
		"Chinese":                    request("POST", "/poll/query.do", form(plain, sum(plain)), formHeader),
		"GBK":                        request("POST", "/poll/query.do", form(gbk, sum(gbk)), "Content-Type: application/x-www-form-urlencoded;charset=GBK"),
		"GBK, signed as UTF-8":       request("POST", "/poll/query.do", form(gbk, sum(plain)), formHeader),
		"UTF-8, signed as GBK":       request("POST", "/poll/query.do", form(plain, sum(gbk)), formHeader),
		"map":                        request("POST", "/poll/maptrack.do", form(gson, sum(gson)), formHeader),
		"an older path":              request("POST", "/poll/synquery.do", form(gson, sum(gson)), formHeader),
		"GET":                        request("GET", "/poll/query.do?"+form(gson, sum(gson)), ""),
	} {
		code, body := w.raw(raw)
		got := object(t, body)
		list, _ := got["data"].([]any)
		if code != 200 || got["status"] != "200" || got["message"] != "ok" || got["ischeck"] != "0" || len(list) != 2 {
			t.Errorf("%s: answered %d %s", name, code, body)
		}
		if _, said := got["returnCode"]; said {
			t.Errorf("%s: a success has a code, by which clients tell refusals: %s", name, body)
		}
	}
}

func TestKuaidi100_AnswersTheQueryOfBeforeCustomers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.know("yto-express", "YT2500000000001")
	for target, want := range map[string]string{
		"/api?id=" + key + "&com=yuantong&nu=YT2500000000001&show=0&muti=1&order=asc": `{"message":"ok","nu":"YT2500000000001","ischeck":"0","com":"yuantong","status":"1","state":"5","data":[` +
			`{"time":"2025-03-01 10:02:11","context":"【深圳市】已揽收","ftime":"2025-03-01 10:02:11"},{"time":"2025-03-03 09:10:22","context":"【武汉市】正在派件","ftime":"2025-03-03 09:10:22"}]}`,
		"/api?id=" + key + "&com=yuantong&nu=YT2500000000002": `{"message":"查询无结果，请隔段时间再查","nu":"YT2500000000002","ischeck":"0","com":"yuantong","status":"0","state":"0","data":[]}`,
		"/api?id=other&com=yuantong&nu=YT2500000000001":       `{"message":"KEY已过期","nu":"","ischeck":"","com":"","status":"2","state":"0","data":[]}`,
	} {
		if _, got := w.raw(request("GET", target, "")); got != want {
			t.Errorf("%s is answered %s", target, got)
		}
	}
}

// Kdniao's texts in one encoding, signed in the other.
func TestKdniao_TakesSignaturesOverTheOtherEncoding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const plain = `{"ShipperCode":"YTO","LogisticCode":"YT2500000000001","OrderCode":"订单1"}`
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{"UTF-8": {plain, plain}, "GBK": {gbk, gbk}, "sent as GBK": {gbk, plain}, "signed as GBK": {plain, gbk}} {
		_, body := w.raw(request("POST", "/api/dist", "RequestData="+php(pair[0])+"&EBusinessID="+kdniaoID+"&RequestType=1008&DataType=2&DataSign="+php(sign(pair[1])), formHeader))
		if got := object(t, body); got["Success"] != true || got["OrderCode"] != "订单1" {
			t.Errorf("%s: answered %s", name, body)
		}
	}
	_, body := w.raw(request("POST", "/api/dist", "RequestData="+php(plain)+"&EBusinessID="+kdniaoID+"&RequestType=1008&DataSign="+php(sign("x"+plain)), formHeader))
	if object(t, body)["Success"] != false {
		t.Errorf("a wrong signature is answered %s", body)
	}
}

// A call that is refused is refused in the form that the client reads.
func TestKdniao_RefusesInTheFormOfTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for kind, want := range map[string]string{
		"1002": `"State":"0","Traces":[]}`, "8001": `"State":"0","Traces":[]}`, "8002": `"State":"0","Traces":[]}`, "2002": `"Code":"102","Shippers":[]}`,
		"1008": `"EstimatedDeliveryTime":""}`,
	} {
		_, body := w.raw(request("POST", "/api/dist", "RequestData=%7B%7D&EBusinessID="+kdniaoID+"&RequestType="+kind+"&DataSign=x", formHeader))
		if got := object(t, body); got["Success"] != false || !strings.HasSuffix(body, want) {
			t.Errorf("%s is refused by %s", kind, body)
		}
	}
}
