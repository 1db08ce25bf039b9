package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/services/ingest"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

const kdniaoPath = "/v1/sources/kdniao"

// receiver is a source's receiver, a good push to it and its answers.
type receiver struct {
	path     string
	push     url.Values
	mixed    url.Values // a good waybill and a bad one
	ok       string
	away     string
	tooLarge string
}

func receivers() map[string]receiver {
	bad := `{"nu":"","com":"shunfeng","data":[{}]}`
	kuaidiMixed := strings.TrimSuffix(kuaidiPush(kuaidiResult("SF1000000000001")), "}") + `,"destResult":` + bad + `}`
	return map[string]receiver{
		"kdniao": {
			kdniaoPath, kdniaoForm(kdniaoPush(kdniaoItem("SF1000000000001"))), kdniaoForm(kdniaoPush(kdniaoItem("SF1000000000001"), `{}`)), kdniaoOK,
			kdniaoNo("temporarily unavailable, try again"),
			strings.Replace(kdniaoNo("the body is larger than 4 MiB"), kdniaoAccount, "", 1),
		},
		"kuaidi100": {
			kuaidiPath, kuaidiForm(kuaidiPush(kuaidiResult("SF1000000000001"))), kuaidiForm(kuaidiMixed), kuaidiOK,
			kuaidiNo("temporarily unavailable, try again"), kuaidiNo("the body is larger than 4 MiB"),
		},
	}
}

func TestReceiver_KnowsItsPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	push := receivers()["kdniao"].push.Encode()
	for _, path := range []string{"/v1/sources/", "/v1/sources/cainiao", "/v1/sources/Kdniao", "/v1/sources/kuaidi100", "/v1/sources/kuaidi100/", "/v1/sources/kuaidi100/shop/more", "/v1/sources/canonical"} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			w.want(w.send(method, path, formType, push), http.StatusNotFound,
				`{"error":"unknown source: post to /v1/sources/{source}/{account}, see docs/sources.md"}`)
		}
	}
	for _, path := range []string{kdniaoPath, kdniaoPath + "/more", kuaidiPath} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			got := w.send(method, path+"?"+push, "", "")
			w.want(got, http.StatusMethodNotAllowed, `{"error":"only POST is taken here"}`)
			if allow := got.header.Get("Allow"); allow != http.MethodPost {
				t.Errorf("%s %s: Allow is %q", method, path, allow)
			}
		}
	}
	w.wantNothing()
}

func TestReceiver_RefusesALargeBody(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			body := rc.push.Encode() + "&x="
			const limit = 4 << 20
			w.want(w.send(http.MethodPost, rc.path, formType, body+strings.Repeat("x", limit-len(body)+1)), http.StatusRequestEntityTooLarge, rc.tooLarge)
			w.wantNothing()
			w.want(w.send(http.MethodPost, rc.path, formType, body+strings.Repeat("x", limit-len(body))), http.StatusOK, rc.ok)
			w.wantNumbers("SF1000000000001")
		})
	}
}

// One waybill may fill a request, and what can't be used may too.
func TestReceiver_KeepsALargeWaybill(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	for name, tt := range map[string]struct {
		number string
		raws   int
	}{"good": {"SF1000000000001", 1}, "bad": {"", 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			item := strings.Replace(kdniaoItem(tt.number), "<a&b>", long, 1)
			w.send(http.MethodPost, kdniaoPath, formType, kdniaoForm(kdniaoPush(item)).Encode())
			if n := len(w.raws()); n != tt.raws {
				t.Fatalf("RAW has %d messages, want %d", n, tt.raws)
			}
			if tt.raws == 1 {
				if string(w.raws()[0].M.GetBody()) != item {
					t.Error("the body is another")
				}
				return
			}
			w.wantRejected("kdniao", kdniaoAccount, item, "", "bad_field", "Data[0].LogisticCode")
		})
	}
}

