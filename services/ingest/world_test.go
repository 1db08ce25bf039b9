package ingest_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/services/ingest"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	kdniaoAccount = "1237100"
	kdniaoKey     = "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"
	kuaidiAccount = "shop"
	kuaidiSalt    = "testsalt"
	plainAccount  = "plain" // Kuaidi100's without a salt

	formType = "application/x-www-form-urlencoded;charset=utf-8"
	jsonType = "application/json"
)

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// baseConfig is a service's configuration with two accounts of each source that
// signs, and without streams.
func baseConfig() ingest.Config {
	return ingest.Config{
		Accounts: map[string]map[string]string{
			"kdniao":    {kdniaoAccount: kdniaoKey, "1237200": "another key"},
			"kuaidi100": {kuaidiAccount: kuaidiSalt, "other": "another salt", plainAccount: ""},
		},
		Log: slog.New(slog.DiscardHandler), Meter: metricnoop.NewMeterProvider(),
		Messaging: obs.NewMessaging(tracenoop.NewTracerProvider()), Now: func() time.Time { return received },
	}
}

func newService(t testing.TB, cfg ingest.Config) *ingest.Service {
	t.Helper()
	s, err := ingest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world is a service on streams of its own.
type world struct {
	t             *testing.T
	js            jetstream.JetStream
	raw, rejected *stream.Publisher
	service       *ingest.Service
	url           string // of the HTTP receivers
}

func newWorld(t *testing.T, changes ...func(*ingest.Config)) *world {
	t.Helper()
	w := &world{t: t, js: testkit.JetStream(t)}
	for name, p := range map[string]**stream.Publisher{stream.Raw: &w.raw, stream.Rejected: &w.rejected} {
		*p = stream.NewPublisher(w.js, name, stream.PublisherOptions{})
		t.Cleanup((*p).Close)
	}
	cfg := baseConfig()
	cfg.Raw, cfg.Rejected = w.raw, w.rejected
	for _, change := range changes {
		change(&cfg)
	}
	w.service = newService(t, cfg)
	server := httptest.NewServer(w.service.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// answer is what a source gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request as it is.
func (w *world) send(method, path, contentType, body string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// post sends a form.
func (w *world) post(path string, form url.Values) answer {
	w.t.Helper()
	return w.send(http.MethodPost, path, formType, form.Encode())
}

// want compares an answer, to the byte.
func (w *world) want(got answer, status int, body string) {
	w.t.Helper()
	if got.status != status || got.body != body {
		w.t.Errorf("the answer is %d %s, want %d %s", got.status, got.body, status, body)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json;charset=utf-8" {
		w.t.Errorf("the answer's content type is %q", kind)
	}
	if n := got.header.Get("Content-Length"); n != strconv.Itoa(len(got.body)) {
		w.t.Errorf("the answer's content length is %q of %d", n, len(got.body))
	}
}

// message is one that a stream holds.
type message[M proto.Message] struct {
	subject string
	header  map[string][]string
	M       M
}

// raws are the raw traces that are on disk.
func (w *world) raws() []message[*pipelinev1.RawTrace] {
	w.t.Helper()
	return stored(w.t, w.js, stream.Raw, func() *pipelinev1.RawTrace { return &pipelinev1.RawTrace{} })
}

// rejections are the rejected reports that are on disk.
func (w *world) rejections() []message[*pipelinev1.RejectedRaw] {
	w.t.Helper()
	return stored(w.t, w.js, stream.Rejected, func() *pipelinev1.RejectedRaw { return &pipelinev1.RejectedRaw{} })
}

// stored reads all messages of a stream from its leader: what was acknowledged
// is there, without waiting.
func stored[M proto.Message](t *testing.T, js jetstream.JetStream, name string, make func() M) []message[M] {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var all []message[M]
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		one := message[M]{subject: m.Subject, header: m.Header, M: make()}
		if err := proto.Unmarshal(m.Data, one.M); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// wantNumbers compares the waybill numbers of the raw traces on disk.
func (w *world) wantNumbers(want ...string) []message[*pipelinev1.RawTrace] {
	w.t.Helper()
	all := w.raws()
	var got []string
	for _, m := range all {
		got = append(got, m.M.GetWaybillNumber())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Fatalf("RAW has %q, want %q", got, want)
	}
	return all
}

// wantRejected compares the one rejected report on disk.
func (w *world) wantRejected(source, account, body, contentType, reason, field string) {
	w.t.Helper()
	all := w.rejections()
	if len(all) != 1 {
		w.t.Fatalf("REJECTED has %d messages, want one", len(all))
	}
	got := all[0].M
	if all[0].subject != "posthaste.v1.rejected."+source || got.GetSource() != source || got.GetAccount() != account || got.GetService() != "ingest" ||
		!got.GetReceiveTime().AsTime().Equal(received) {
		w.t.Errorf("it is %v on %s", got, all[0].subject)
	}
	if string(got.GetBody()) != body || got.GetContentType() != contentType {
		w.t.Errorf("its body is %q of %q, want %q of %q", got.GetBody(), got.GetContentType(), body, contentType)
	}
	if got.GetReason() != reason || got.GetField() != field || got.GetDescription() == "" {
		w.t.Errorf("its reason is %q at %q: %q; want %q at %q", got.GetReason(), got.GetField(), got.GetDescription(), reason, field)
	}
}

// wantNothing says that neither stream has anything.
func (w *world) wantNothing() {
	w.t.Helper()
	w.wantNumbers()
	if n := len(w.rejections()); n != 0 {
		w.t.Errorf("REJECTED has %d messages, want none", n)
	}
}

// kdniaoSign is the signature as Kdniao's documents say it.
func kdniaoSign(data, key string) string {
	sum := md5.Sum([]byte(data + key))
	return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
}

// kdniaoForm is a push 102, signed.
func kdniaoForm(data string) url.Values {
	return url.Values{"RequestData": {data}, "RequestType": {"102"}, "DataSign": {kdniaoSign(data, kdniaoKey)}}
}

// kdniaoItem is what a push says of one waybill.
func kdniaoItem(number string) string {
	return fmt.Sprintf(`{"EBusinessID":%q, "OrderCode":"","ShipperCode":"SF","LogisticCode":%q,"Success":true,"Reason":"","State":"2","StateEx":"202","Location":"杭州市","CallBack":"<a&b>","Traces":[`+
		`{"AcceptTime":"2026-03-01 08:01:02","AcceptStation":"【深圳市】已揽收 \u0026 \/","Location":"深圳市","Action":"1"}]}`, kdniaoAccount, number)
}

func kdniaoPush(items ...string) string {
	return fmt.Sprintf(`{"PushTime":"2026-03-01 20:00:00","EBusinessID":%q,"Count":"9","Data":[%s]}`, kdniaoAccount, strings.Join(items, ", "))
}

// kuaidiSign is the signature as Kuaidi100's documents say it.
func kuaidiSign(param, salt string) string {
	sum := md5.Sum([]byte(param + salt))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func kuaidiForm(param string) url.Values {
	return url.Values{"param": {param}, "sign": {kuaidiSign(param, kuaidiSalt)}}
}

// kuaidiResult is what a push says of one waybill.
func kuaidiResult(number string) string {
	return fmt.Sprintf(`{"message":"ok", "nu":%q,"ischeck":"0","com":"shunfeng","status":"200","state":"5","data":[`+
		`{"time":"2026-03-01 08:00:00","ftime":"2026-03-01 08:00:00","context":"[深圳市]派送中 \u0026 \/","areaName":"广东,深圳市","status":"派件","statusCode":"5"}]}`, number)
}

func kuaidiPush(result string) string {
	return `{"status":"polling","billstatus":"check","message":"变化","autoCheck":"0","comOld":"","comNew":"","lastResult":` + result + `}`
}

// memory is a stream that holds messages in memory, or fails.
type memory struct {
	mu   sync.Mutex
	msgs []stream.Message
	fail error
}

// Publish is what the service calls.
func (m *memory) Publish(_ context.Context, msgs ...stream.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.msgs = append(m.msgs, msgs...)
	return nil
}

// heal ends the failing.
func (m *memory) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = nil
}

// quote is a text in JSON.
func quote(t testing.TB, text string) string {
	t.Helper()
	data, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocked is a stream whose acknowledgement comes when the test says so.
type blocked struct {
	next interface {
		Publish(ctx context.Context, msgs ...stream.Message) error
	}
	asked chan int   // one for each call, with its count of messages
	ack   chan error // what the call returns, after next has stored it if nil
}

func newBlocked() *blocked {
	return &blocked{next: &memory{}, asked: make(chan int), ack: make(chan error)}
}

// Publish is what the service calls.
func (b *blocked) Publish(ctx context.Context, msgs ...stream.Message) error {
	select {
	case b.asked <- len(msgs):
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-b.ack:
		if err != nil {
			return err
		}
		return b.next.Publish(ctx, msgs...)
	case <-ctx.Done():
		return ctx.Err()
	}
}
