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
	kdniaoOK       = `{"EBusinessID":"1237100","UpdateTime":"2026-03-01 20:00:00","Success":true,"Reason":""}`
	kdniaoUnsigned = `{"EBusinessID":"","UpdateTime":"2026-03-01 20:00:00","Success":false,"Reason":"非法参数[请核实ID和key是否正确]"}`
)

// kdniaoNo is a refusal of a push whose signature is right.
func kdniaoNo(reason string) string {
	text, err := json.Marshal(reason)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"EBusinessID":"1237100","UpdateTime":"2026-03-01 20:00:00","Success":false,"Reason":%s}`, text)
}

func TestKdniao_KeepsEachWaybillByteForByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := kdniaoItem("SF1000000000001"), kdniaoItem("sf1000000000002")
	w.want(w.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush(first, second))), http.StatusOK, kdniaoOK)
	all := w.wantNumbers("SF1000000000001", "SF1000000000002")
	for i, body := range []string{first, second} {
		got := all[i].M
		if string(got.GetBody()) != body {
			t.Errorf("the body is %s, want %s", got.GetBody(), body)
		}
		if got.GetSource() != "kdniao" || got.GetSourceKind() != trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_PUSH || got.GetAccount() != kdniaoAccount ||
			got.GetCarrierCode() != "sf-express" || !got.GetReceiveTime().AsTime().Equal(received) {
			t.Errorf("it is %v", got)
		}
		if diff := cmp.Diff(map[string]string{"push_time": "2026-03-01 20:00:00"}, got.GetContext()); diff != "" {
			t.Errorf("context (-want +got):\n%s", diff)
		}
		if want := subject.Raw("kdniao", "sf-express", got.GetWaybillNumber()); all[i].subject != want {
			t.Errorf("it is on %s, want %s", all[i].subject, want)
		}
	}
	if n := len(w.rejections()); n != 0 {
		t.Errorf("REJECTED has %d messages", n)
	}
}

// The vector of the format's documents, and clients' ways to encode it.
func TestKdniao_TakesWhatIsSignedHoweverItIsEncoded(t *testing.T) {
	t.Parallel()
	const (
		data = `{"PushTime":"2025-03-03 12:05:00","EBusinessID":"1237100","Data":[{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"YTO","LogisticCode":"YT2500000000001","Success":true,"Reason":"","State":"2","StateEx":"202","Location":"武汉市","CallBack":"","Traces":[{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Location":"武汉市","Action":"202"}]}],"Count":"1"}`
		sign = "NjIzNjM1Mjk0M2I0ODRhYTFhOGNmZTRlZTc2YjAwNDQ="
	)
	form := url.Values{"RequestData": {data}, "RequestType": {"102"}, "DataSign": {sign}}
	twice := url.Values{"RequestData": {url.QueryEscape(data)}, "RequestType": {"102"}, "DataSign": {url.QueryEscape(sign)}}
	signTwice := url.Values{"RequestData": {data}, "DataSign": {url.QueryEscape(sign)}}
	object, err := json.Marshal(map[string]any{"RequestData": data, "RequestType": 102, "DataSign": sign, "EBusinessID": 1237100, "DataType": nil})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ query, contentType, body string }{
		"a form":                          {"", formType, form.Encode()},
		"encoded twice":                   {"", formType, twice.Encode()},
		"the signature encoded twice":     {"", formType, signTwice.Encode()},
		"in the URL":                      {"?" + form.Encode(), "", ""},
		"in the URL beside a body":        {"?" + form.Encode(), formType, "something=else"},
		"a form without content type":     {"", "", form.Encode()},
		"a form said to be text":          {"", "text/plain", form.Encode()},
		"a form said to be JSON":          {"", jsonType, form.Encode()},
		"a bad content type":              {"", "; what", form.Encode()},
		"a broken pair beside":            {"", formType, "x=%zz&" + form.Encode()},
		"a JSON object":                   {"", jsonType, string(object)},
		"a JSON object without a type":    {"", "", " \n" + string(object)},
		"a JSON object said to be a form": {"", formType, string(object)},
		"blanks around the signature":     {"", formType, url.Values{"RequestData": {data}, "DataSign": {" " + sign + "\r\n"}}.Encode()},
		"another path below":              {"/whatever", formType, form.Encode()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.send(http.MethodPost, "/v1/sources/kdniao"+tt.query, tt.contentType, tt.body), http.StatusOK, kdniaoOK)
			all := w.wantNumbers("YT2500000000001")
			if body := string(all[0].M.GetBody()); !strings.Contains(data, body) {
				t.Errorf("the body is %s", body)
			}
		})
	}
}

