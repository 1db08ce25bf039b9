package callback

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestPost_CountsItsPhases(t *testing.T) {
	t.Parallel()
	tomorrow := time.Now().Add(24 * time.Hour)
	cert := certificate(t, nil, tomorrow, "endpoint.test")
	for _, http2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
		s.EnableHTTP2 = http2
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		t.Cleanup(s.Close)
		_, port, err := net.SplitHostPort(s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, r := newResolvingClient(t, nameServer(t, found), trusting(cert.Leaf)), newRequest(t, "https://"+host+":"+port, patient)

		first := post(t, c, r)
		if first.Reused || first.DNS <= 0 || first.Connect <= 0 || first.TLS <= 0 || first.FirstByte <= 0 {
			t.Errorf("the first attempt is %+v", first)
		}
		if sum := first.DNS + first.Connect + first.TLS + first.FirstByte; sum > first.Took {
			t.Errorf("the phases take %s, and all of it %s", sum, first.Took)
		}
		second := post(t, c, r)
		if want := (Phases{Reused: true, FirstByte: second.FirstByte}); second.Phases != want || second.FirstByte <= 0 || second.FirstByte > second.Took {
			t.Errorf("the second attempt is %+v", second)
		}
	}
}

func TestPost_CountsNoPhaseThatDidNotHappen(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	res := post(t, newClient(t), newRequest(t, rc.URL, patient))
	if want := (Phases{Connect: res.Connect, FirstByte: res.FirstByte}); res.Phases != want || res.Connect <= 0 {
		t.Errorf("result is %+v", res)
	}
	r := newRequest(t, "", patient)
	r.URL = "not a URL"
	if res := post(t, newClient(t), r); res.Phases != (Phases{}) {
		t.Errorf("result is %+v", res)
	}
}

// What an attempt began and then did without, because a connection came free, is
// another's.
func TestWatcher_CountsItsOwnConnectionOnly(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := watch(t.Context(), now, func() time.Time { now = now.Add(time.Second); return now })
	w.note(&w.dns)
	w.note(&w.dnsDone)
	w.note(&w.connect)
	if got, want := w.phases(4*time.Second), (Phases{DNS: time.Second, Connect: time.Second}); got != want {
		t.Errorf("while it waits: %+v, want %+v", got, want)
	}
	w.gotConn(httptrace.GotConnInfo{Reused: true}) // at 4 s
	w.note(&w.firstByte)                           // at 5 s, before the writing is noted
	w.wroteRequest(httptrace.WroteRequestInfo{})
	if got, want := w.phases(6*time.Second), (Phases{FirstByte: time.Second, Reused: true}); got != want {
		t.Errorf("with another's connection: %+v, want %+v", got, want)
	}
	w.gotConn(httptrace.GotConnInfo{}) // that one was dead
	if got := w.phases(9 * time.Second); got.Reused || got.DNS != time.Second || got.Connect != 6*time.Second {
		t.Errorf("with its own: %+v", got)
	}
}

func TestPost_MakesAClientSpan(t *testing.T) {
	t.Parallel()
	rec := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	parentCtx, parent := provider.Tracer("test").Start(t.Context(), "process")
	for _, tt := range []struct {
		name      string
		answer    testkit.Answer
		status    int
		errorType string
		code      codes.Code
	}{
		{"taken", testkit.Status(200), 200, "", codes.Unset},
		{"taken, with a torn body", testkit.ResetInBody(), 200, "body_broken", codes.Unset},
		{"refused", testkit.Status(503), 503, "503", codes.Error},
		{"redirected", testkit.Redirect("https://elsewhere.example/"), 302, "302", codes.Error},
		{"reset", testkit.Reset(), 0, "connection_reset", codes.Error},
	} {
		rc := testkit.NewReceiver(t)
		rc.Always(tt.answer)
		newClient(t, WithTracer(provider)).Post(parentCtx, newRequest(t, rc.URL, patient))
		ended := rec.Ended()
		span := ended[len(ended)-1]
		if span.Name() != "POST" || span.SpanKind() != trace.SpanKindClient || span.Parent().SpanID() != parent.SpanContext().SpanID() || span.Status().Code != tt.code {
			t.Errorf("%s: the span is %s of kind %s, below %s, with status %v", tt.name, span.Name(), span.SpanKind(), span.Parent().SpanID(), span.Status())
		}
		port := rc.URL[len("http://127.0.0.1:"):]
		want := map[attribute.Key]string{"http.request.method": "POST", "server.address": "127.0.0.1", "server.port": port}
		if tt.status != 0 {
			want["http.response.status_code"] = attribute.IntValue(tt.status).String()
		}
		if tt.errorType != "" {
			want["error.type"] = tt.errorType
		}
		got := make(map[attribute.Key]string)
		for _, a := range span.Attributes() {
			got[a.Key] = a.Value.String()
		}
		if len(got) != len(want) {
			t.Errorf("%s: the attributes are %v, want %v", tt.name, got, want)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", tt.name, k, got[k], v)
			}
		}
		// The receiver's spans hang below the POST.
		if tp := rc.Next().Header.Get("Traceparent"); tp != "00-"+span.SpanContext().TraceID().String()+"-"+span.SpanContext().SpanID().String()+"-01" {
			t.Errorf("%s: traceparent is %q of span %s", tt.name, tp, span.SpanContext().SpanID())
		}
	}
}

func TestPost_MakesNoSpanThatNobodyKeeps(t *testing.T) {
	t.Parallel()
	rec := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	rc := testkit.NewReceiver(t)
	unsampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	newClient(t, WithTracer(provider)).Post(trace.ContextWithSpanContext(t.Context(), unsampled), newRequest(t, rc.URL, patient))
	if got := len(rec.Started()); got != 0 {
		t.Errorf("%d spans were begun", got)
	}
	if tp := rc.Next().Header.Get("Traceparent"); tp != "00-"+unsampled.TraceID().String()+"-"+unsampled.SpanID().String()+"-00" {
		t.Errorf("traceparent is %q", tp)
	}
}

func TestStart_KnowsThePortsOfSchemes(t *testing.T) {
	t.Parallel()
	rec := tracetest.NewSpanRecorder()
	c := newClient(t, WithTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))))
	for url, want := range map[string]int64{"https://a.example/": 443, "http://a.example": 80, "https://a.example:8443/": 8443} {
		_, span := c.start(t.Context(), url)
		end(span, &Result{Status: 200})
		spans := rec.Ended()
		for _, a := range spans[len(spans)-1].Attributes() {
			if a.Key == "server.port" && a.Value.AsInt64() != want {
				t.Errorf("the port of %s is %d, want %d", url, a.Value.AsInt64(), want)
			}
		}
	}
}

func BenchmarkPost(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer s.Close()
	c := NewClient(egress.New(egress.Config{Policy: egress.Lab}), time.Now)
	defer c.Close()
	r := newRequest(b, s.URL, patient)
	b.ReportAllocs()
	for b.Loop() {
		if res := c.Post(b.Context(), r); res.Class != "" {
			b.Fatal(res)
		}
	}
}
