package receivercheck

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/push"
)

// Config says which receiver, and as whom to push.
type Config struct {
	URL    string
	Format push.Format
	// Signer makes Posthaste's headers. Required for [push.JSON].
	Signer webhook.Signer
	// Account is whose name and key a platform's format has.
	Account push.Account
	Guard   *egress.Guard
	// Roots are who may issue the receiver's certificate; nil means the system's.
	Roots *x509.CertPool
	// Timeout is how long a receiver may take to answer; 0 means 15 s, an
	// endpoint's default.
	Timeout time.Duration
	// SlowTime is how long a receiver may keep a connection that says half a request
	// and then nothing; 0 means 30 s.
	SlowTime time.Duration
	// Report is called with each finding as it is made; nil for nobody.
	Report func(Finding)
}

// Verdict is what a finding comes to.
type Verdict string

// The verdicts.
const (
	OK     Verdict = "ok"
	Unwise Verdict = "unwise" // works, and will hurt one day
	Wrong  Verdict = "wrong"
)

// Finding is what came of one check.
type Finding struct {
	// Check names it; names stay the same.
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Status is that of the answer that decided, 0 for none.
	Status int `json:"http_status,omitempty"`
	// Milliseconds until that answer.
	Milliseconds int64 `json:"milliseconds"`
	// Words say what is expected and what came.
	Words string `json:"words,omitempty"`
}

// Limits of what is sent.
const (
	defaultTimeout  = 15 * time.Second
	defaultSlowTime = 30 * time.Second
	connectTimeout  = 5 * time.Second
	maxAnswer       = 64 << 10
	slowAnswer      = 5 * time.Second
	// largePush is a large push; the largest there can be is [webhook.MaxBody].
	largePush = 1 << 20
	// tooLarge is more than any push.
	tooLarge = 16 << 20
	repeats  = 8
	hanging  = 32
	stale    = 10 * time.Minute
)

type checker struct {
	cfg    Config
	target egress.Target
	client *http.Transport
	run    string // makes the pushes of this run new
	number int
	now    func() time.Time

	findings []Finding
}

// Run checks a receiver. Its error says that nothing could be checked.
func Run(ctx context.Context, cfg Config) ([]Finding, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.SlowTime = cmp.Or(cfg.SlowTime, defaultSlowTime)
	target, err := egress.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	if err := cfg.Guard.Admit("", target); err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	if cfg.Format == push.JSON && (cfg.Signer == nil || cfg.Signer.IsZero()) {
		return nil, errors.New("there is no key to sign with")
	}
	c := &checker{cfg: cfg, target: target, run: strings.ToLower(rand.Text()[:12]), now: time.Now}
	c.client = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return cfg.Guard.Connect(ctx, "", network, address)
		},
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots}, TLSHandshakeTimeout: connectTimeout,
		DisableCompression: true, MaxResponseHeaderBytes: maxAnswer, MaxIdleConnsPerHost: repeats,
	}
	defer c.client.CloseIdleConnections()
	first := c.post(ctx, c.honest(c.next()))
	if first.err != nil {
		return nil, fmt.Errorf("the receiver can't be reached: %w", first.err)
	}
	c.taken("push", first, "a push must be acknowledged")
	for _, check := range c.checks() {
		if err := ctx.Err(); err != nil {
			return c.findings, err
		}
		check(ctx)
	}
	return c.findings, ctx.Err()
}

func (c *checker) checks() []func(context.Context) {
	list := []func(context.Context){c.repeat, c.concurrent, c.disorder, c.large, c.forged}
	if c.cfg.Format == push.JSON {
		list = append(list, c.grown, c.rotated)
	}
	return append(list, c.oversized, c.slow)
}

// answer is what came of a request.
type answer struct {
	status  int
	body    string
	verdict push.Verdict
	took    time.Duration
	err     error
}

func (c *checker) post(ctx context.Context, r request) answer {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.String(), bytes.NewReader(r.body))
	if err != nil {
		return answer{err: err}
	}
	req.Header = r.header
	began := c.now()
	resp, err := c.client.RoundTrip(req) // redirections are answers like others
	a := answer{took: c.now().Sub(began), err: err, verdict: push.Again}
	if err != nil {
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // a torn body acknowledges too
	a.status, a.body = resp.StatusCode, string(text)
	a.verdict = c.cfg.Format.Judge(a.status, a.body)
	return a
}

func (a answer) words() string {
	switch {
	case a.err != nil:
		return "no answer: " + a.err.Error()
	case a.status/100 == 2 && a.verdict != push.Acknowledged:
		return strconv.Itoa(a.status) + " without the format's word of success"
	case a.status/100 == 3:
		return strconv.Itoa(a.status) + ": redirections aren't followed"
	case a.status == http.StatusGone:
		return "410, which disables the endpoint"
	}
	return strconv.Itoa(a.status)
}

func (c *checker) add(check string, verdict Verdict, a answer, words string) {
	f := Finding{Check: check, Verdict: verdict, Status: a.status, Milliseconds: a.took.Milliseconds()}
	if verdict != OK {
		f.Words = words + "; it answered " + a.words()
	}
	c.findings = append(c.findings, f)
	if c.cfg.Report != nil {
		c.cfg.Report(f)
	}
}

// taken wants an acknowledgement.
func (c *checker) taken(check string, a answer, want string) {
	switch {
	case a.verdict != push.Acknowledged:
		c.add(check, Wrong, a, want)
	case a.took > slowAnswer:
		c.add(check, Unwise, a, fmt.Sprintf("it took %s: store the push, acknowledge it, and work afterwards", a.took.Round(time.Millisecond)))
	default:
		c.add(check, OK, a, "")
	}
}

