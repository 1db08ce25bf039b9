package callback

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestPost_SendsASignedPush(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	private, err := webhook.ParsePrivateKey(webhook.NewPrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	r := Request{
		URL: rc.URL + "/callback?team=a", Signer: webhook.Signers{private, secret}, PushID: pushID, Body: []byte(body), Timeout: patient,
	}
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	res := newClient(t).Post(trace.ContextWithSpanContext(t.Context(), parent), r)
	checkWords(t, res)
	if res.Status != http.StatusOK || res.Class != "" {
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
	for name, v := range map[string]webhook.Verifier{
		"the secret": {Secrets: []webhook.Secret{secret}}, "the public key": {PublicKeys: []webhook.PublicKey{private.Public()}},
	} {
		if err := v.Verify(got.Header, got.Body); err != nil {
			t.Errorf("it doesn't verify with %s: %v", name, err)
		}
	}
}

func TestPost_SaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		answer     testkit.Answer
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
		{name: "much later", answer: testkit.Status(503, "Retry-After: 1000000000"), status: 503, class: "http_503"},
		{name: "later, in nonsense", answer: testkit.Status(429, "Retry-After: soon"), status: 429, class: "http_429"},
		{name: "later, in the past", answer: testkit.Status(429, "Retry-After: -5"), status: 429, class: "http_429"},
		{name: "later, though taken", answer: testkit.Status(200, "Retry-After: 7"), status: 200},
		{name: "a reset", answer: testkit.Reset(), class: "connection_reset"},
		{name: "not HTTP", answer: testkit.Garbage(), class: "protocol"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := testkit.NewReceiver(t)
			rc.Always(tt.answer)
			res := post(t, newClient(t), newRequest(t, rc.URL, patient))
			if res.Status != tt.status || res.Class != tt.class || res.Excerpt != tt.excerpt || res.RetryAfter != tt.retryAfter {
				t.Errorf("result is %+v, want status %d, class %q, excerpt %q, retry after %s", res, tt.status, tt.class, tt.excerpt, tt.retryAfter)
			}
		})
	}
}

func TestPost_NamesABrokenHead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, class string }{
		{"nothing", "", "connection_reset"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "connection_reset"},
		{"half a status line", "HTTP/1.1 20", "protocol"}, // net/http takes the end for the line's
		{"half a header", "HTTP/1.1 200 OK\r\nContent-Le", "protocol"},
		{"interim answers alone", "HTTP/1.1 102 Processing\r\n\r\n", "connection_reset"},
		{"another protocol", "SSH-2.0-OpenSSH_9.9\r\n", "protocol"},
		{"another protocol in other characters", strings.Repeat("é", 400) + "\r\n", "protocol"},
		{"HTTP/0.9", "<html>ok</html>\r\n", "protocol"},
		{"a status of letters", "HTTP/1.1 abc OK\r\n\r\n", "protocol"},
		{"a status of nothing", "HTTP/1.1 000 OK\r\n\r\n", "protocol"},
		{"a header that is none", "HTTP/1.1 200 OK\r\nno header\r\n\r\n", "protocol"},
		{"a length of letters", "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "protocol"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "protocol"},
		{"an unknown transfer encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "protocol"},
		{"a large header", "HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("a", maxAnswer), "head_too_large"},
		{"many headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Many: a\r\n", maxAnswer/10), "head_too_large"},
		{"a status line without end", strings.Repeat("a", maxAnswer+1), "head_too_large"},
		{"interim answers without end", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxAnswer/20), "head_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := post(t, newClient(t), newRequest(t, rawServer(t, tt.answer, tt.class == "head_too_large"), patient))
			if res.Status != 0 || res.Class != tt.class {
				t.Errorf("result is %+v, want class %q", res, tt.class)
			}
		})
	}
}

func TestPost_NamesWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	silence := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, tt := range []struct {
		name   string
		url    string
		moment string
		class  string
	}{
		{"an answer", "http://" + listen(t, silence), atWritten, "timeout"},
		{"the end of a head", rawServer(t, "HTTP/1.1 200 OK\r\nX-Slow: z", true), atFirstByte, "head_slow"},
		{"the end of interim answers", rawServer(t, "HTTP/1.1 102 Processing\r\n\r\n", true), atFirstByte, "head_slow"},
		{"a handshake", "https://" + listen(t, silence), atHandshake, "tls_timeout"},
		{"a name", "https://" + host, atLookup, "dns_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := newResolvingClient(t, nameServer(t, silent)).Post(lateAfter(t.Context(), tt.moment), newRequest(t, tt.url, patient))
			checkWords(t, res)
			if res.Status != 0 || res.Class != tt.class {
				t.Errorf("result is %+v, want class %q", res, tt.class)
			}
			waited := map[string]time.Duration{"timeout": res.FirstByte, "head_slow": res.FirstByte, "tls_timeout": res.TLS, "dns_timeout": res.DNS}
			if waited[tt.class] <= 0 || waited[tt.class] > res.Took {
				t.Errorf("the phase isn't counted: %+v", res)
			}
		})
	}
}