func TestKdniao_RefusesWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	data := kdniaoPush(kdniaoItem("SF1000000000001"))
	sign := kdniaoSign(data, kdniaoKey)
	stranger := strings.ReplaceAll(data, kdniaoAccount, "9999999")
	nobody := strings.ReplaceAll(data, `"EBusinessID":"1237100"`, `"EBusinessID":null`)
	for name, form := range map[string]url.Values{
		"another key":             {"RequestData": {data}, "DataSign": {kdniaoSign(data, "wrong")}},
		"another account's key":   {"RequestData": {data}, "DataSign": {kdniaoSign(data, "another key")}},
		"lower case":              {"RequestData": {data}, "DataSign": {strings.ToLower(sign)}},
		"upper case":              {"RequestData": {data}, "DataSign": {strings.ToUpper(sign)}},
		"hexadecimal":             {"RequestData": {data}, "DataSign": {kuaidiSign(data, kdniaoKey)}},
		"none":                    {"RequestData": {data}},
		"an empty one":            {"RequestData": {data}, "DataSign": {""}},
		"changed data":            {"RequestData": {data + " "}, "DataSign": {sign}},
		"an unknown account":      {"RequestData": {stranger}, "DataSign": {kdniaoSign(stranger, kdniaoKey)}},
		"an unknown one, no key":  {"RequestData": {stranger}, "DataSign": {kdniaoSign(stranger, "")}},
		"an account beside":       {"RequestData": {stranger}, "EBusinessID": {kdniaoAccount}, "DataSign": {kdniaoSign(stranger, kdniaoKey)}},
		"no account":              {"RequestData": {nobody}, "DataSign": {kdniaoSign(nobody, kdniaoKey)}},
		"a payment, not signed":   {"RequestData": {data}, "RequestType": {"107"}, "DataSign": {"x"}},
		"no account and no key":   {"RequestData": {"x"}, "DataSign": {kdniaoSign("x", "")}},
		"not even an object":      {"RequestData": {"null"}, "DataSign": {kdniaoSign("null", kdniaoKey)}},
		"the salt of Kuaidi100":   {"RequestData": {data}, "DataSign": {kdniaoSign(data, kuaidiSalt)}},
		"the sign of Kuaidi100's": {"RequestData": {data}, "sign": {sign}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.post("/v1/sources/kdniao", form), http.StatusOK, kdniaoUnsigned)
			w.wantNothing()
		})
	}
}

// A document that names no account is of the account beside it.
func TestKdniao_FindsTheAccountBesideTheDocument(t *testing.T) {
	t.Parallel()
	data := `{"Data":[` + kdniaoItem("SF1000000000001") + `]}`
	form := kdniaoForm(data)
	form.Set("EBusinessID", kdniaoAccount)
	object, err := json.Marshal(map[string]any{"RequestData": data, "DataSign": kdniaoSign(data, kdniaoKey), "EBusinessID": 1237100})
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"form": form.Encode(), "JSON": string(object)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.send(http.MethodPost, "/v1/sources/kdniao", "", body), http.StatusOK, kdniaoOK)
			w.wantNumbers("SF1000000000001")
		})
	}
}

// A bad waybill takes none of the others with it, and a source that would
// repeat it for ever is told success.
func TestKdniao_KeepsTheGoodBesideTheBad(t *testing.T) {
	t.Parallel()
	good := [2]string{kdniaoItem("SF1000000000001"), kdniaoItem("SF1000000000002")}
	for name, tt := range map[string]struct{ bad, field string }{
		"no number":      {`{"ShipperCode":"SF", "LogisticCode":"","Traces":[]}`, "Data[1].LogisticCode"},
		"a short number": {`{"ShipperCode":"SF","LogisticCode":"1","Traces":[]}`, "Data[1].LogisticCode"},
		"no carrier":     {`{"LogisticCode":"SF1000000000003","Traces":[]}`, "Data[1].ShipperCode"},
		"no time":        {`{"ShipperCode":"SF","LogisticCode":"SF1000000000003","Traces":[{"AcceptTime":"2026-03-01 08:00:00"},{"AcceptTime":"yesterday"}]}`, "Data[1].Traces[1].AcceptTime"},
		"no object":      {`["SF"]`, "Data[1]"},
		"no list":        {`{"ShipperCode":"SF","LogisticCode":"SF1000000000003","Traces":"none"}`, "Data[1].Traces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush(good[0], tt.bad, good[1]))), http.StatusOK, kdniaoOK)
			w.wantNumbers("SF1000000000001", "SF1000000000002")
			w.wantRejected("kdniao", kdniaoAccount, tt.bad, "", "bad_field", tt.field)
		})
	}
}

