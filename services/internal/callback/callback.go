package callback

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Request is one attempt.
type Request struct {
	URL string
	// Tenant is whose endpoint it is: a tenant may be allowed addresses that others
	// aren't.
	Tenant string
	// Signer has the keys to sign with: one, or [webhook.Signers] while a key is
	// being rotated.
	Signer webhook.Signer
	PushID string
	// ContentType of the body; empty means JSON.
	ContentType string
	Body        []byte
	// Timeout is for all of it.
	Timeout time.Duration

	// What the body is about, for a sibling of this package that says so beside it.
	EndpointID, SubscriptionID string
	Waybill                    track.Waybill
	After, Revision            track.Revision
}

// Result is what came of an attempt.
type Result struct {
	Status int // HTTP; 0 when there was no answer
	// Class is a short code of what went wrong, see the package; empty when
	// nothing did. An answer in the 200s can have one too.
	Class string
	// Error is the same in words, for the endpoint's owner.
	Error string
	Took  time.Duration
	Phases
	Excerpt string // the beginning of the answer's body, valid text, at most 4 KiB
	// RetryAfter is what an answer outside the 200s asked for, 0 for nothing, or
	// nothing that is honoured.
	RetryAfter time.Duration
}

const (
	maxExcerpt     = 4 << 10
	maxAnswer      = 64 << 10
	connectTimeout = 5 * time.Second
	bodyTimeout    = 5 * time.Second
)

// Client posts to endpoints. It is safe for concurrent use.
type Client struct {
	guard *egress.Guard
	// transport has the connections that any tenant may use; those of tenants that
	// have rules of their own are theirs alone: a connection isn't judged again.
	transport *http.Transport
	mu        sync.Mutex
	private   map[string]*http.Transport
	tracer    trace.Tracer // nil for no spans
	now       func() time.Time
	options   options
}

// Option changes what [NewClient] makes.
type Option func(*options)

type options struct {
	tracer trace.Tracer
	roots  *x509.CertPool
	// connectTime is for a connection, and again for its TLS handshake.
	connectTime, bodyTime time.Duration
}

// WithRoots takes certificates that were issued by these authorities, instead of the
// system's. Nil changes nothing.
func WithRoots(roots *x509.CertPool) Option { return func(o *options) { o.roots = roots } }

// WithTracer makes a client span for each POST that belongs to a sampled trace,
// or to none yet.
func WithTracer(provider trace.TracerProvider) Option {
	return func(o *options) {
		o.tracer = provider.Tracer("github.com/posthaste/posthaste/services/internal/callback")
	}
}

// NewClient makes a client whose connections a guard makes.
func NewClient(guard *egress.Guard, now func() time.Time, opts ...Option) *Client {
	o := options{connectTime: connectTimeout, bodyTime: bodyTimeout}
	for _, set := range opts {
		set(&o)
	}
	c := &Client{guard: guard, private: make(map[string]*http.Transport), tracer: o.tracer, now: now, options: o}
	c.transport = c.newTransport("")
	return c
}

// newTransport makes a pool of connections for a tenant.
func (c *Client) newTransport(tenant string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, tenant, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.options.roots},
		TLSHandshakeTimeout:    c.options.connectTime,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    512, // several endpoints may share a host
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		WriteBufferSize:        16 << 10,
		HTTP2: &http.HTTP2Config{
			// What an endpoint may send before it is read. The default, 4 MiB for each
			// request, is memory that the limit of the body doesn't bound.
			MaxReceiveBufferPerStream:     maxAnswer,
			MaxReceiveBufferPerConnection: 1 << 20,
			// A dead connection would take all pushes to its host with it, one
			// time-out each: unlike that of HTTP/1 it outlives a request's time-out.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     connectTimeout,
		},
	}
}

// transportOf is the pool that a tenant's connections are in.
func (c *Client) transportOf(tenant string) *http.Transport {
	if !c.guard.Private(tenant) {
		return c.transport
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.private[tenant]
	if !ok {
		t = c.newTransport(tenant)
		c.private[tenant] = t
	}
	return t
}

// Close closes idle connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.private {
		t.CloseIdleConnections()
	}
}

// Post makes one attempt.
func (c *Client) Post(ctx context.Context, r Request) Result {
	fault.Crash("deliver.before_send")
	r = spoilRequest(r)
	began := c.now()
	ctx, span := c.start(ctx, r.URL)
	timed, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	w := watch(timed, began, c.now)
	res := spoilResult(c.exchange(ctx, cancel, w, r))
	fault.Crash("deliver.after_answer")
	res.Took = c.now().Sub(began)
	res.Phases = w.phases(res.Took)
	end(span, &res)
	return res
}

// exchange sends a request and reads its answer. cancel ends the context of w,
// which is below ctx.
func (c *Client) exchange(ctx context.Context, cancel context.CancelFunc, w *watcher, r Request) (res Result) {
	target, err := egress.Parse(r.URL)
	if err != nil {
		return failed(classURL, nil)
	}
	if err := c.guard.Admit(r.Tenant, target); err != nil {
		return failed(classEgressRefused, err)
	}
	//nolint:contextcheck // w is below ctx
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(w, &w.hooks), http.MethodPost, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return failed(classURL, nil)
	}
	if r.Signer == nil || r.Signer.IsZero() {
		return failed(classNoKey, nil)
	}
	req.Header = make(http.Header, 8)
	req.Header["Content-Type"] = []string{cmp.Or(r.ContentType, "application/json")}
	req.Header["User-Agent"] = []string{"Posthaste"}
	webhook.SetHeaders(req.Header, r.PushID, spoilTime(w.began), r.Body, r.Signer)
	obs.Propagator().Inject(ctx, propagation.HeaderCarrier(req.Header))

	// Not a client: redirections are answers like others.
	resp, err := c.transportOf(r.Tenant).RoundTrip(req)
	if err != nil {
		return failed(classify(err, w), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 100 {
		return failed(classProtocol, nil) // three digits, and yet no status
	}
	res.Status = resp.StatusCode
	var class string
	res.Excerpt, class = c.readBody(ctx, cancel, w, resp)
	if res.Status/100 != 2 {
		res.Class = "http_" + strconv.Itoa(res.Status)
		res.Error = "the endpoint answered " + strconv.Itoa(res.Status)
		if res.Status/100 == 3 {
			res.Class, res.Error = classRedirect, res.Error+": redirections aren't followed"
		}
		res.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.now())
		return res
	}
	res.Class, res.Error = class, words[class]
	return res
}

func failed(class string, err error) Result {
	return Result{Class: class, Error: describe(class, err)}
}
