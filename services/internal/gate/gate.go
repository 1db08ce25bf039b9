// Package gate is what every HTTP request from outside passes before a service
// sees it: who sent it and whether that address may, how often its signatures were wrong,
// how large and how encoded its body is. What the body says, and who signed it, is the
// service's business; [BadSignature] tells the gate.
package gate

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Config says what passes.
type Config struct {
	// MaxBody is the largest body, in bytes, after decompression.
	MaxBody int64
	// Proxies are those whose X-Forwarded-For counts.
	Proxies []netip.Prefix
	// Allow are the addresses that a source's requests may come from, by the source's
	// name; one that isn't in it may come from anywhere.
	Allow map[string][]netip.Prefix
	// Failures is how many wrong signatures of one source and address are taken in
	// a Window; then all its requests wait for the window's end.
	Failures int
	Window   time.Duration
	// Rate is how many requests a second each source may send from one address, 0 for
	// any number. Burst is how many at once.
	Rate  float64
	Burst int
	Log   *slog.Logger
	Now   func() time.Time
}

// Gate keeps count of who knocks. It is safe for concurrent use.
type Gate struct {
	cfg Config

	mu      sync.Mutex
	callers map[caller]*record
	swept   time.Time
}

// caller is a source at an address.
type caller struct {
	source string
	addr   netip.Addr
}

// record is what is remembered of a caller.
type record struct {
	began    time.Time // of the window
	failures int
	limiter  *rate.Limiter
	seen     time.Time
}

// maxCallers bounds memory: beyond it the oldest are forgotten.
const maxCallers = 100_000

// New makes a gate.
func New(cfg Config) *Gate { return &Gate{cfg: cfg, callers: make(map[caller]*record)} }

// Wrap guards a handler whose requests are of sources: name says which, from the
// request.
func (g *Gate) Wrap(next http.Handler, name func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := g.cfg.Now()
		c := caller{source: name(r), addr: g.client(r)}
		if allowed, limited := g.cfg.Allow[c.source]; limited && !contains(allowed, c.addr) {
			g.cfg.Log.WarnContext(r.Context(), "a request comes from an address that its source may not use", "source", c.source, "client", c.addr)
			refuse(w, http.StatusForbidden, "requests of this source aren't taken from this address")
			return
		}
		if wait := g.blocked(c, now); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			refuse(w, http.StatusTooManyRequests, "too many requests")
			return
		}
		body, no := g.readBody(w, r)
		if no != nil {
			// What is left of the body isn't read.
			w.Header().Set("Connection", "close")
			refuse(w, no.status, no.words)
			return
		}
		var failed atomic.Bool
		r = r.WithContext(context.WithValue(r.Context(), failedKey{}, &failed))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Del("Content-Encoding")
		next.ServeHTTP(w, r)
		if failed.Load() {
			g.failed(r.Context(), c, now) //nolint:contextcheck // what it starts or ends outlives the caller
		}
	})
}

type failedKey struct{}

// BadSignature tells the gate that a request's signature or account is wrong.
func BadSignature(ctx context.Context) {
	if f, ok := ctx.Value(failedKey{}).(*atomic.Bool); ok {
		f.Store(true)
	}
}

// client is the address that a request comes from: the peer's, or, when that is one of our
// proxies, the rightmost in X-Forwarded-For that isn't.
func (g *Gate) client(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !contains(g.cfg.Proxies, addr) {
			return addr
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return addr
		}
		addr = next.Unmap()
	}
	return addr
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// blocked says how long a caller has to wait, 0 for not.
func (g *Gate) blocked(c caller, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.record(c, now)
	if r.failures >= g.cfg.Failures && g.cfg.Failures > 0 {
		return r.began.Add(g.cfg.Window).Sub(now)
	}
	if r.limiter == nil {
		return 0
	}
	if wait := r.limiter.ReserveN(now, 1); wait.DelayFrom(now) > 0 {
		delay := wait.DelayFrom(now)
		wait.CancelAt(now)
		return delay
	}
	return 0
}

