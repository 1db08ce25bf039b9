package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// Whatever follows a 2xx head that came in time, it acknowledges, and the class
// says what was wrong with the body.
func TestPost_TakesTheHeadOf2xxAndNamesItsBody(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		name    string
		answer  string
		hold    bool // the connection stays open
		class   string
		excerpt string
		limit   time.Duration
	}{
		{name: "no body", answer: head + "Content-Length: 0\r\n\r\n"},
		{name: "a body to the end of the connection", answer: head + "\r\nok", excerpt: "ok"},
		{name: "a chunked body", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", excerpt: "ok"},
		{name: "as much as is read", answer: head + "\r\n" + strings.Repeat("a", maxAnswer), excerpt: strings.Repeat("a", maxExcerpt)},
		{name: "no more than the excerpt", answer: head + "\r\n" + strings.Repeat("a", maxExcerpt), excerpt: strings.Repeat("a", maxExcerpt)},
		{name: "204 and bytes behind it", answer: "HTTP/1.1 204 No Content\r\n\r\nmore"},
		{name: "interim answers before", answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20) + head + "Content-Length: 2\r\n\r\nok", excerpt: "ok"},
		{name: "an unknown interim answer before", answer: "HTTP/1.1 199 What\r\n\r\n" + head + "Content-Length: 2\r\n\r\nok", excerpt: "ok"},
		{name: "a length too short", answer: head + "Content-Length: 2\r\n\r\nok and more", excerpt: "ok"},
		{name: "gzip that isn't", answer: head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", excerpt: "ok"},

		{name: "a length too long", answer: head + "Content-Length: 100\r\n\r\nhalf", class: "body_broken", excerpt: "half"},
		{name: "a chunked body that breaks off", answer: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", class: "body_broken", excerpt: "half"},
		{name: "a chunk that breaks off", answer: head + "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf", class: "body_broken", excerpt: "half"},
		{name: "chunks that aren't", answer: head + "Transfer-Encoding: chunked\r\n\r\nhalf", class: "body_broken"},
		{name: "a break after the excerpt", answer: head + "Content-Length: 5000\r\n\r\n" + strings.Repeat("a", 4999), class: "body_broken", excerpt: strings.Repeat("a", maxExcerpt)},
		{name: "one byte more than is read", answer: head + "\r\n" + strings.Repeat("a", maxAnswer+1), class: "body_too_large", excerpt: strings.Repeat("a", maxExcerpt)},
		{name: "a length that is too much", answer: head + "Content-Length: 1073741824\r\n\r\n" + strings.Repeat("a", maxExcerpt), hold: true, class: "body_too_large", excerpt: strings.Repeat("a", maxExcerpt)},
		{name: "nothing of a body", answer: head + "Content-Length: 100\r\n\r\n", hold: true, limit: hasty, class: "body_slow"},
		{name: "half of a body", answer: head + "Content-Length: 100\r\n\r\nhalf", hold: true, limit: hasty, class: "body_slow"},
		{name: "a chunked body without its end", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", hold: true, limit: hasty, class: "body_slow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := tt.limit
			if limit == 0 {
				limit = patient
			}
			res := post(t, newClient(t, within(limit)), newRequest(t, rawServer(t, tt.answer, tt.hold), patient))
			if res.Status/100 != 2 || res.Class != tt.class || res.Error != words[tt.class] {
				t.Errorf("result is %+v, want a 2xx of class %q", res, tt.class)
			}
			// What is late may come after the limit.
			if res.Excerpt != tt.excerpt && (tt.class != classBodySlow || !strings.HasPrefix("okhalf", res.Excerpt) && !strings.HasPrefix("half", res.Excerpt)) {
				t.Errorf("excerpt is %.20q of %d bytes, want %.20q", res.Excerpt, len(res.Excerpt), tt.excerpt)
			}
			if push.Judge(res.Status) != push.Acknowledged {
				t.Error("it doesn't acknowledge")
			}
		})
	}
}

// The same with the answers of a server that misbehaves for as long as it is let.
func TestPost_IsDoneWithABodyWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer testkit.Answer
		limit  time.Duration
		class  string
	}{
		{"endless", testkit.Endless(200), patient, "body_too_large"},
		{"dripping", testkit.DripBody(time.Millisecond), hasty, "body_slow"},
		{"reset", testkit.ResetInBody(), patient, "body_broken"},
		{"short", testkit.WrongLength(), patient, "body_broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := testkit.NewReceiver(t)
			rc.Always(tt.answer)
			res := post(t, newClient(t, within(tt.limit)), newRequest(t, rc.URL, patient))
			if res.Status != 200 || res.Class != tt.class || len(res.Excerpt) > maxExcerpt {
				t.Errorf("result is %+v, want class %q", res, tt.class)
			}
			<-rc.Next().Gone // the connection isn't left to drip
		})
	}
}

// The status says more than the body does.
func TestPost_ClassOfAFailureIsItsStatus(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf":                                          "http_500",
		"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 9\r\n\r\nhalf": "redirect",
		"HTTP/1.1 999 No\r\n\r\nhalf":                                                                 "http_999",
	} {
		res := post(t, newClient(t), newRequest(t, rawServer(t, answer, false), patient))
		if res.Class != want || res.Excerpt != "half" || !strings.HasPrefix(res.Error, "the endpoint answered "+answer[9:12]) {
			t.Errorf("result is %+v, want class %s", res, want)
		}
	}
}

