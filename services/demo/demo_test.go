package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

var (
	accounts = Accounts{KdniaoID: "1237100", KdniaoKey: "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17", Name: "demo", Kuaidi100Salt: "testsalt", Secret: "a-secret-of-ours"}
	now      = time.Date(2026, 11, 25, 7, 30, 0, 0, time.UTC)
)

// merged is what comes of a journey's pushes: one revision each.
func merged(t *testing.T, source string, docs [][]byte) *track.Trace {
	t.Helper()
	s, ok := carrier.Lookup(source)
	if !ok {
		t.Fatalf("no source %s", source)
	}
	var have *track.Trace
	for i, doc := range docs {
		parts, err := s.Split(doc)
		if err != nil || len(parts) != 1 || parts[0].Err != nil {
			t.Fatalf("step %d: %v %v", i, parts, err)
		}
		r, err := s.Map(carrier.Raw{Waybill: track.Waybill{Carrier: parts[0].Carrier, Number: parts[0].Number}, Kind: s.Kind, Body: parts[0].Body, Context: parts[0].Context, ReceiveTime: now})
		if err != nil || len(r.Unmapped) > 0 {
			t.Fatalf("step %d: %v %v", i, r.Unmapped, err)
		}
		next, changed := track.Merge(have, r, now)
		if !changed {
			t.Fatalf("step %d changes nothing", i)
		}
		if _, again := track.Merge(next, r, now); again {
			t.Fatalf("step %d changes something when it is repeated", i)
		}
		have = next
	}
	return have
}

func TestJourneys_EndWhereTheySay(t *testing.T) {
	t.Parallel()
	all, err := journeys(accounts, now)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[trace.ID]bool{}
	for _, j := range all {
		got := merged(t, j.source, j.steps)
		if got.Revision != track.Revision(len(j.steps)) || got.State.Sub != j.final || got.State.Status != j.final.Status() {
			t.Errorf("%s ends at revision %d as %s %s, want %d and %s", j.id, got.Revision, got.State.Status, got.State.Sub, len(j.steps), j.final)
		}
		if !status.Terminal(got.State.Status, got.State.Sub) {
			t.Errorf("%s has no end", j.id)
		}
		for _, e := range got.Events {
			if age := now.Sub(e.Time.Instant()); age < 0 || age > 10*24*time.Hour {
				t.Errorf("%s: an event is of %s", j.id, e.Time.Instant())
			}
		}
		if seen[j.id] {
			t.Errorf("%s comes twice", j.id)
		}
		seen[j.id] = true
	}
	if j := all[len(all)-1]; !j.yours {
		t.Error("the last journey isn't the one left to the reader")
	}
}

