package gate

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// door is a gate before a handler that says whose signature is wrong.
func door(t *testing.T, change func(*Config)) (h http.Handler, log *bytes.Buffer, now *time.Time) {
	t.Helper()
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	now, log = &at, &bytes.Buffer{}
	cfg := Config{MaxBody: 1000, Failures: 3, Window: time.Minute, Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return *now }}
	if change != nil {
		change(&cfg)
	}
	return New(cfg).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) == "forged" {
			BadSignature(r.Context())
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(body)
	}), func(*http.Request) string { return "sf" }), log, now
}

func ask(h http.Handler, body, from string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)) //nolint:noctx // a test
	r.RemoteAddr = from + ":1234"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGate_ShutsOutWhoForgesAndNobodyElse(t *testing.T) {
	t.Parallel()
	h, log, now := door(t, nil)
	for range 3 {
		if got := ask(h, "forged", "127.0.0.1").Code; got != http.StatusUnauthorized {
			t.Errorf("a forged request is answered %d", got)
		}
	}
	for range 100 {
		if w := ask(h, "good", "127.0.0.1"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Fatalf("then it is answered %d, %v", w.Code, w.Header())
		}
	}
	if got := ask(h, "good", "127.0.0.2").Code; got != http.StatusOK {
		t.Errorf("another address is answered %d", got)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines are logged:\n%s", n, log)
	}
	*now = now.Add(time.Minute)
	if got := ask(h, "good", "127.0.0.1").Code; got != http.StatusOK {
		t.Errorf("after the window it is answered %d", got)
	}
}

func TestGate_BelievesAboutAddressesOnlyItsProxies(t *testing.T) {
	t.Parallel()
	h, _, _ := door(t, func(c *Config) {
		c.Allow = map[string][]netip.Prefix{"sf": {netip.MustParsePrefix("198.51.100.0/24")}}
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for _, tt := range []struct {
		from, forwarded string
		want            int
	}{
		{"198.51.100.7", "", http.StatusOK},
		{"127.0.0.1", "", http.StatusForbidden},
		{"127.0.0.1", "198.51.100.7", http.StatusForbidden},
		{"10.0.0.1", "198.51.100.7", http.StatusOK},
		{"10.0.0.1", "198.51.100.7, 203.0.113.9", http.StatusForbidden},
		{"10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", http.StatusOK},
		{"10.0.0.1", "nonsense", http.StatusForbidden},
	} {
		if got := ask(h, "good", tt.from, "X-Forwarded-For: "+tt.forwarded).Code; got != tt.want {
			t.Errorf("%+v is answered %d", tt, got)
		}
	}
}

func TestGate_BoundsABodyWhateverItsForm(t *testing.T) {
	t.Parallel()
	h, _, _ := door(t, nil)
	zip := func(n int) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(bytes.Repeat([]byte("a"), n))
		_ = w.Close()
		return b.String()
	}
	for name, tt := range map[string]struct {
		body    string
		headers []string
		want    int
	}{
		"at the limit":      {strings.Repeat("a", 1000), nil, http.StatusOK},
		"beyond":            {strings.Repeat("a", 1001), nil, http.StatusRequestEntityTooLarge},
		"zipped":            {zip(1000), []string{"Content-Encoding: gzip"}, http.StatusOK},
		"a bomb":            {zip(1001), []string{"Content-Encoding: gzip"}, http.StatusRequestEntityTooLarge},
		"not zipped":        {"good", []string{"Content-Encoding: gzip"}, http.StatusBadRequest},
		"several encodings": {zip(10), []string{"Content-Encoding: gzip, gzip"}, http.StatusUnsupportedMediaType},
		"twice":             {zip(10), []string{"Content-Encoding: gzip", "Content-Encoding: gzip"}, http.StatusUnsupportedMediaType},
		"unknown":           {"good", []string{"Content-Encoding: br"}, http.StatusUnsupportedMediaType},
	} {
		if got := ask(h, tt.body, "127.0.0.1", tt.headers...).Code; got != tt.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestGate_LimitsTheRateOfASource(t *testing.T) {
	t.Parallel()
	h, _, now := door(t, func(c *Config) { c.Rate, c.Burst = 1, 2 })
	var codes []int
	for range 3 {
		codes = append(codes, ask(h, "good", "127.0.0.1").Code)
	}
	*now = now.Add(time.Second)
	codes = append(codes, ask(h, "good", "127.0.0.1").Code)
	for i, want := range []int{200, 200, 429, 200} {
		if codes[i] != want {
			t.Errorf("the answers are %v", codes)
		}
	}
}

func TestSecure_MakesRequestIDsFit(t *testing.T) {
	t.Parallel()
	h := Secure(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for id, kept := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, "a\tb": false, strings.Repeat("a", 129): false} {
		w := ask(h, "", "127.0.0.1", "X-Request-Id: "+id)
		if got := w.Header().Get("X-Request-Id"); (got == id) != kept || !fit(got) || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%q became %q", id, got)
		}
	}
}
