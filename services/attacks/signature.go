package attacks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// runSignature looks at what callbacks are signed with.
func runSignature(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	w.receiver.respond(nil)
	o := &Outcome{}
	in := &c.Input
	switch {
	case in.Has("secret"):
		return o, o.vector(in, c.Expect.Checks)
	case in.Has("verify_change"):
		return o, o.changed(ctx, w, p, in.Text("verify_change"))
	case in.Has("rotate"):
		return o, o.rotated(ctx, w, p, in.Text("rotate"))
	case in.Has("retry"):
		return o, o.retried(ctx, w, p, in.Text("retry"))
	case in.Has("secret_own"):
		return o, o.ownSecret(ctx, w, p, in.Text("secret_own"))
	case in.Has("read_back"):
		_ = in.Text("read_back")
		return o, o.readBack(ctx, w, p)
	case in.Has("profile"):
		return o, o.legacy(ctx, w, p, in.Text("profile"))
	case in.Has("id_with_dot"):
		return o, o.dotted(ctx, w, p, in.Text("id_with_dot"))
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// verifies is a verifier of its own, by the text of Standard Webhooks.
func verifies(h http.Header, body []byte, secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for one := range strings.FieldsSeq(h.Get("webhook-signature")) {
		if hmac.Equal([]byte(one), []byte(want)) {
			return true
		}
	}
	return false
}

// vector signs as the product's callbacks are signed, with id and time of the case.
func (o *Outcome) vector(in *Map, checks []string) error {
	seconds, err := in.Number("timestamp")
	if err != nil {
		return err
	}
	secret, err := webhook.ParseSecret(in.Text("secret"))
	if err != nil {
		o.problem("the secret is refused: %w", err)
		return nil
	}
	body := in.Text("body")
	h := http.Header{}
	webhook.SetHeaders(h, in.Text("id"), time.Unix(int64(seconds), 0), []byte(body), secret)
	got := h.Get("webhook-signature")
	if !verifies(h, []byte(body), in.Text("secret")) {
		o.problem("another implementation doesn't agree with %s", got)
	}
	for _, line := range checks {
		for word := range strings.FieldsSeq(line) {
			if strings.HasPrefix(word, "v1,") {
				o.holds("signature", got == strings.TrimRight(word, ".,;"), "it is %s", got)
			}
		}
	}
	return nil
}

// endpointTo makes an endpoint at the receiver.
func (p *product) endpointTo(ctx context.Context, w *World, path string, change func(*subscriptionv1.Endpoint)) (*subscriptionv1.CreateEndpointResponse, error) {
	e := &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + path, RetryPolicy: quick()}
	if change != nil {
		change(e)
	}
	resp, err := p.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: e})
	if s := resp.GetEndpoint().GetSecret(); s != "" {
		w.own = append(w.own, s)
	}
	return resp, err
}