// A description that quotes what came is cut: with the body beside it, it would
// be too large for the stream.
func TestReceiver_QuotesWithMeasure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	item := fmt.Sprintf(`{"ShipperCode":"SF","LogisticCode":"SF1000000000001","Traces":[{"AcceptTime":"%s"}]}`, strings.Repeat("é", 1<<20))
	data := kdniaoPush(item)
	got := w.send(http.MethodPost, kdniaoPath+"?DataSign="+kdniaoSign(data, kdniaoKey), jsonType, `{"RequestData":`+quote(t, data)+`}`)
	if got.status != http.StatusOK || !strings.Contains(got.body, `"Success":false`) || !strings.Contains(got.body, "Data[0].Traces[0].AcceptTime") || len(got.body) > 2000 {
		t.Errorf("the answer is %d, %d bytes, %.100s", got.status, len(got.body), got.body)
	}
	w.wantRejected("kdniao", kdniaoAccount, item, "", "bad_field", "Data[0].Traces[0].AcceptTime")
	if n := len(w.rejections()[0].M.GetDescription()); n > 2000 {
		t.Errorf("the description has %d bytes", n)
	}
}

// A form in a coding that no source uses is refused, and kept for people to
// look at.
func TestReceiver_RefusesOtherCodings(t *testing.T) {
	t.Parallel()
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	for name, v := range receivers()["kdniao"].push {
		if err := m.WriteField(name, v[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ contentType, kept, body string }{
		"multipart":        {m.FormDataContentType(), m.FormDataContentType(), form.String()},
		"XML":              {"application/xml", "application/xml", "<push/>"},
		"a type not UTF-8": {"text/\xff\xfe", "text/\uFFFD", "hello"},
		"no type, no body": {"", "", ""},
		"JSON, not a map":  {jsonType, jsonType, `["RequestData"]`},
		"JSON, broken":     {jsonType, jsonType, `{"RequestData":"`},
		"bytes":            {"application/octet-stream", "application/octet-stream", "\x00\xff\xfe%"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want(w.send(http.MethodPost, kdniaoPath, tt.contentType, tt.body), http.StatusOK,
				`{"EBusinessID":"","UpdateTime":"2026-03-01 20:00:00","Success":false,"Reason":"RequestData is missing"}`)
			w.wantNumbers()
			w.wantRejected("kdniao", "", tt.body, tt.kept, "bad_body", "RequestData")
		})
	}
}

// A body that broke off is no push.
func TestReceiver_TakesNothingFromABrokenBody(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rec := httptest.NewRecorder()
			whole := rc.push.Encode()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, rc.path, io.MultiReader(strings.NewReader(whole), broken{}))
			w.service.Handler().ServeHTTP(rec, req)
			if rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), "true") || !strings.Contains(rec.Body.String(), "the body broke off") {
				t.Errorf("the answer is %d %s", rec.Code, rec.Body)
			}
			w.wantNothing()
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Some senders speak HTTP/1.0 and read to a length.
func TestReceiver_AnswersHTTP10(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := receivers()["kdniao"].push.Encode()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.0\r\nHost:posthaste\r\nContent-Type:%s\r\nContent-Length:%d\r\nConnection:close\r\n\r\n%s", kdniaoPath, formType, len(body), body); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, said, _ := strings.Cut(string(all), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.0 200 ") || !strings.Contains(head, fmt.Sprintf("\r\nContent-Length: %d", len(kdniaoOK))) || strings.Contains(head, "chunked") || said != kdniaoOK {
		t.Errorf("the answer is %s", all)
	}
	w.wantNumbers("SF1000000000001")
}

// errAway is what a stream answers that is away.
var errAway = errors.New("away")

// wantAway holds that a source is told to come again, in its form.
func (w *world) wantAway(rc receiver, got answer) {
	w.t.Helper()
	w.want(got, http.StatusServiceUnavailable, rc.away)
	if after := got.header.Get("Retry-After"); after != "5" {
		w.t.Errorf("Retry-After is %q", after)
	}
}

