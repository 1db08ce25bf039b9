// Package callback is the adapter to endpoints: one signed POST, and what came
// of it. Whether that is an acknowledgement, and when to try again, is decided
// in package push.
//
// Whatever an endpoint does is bounded: in time by the context, in size by the
// limits here. Redirections are never followed, proxies and cookies not used.
package callback

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/obs"
)

// Request is one attempt.
type Request struct {
	URL    string
	Secret webhook.Secret
	PushID string
	Body   []byte
	// Timeout is for all of it.
	Timeout time.Duration
}

// Result is what came of an attempt.
type Result struct {
	Status int // HTTP; 0 when there was no answer
	// Class is a short code of what went wrong: "timeout", "http_503"; empty for
	// an answer in the 200s.
	Class string
	// Error is the same in words.
	Error   string
	Took    time.Duration
	Excerpt string // the beginning of the answer's body, valid text, at most 4 KiB
	// RetryAfter is what the endpoint asked for, 0 for nothing.
	RetryAfter time.Duration
}

const (
	maxExcerpt     = 4 << 10
	maxAnswer      = 64 << 10
	connectTimeout = 5 * time.Second
)

// Client posts to endpoints. It is safe for concurrent use.
type Client struct {
	transport *http.Transport
	now       func() time.Time
}

// NewClient makes a client whose connections a guard lets through.
func NewClient(guard *egress.Guard, now func() time.Time) *Client {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second, Control: guard.Control}
	return &Client{now: now, transport: &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    512, // several endpoints may share a host
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		WriteBufferSize:        16 << 10,
	}}
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post makes one attempt.
func (c *Client) Post(ctx context.Context, r Request) Result {
	began := c.now()
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	res := c.post(ctx, r, began)
	res.Took = c.now().Sub(began)
	return res
}

func (c *Client) post(ctx context.Context, r Request, began time.Time) (res Result) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Result{Class: "url", Error: "the endpoint's URL can't be used"}
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Posthaste"}}
	webhook.SetHeaders(req.Header, r.PushID, began, r.Body, r.Secret)
	trace := map[string][]string{}
	obs.Inject(ctx, trace)
	for name, values := range trace {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	// Not a client: redirections are answers like others.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		res.Class = classify(err)
		res.Error = words(err)
		return res
	}
	defer func() { _ = resp.Body.Close() }()
	res.Status = resp.StatusCode
	if res.Status/100 != 2 {
		res.Class = "http_" + strconv.Itoa(res.Status)
		res.Error = "the endpoint answered " + strconv.Itoa(res.Status)
		res.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.now())
	}
	var body [maxExcerpt]byte
	n, err := io.ReadFull(resp.Body, body[:])
	res.Excerpt = excerpt(body[:n])
	if err == nil {
		// Read on a little, so that the connection can be used again; an endless
		// answer is cut off.
		_, err = io.CopyN(io.Discard, resp.Body, maxAnswer-maxExcerpt)
	}
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && complete(resp, n):
	case ctx.Err() != nil:
		// The answer's head came in time; a body that drips says nothing more.
	case res.Class == "":
		res.Class, res.Error = "broken_answer", "the answer broke off: "+words(err)
	}
	return res
}

// complete says whether a short read is all there was: ReadFull calls any short
// body unexpected.
func complete(resp *http.Response, n int) bool {
	return resp.ContentLength < 0 || resp.ContentLength == int64(n)
}

func classify(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, egress.ErrRefused):
		return "egress_refused"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert):
		return "tls"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection_reset"
	case errors.As(err, &op) && op.Op == "dial":
		return "connect"
	case strings.Contains(err.Error(), "tls:"):
		return "tls"
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "HTTP/1.x transport"):
		return "protocol"
	}
	return "network"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// words are an error without the URL, which may hold a secret in its query.
func words(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "\uFFFD")
	return text[:min(len(text), 500)]
}

// excerpt makes bytes a text that PostgreSQL takes.
func excerpt(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s := string(b)
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// retryAfter reads seconds or a date; 0 for nothing that makes sense.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
