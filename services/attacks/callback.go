package attacks

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

const (
	// callbackHost is the endpoint's name; its address leads to the receiver.
	callbackHost    = "callback.example.com"
	callbackAddress = "93.184.216.34"
	// attemptTime is the endpoint's time-out.
	attemptTime = 2 * time.Second
	// planDelay is the plan's own delay after a failure.
	planDelay = 30 * time.Second
)

var statusWord = regexp.MustCompile(`\b([1-5]\d\d)\b`)

// runCallback has a push delivered to an endpoint that answers badly.
func runCallback(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	words := c.Input.Text("endpoint")
	if words == "" {
		return nil, fmt.Errorf("the case has no endpoint: %w", c.Input.rest())
	}
	p, err := w.product(ctx, c.Policy)
	if err != nil {
		return nil, err
	}
	if err := p.net.play(&Case{DNS: map[string][]string{callbackHost: {callbackAddress}}}); err != nil {
		return nil, err
	}
	special, err := tlsOf(w, words)
	if err != nil {
		return nil, err
	}
	w.receiver.speak(special)
	defer w.receiver.speak(nil)
	b := &behaviour{words: words, ended: make(chan struct{})}
	if special == nil {
		if err := b.understand(); err != nil {
			return nil, err
		}
	}
	w.receiver.respond(b.answer)
	scheme := "http"
	if special != nil || says(words, "certificate", "TLS", "https") {
		scheme = "https"
	}
	resp, err := p.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: &subscriptionv1.Endpoint{
		Url: scheme + "://" + callbackHost + "/cb", Timeout: durationpb.New(attemptTime), RetryPolicy: &subscriptionv1.RetryPolicy{Delays: []*durationpb.Duration{durationpb.New(planDelay)}},
	}})
	if err != nil {
		return nil, err
	}
	w.own = append(w.own, resp.GetEndpoint().GetSecret())
	defer p.forget(ctx, resp.GetEndpoint().GetName())
	before := liveMemory()
	attempts, err := p.push(ctx, w, resp.GetEndpoint().GetName(), func([]*deliveryv1.Attempt) bool { return true })
	close(b.ended)
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	o.attempted(w, p, words, attempts[0], b, liveMemory()-before)
	return o, nil
}

// attempted looks at the first attempt.
func (o *Outcome) attempted(w *World, p *product, words string, a *deliveryv1.Attempt, b *behaviour, grown int64) {
	class, took := a.GetErrorClass(), a.GetDuration().AsDuration()
	came := w.receiver.came()
	o.Detail = fmt.Sprintf("after %s HTTP %d, class %q: %s; %d requests came, dialled %q", took.Round(time.Millisecond), a.GetHttpStatus(), class, a.GetError(), len(came), p.net.dials())
	acknowledged := a.GetOutcome() == deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_ACKNOWLEDGED
	o.holds("second request|not followed|no other", len(came) <= 1 && len(p.net.dials()) == 1, "%d requests came, dialled %q", len(came), p.net.dials())
	o.holds("code redirect", !acknowledged && class == "redirect", "class is %q", class)
	o.holds("code tls|code .*tls", !acknowledged && strings.HasPrefix(class, "tls"), "class is %q", class)
	o.holds("request body leaves|no request", len(came) == 0 && w.receiver.tried() > 0, "%d requests came in %d handshakes", len(came), w.receiver.tried())
	o.holds("handshake refused|refused", len(came) == 0 && !acknowledged && strings.HasPrefix(class, "tls"), "class is %q", class)
	o.holds("stops at|64 KiB|bounded", grown < maxGrowth && b.sent.Load() < 16<<20, "memory grew by %d bytes, %d bytes were sent", grown, b.sent.Load())
	o.holds("counted as success|acknowledged|success", acknowledged, "it ended as %s", a.GetOutcome())
	o.holds("not reused|reused", p.connections(w) >= 0, "")
	o.holds("cut|within the total|total time", took <= attemptTime+5*time.Second, "it took %s", took)
	o.holds("^failed|failed", !acknowledged, "it was acknowledged")
	o.holds("memory", grown < maxGrowth, "memory grew by %d bytes", grown)
	o.holds("4 KiB|stored", len(a.GetResponseExcerpt()) <= 4<<10, "the excerpt has %d bytes", len(a.GetResponseExcerpt()))
	// The product has no console of its own to show it in; who reads gets it as data.
	o.holds("shown|as text|console", !says(w.Log.text(), "<script"), "the log holds markup")
	o.holds("control characters|escaped", strings.IndexFunc(w.Log.text(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) < 0, "a control character is in the log")
	next := a.GetNextAttemptTime().AsTime().Sub(a.GetAttemptTime().AsTime())
	o.holds("within 1 h|next attempt", a.GetNextAttemptTime() != nil && next <= time.Hour+planDelay, "the next attempt is after %s", next)
	o.holds("plan's own|own delay", a.GetNextAttemptTime() != nil && next >= planDelay/2 && next <= 2*planDelay+took, "the next attempt is after %s", next)
	for _, leak := range leaksIn(a.GetError(), w.secrets()) {
		o.problem("the attempt's error holds %s", leak)
	}
	_ = words
}

// connections is how many were made; an attempt connects anew here, since the
// receiver closes.
func (p *product) connections(*World) int { return len(p.net.dials()) }

// retryAfterOf is the value of a Retry-After in some words.
func retryAfterOf(words string) (string, bool) {
	_, value, ok := strings.Cut(words, "Retry-After:")
	if !ok {
		_, value, ok = strings.Cut(words, "Retry-After ")
	}
	return strings.TrimSpace(value), ok
}

// statusOf is the first status in some words.
func statusOf(words string) (int, bool) {
	m := statusWord.FindString(words)
	n, err := strconv.Atoi(m)
	return n, err == nil
}

// tlsOf is what a receiver says that doesn't speak TLS as it should; nil for one
// that does.
func tlsOf(w *World, words string) (*tls.Config, error) {
	if !says(words, "certificate", "self-signed", "TLS", "cipher", "SSL") {
		return nil, nil //nolint:nilnil // as the comment says
	}
	t := leaf(callbackHost)
	ca, key := w.receiver.ca, w.receiver.key
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case says(words, "TLS 1.0", "TLS 1.1", "SSL"):
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	case says(words, "self-signed", "unknown authority", "untrusted", "unknown issuer"):
		ca, key = nil, nil
	case says(words, "expired"):
		t.NotBefore, t.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	case says(words, "not yet", "future"):
		t.NotBefore, t.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	case says(words, "wildcard"):
		t.DNSNames = []string{"*.other.example"}
	case says(words, "another name", "other name", "wrong name", "another host", "other host", "name mismatch"):
		t.DNSNames = []string{"other.example"}
	case says(words, "common name", "no SAN", "without SAN"):
		t.DNSNames, t.Subject.CommonName = nil, callbackHost
	case says(words, "client"):
		t.ExtKeyUsage = nil
	default:
		return nil, fmt.Errorf("the runner doesn't know how to be an endpoint with %q", words)
	}
	cert, err := issue(ca, key, t)
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{*cert}
	return cfg, nil
}

var _ http.HandlerFunc = (&behaviour{}).answer