func TestReceiver_SaysComeAgainWhenTheStreamIsAway(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(*testing.T, *world){
		"the stream is gone": func(t *testing.T, w *world) {
			t.Helper()
			if err := w.js.DeleteStream(t.Context(), stream.Raw); err != nil {
				t.Fatal(err)
			}
		},
		"the connection is closed": func(_ *testing.T, w *world) { w.js.Conn().Close() },
		"the publisher is closed":  func(_ *testing.T, w *world) { w.raw.Close() },
		"the stream is full": func(t *testing.T, w *world) {
			t.Helper()
			s, err := w.js.Stream(t.Context(), stream.Raw)
			if err != nil {
				t.Fatal(err)
			}
			cfg := s.CachedInfo().Config
			cfg.MaxBytes = 1
			if _, err := w.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, rc := range receivers() {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					take(t, w)
					w.wantAway(rc, w.post(rc.path, rc.push))
					w.wantAway(rc, w.post(rc.path, rc.mixed))
				})
			}
		})
	}
}

// A source comes again and finds the stream back: the push is kept once more,
// and nothing else of the refused try.
func TestReceiver_KeepsWhatComesAgain(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var raw *memory
			w := newWorld(t, func(cfg *ingest.Config) {
				raw = &memory{fail: errAway}
				cfg.Raw = raw
			})
			w.wantAway(rc, w.post(rc.path, rc.mixed))
			if n := len(w.rejections()); n != 0 {
				t.Errorf("REJECTED has %d messages of a push that comes again", n)
			}
			raw.heal()
			w.want(w.post(rc.path, rc.mixed), http.StatusOK, rc.ok)
			if raws, rejections := len(raw.msgs), len(w.rejections()); raws != 1 || rejections != 1 {
				t.Errorf("RAW has %d messages and REJECTED %d, want one each", raws, rejections)
			}
		})
	}
}

// Success says that the bad waybill is in REJECTED. Where it can't be, success
// would lose it.
func TestReceiver_SaysComeAgainWhenTheBadCannotBeRecorded(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *ingest.Config) { cfg.Rejected = &memory{fail: errAway} })
			w.wantAway(rc, w.post(rc.path, rc.mixed))
			w.wantNumbers("SF1000000000001")
			// A push without anything bad doesn't need the other stream.
			w.want(w.post(rc.path, rc.push), http.StatusOK, rc.ok)
		})
	}
}

// The answer depends on the stream's acknowledgement: it can't come before.
func TestReceiver_AnswersAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		for _, outcome := range []error{nil, errAway} {
			t.Run(fmt.Sprint(name, " ", outcome), func(t *testing.T) {
				t.Parallel()
				raw := newBlocked()
				w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
				answered := make(chan answer, 1)
				go func() { answered <- w.post(rc.path, rc.mixed) }()
				if n := <-raw.asked; n != 1 {
					t.Errorf("%d messages were published, want the good one", n)
				}
				select {
				case got := <-answered:
					t.Fatalf("it answered %d before the acknowledgement", got.status)
				default:
				}
				if n := len(w.rejections()); n != 0 {
					t.Error("the bad one was recorded before the good one was kept")
				}
				raw.ack <- outcome
				got := <-answered
				if outcome != nil {
					w.wantAway(rc, got)
					return
				}
				w.want(got, http.StatusOK, rc.ok)
			})
		}
	}
}

// A source that hangs up while the disk is slow is told nothing, and the
// service goes on.
func TestReceiver_LetsASourceGo(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := newBlocked()
			cfg := baseConfig()
			cfg.Raw, cfg.Rejected = raw, &memory{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rec := httptest.NewRecorder()
			done := make(chan struct{})
			handler := newService(t, cfg).Handler()
			go func() {
				defer close(done)
				handler.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodPost, rc.path, strings.NewReader(rc.push.Encode())))
			}()
			<-raw.asked
			cancel()
			<-done
			if rec.Code != http.StatusServiceUnavailable {
				t.Errorf("the answer is %d %s", rec.Code, rec.Body)
			}
		})
	}
}