// After 101 the body is the connection, and no context ends its reading.
func TestPost_SwitchesNoProtocol(t *testing.T) {
	t.Parallel()
	url := rawServer(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true)
	if res := post(t, newClient(t), newRequest(t, url, patient)); res.Status != 101 || res.Class != "http_101" {
		t.Errorf("result is %+v", res)
	}
}

func TestReadBody_TellsWhoBrokeOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(cancelCaller, cancelAttempt context.CancelFunc)
		want string
	}{
		{"the caller", func(caller, _ context.CancelFunc) { caller() }, "cancelled"},
		{"the time-out", func(_, attempt context.CancelFunc) { attempt() }, "body_slow"},
		{"the endpoint", func(_, _ context.CancelFunc) {}, "body_broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			caller, cancelCaller := context.WithCancel(t.Context())
			defer cancelCaller()
			attempt, cancelAttempt := context.WithCancel(caller)
			defer cancelAttempt()
			c, w := newClient(t), watch(attempt, time.Now(), time.Now)
			tt.end(cancelCaller, cancelAttempt)
			resp := &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("torn"))))}
			text, class := c.readBody(caller, cancelAttempt, w, resp)
			_ = resp.Body.Close()
			if text != "half" || class != tt.want {
				t.Errorf("got %q and class %q, want class %q", text, class, tt.want)
			}
		})
	}
}

// The attempt log takes valid text of a bounded size, and one text that it
// refuses would hold up all that is stored with it.
func TestExcerpt_IsBoundedValidText(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("已签收"), "zeros": make([]byte, maxExcerpt), "no text": bytes.Repeat([]byte("\xffa"), maxExcerpt/2),
		"a character across the end": []byte(strings.Repeat("a", maxExcerpt-1) + "\xe5"),
	} {
		got := excerpt(b)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > maxExcerpt || (got == "") != (len(b) == 0) {
			t.Errorf("%s becomes %.40q of %d bytes", name, got, len(got))
		}
	}
	if got := cut("aé", 2); got != "a" {
		t.Errorf("a cut within a character gives %q", got)
	}
}

func TestRetryAfter_TakesWhatIsHonoured(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "3600": time.Hour, at(time.Minute): time.Minute, at(time.Hour): time.Hour,
		"3601": 0, "-5": 0, "+5": 0, "1.5": 0, "7s": 0, "soon": 0, "1000000000": 0, "99999999999999999999": 0, at(-time.Minute): 0, at(2 * time.Hour): 0,
		"Fri, 31 Dec 9999 23:59:59 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q means %s, want %s", value, got, want)
		}
	}
}

// HTTP/2 has windows of its own, and streams that end apart from connections.
func TestPost_BoundsHTTP2Too(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"/ok": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) },
		"/endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 16<<10))
			}
		},
		"/slow": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"/broken": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"/reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/hang":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/header": func(w http.ResponseWriter, _ *http.Request) {
			for i := range maxAnswer >> 10 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("a", 1<<10))
			}
		},
		"/interim": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", strings.Repeat("a", 1<<10))
			for r.Context().Err() == nil {
				w.WriteHeader(http.StatusEarlyHints)
			}
		},
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the protocol is %s", r.Proto)
		}
		answers[r.URL.Path](w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, tt := range []struct {
		path   string
		status int
		class  string
	}{
		{"/ok", 200, ""},
		{"/endless", 200, "body_too_large"},
		{"/slow", 200, "body_slow"},
		{"/broken", 200, "body_broken"},
		{"/reset", 0, "connection_reset"},
		{"/hang", 0, "timeout"},
		{"/header", 0, "head_too_large"},
		{"/interim", 0, "head_too_large"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			limit := patient
			if tt.path == "/slow" {
				limit = hasty
			}
			c := newClient(t, within(limit), trusting(s.Certificate()))
			r := newRequest(t, s.URL, patient)
			r.URL = s.URL + tt.path
			ctx := t.Context()
			if tt.path == "/hang" {
				ctx = lateAfter(ctx, "written")
			}
			res := c.Post(ctx, r)
			checkWords(t, res)
			if res.Status != tt.status || res.Class != tt.class {
				t.Errorf("result is %+v, want status %d, class %q", res, tt.status, tt.class)
			}
		})
	}
}

// What is sent and not read is memory, whatever the limit of reading.
func TestPost_LetsHTTP2SendLittleMoreThanIsRead(t *testing.T) {
	t.Parallel()
	sent := make(chan int, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		total := 0
		for r.Context().Err() == nil {
			if n, err := w.Write(make([]byte, 4<<10)); err == nil {
				total += n
			}
		}
		sent <- total
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	if res := post(t, newClient(t, trusting(s.Certificate())), newRequest(t, s.URL, patient)); res.Class != "body_too_large" {
		t.Errorf("result is %+v", res)
	}
	// As much as is read, a window, and what the server itself holds back.
	if got := <-sent; got > 3*maxAnswer {
		t.Errorf("%d bytes were sent", got)
	}
}