// refused wants anything but an acknowledgement. Hanging up is an answer too.
func (c *checker) refused(check string, a answer, want string) {
	switch {
	case a.verdict == push.Acknowledged:
		c.add(check, Wrong, a, want)
	case a.status == http.StatusGone:
		c.add(check, Unwise, a, "410 says that the endpoint is no more, and isn't for strangers")
	case a.status/100 == 5 && c.cfg.Format == push.JSON:
		c.add(check, Unwise, a, want+", and with a status in the 400s: a fault of the sender's isn't the receiver's")
	default:
		c.add(check, OK, a, "")
	}
}

// repeat: Posthaste repeats a push whose answer was lost.
func (c *checker) repeat(ctx context.Context) {
	r := c.honest(c.next())
	c.taken("new", c.post(ctx, r), "a push must be acknowledged")
	// Signed anew, as each attempt is.
	r = c.sign(r)
	c.taken("repeat", c.post(ctx, r), "a repeat of what was acknowledged must be acknowledged, or it comes again until the retries are spent")
}

func (c *checker) concurrent(ctx context.Context) {
	r := c.honest(c.next())
	answers := make([]answer, repeats)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = c.post(ctx, r) })
	}
	wg.Wait()
	// One at least must be taken at once; those that lost may be asked to come
	// again.
	worst, taken := answers[0], 0
	for _, a := range answers {
		if a.verdict == push.Acknowledged {
			taken++
		} else {
			worst = a
		}
		if a.status == http.StatusGone {
			c.add("concurrent_repeats", Wrong, a, "a repeat at the same time must be acknowledged, or asked to come again")
			return
		}
	}
	if taken == 0 {
		c.add("concurrent_repeats", Wrong, worst, "of repeats at the same time one must be acknowledged")
		return
	}
	if taken < repeats {
		c.add("concurrent_repeats", Unwise, worst, fmt.Sprintf("%d of %d repeats at the same time were refused: they come again, and count as failures", repeats-taken, repeats))
	} else {
		c.add("concurrent_repeats", OK, worst, "")
	}
	c.taken("after_concurrent_repeats", c.post(ctx, c.sign(r)), "the push must be acknowledged when it comes once more")
}

// disorder: after a loss on the receiver's side, a replay brings what is older.
func (c *checker) disorder(ctx context.Context) {
	base := c.next()
	c.taken("first_revision", c.post(ctx, c.honest(base)), "a push must be acknowledged")
	gap := c.post(ctx, c.honest(base.span(3, 4)))
	// A receiver may refuse a gap to have it come again; it may not end the endpoint.
	if gap.err != nil || gap.status == http.StatusGone || gap.status/100 == 3 {
		c.add("gap", Wrong, gap, "a push that skips revisions must be acknowledged, or asked to come again")
	} else {
		c.add("gap", OK, gap, "")
	}
	c.taken("older_after_newer", c.post(ctx, c.honest(base.span(1, 3))), "what fills a gap, as a replay does, must be acknowledged")
	c.taken("newer_again", c.post(ctx, c.honest(base.span(3, 4))), "a push must be acknowledged once what comes before it is there")
	c.taken("overlap", c.post(ctx, c.honest(base.span(0, 5))), "a push that begins before what is there and goes beyond must be acknowledged")
	c.taken("oldest_again", c.post(ctx, c.honest(base.span(0, 1))), "a push of what has long been there must be acknowledged")
}

func (c *checker) large(ctx context.Context) {
	p := c.next()
	p.size = largePush
	c.taken("large_body", c.post(ctx, c.honest(p)), fmt.Sprintf("a push of %d bytes, the whole trace of a long journey, must be acknowledged; they go up to %d", largePush, webhook.MaxBody))
}

// grown: fields and words are added in time, and signatures are of bytes.
func (c *checker) grown(ctx context.Context) {
	r := c.honest(c.next())
	r.body = append([]byte("{\n\t\"added_later\" : {\"a\": [1e0, \"\\u00e9\\/\"]} ,"), r.body[1:]...)
	c.taken("unknown_field", c.post(ctx, c.sign(r)), "fields are added in time, and the signature is of the bytes as they come")
	r = c.honest(c.next())
	r.body = bytes.Replace(r.body, []byte(`"sub_status":"in_transit.departed"`), []byte(`"sub_status":"in_transit.added_later"`), 1)
	c.taken("unknown_sub_status", c.post(ctx, c.sign(r)), "sub-statuses are added in time: fall back to the status")
}

// rotated: while a key is rotated a push has a signature by each, in any order,
// and versions of signatures may be added.
func (c *checker) rotated(ctx context.Context) {
	old, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		return
	}
	r := c.honest(c.next())
	good := r.header.Get(webhook.HeaderSignature)
	r.header.Set(webhook.HeaderSignature, "v9,bm9uZQ== "+webhook.Sign(old, r.id, r.sent, r.body)+" "+good)
	c.taken("signatures_of_two_keys", c.post(ctx, r), "while a key is being rotated, one signature of several must do")
}

// oversized: nobody signed it.
func (c *checker) oversized(ctx context.Context) {
	r := c.honest(c.next())
	r.body = bytes.Repeat([]byte("a"), tooLarge)
	c.refused("too_large_body", c.post(ctx, r), fmt.Sprintf("%d bytes that nobody signed must be refused, best before they are read", tooLarge))
}