func TestKdniao_RefusesWhatCannotBeUsedAndSaysWhy(t *testing.T) {
	t.Parallel()
	onlyBad := `{"ShipperCode":"SF","LogisticCode":"1","Traces":[]}`
	for name, tt := range map[string]struct{ data, reason, field, answer string }{
		"no list":     {`{"EBusinessID":"1237100"}`, "bad_field", "Data", "Data: is missing"},
		"not a list":  {`{"EBusinessID":"1237100","Data":"x"}`, "bad_field", "RequestData.Data", "RequestData.Data: a JSON string can't stand here"},
		"broken":      {`{"EBusinessID":"1237100","Data":[`, "bad_field", "RequestData", "RequestData: is not JSON: unexpected end of JSON input"},
		"no document": {"hello", "bad_field", "RequestData", "RequestData: is not a JSON object"},
		"not UTF-8":   {"{\"EBusinessID\":\"1237100\",\"Data\":[\"\xff\"]}", "bad_body", "", "the document is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			form := kdniaoForm(tt.data)
			form.Set("EBusinessID", kdniaoAccount)
			w.want(w.post("/v1/sources/kdniao", form), http.StatusOK, kdniaoNo(tt.answer))
			w.wantNumbers()
			w.wantRejected("kdniao", kdniaoAccount, form.Encode(), formType, tt.reason, tt.field)
		})
	}
	t.Run("all of it bad", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.want(w.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush(onlyBad))), http.StatusOK, kdniaoNo("Data[0].LogisticCode: must have 4 to 64 characters beside blanks"))
		w.wantNumbers()
		w.wantRejected("kdniao", kdniaoAccount, onlyBad, "", "bad_field", "Data[0].LogisticCode")
	})
	t.Run("no data", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.want(w.send(http.MethodPost, "/v1/sources/kdniao", formType, "RequestType=102"), http.StatusOK,
			`{"EBusinessID":"","UpdateTime":"2026-03-01 20:00:00","Success":false,"Reason":"RequestData is missing"}`)
		w.wantNumbers()
		w.wantRejected("kdniao", "", "RequestType=102", formType, "bad_body", "RequestData")
	})
}

// A push about money is acknowledged, or it would come for ever.
func TestKdniao_AcknowledgesWhatIsNotAboutParcels(t *testing.T) {
	t.Parallel()
	for kind, money := range map[string]string{
		"102": `{"EBusinessID":"1237100","ShipperCode":"SF","LogisticCode":"SF1000000000001","OrderState":"2","AccountName":"x"}`,
		"107": `{"EBusinessID":"1237100","OrderCode":"1","AccountName":"x"}`, // by its type alone
	} {
		w := newWorld(t)
		form := kdniaoForm(kdniaoPush(money))
		form.Set("RequestType", kind)
		w.want(w.post("/v1/sources/kdniao", form), http.StatusOK, kdniaoOK)
		w.wantNothing()
	}
	w := newWorld(t)
	w.want(w.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush())), http.StatusOK, kdniaoOK)
	w.wantNothing()
}

// A push may have more waybills than an atomic batch of the stream.
func TestKdniao_KeepsMoreWaybillsThanABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var items, numbers []string
	for i := range 1001 {
		numbers = append(numbers, fmt.Sprintf("SF1%012d", i))
		items = append(items, kdniaoItem(numbers[i]))
	}
	w.want(w.post("/v1/sources/kdniao", kdniaoForm(kdniaoPush(items...))), http.StatusOK, kdniaoOK)
	w.wantNumbers(numbers...)
}