// oneCallback has one push delivered to an endpoint.
func (p *product) oneCallback(ctx context.Context, w *World, endpoint string, n int) (arrival, error) {
	if _, err := p.subscribe(ctx, w, endpoint, "signed"); err != nil {
		return arrival{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	came, err := w.receiver.await(ctx, n)
	if err != nil {
		return arrival{}, err
	}
	return came[n-1], nil
}

// changed has a push delivered, changes it as some words say, and verifies it.
func (o *Outcome) changed(ctx context.Context, w *World, p *product, words string) error {
	made, err := p.endpointTo(ctx, w, "/changed", nil)
	if err != nil {
		return err
	}
	defer p.forget(ctx, made.GetEndpoint().GetName())
	a, err := p.oneCallback(ctx, w, made.GetEndpoint().GetName(), 1)
	if err != nil {
		return err
	}
	secret := made.GetEndpoint().GetSecret()
	parsed, err := webhook.ParseSecret(secret)
	if err != nil {
		return err
	}
	v := webhook.Verifier{Secrets: []webhook.Secret{parsed}}
	if err := v.Verify(a.Header, a.Body); err != nil || !verifies(a.Header, a.Body, secret) {
		o.problem("as it came, it doesn't verify: %w", err)
	}
	h, body := a.Header.Clone(), append([]byte(nil), a.Body...)
	switch {
	case says(words, "body"):
		body[len(body)/2] ^= 1
	case says(words, "timestamp"):
		n, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
		if err != nil {
			return err
		}
		away := int64(1)
		if _, after, ok := strings.Cut(words, "-timestamp"); ok {
			if given, ok := parseCount(after); ok {
				away = int64(given)
			}
			if says(after, "-", "minus", "earlier") {
				away = -away
			}
		}
		h.Set("webhook-timestamp", strconv.FormatInt(n+away, 10))
	case says(words, "signature"):
		h.Set("webhook-signature", "v1,"+flipped(strings.TrimPrefix(h.Get("webhook-signature"), "v1,")))
	case says(words, "id"):
		h.Set("webhook-id", h.Get("webhook-id")+"x")
	default:
		return fmt.Errorf("the runner doesn't know how to change %q", words)
	}
	o.holds("refuses", v.Verify(h, body) != nil && !verifies(h, body, secret), "it still verifies")
	return nil
}

// rotated changes an endpoint's secret.
func (o *Outcome) rotated(ctx context.Context, w *World, p *product, words string) error {
	made, err := p.endpointTo(ctx, w, "/rotated", nil)
	if err != nil {
		return err
	}
	name, old := made.GetEndpoint().GetName(), made.GetEndpoint().GetSecret()
	defer p.forget(ctx, name)
	// An overlap that ends while the case runs; the default and its length are
	// in the answer.
	const overlap = 3 * time.Second
	rotated, err := p.endpoints.RotateSecret(ctx, &subscriptionv1.RotateSecretRequest{Name: name, Overlap: durationpb.New(overlap)})
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	fresh := rotated.GetEndpoint().GetSecret()
	if fresh == "" || fresh == old {
		o.problem("the new secret isn't shown, or is the old one")
	}
	w.own = append(w.own, fresh)
	a, err := p.oneCallback(ctx, w, name, 1)
	if err != nil {
		return err
	}
	signatures := strings.Fields(a.Header.Get("webhook-signature"))
	o.holds("two .*signatures|space-separated", len(signatures) == 2, "there are %d", len(signatures))
	o.holds("only the old|old one verifies", verifies(a.Header, a.Body, old), "it doesn't")
	o.holds("only knowing the new|new one verifies", verifies(a.Header, a.Body, fresh), "it doesn't")
	after := 0
	err = await(ctx, "the overlap to end", func() (bool, error) {
		n := len(w.receiver.came())
		b, err := p.oneCallback(ctx, w, name, n+1)
		after = len(strings.Fields(b.Header.Get("webhook-signature")))
		return after == 1 && verifies(b.Header, b.Body, fresh), err
	})
	o.check("after the overlap", err)
	if says(words, "overlap 0", "compromise", "no overlap", "0 h", "0 s") {
		last, err := p.endpoints.RotateSecret(ctx, &subscriptionv1.RotateSecretRequest{Name: name, Overlap: durationpb.New(0)})
		if err != nil {
			return fmt.Errorf("rotate at once: %w", err)
		}
		w.own = append(w.own, last.GetEndpoint().GetSecret())
	}
	// The longest overlap is bounded.
	if d := parseTime(words); d > 7*24*time.Hour {
		_, err := p.endpoints.RotateSecret(ctx, &subscriptionv1.RotateSecretRequest{Name: name, Overlap: durationpb.New(d)})
		o.saw("http:%d", httpStatus(err))
	}
	return nil
}

// retried fails attempts, and compares them.
func (o *Outcome) retried(ctx context.Context, w *World, p *product, words string) error {
	n := 3
	if given, ok := parseCount(words); ok {
		n = given
	}
	if says(words, "second") {
		n = 2
	}
	n = min(max(n, 2), 6)
	secret := webhook.NewSecret()
	w.own = append(w.own, secret)
	var count atomic.Int64
	w.receiver.respond(func(rw http.ResponseWriter, _ *http.Request) {
		if count.Add(1) < int64(n) {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	policy := &subscriptionv1.RetryPolicy{MaxAttempts: int32(n + 1)}
	for range n {
		policy.Delays = append(policy.Delays, durationpb.New(1100*time.Millisecond)) // another second each
	}
	made, err := p.endpointTo(ctx, w, "/retried", func(e *subscriptionv1.Endpoint) { e.Secret, e.RetryPolicy = secret, policy })
	if err != nil {
		return err
	}
	defer p.forget(ctx, made.GetEndpoint().GetName())
	last, err := p.oneCallback(ctx, w, made.GetEndpoint().GetName(), n)
	if err != nil {
		return err
	}
	first := w.receiver.came()[0]
	same := first.Header.Get("webhook-id") == last.Header.Get("webhook-id") && string(first.Body) == string(last.Body)
	anew := first.Header.Get("webhook-timestamp") != last.Header.Get("webhook-timestamp") && first.Header.Get("webhook-signature") != last.Header.Get("webhook-signature")
	o.holds("same webhook-id|same body|new timestamp|new signature", same && anew && verifies(last.Header, last.Body, secret), "first %v, then %v; bodies are the same: %t",
		first.Header, last.Header, string(first.Body) == string(last.Body))
	return nil
}

// ownSecret gives an endpoint a secret of its owner's.
func (o *Outcome) ownSecret(ctx context.Context, w *World, p *product, secret string) error { //nolint:unparam // alike with its neighbours
	made, err := p.endpointTo(ctx, w, "/own", func(e *subscriptionv1.Endpoint) { e.Secret = secret })
	if err == nil {
		p.forget(ctx, made.GetEndpoint().GetName())
	}
	o.saw("http:%d", httpStatus(err))
	o.Detail = fmt.Sprintf("it is answered %v", err)
	if err != nil {
		if bad := namesField(err, "endpoint.secret"); bad != nil {
			o.problem("%w", bad)
		}
		if len(secret) > 12 && strings.Contains(err.Error(), secret[6:]) {
			o.problem("the refusal repeats the secret")
		}
	}
	return nil
}

// readBack looks for the secret in everything that is read later.
func (o *Outcome) readBack(ctx context.Context, w *World, p *product) error {
	made, err := p.endpointTo(ctx, w, "/read", nil)
	if err != nil {
		return err
	}
	name, secret := made.GetEndpoint().GetName(), made.GetEndpoint().GetSecret()
	defer p.forget(ctx, name)
	if _, err := webhook.ParseSecret(secret); err != nil {
		o.problem("CreateEndpoint shows no secret: %w", err)
	}
	got, err := p.endpoints.GetEndpoint(ctx, &subscriptionv1.GetEndpointRequest{Name: name})
	if err != nil {
		return err
	}
	list, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 100})
	if err != nil {
		return err
	}
	changed, err := p.endpoints.UpdateEndpoint(ctx, &subscriptionv1.UpdateEndpointRequest{Endpoint: &subscriptionv1.Endpoint{Name: name, DisplayName: "x"}})
	if err != nil {
		return err
	}
	text := protojson.Format(got) + protojson.Format(list) + protojson.Format(changed)
	key := strings.TrimPrefix(secret, "whsec_")
	shown := 0
	for n := 5; n <= len(key); n++ { // the longest part of it that is shown
		for i := 0; i+n <= len(key); i++ {
			if strings.Contains(text, key[i:i+n]) {
				shown = n
			}
		}
	}
	o.holds("shown once|hint|at most 4", shown == 0, "%d characters of it are shown later", shown)
	return nil
}

// legacy has a push in a platform's form, whose signature is weak.
func (o *Outcome) legacy(ctx context.Context, w *World, p *product, words string) error {
	format, platform := subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KUAIDI100, tenantv1.Platform_PLATFORM_KUAIDI100
	if says(words, "kdniao") {
		format, platform = subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, tenantv1.Platform_PLATFORM_KDNIAO
	}
	account, err := tenantv1.NewPlatformAccountServiceClient(p.conn).CreatePlatformAccount(ctx, &tenantv1.CreatePlatformAccountRequest{
		Parent: tenant, PlatformAccount: &tenantv1.PlatformAccount{Platform: platform, AccountId: w.fresh("acc"), Key: "legacy-key-4711"},
	})
	if err != nil {
		return fmt.Errorf("make a platform account: %w", err)
	}
	made, err := p.endpointTo(ctx, w, "/legacy", func(e *subscriptionv1.Endpoint) {
		e.Format, e.PlatformAccount = format, account.GetPlatformAccount().GetName()
	})
	if err != nil {
		return fmt.Errorf("make an endpoint of a platform's form: %w", err)
	}
	defer p.forget(ctx, made.GetEndpoint().GetName())
	w.receiver.respond(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"result":true,"returnCode":"200","Success":true}`))
	})
	a, err := p.oneCallback(ctx, w, made.GetEndpoint().GetName(), 1)
	if err != nil {
		return err
	}
	usual, err := p.endpointTo(ctx, w, "/usual", nil)
	if err != nil {
		return err
	}
	p.forget(ctx, usual.GetEndpoint().GetName())
	o.holds("opt-in", usual.GetEndpoint().GetFormat() == subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_JSON, "an endpoint that says nothing is of the form %s", usual.GetEndpoint().GetFormat())
	o.holds("headers are sent as well|Standard Webhooks", verifies(a.Header, a.Body, made.GetEndpoint().GetSecret()), "the headers are %v", a.Header)
	o.holds("warning", says(strings.Join(made.GetWarnings(), " "), "MD5", "weak"), "the warnings are %q", made.GetWarnings())
	return nil
}

// dotted tries to bring a full stop into a webhook-id.
func (o *Outcome) dotted(ctx context.Context, w *World, p *product, words string) error {
	fields := strings.Fields(words)
	id := fields[len(fields)-1] + w.fresh(".")
	resp, err := p.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, RequestId: id, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + "/dotted"}})
	if err != nil {
		o.check("full stop", nil) // it can't even be chosen
		o.saw("http:%d", httpStatus(err))
		return nil
	}
	w.own = append(w.own, resp.GetEndpoint().GetSecret())
	name := resp.GetEndpoint().GetName()
	defer p.forget(ctx, name)
	number := w.fresh("DOT")
	sub, err := p.subs.CreateSubscription(ctx, &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, RequestId: id, Subscription: &subscriptionv1.Subscription{
		Endpoint: name, CarrierCode: "ups", WaybillNumber: number,
	}})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := p.reportTo(ctx, "ups", number, "dotted"); err != nil {
		return err
	}
	attempts, err := p.awaitAttempts(ctx, sub.GetSubscription().GetName(), func([]*deliveryv1.Attempt) bool { return true })
	if err != nil {
		return err
	}
	came := w.receiver.came()
	o.holds("full stop", len(came) > 0 && !strings.Contains(came[0].Header.Get("webhook-id"), ".") && !strings.Contains(attempts[0].GetPushId(), "."), "the id is %q", attempts[0].GetPushId())
	return nil
}
