package callback

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	pushID = "psh_1_2"
	body   = `{"type":"trace.updated"}`
	// patient is longer than any answer takes that comes at all.
	patient = time.Minute
	// hasty is for endpoints that never answer.
	hasty = 50 * time.Millisecond
)

func newClient(t *testing.T, allow ...netip.Prefix) *Client {
	t.Helper()
	c := NewClient(egress.New(allow), time.Now)
	t.Cleanup(c.Close)
	return c
}

var loopback = netip.MustParsePrefix("127.0.0.0/8")

func newRequest(t *testing.T, url string, timeout time.Duration) Request {
	t.Helper()
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return Request{URL: url, Secret: secret, PushID: pushID, Body: []byte(body), Timeout: timeout}
}

func TestPost_SendsASignedPush(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	r := newRequest(t, rc.URL+"/callback?team=a", patient)
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	res := newClient(t, loopback).Post(trace.ContextWithSpanContext(t.Context(), parent), r)
	if res.Status != http.StatusOK || res.Class != "" || res.Error != "" || res.Took <= 0 {
		t.Errorf("result is %+v", res)
	}
	got := rc.Next()
	if got.Method != http.MethodPost || got.Path != "/callback?team=a" || string(got.Body) != body {
		t.Errorf("the request is %s %s %s", got.Method, got.Path, got.Body)
	}
	if id, kind, agent := got.Header.Get(webhook.HeaderID), got.Header.Get("Content-Type"), got.Header.Get("User-Agent"); id != pushID || kind != "application/json" || agent != "Posthaste" {
		t.Errorf("the id is %q, the content type %q, the user agent %q", id, kind, agent)
	}
	if tp := got.Header.Get("traceparent"); !strings.Contains(tp, parent.TraceID().String()) {
		t.Errorf("traceparent is %q, want one of trace %s", tp, parent.TraceID())
	}
	v := webhook.Verifier{Secrets: []webhook.Secret{r.Secret}}
	if err := v.Verify(got.Header, got.Body); err != nil {
		t.Errorf("it doesn't verify: %v", err)
	}
}

func TestPost_SaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		answer     testkit.Answer
		timeout    time.Duration
		status     int
		class      string
		excerpt    string
		retryAfter time.Duration
	}{
		{name: "an answer without a body", answer: testkit.Status(204), status: 204},
		{name: "an answer with one", answer: testkit.StatusBody(200, "ok"), status: 200, excerpt: "ok"},
		{name: "bytes that are no text", answer: testkit.StatusBody(200, "a\xff\x00b"), status: 200, excerpt: "a\uFFFD\uFFFDb"},
		{name: "an error", answer: testkit.StatusBody(500, "oops"), status: 500, class: "http_500", excerpt: "oops"},
		{name: "gone", answer: testkit.Status(410), status: 410, class: "http_410"},
		{name: "later", answer: testkit.Status(503, "Retry-After: 7"), status: 503, class: "http_503", retryAfter: 7 * time.Second},
		{name: "later, in nonsense", answer: testkit.Status(429, "Retry-After: soon"), status: 429, class: "http_429"},
		{name: "later, in the past", answer: testkit.Status(429, "Retry-After: -5"), status: 429, class: "http_429"},
		{name: "no answer", answer: testkit.Hang(), timeout: hasty, class: "timeout"},
		{name: "an endless header", answer: testkit.DripHeader(time.Millisecond), timeout: hasty, class: "timeout"},
		{name: "a reset", answer: testkit.Reset(), class: "connection_reset"},
		{name: "not HTTP", answer: testkit.Garbage(), class: "protocol"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := testkit.NewReceiver(t)
			rc.Always(tt.answer)
			timeout := tt.timeout
			if timeout == 0 {
				timeout = patient
			}
			res := newClient(t, loopback).Post(t.Context(), newRequest(t, rc.URL, timeout))
			if res.Status != tt.status || res.Class != tt.class || res.Excerpt != tt.excerpt || res.RetryAfter != tt.retryAfter {
				t.Errorf("result is %+v, want status %d, class %q, excerpt %q, retry after %s", res, tt.status, tt.class, tt.excerpt, tt.retryAfter)
			}
			if (res.Error == "") != (res.Class == "") {
				t.Errorf("class %q comes with the words %q", res.Class, res.Error)
			}
		})
	}
}

// A redirect could lead to where the guard was not asked about, and would hide
// from the owner that the URL is wrong.
func TestPost_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	rc, elsewhere := testkit.NewReceiver(t), testkit.NewReceiver(t)
	rc.Always(testkit.Redirect(elsewhere.URL))
	res := newClient(t, loopback).Post(t.Context(), newRequest(t, rc.URL, patient))
	if res.Status != http.StatusFound || res.Class != "http_302" {
		t.Errorf("result is %+v", res)
	}
	if got := elsewhere.Requests(); len(got) != 0 {
		t.Errorf("the redirect was followed %d times", len(got))
	}
}

// An endless body costs neither memory nor the acknowledgement.
func TestPost_BoundsTheAnswersBody(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Endless(http.StatusOK))
	res := newClient(t, loopback).Post(t.Context(), newRequest(t, rc.URL, patient))
	if res.Status != http.StatusOK || res.Class != "" || len(res.Excerpt) != maxExcerpt {
		t.Errorf("status %d, class %q, an excerpt of %d bytes", res.Status, res.Class, len(res.Excerpt))
	}
}

// The head came in time: a body that drips takes the acknowledgement from nobody.
func TestPost_TakesTheHeadOfADrippingAnswer(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.DripBody(time.Millisecond))
	res := newClient(t, loopback).Post(t.Context(), newRequest(t, rc.URL, time.Second))
	if res.Status != http.StatusOK || res.Class != "" {
		t.Errorf("status %d, class %q: %s", res.Status, res.Class, res.Error)
	}
}

func TestPost_AsksTheGuardBeforeItDials(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	res := newClient(t).Post(t.Context(), newRequest(t, rc.URL, patient))
	if res.Status != 0 || res.Class != "egress_refused" {
		t.Errorf("result is %+v", res)
	}
	if got := rc.Requests(); len(got) != 0 {
		t.Errorf("%d requests came through", len(got))
	}
	if !errors.Is(egress.New(nil).Control("tcp4", "127.0.0.1:80", nil), egress.ErrRefused) {
		t.Error("the guard's refusal is not ErrRefused")
	}
}

func TestPost_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Hang())
	c, r := newClient(t, loopback), newRequest(t, rc.URL, patient)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan Result, 1)
	go func() { done <- c.Post(ctx, r) }()
	rc.Next() // it has arrived
	cancel()
	if res := <-done; res.Class != "cancelled" {
		t.Errorf("result is %+v", res)
	}
}