// A header that drips keeps the connection alive, and the attempt ends all the
// same.
func TestPost_IsDoneWithAHeadWithoutEnd(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.DripHeader(time.Millisecond))
	res := newClient(t).Post(lateAfter(t.Context(), atFirstByte), newRequest(t, rc.URL, patient))
	checkWords(t, res)
	if res.Class != "head_slow" {
		t.Errorf("result is %+v", res)
	}
	<-rc.Next().Gone
}

func TestPost_NamesNamesThatFail(t *testing.T) {
	t.Parallel()
	for code, class := range map[int]string{failing: "dns", notFound: "dns_not_found"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			res := post(t, newResolvingClient(t, nameServer(t, code)), newRequest(t, "https://"+host, patient))
			if res.Class != class || res.DNS <= 0 || res.Connect != 0 {
				t.Errorf("result is %+v", res)
			}
		})
	}
	t.Run("its own limit", func(t *testing.T) {
		t.Parallel()
		res := post(t, newResolvingClient(t, nameServer(t, silent), connecting(hasty)), newRequest(t, "https://"+host, patient))
		if res.Class != "dns_timeout" {
			t.Errorf("result is %+v", res)
		}
	})
}

func TestPost_NamesWhatIsWrongWithTLS(t *testing.T) {
	t.Parallel()
	tomorrow := time.Now().Add(24 * time.Hour)
	ca := certificate(t, nil, tomorrow)
	good := certificate(t, &ca, tomorrow, "endpoint.test", "127.0.0.1.test")
	for _, tt := range []struct {
		name  string
		cert  tls.Certificate
		tune  func(c *tls.Config)
		class string
		says  string
	}{
		{name: "a good certificate", cert: good},
		{name: "an expired certificate", cert: certificate(t, &ca, time.Now().Add(-time.Hour), "endpoint.test"), class: "tls_expired"},
		{name: "another name", cert: certificate(t, &ca, tomorrow, "other.test"), class: "tls_name", says: "valid for other.test"},
		{name: "other names in other characters", cert: certificate(t, &ca, tomorrow, strings.Repeat("a.", 300)+"test"), class: "tls_name", says: "valid for a.a."},
		{name: "its own issuer", cert: certificate(t, nil, tomorrow, "endpoint.test"), class: "tls_untrusted", says: "unknown authority"},
		{name: "TLS 1.1", cert: good, tune: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, class: "tls_version"},
		{name: "it wants a certificate", cert: good, tune: func(c *tls.Config) {
			c.ClientAuth = tls.RequireAnyClientCert
			c.MaxVersion = tls.VersionTLS12 // later versions say so after the handshake
		}, class: "tls", says: "tls: handshake failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{tt.cert}}
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
			if tt.tune != nil {
				tt.tune(s.TLS)
			}
			s.StartTLS()
			t.Cleanup(s.Close)
			_, port, err := net.SplitHostPort(s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := newResolvingClient(t, nameServer(t, found), trusting(ca.Leaf))
			res := post(t, c, newRequest(t, "https://"+host+":"+port, patient))
			if res.Class != tt.class || (res.Status == 200) != (tt.class == "") || !strings.Contains(res.Error, tt.says) || !strings.HasPrefix(res.Error, words[tt.class]) {
				t.Errorf("result is %+v, want class %q and words with %q", res, tt.class, tt.says)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		t.Parallel()
		rc := testkit.NewReceiver(t)
		if res := post(t, newClient(t), newRequest(t, "https"+strings.TrimPrefix(rc.URL, "http"), patient)); res.Class != "tls_plain" {
			t.Errorf("result is %+v", res)
		}
	})
	t.Run("no handshake", func(t *testing.T) {
		t.Parallel()
		address := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		if res := post(t, newClient(t, connecting(hasty)), newRequest(t, "https://"+address, patient)); res.Class != "tls_timeout" {
			t.Errorf("result is %+v", res)
		}
	})
	t.Run("TLS where HTTP is asked for", func(t *testing.T) {
		t.Parallel()
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		s.StartTLS()
		t.Cleanup(s.Close)
		if res := post(t, newClient(t), newRequest(t, "http"+strings.TrimPrefix(s.URL, "https"), patient)); res.Class != "http_400" {
			t.Errorf("result is %+v", res)
		}
	})
}

func TestPost_NamesAPortWhereNothingListens(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if res := post(t, newClient(t), newRequest(t, "http://"+address, patient)); res.Class != "connection_refused" || res.Connect <= 0 {
		t.Errorf("result is %+v", res)
	}
}

// What can't be made to happen on one machine.
func TestClassify_NamesOtherFailures(t *testing.T) {
	t.Parallel()
	dial := func(err error) error {
		return fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, Err: err})
	}
	for class, err := range map[string]error{
		"connect_timeout":  dial(os.ErrDeadlineExceeded),
		"unreachable":      dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)),
		"connect":          dial(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)),
		"connection_reset": &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)},
		"tls":              errors.New("tls: invalid server key share"),
		"tls_certificate":  &tls.CertificateVerificationError{Err: errors.New("another reason")},
		"protocol":         errors.New("http2: invalid frame"),
		"timeout":          context.DeadlineExceeded,
		"cancelled":        context.Canceled,
		"network":          errors.New("something new"),
	} {
		if got := classify(err, watch(t.Context(), time.Now(), time.Now)); got != class {
			t.Errorf("%v is of class %q, want %q", err, got, class)
		}
		if text := describe(class, err); !strings.HasPrefix(text, words[class]) || strings.Contains(text, "192.0.2.1") {
			t.Errorf("%v in words: %q", err, text)
		}
	}
}

