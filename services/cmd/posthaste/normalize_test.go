package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kdniaoDocument = `{"PushTime":"2025-06-02 12:00:00","Data":[{"ShipperCode":"SF","LogisticCode":"SF1234567890","Success":true,"State":"3","StateEx":"301",` +
	`"Traces":[{"AcceptTime":"2025-06-02 11:40:00","AcceptStation":"已签收","Location":"成都市","Action":"301"}]}]}`

const kuaidi100Document = `{"status":"shutdown","lastResult":{"nu":"SF1234567890","com":"shunfeng","state":"3","data":[` +
	`{"time":"2025-06-02 11:40:00","context":"已签收","statusCode":"301"}]}}`

const canonicalDocument = `{"events":[{"carrierCode":"sf-express","waybillNumber":"SF1234567890","eventTime":"2025-06-02T11:40:00+08:00",` +
	`"status":"STATUS_DELIVERED","text":"signed"}]}`

func TestNormalize_PrintsTracesAndNamesWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	const delivered = `"status": "delivered"`
	broken := strings.Replace(kdniaoDocument, `"Data":[`, `"Data":[{"ShipperCode":"SF","LogisticCode":""},`, 1)
	for name, tt := range map[string]struct {
		source, document string
		want             []string
		ok               bool
	}{
		"a document of Kdniao":   {"kdniao", kdniaoDocument, []string{delivered, `"carrier_code": "sf-express"`, `"text": "已签收"`, `"trace": [`}, true},
		"a form of Kdniao":       {"kdniao", url.Values{"RequestData": {kdniaoDocument}, "RequestType": {"102"}}.Encode(), []string{delivered}, true},
		"a form encoded twice":   {"kdniao", url.Values{"RequestData": {url.QueryEscape(kdniaoDocument)}}.Encode(), []string{delivered}, true},
		"one part is broken":     {"kdniao", broken, []string{delivered, "document: Data[0].LogisticCode: is empty", "1 of the parts"}, false},
		"nothing is usable":      {"kdniao", "[]", []string{"document: RequestData: is not a JSON object"}, false},
		"a document of Kuaidi":   {"kuaidi100", kuaidi100Document, []string{delivered}, true},
		"a form of Kuaidi":       {"kuaidi100", url.Values{"param": {kuaidi100Document}, "sign": {"00"}}.Encode(), []string{delivered}, true},
		"a team's report":        {"canonical", canonicalDocument, []string{delivered, `"text": "signed"`}, true},
		"a team's broken report": {"canonical", strings.Replace(canonicalDocument, "sf-express", "", 1), []string{"document: events[0].carrier_code"}, false},
		"a form of ZTO":          {"zto", url.Values{"data": {`{"billCode":"78250000000101","action":"SIGNED","actionTime":"2025-06-02 11:40:00"}`}}.Encode(), []string{delivered, `"zto-express"`}, true},
		"XML of SF":              {"sf", `<Request><Body><WaybillRoute id="1" mailno="SF1000000000017" acceptTime="2025-06-02 11:40:00" opCode="80"/></Body></Request>`, []string{delivered}, true},
		"an unknown code":        {"sf", `<Request><Body><WaybillRoute id="1" mailno="SF1000000000017" acceptTime="2025-06-02 11:40:00" opCode="123456"/></Body></Request>`, []string{"no rule knows the code opCode/123456"}, true},
		"an unknown source":      {"nobody", kdniaoDocument, []string{"--source"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "document")
			if err := os.WriteFile(file, []byte(tt.document), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := posthaste(t, nil, "normalize", "--source="+tt.source, file)
			if (err == nil) != tt.ok {
				t.Errorf("%v: %s", err, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q isn't in: %s", want, out)
				}
			}
		})
	}
}
