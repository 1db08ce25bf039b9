package attacks

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// behaviour is how an endpoint answers, as some words of a case say.
type behaviour struct {
	words string
	ended chan struct{} // closed when the attempt is over
	sent  atomic.Int64

	do http.HandlerFunc
}

var redirectTo = regexp.MustCompile(`(?i)(https?://\S+)`)

// understand chooses what to do.
func (b *behaviour) understand() error {
	words := b.words
	code, hasCode := statusOf(words)
	if !hasCode {
		code = http.StatusOK
	}
	headers := http.Header{}
	if value, ok := retryAfterOf(words); ok {
		headers.Set("Retry-After", value)
	}
	if says(words, "set-cookie", "cookie") {
		headers.Set("Set-Cookie", "a=b; Domain=example.com")
	}
	if says(words, "gzip") {
		headers.Set("Content-Encoding", "gzip")
	}
	switch {
	case code/100 == 3 && hasCode:
		to := redirectTo.FindString(words)
		if to == "" {
			to = "/elsewhere"
		}
		headers.Set("Location", to)
		b.plain(code, headers, "")
	case says(words, "headers", "header bomb") && says(words, "MiB", "KiB", "large", "huge", "endless"):
		n, err := parseSize(words[strings.IndexFunc(words, func(r rune) bool { return r == 'o' || r == 'O' })+1:])
		if err != nil || n < 1<<16 {
			n = 10 << 20
		}
		b.do = b.raw("HTTP/1.1 200 OK\r\n", func(i int) string { return "X-Filler-" + strconv.Itoa(i) + ": " + strings.Repeat("a", 1000) + "\r\n" }, n/1000, 0)
	case says(words, "endless", "infinite", "never ends", "without end"):
		b.do = b.raw("HTTP/1.1 "+strconv.Itoa(code)+" X\r\n\r\n", func(int) string { return strings.Repeat("a", 1<<14) }, 1<<20, 0)
	case says(words, "byte a second", "byte per second", "drip", "slowly", "bytes a second"):
		b.do = b.raw("HTTP/1.1 "+strconv.Itoa(code)+" X\r\n\r\n", func(int) string { return "a" }, 3600, 300*time.Millisecond)
	case says(words, "never answers", "hangs", "no answer", "silent"):
		b.do = b.raw("", func(int) string { return "" }, 3600, 300*time.Millisecond)
	case says(words, "garbage", "not HTTP", "no HTTP", "random bytes"):
		b.do = b.raw("\x00\x01garbage\r\n\r\n", func(int) string { return "" }, 0, 0)
	case says(words, "closes", "resets", "breaks off", "drops the connection"):
		b.do = b.raw("", func(int) string { return "" }, 0, 0)
	case says(words, "1xx", "100 continue", "interim"):
		b.do = b.raw("", func(int) string { return "HTTP/1.1 103 Early Hints\r\nX-A: " + strings.Repeat("a", 1000) + "\r\n\r\n" }, 1<<16, 0)
	case says(words, "101", "switch"):
		b.do = b.raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", func(int) string { return "a" }, 3600, 300*time.Millisecond)
	case says(words, "body"):
		_, text, _ := strings.Cut(words, "body")
		text, _, _ = strings.Cut(text, " with ")
		if n, err := parseSize(text); err == nil && says(text, "MiB", "KiB", "bytes") {
			text = strings.Repeat("a", n)
		}
		b.plain(code, headers, strings.TrimSpace(text)+"\x1b[2J\x07\x00")
	case hasCode:
		b.plain(code, headers, "")
	default:
		return fmt.Errorf("the runner doesn't know how to be an endpoint that answers %q", words)
	}
	return nil
}

func (b *behaviour) answer(w http.ResponseWriter, r *http.Request) {
	if b.do != nil {
		b.do(w, r)
	}
}

func (b *behaviour) plain(code int, headers http.Header, body string) {
	b.do = func(w http.ResponseWriter, _ *http.Request) {
		for name := range headers {
			w.Header()[name] = headers[name]
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// raw writes to the connection itself: a beginning, and then parts, one after a pause,
// until the client or the case has gone.
func (b *behaviour) raw(begin string, part func(int) string, parts int, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write([]byte(begin)); err != nil {
			return
		}
		for i := range parts {
			if pause > 0 {
				t := time.NewTimer(pause)
				select {
				case <-t.C:
				case <-b.ended:
					t.Stop()
					return
				}
			}
			n, err := conn.Write([]byte(part(i)))
			b.sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}
