package poller

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

func adapter(t *testing.T, code string) Adapter {
	t.Helper()
	for _, a := range Adapters() {
		if a.Code == code {
			return a
		}
	}
	t.Fatalf("there is no adapter %s", code)
	return Adapter{}
}

func question(carrier track.Carrier, code, number string) Question {
	return Question{
		Base: "https://source.example", Account: Account{ID: "me", Secret: "s3cret"}, Waybill: track.Waybill{Carrier: carrier, Number: track.Number(number)},
		Code: code, Token: "tok", Now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
	}
}

// Every adapter asks for the number with its account, and nothing of the number
// can break out of its place.
func TestAdapters_AskForTheNumber(t *testing.T) {
	t.Parallel()
	for _, a := range Adapters() {
		for _, number := range []string{"AB123456789CD", "A/B?C&D=E#F", `"},{"x":"`} {
			q := question("any", "any", number)
			req, err := a.Ask(context.Background(), q)
			if err != nil {
				t.Errorf("%s: %v", a.Code, err)
				continue
			}
			body := ""
			if req.Body != nil {
				b, _ := io.ReadAll(req.Body)
				body = string(b)
			}
			if req.URL.Host != "source.example" || req.URL.Fragment != "" {
				t.Errorf("%s asks at %s", a.Code, req.URL)
			}
			if number == "AB123456789CD" && !strings.Contains(req.URL.String()+body, number) {
				t.Errorf("%s doesn't ask for the number: %s %s", a.Code, req.URL, body)
			}
			if strings.Contains(req.URL.String(), "s3cret") {
				t.Errorf("%s has its secret in the URL", a.Code)
			}
		}
	}
}