// One event is one trace from the source's request on.
func TestReceiver_PassesTheTraceOn(t *testing.T) {
	t.Parallel()
	for name, rc := range receivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spans := tracetest.NewInMemoryExporter()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
			w := newWorld(t, func(cfg *ingest.Config) { cfg.Messaging = obs.NewMessaging(provider) })
			post := func(ctx context.Context) {
				rec := httptest.NewRecorder()
				w.service.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodPost, rc.path, strings.NewReader(rc.mixed.Encode())))
				if rec.Code != http.StatusOK {
					t.Fatalf("the answer is %d %s", rec.Code, rec.Body)
				}
			}
			ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
			post(ctx)
			parent.End()
			const traceID, spanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
			post(obs.Extract(t.Context(), map[string][]string{"traceparent": {"00-" + traceID + "-" + spanID + "-00"}}))

			all := w.wantNumbers("SF1000000000001", "SF1000000000001")
			sent := spans.GetSpans()[0]
			if sent.Name != "send posthaste.v1.raw.{slot}.{source}" || sent.SpanKind != trace.SpanKindProducer || sent.Parent.SpanID() != parent.SpanContext().SpanID() {
				t.Errorf("the span is %+v", sent)
			}
			want := "00-" + parent.SpanContext().TraceID().String() + "-" + sent.SpanContext.SpanID().String() + "-01"
			if got := all[0].header["traceparent"]; len(got) != 1 || got[0] != want {
				t.Errorf("traceparent is %q, want %q", got, want)
			}
			// Whoever decided against recording is obeyed, and named all the same.
			if got := all[1].header["traceparent"]; len(got) != 1 || got[0] != "00-"+traceID+"-"+spanID+"-00" {
				t.Errorf("traceparent is %q of an unsampled trace", got)
			}
			if n := len(spans.GetSpans()); n != 2 {
				t.Errorf("there are %d spans, want the request's and its publishing", n)
			}
		})
	}
}

// The samples are pushes that were recorded or made from the documents. Their
// index names the keys that their forms are signed with.
func TestReceiver_TakesTheSamples(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for source, rule := range map[string]struct{ path, field, other string }{
		"kdniao":    {kdniaoPath, "RequestData", ""},
		"kuaidi100": {kuaidiPath, "param", "/v1/sources/kuaidi100/official"},
	} {
		forms, err := filepath.Glob(filepath.Join(dir, source, "push-*.form.txt"))
		if err != nil || len(forms) == 0 {
			t.Fatalf("%s has no samples, %v", source, err)
		}
		for _, name := range forms {
			t.Run(source+"/"+filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				body, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				form := strings.TrimSpace(string(body))
				values, err := url.ParseQuery(form)
				if err != nil {
					t.Fatal(err)
				}
				path := rule.path
				if strings.HasSuffix(name, "push-official-company-corrected.form.txt") {
					path = rule.other // signed with a salt of its own
				}
				w := newWorld(t, func(cfg *ingest.Config) {
					cfg.Accounts["kdniao"]["1109259"] = kdniaoKey
					cfg.Accounts["kuaidi100"]["official"] = "V030344422"
				})
				got := w.send(http.MethodPost, path, formType, form)
				ok := map[string]string{"kdniao": kdniaoOK, "kuaidi100": kuaidiOK}[source]
				if strings.Contains(form, "1109259") {
					ok = strings.Replace(ok, kdniaoAccount, "1109259", 1)
				}
				if got.status != http.StatusOK || got.body != ok {
					t.Errorf("the answer is %d %s", got.status, got.body)
				}
				s, _ := carrier.Lookup(source)
				parts, err := s.Split([]byte(values.Get(rule.field)))
				if err != nil {
					t.Fatal(err)
				}
				var numbers []string
				if values.Get("RequestType") != "107" {
					for _, p := range parts {
						numbers = append(numbers, string(p.Number))
					}
				}
				all := w.wantNumbers(numbers...)
				for i := range all {
					if !bytes.Equal(all[i].M.GetBody(), parts[i].Body) {
						t.Errorf("the body of %s is another", numbers[i])
					}
				}
			})
		}
	}
}