// record is what is known of a caller, in a window that isn't over.
func (g *Gate) record(c caller, now time.Time) *record {
	r, ok := g.callers[c]
	if !ok {
		g.sweep(now)
		r = &record{began: now}
		if g.cfg.Rate > 0 {
			r.limiter = rate.NewLimiter(rate.Limit(g.cfg.Rate), max(g.cfg.Burst, 1))
		}
		g.callers[c] = r
	}
	if now.Sub(r.began) >= g.cfg.Window {
		r.began, r.failures = now, 0
	}
	r.seen = now
	return r
}

// sweep forgets callers that have been quiet, and, when there are too many, others.
func (g *Gate) sweep(now time.Time) {
	if len(g.callers) < maxCallers && now.Sub(g.swept) < g.cfg.Window {
		return
	}
	g.swept = now
	for c, r := range g.callers {
		if now.Sub(r.seen) > g.cfg.Window {
			delete(g.callers, c)
		}
	}
	for c, r := range g.callers {
		if len(g.callers) < maxCallers {
			return
		}
		if r.failures == 0 {
			delete(g.callers, c)
		}
	}
}

// failed counts a wrong signature. The first of a window is logged, and the one
// that closes the door.
func (g *Gate) failed(ctx context.Context, c caller, now time.Time) {
	g.mu.Lock()
	r := g.record(c, now)
	r.failures++
	n := r.failures
	g.mu.Unlock()
	if n == 1 {
		g.cfg.Log.WarnContext(ctx, "a signature or account is wrong; further ones of this window aren't logged", "source", c.source, "client", c.addr, "window", g.cfg.Window)
	}
}

// refusal is why a body isn't taken.
type refusal struct {
	status int
	words  string
}

// readBody reads a body, decompressed, within the limit.
func (g *Gate) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	if r.ContentLength > g.cfg.MaxBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "the body is too large"}
	}
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
	body := io.Reader(http.MaxBytesReader(w, r.Body, g.cfg.MaxBody))
	switch encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		zr, err := gzip.NewReader(body)
		if err != nil {
			return nil, badBody(err, "the body is not gzip")
		}
		zr.Multistream(false)
		body = zr
	default:
		return nil, &refusal{http.StatusUnsupportedMediaType, "the Content-Encoding must be gzip, once, or none"}
	}
	text, err := io.ReadAll(io.LimitReader(body, g.cfg.MaxBody+1))
	switch {
	case err != nil:
		return nil, badBody(err, "the body broke off")
	case int64(len(text)) > g.cfg.MaxBody:
		return nil, &refusal{http.StatusRequestEntityTooLarge, "the body is too large"}
	}
	return text, nil
}

func badBody(err error, words string) *refusal {
	var slow net.Error
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		return &refusal{http.StatusRequestEntityTooLarge, "the body is too large"}
	case errors.As(err, &slow) && slow.Timeout():
		return &refusal{http.StatusRequestTimeout, "the body came too slowly"}
	}
	return &refusal{http.StatusBadRequest, words}
}

func refuse(w http.ResponseWriter, status int, words string) {
	body, err := json.Marshal(map[string]string{"error": words})
	if err != nil {
		return // it always encodes
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// RequestIDHeader is in every request and answer: the caller's own id, if it is fit to be
// logged, or one of ours.
const RequestIDHeader = "X-Request-Id"

const maxRequestID = 128

// Secure refuses a query that can be read in two ways, gives every answer the headers that keep browsers from making more of
// it than it is, and every request an id that is fit to be logged.
func Secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(RequestIDHeader)
		if !fit(id) || len(r.Header.Values(RequestIDHeader)) > 1 {
			id = rand.Text()
		}
		r.Header.Set(RequestIDHeader, id)
		h := w.Header()
		h.Set(RequestIDHeader, id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		// Sources write what they write; what of it matters is in their bodies.
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil && !strings.HasPrefix(r.URL.Path, "/v1/sources/") {
			refuse(w, http.StatusBadRequest, "the query can't be read")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fit(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}) < 0
}
