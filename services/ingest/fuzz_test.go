package ingest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// intake is a service on streams in memory.
type intake struct {
	t             *testing.T
	raw, rejected memory
	handler       http.Handler
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	in := &intake{t: t}
	cfg := baseConfig()
	cfg.Raw, cfg.Rejected = &in.raw, &in.rejected
	in.handler = newService(t, cfg).Handler()
	return in
}

// post hands a body in and reports whether it was answered with success. Every
// answer must be in the source's form.
func (in *intake) post(path, contentType string, body []byte) (success bool) {
	in.t.Helper()
	req := httptest.NewRequestWithContext(in.t.Context(), http.MethodPost, path, bytes.NewReader(body))
	req.Header["Content-Type"] = []string{contentType}
	rec := httptest.NewRecorder()
	in.handler.ServeHTTP(rec, req)
	var said struct {
		Success, Result *bool
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &said); err != nil {
		in.t.Fatalf("the answer isn't JSON: %s", rec.Body)
	}
	flag := said.Success
	if path != kdniaoPath {
		flag = said.Result
	}
	if flag == nil || rec.Header().Get("Content-Length") != strconv.Itoa(rec.Body.Len()) {
		in.t.Fatalf("the answer isn't in the source's form: %v %s", rec.Header(), rec.Body)
	}
	if success := rec.Code == http.StatusOK; !success && *flag || !success && rec.Code != http.StatusRequestEntityTooLarge && rec.Code != http.StatusNotFound {
		in.t.Fatalf("the answer is %d %s", rec.Code, rec.Body)
	}
	return *flag
}

// kept returns what the streams hold, each body as often as it is there. All of
// it must be what other services can read.
func (in *intake) kept() map[string]int {
	in.t.Helper()
	bodies := map[string]int{}
	for _, m := range in.raw.msgs {
		var r pipelinev1.RawTrace
		if err := proto.Unmarshal(m.Data, &r); err != nil {
			in.t.Fatal(err)
		}
		c, err := track.NormalCarrier(r.GetCarrierCode())
		n, err2 := track.NormalNumber(r.GetWaybillNumber())
		if err != nil || err2 != nil || string(c) != r.GetCarrierCode() || string(n) != r.GetWaybillNumber() {
			in.t.Fatalf("a raw trace is of %q %q", r.GetCarrierCode(), r.GetWaybillNumber())
		}
		bodies[string(r.GetBody())]++
	}
	for _, m := range in.rejected.msgs {
		var r pipelinev1.RejectedRaw
		if err := proto.Unmarshal(m.Data, &r); err != nil {
			in.t.Fatal(err)
		}
		if r.GetReason() == "" || r.GetDescription() == "" || r.GetService() != "ingest" {
			in.t.Fatalf("a rejected report says %v", &r)
		}
		bodies[string(r.GetBody())]++
	}
	return bodies
}

// FuzzReceivers_Body hands in any body. It is signed by nobody, unless it is a
// seed's.
func FuzzReceivers_Body(f *testing.F) {
	for _, rc := range receivers() {
		for _, form := range []url.Values{rc.push, rc.mixed} {
			f.Add(rc.path == kdniaoPath, kuaidiAccount, formType, []byte(form.Encode()))
			object := map[string]string{}
			for name := range form {
				object[name] = form.Get(name)
			}
			data, err := json.Marshal(object)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(rc.path == kdniaoPath, plainAccount, jsonType, data)
		}
	}
	f.Add(false, plainAccount, "text/\xff", []byte(`param={"lastResult":{"com":"sf","nu":"1234"}}`))
	f.Add(false, plainAccount, "", []byte(`param={"lastResult":{"com":"sf","nu":""}}`))
	f.Add(true, "", "", []byte(`{"RequestData":{"EBusinessID":1237100},"DataSign":1}`))
	f.Fuzz(func(t *testing.T, kdniao bool, account, contentType string, body []byte) {
		in := newIntake(t)
		path := kdniaoPath
		if !kdniao {
			path = "/v1/sources/kuaidi100/" + kuaidiAccount
			if account == plainAccount {
				path = "/v1/sources/kuaidi100/" + plainAccount
			}
		}
		success := in.post(path, contentType, body)
		kept := in.kept()
		if !success && len(in.raw.msgs) > 0 {
			t.Error("what was refused is in RAW")
		}
		// An empty list of waybills and a payment are nothing to keep.
		if success && len(kept) == 0 && !kdniao {
			t.Error("success, and nothing is kept")
		}
	})
}

// FuzzReceivers_Document signs any document: of what is answered with success,
// every part is in RAW or in REJECTED, byte for byte.
func FuzzReceivers_Document(f *testing.F) {
	for _, rc := range receivers() {
		for _, form := range []url.Values{rc.push, rc.mixed} {
			f.Add(rc.path == kdniaoPath, uint8(0), form.Get("RequestData")+form.Get("param"))
		}
	}
	for _, doc := range []string{
		`{"Data":[]}`, `{"Data":[{"ShipperCode":"SF","LogisticCode":"1"},null,7,{"OrderState":1}]}`, `{"EBusinessID":1237100,"Data":{}}`,
		`{"data":[{"shippercode":"\ud800","logisticcode":"\u0000\u0000\u0000\u0000"}],"PushTime":{}}`, "null", "\xff", "%7B%7D", "a+b%20c",
	} {
		f.Add(true, uint8(1), doc)
	}
	for _, doc := range []string{
		`{"lastResult":{"com":"sf","nu":"1234"},"destResult":{}}`, `{"lastResult":{"com":"sf","nu":"1234"},"destResult":{"com":"","nu":"x","data":[{}]}}`,
		`{"lastResult":{"com":"顺丰","nu":"1234","data":[{"time":"` + strings.Repeat("9", 1000) + `"}]}}`, `{"lastResult":[]}`,
	} {
		f.Add(false, uint8(2), doc)
	}
	f.Fuzz(func(t *testing.T, kdniao bool, coding uint8, doc string) {
		path, source, form := kdniaoPath, "kdniao", kdniaoForm(doc)
		form.Set("EBusinessID", kdniaoAccount)
		if !kdniao {
			path, source, form = kuaidiPath, "kuaidi100", kuaidiForm(doc)
		}
		body, contentType := []byte(form.Encode()), formType
		if coding%2 == 1 && utf8.ValidString(doc) {
			object := map[string]string{}
			for name := range form {
				object[name] = form.Get(name)
			}
			var err error
			if body, err = json.Marshal(object); err != nil {
				t.Fatal(err)
			}
			contentType = jsonType
		}
		in := newIntake(t)
		success := in.post(path, contentType, body)
		kept := in.kept()
		if !success {
			if len(in.raw.msgs) > 0 {
				t.Error("what was refused is in RAW")
			}
			return
		}
		s, _ := carrier.Lookup(source)
		parts, err := s.Split([]byte(doc))
		if err != nil {
			t.Fatalf("success, and the document can't be used: %v", err)
		}
		for _, p := range parts {
			kept[string(p.Body)]--
		}
		for body, n := range kept {
			if n != 0 {
				t.Errorf("of %q the streams hold %d too many", body, n)
			}
		}
	})
}