// The end must not fall within a character: PostgreSQL would refuse the text,
// and with it what is stored beside.
func TestDescribe_IsBoundedValidText(t *testing.T) {
	t.Parallel()
	for _, detail := range []string{strings.Repeat("é", maxWords), "a" + strings.Repeat("é", maxWords), "\xff\x00"} {
		text := describe(classTLS, &tls.CertificateVerificationError{Err: errors.New(detail)})
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") || len(text) > maxWords || len(text) < len(words[classTLS])+3 {
			t.Errorf("words are %q", text)
		}
	}
}

func TestPost_RefusesWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", ":", "callback", "/callback", "ftp://127.0.0.1/", "http://", "http://:80/", "https:127.0.0.1", "http://127.0.0.1:http/", "http://a b/", "http://[::1"} {
		r := newRequest(t, "", patient)
		r.URL = url
		if res := post(t, newClient(t), r); res.Status != 0 || res.Class != "url" {
			t.Errorf("%q: result is %+v", url, res)
		}
	}
	for name, signer := range map[string]webhook.Signer{"none": nil, "a zero one": webhook.Secret{}, "zero ones": webhook.Signers{nil, webhook.PrivateKey{}}} {
		rc := testkit.NewReceiver(t)
		r := newRequest(t, rc.URL, patient)
		r.Signer = signer
		if res := post(t, newClient(t), r); res.Class != "no_key" || len(rc.Requests()) != 0 {
			t.Errorf("with %s for a signer: result is %+v", name, res)
		}
	}
}

// A redirect could lead to where the guard was not asked about, and would hide
// from the owner that the URL is wrong.
func TestPost_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := testkit.NewReceiver(t)
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		rc := testkit.NewReceiver(t)
		rc.Always(testkit.Status(status, "Location: "+elsewhere.URL, "Refresh: 0;url="+elsewhere.URL))
		res := post(t, newClient(t), newRequest(t, rc.URL, patient))
		if res.Status != status || res.Class != "redirect" {
			t.Errorf("result is %+v", res)
		}
	}
	if got := elsewhere.Requests(); len(got) != 0 {
		t.Errorf("redirects were followed %d times", len(got))
	}
}

func TestPost_KeepsNoCookies(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(200, "Set-Cookie: a=b"))
	c, r := newClient(t), newRequest(t, rc.URL, patient)
	post(t, c, r)
	post(t, c, r)
	for _, got := range rc.Await(2) {
		if got.Header.Get("Cookie") != "" || got.Header.Get("Accept-Encoding") != "" || got.Header.Get("Referer") != "" {
			t.Errorf("the headers are %v", got.Header)
		}
	}
}

func TestPost_AsksTheGuardBeforeItDials(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	c := NewClient(egress.New(egress.Config{Policy: egress.Open}), time.Now)
	t.Cleanup(c.Close)
	res := post(t, c, newRequest(t, rc.URL, patient))
	if res.Status != 0 || res.Class != "egress_refused" {
		t.Errorf("result is %+v", res)
	}
	if got := rc.Requests(); len(got) != 0 {
		t.Errorf("%d requests came through", len(got))
	}
}

func TestPost_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Hang())
	c, r := newClient(t), newRequest(t, rc.URL, patient)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan Result, 1)
	go func() { done <- c.Post(ctx, r) }()
	rc.Next() // it has arrived
	cancel()
	res := <-done
	checkWords(t, res)
	if res.Class != "cancelled" {
		t.Errorf("result is %+v", res)
	}
}

func TestPost_EndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Hang())
	// Whatever it waits for by then.
	if res := post(t, newClient(t), newRequest(t, rc.URL, hasty)); res.Status != 0 || !strings.HasSuffix(res.Class, "timeout") {
		t.Errorf("result is %+v", res)
	}
}

// The table of the package's documentation is what operators and owners read.
func TestClasses_AreAllDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^//\t(\w+)  `).FindAllSubmatch(doc, -1) {
		table[string(row[1])] = true
	}
	for class, text := range words {
		if !table[class] || text == "" {
			t.Errorf("class %q isn't in the table, or has no words", class)
		}
	}
	if len(table) != len(words)+1 || !table["http_NNN"] {
		t.Errorf("the table has %d classes, and there are %d", len(table), len(words)+1)
	}
}