// The vectors of Kuaidi100's and Kdniao's documents.
func TestAdapters_SignAsTheirPlatformsSay(t *testing.T) {
	t.Parallel()
	q := question("yto-express", "yuantong", "YT2500000000001")
	q.Account = Account{ID: "TESTCUSTOMER", Secret: "TESTKEY0123456"}
	req, err := askKuaidi100(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.ParseForm(); err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum([]byte(req.Form.Get("param") + "TESTKEY0123456" + "TESTCUSTOMER"))
	if got := req.Form.Get("sign"); got != strings.ToUpper(hex.EncodeToString(sum[:])) || got == "" {
		t.Errorf("sign is %s", got)
	}
	q = question("sf-express", "SF", "118650888018")
	q.Account = Account{ID: "1002:1", Secret: "00000000-0000-0000-0000-000000000000"}
	req, err = askKdniao(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.ParseForm(); err != nil {
		t.Fatal(err)
	}
	const data = `{"OrderCode":"","ShipperCode":"SF","LogisticCode":"118650888018"}`
	if req.Form.Get("RequestData") != data || req.Form.Get("RequestType") != "1002" || req.Form.Get("EBusinessID") != "1" || len(req.Form.Get("DataSign")) != 44 {
		t.Errorf("the form is %v", req.Form)
	}
}

// What the sources answer, from their samples, is told apart.
func TestAdapters_TellAnswersApart(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for _, tt := range []struct {
		source, file string
		status       int
		want         Verdict
	}{
		{"kdniao", "kdniao/query-8001-zto-delivered-2018.json", 200, Told},
		{"kdniao", "kdniao/query-1002-no-trace.json", 200, Nothing},
		{"kdniao", "kdniao/subscribe-response-bad-sign.json", 200, Refused},
		{"kuaidi100", "kuaidi100/query-response-yuantong-locker-2022.json", 200, Told},
		{"kuaidi100", "kuaidi100/query-error-500-no-result.json", 200, Nothing},
		{"kuaidi100", "kuaidi100/query-error-503-bad-sign.json", 200, Refused},
		{"dhl_universal", "dhl_universal/tracking.json", 200, Told},
		{"dhl_universal", "dhl_universal/not-found.json", 404, Nothing},
		{"mydhl", "mydhl/tracking.json", 200, Told},
		{"laposte", "laposte/tracking.json", 200, Told},
		{"royalmail", "royalmail/tracking-query.json", 200, Told},
		{"australiapost", "australiapost/tracking.json", 200, Told},
		{"australiapost", "australiapost/tracking-error.json", 200, Nothing},
		{"canadapost", "canadapost/tracking.xml", 200, Told},
		{"canadapost", "canadapost/not-found.xml", 404, Nothing},
		{"usps", "usps/tracking-query.json", 200, Told},
		{"ups", "ups/tracking-query.json", 200, Told},
		{"ups", "ups/not-found.json", 404, Nothing},
		{"fedex", "fedex/tracking.json", 200, Told},
		{"usps", "usps/error.json", 429, Throttled},
		{"dhl_universal", "dhl_universal/not-found.json", 401, Refused},
		{"laposte", "laposte/tracking.json", 502, Failed},
	} {
		body, err := os.ReadFile(filepath.Join(dir, tt.file))
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		got := adapter(t, tt.source).Read(question("any", "any", "1234"), Reply{Status: tt.status, Header: http.Header{}, Body: body})
		if got.Verdict != tt.want || tt.want == Told && len(got.Doc) == 0 {
			t.Errorf("%s with %d is %v (%s), and should be %v", tt.file, tt.status, got.Verdict, got.Reason, tt.want)
		}
	}
}

// What an adapter takes for an answer, its source's mapping can read.
func TestAdapters_AnswersAreMapped(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	mapped := 0
	for code, file := range map[string]string{
		"kdniao": "kdniao/query-8001-zto-delivered-2018.json", "kuaidi100": "kuaidi100/query-response-yuantong-locker-2022.json",
		"dhl_universal": "dhl_universal/tracking.json", "mydhl": "mydhl/tracking.json", "laposte": "laposte/tracking.json",
		"royalmail": "royalmail/tracking-query.json", "australiapost": "australiapost/tracking.json", "canadapost": "canadapost/tracking.xml",
		"usps": "usps/tracking-query.json", "ups": "ups/tracking-query.json", "fedex": "fedex/tracking.json",
	} {
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		mapping, ok := carrier.Lookup(code)
		if !ok {
			t.Logf("%s has no mapping yet; the poller refuses it at the start", code)
			continue
		}
		mapped++
		q := question("any", "any", "1234567890")
		w := &worker{source: Source{Adapter: adapter(t, code)}, read: mapping}
		parts, err := w.answer(w.source.Read(q, Reply{Status: 200, Header: http.Header{}, Body: body}).Doc, q.Waybill)
		events := 0
		for _, p := range parts {
			if p.Err != nil {
				t.Errorf("%s: %v", file, p.Err)
				continue
			}
			report, err := mapping.Map(carrier.Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: w.source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: q.Now})
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			events += len(report.Events)
		}
		if err != nil || events == 0 {
			t.Errorf("%s: %v; %d events", file, err, events)
		}
	}
	if mapped < 2 {
		t.Errorf("%d sources are mapped", mapped)
	}
}

// An answer that is nobody's is a fault of the source, not of Posthaste.
func TestAdapters_SurviveAnyAnswer(t *testing.T) {
	t.Parallel()
	for _, a := range Adapters() {
		for _, body := range []string{"", "null", "[]", "{}", "<html>", `{"shipments":{}}`, `{"Traces":null}`, "\xff\xfe"} {
			for _, code := range []int{200, 204, 301, 400, 401, 404, 429, 500, 503} {
				got := a.Read(question("any", "any", "1234"), Reply{Status: code, Header: http.Header{"Retry-After": {"soon"}}, Body: []byte(body)})
				if got.Verdict < Told || got.Verdict > Failed {
					t.Errorf("%s answers %q with %d: no verdict", a.Code, body, code)
				}
			}
		}
	}
}

func FuzzAdapters_Read(f *testing.F) {
	f.Add(200, []byte(`{"Success":false,"Reason":"x","Traces":[]}`))
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		for _, a := range Adapters() {
			if got := a.Read(question("any", "any", "1234"), Reply{Status: code, Header: http.Header{}, Body: body}); got.Verdict < Told || got.Verdict > Failed {
				t.Errorf("%s: no verdict", a.Code)
			}
		}
	})
}