func TestJourneys_OfAnotherRunAreOtherParcels(t *testing.T) {
	t.Parallel()
	first, err := journeys(accounts, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := journeys(accounts, now.Add(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		if first[i].id == second[i].id {
			t.Errorf("%s again", first[i].id)
		}
	}
}

// The vectors are those of the platforms' documents.
// signed is the path and the form that a document is pushed with.
func signed(t *testing.T, source, doc string) (string, url.Values) {
	t.Helper()
	p, err := accounts.sign(source, []byte(doc), now)
	if err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(string(p.Body))
	if err != nil {
		t.Fatal(err)
	}
	return p.Path, form
}

func TestSign_IsThePlatforms(t *testing.T) {
	t.Parallel()
	const data = `{"OrderCode":"订单1","ShipperCode":"YTO","LogisticCode":"12345678"}`
	path, form := signed(t, kdniaoSource, data)
	if form.Get("DataSign") != "MzU1MTZiYjdjYTVhM2UxOTU5ZTdlODllMWM0OWM2ZDg=" || form.Get("RequestData") != data || path != "/v1/sources/kdniao" {
		t.Errorf("Kdniao: %s %v", path, form)
	}
	const param = `{"status":"abort","billstatus":"","message":"3天查询无记录","autoCheck":"0","comOld":"","comNew":"","lastResult":{"message":"快递公司参数异常：单号不存在或者已经过期","nu":"4310508235533","ischeck":"0","condition":"","com":"yunda","status":"201","state":"0","data":[]}}`
	path, form = signed(t, kuaidi100Source, param)
	if form.Get("sign") != "BBF8B9D721EBE01D561065A12CE23630" || form.Get("param") != param || path != "/v1/sources/kuaidi100/demo" {
		t.Errorf("Kuaidi100: %s %v", path, form)
	}
	if others := accounts.Others(); others["fedex:demo"] != accounts.Secret || others["kdniao:demo"] != "" || len(others) < 10 {
		t.Errorf("other accounts are %v", others)
	}
}

func TestAccounts_SecretsAreOfTheRun(t *testing.T) {
	t.Parallel()
	if a, b := NewAccounts(), NewAccounts(); a.KdniaoKey == b.KdniaoKey || a.Kuaidi100Salt == b.Kuaidi100Salt || a.KdniaoKey == "" {
		t.Error("two runs have the same secrets")
	}
}

// pushOf is a push of revisions (after, revision] with an event.
func pushOf(after, revision uint64) payload.Push {
	return payload.Push{
		Type: payload.TypeTraceUpdated, PushID: "psh_1", SubscriptionID: "sub_1", AfterRevision: after, Revision: revision,
		Waybill: payload.Waybill{CarrierCode: "sf-express", WaybillNumber: "SF1", Revision: revision, Status: "delivered", StatusName: payload.Name{English: "Delivered", Chinese: "已签收"}, Terminal: true},
		Events: []payload.Event{{
			ID: "evt_1", Kind: "event", Revision: revision, EventTime: time.Date(2026, 3, 4, 13, 47, 54, 0, time.FixedZone("", 9*3600)), LocalTime: "2026-03-04T13:47:54",
			UTCOffsetSeconds: new(int32(9 * 3600)), Text: "已签收", Location: payload.Location{Text: "东京"},
		}},
	}
}

// deliver posts a push signed with a secret and returns the answer's code.
func deliver(t *testing.T, h http.Handler, p payload.Push, secret webhook.Secret) int {
	t.Helper()
	body := p.AppendJSON(nil)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/posthaste", bytes.NewReader(body))
	webhook.SetHeaders(req.Header, p.PushID, time.Now(), body, secret)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code
}

func newSecret(t *testing.T) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReceiver_ShowsWhatIsSignedAndOnlyOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := newReceiver((&printer{out: &out}).push)
	secret := newSecret(t)
	h := r.handler(secret)
	if code := deliver(t, h, pushOf(0, 1), newSecret(t)); code != http.StatusUnauthorized || out.Len() > 0 || r.refused != 1 {
		t.Errorf("a wrong signature is answered with %d: %s", code, &out)
	}
	for range 2 {
		if code := deliver(t, h, pushOf(0, 1), secret); code != http.StatusNoContent {
			t.Errorf("answered with %d", code)
		}
	}
	want := "  ← callback sf-express SF1  revision 1  已签收 Delivered ■\n      2026-03-04 13:47:54 +09:00  东京  已签收\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReceiver_TellsAGap(t *testing.T) {
	t.Parallel()
	r := newReceiver(func(payload.Push, []payload.Event) {})
	secret := newSecret(t)
	h := r.handler(secret)
	deliver(t, h, pushOf(0, 1), secret)
	id := trace.ID{CarrierCode: "sf-express", WaybillNumber: "SF1"}
	reached := func(n uint64) func(webhook.Chain, payload.Push) bool {
		return func(c webhook.Chain, _ payload.Push) bool { return c.Revision >= n }
	}
	if _, err := r.await(t.Context(), id, reached(1)); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errPatience)
	if _, err := r.await(ended, id, reached(2)); err == nil || !strings.Contains(err.Error(), errPatience.Error()) {
		t.Errorf("waiting for what doesn't come gives %v", err)
	}
	deliver(t, h, pushOf(2, 3), secret)
	if _, err := r.await(t.Context(), id, reached(3)); err == nil || !strings.Contains(err.Error(), "begins after revision 2") {
		t.Errorf("a gap gives %v", err)
	}
}

func TestAccepted_ReadsBothForms(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"EBusinessID":"1237100","UpdateTime":"2026-03-03 09:12:01","Success":true,"Reason":""}`: true,
		`{"result":true,"returnCode":"200","message":"成功"}`:                                       true,
		`{"Success":false,"Reason":"bad signature"}`:                                              false,
		`{"result":false,"returnCode":"500","message":"失败"}`:                                      false,
		`OK`: false,
	} {
		if got := accepted(kdniaoSource, []byte(body)); got != want {
			t.Errorf("%s is %t", body, got)
		}
	}
}

func TestSamples_ArePushesOnly(t *testing.T) {
	t.Parallel()
	all, err := journeys(accounts, now)
	if err != nil {
		t.Fatal(err)
	}
	encoded := func(source string, doc []byte) string {
		_, form := signed(t, source, string(doc))
		return form.Encode()
	}
	dir := t.TempDir()
	for name, body := range map[string]string{
		"a/kdniao.form.txt":    encoded(kdniaoSource, all[0].steps[1]),
		"a/again.form.txt":     encoded(kdniaoSource, all[0].steps[1]),
		"b/kuaidi100.form.txt": encoded(kuaidi100Source, all[2].steps[4]) + "\n",
		"kdniao/query.json":    string(all[0].steps[0]),
		"b/subscribe.form.txt": "schema=json&param=%7B%22company%22%3A%22yunda%22%2C%22number%22%3A%221%22%7D",
		"b/push.json":          string(all[0].steps[0]),
		"README":               "not a form; at all %",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := samples(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].source != kdniaoSource || got[1].source != kuaidi100Source || got[1].file != "b/kuaidi100.form.txt" || got[0].file != "a/again.form.txt" {
		t.Fatalf("got %+v", got)
	}
	if ids, err := SampleAccounts(dir); err != nil || !cmp.Equal(ids, []string{accounts.KdniaoID}) {
		t.Errorf("accounts are %v, %v", ids, err)
	}
	want, err := expect(got, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[trace.ID]int{all[0].id: 2, all[2].id: 5}, want); diff != "" {
		t.Error(diff)
	}
	if _, err := samples(t.TempDir()); err == nil {
		t.Error("a folder without pushes is no error")
	}
}

// What is printed to be tried is signed rightly, and survives a shell.
func TestCurl_IsAWholeCommand(t *testing.T) {
	t.Parallel()
	s := &show{Config: Config{Accounts: accounts, Addresses: Addresses{HTTP: "127.0.0.1:8080"}, Now: func() time.Time { return now }}}
	line := s.curl(kdniaoSource, []byte(`{"PushTime":"it's","Data":[]}`))
	if !strings.HasPrefix(line, "curl -sS 'http://127.0.0.1:8080/v1/sources/kdniao' --data-urlencode 'DataSign=") ||
		!strings.HasSuffix(line, ` --data-urlencode 'RequestData={"PushTime":"it'\''s","Data":[]}' --data-urlencode 'RequestType=102'`) {
		t.Error(line)
	}
}

// Every source that pushes and has samples is replayed.
func TestSamples_AreOfAllSourcesThatPush(t *testing.T) {
	t.Parallel()
	all, err := samples(testkit.SamplesDir(t))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, one := range all {
		count[one.source]++
		if _, err := accounts.sign(one.source, one.doc, now); err != nil {
			t.Error(err)
		}
	}
	for _, source := range []string{"kdniao", "kuaidi100", "sf", "zto", "yto", "sto", "jtexpress", "ups", "17track", "aftership", "easypost", "ship24"} {
		if count[source] == 0 {
			t.Errorf("nothing of %s is replayed: %v", source, count)
		}
	}
	if want, err := expect(all, now); err != nil || len(want) < 20 {
		t.Errorf("%d waybills, %v", len(want), err)
	}
}

func TestJourneys_AreValidJSONOnOneLine(t *testing.T) {
	t.Parallel()
	all, err := journeys(accounts, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range all {
		for _, step := range j.steps {
			if !json.Valid(step) || bytes.ContainsAny(step, "\n{}") && bytes.Contains(step, []byte("{run}")) {
				t.Errorf("%s: %s", j.id, step)
			}
		}
	}
}
