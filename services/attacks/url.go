package attacks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// connectTime is the product's time-out for connections, name look-ups included.
const connectTime = 5 * time.Second

// runURL makes an endpoint of a URL, and, when it is taken, has a push delivered
// to it. What was dialled decides.
func runURL(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	raw, err := inputURL(&c.Input)
	if err != nil {
		return nil, err
	}
	p, err := w.product(ctx, c.Policy)
	if err != nil {
		return nil, err
	}
	if err := p.net.play(c); err != nil {
		return nil, err
	}
	defer func() { _ = p.net.play(&Case{}) }()
	o := &Outcome{}
	before, err := p.countEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	e, warnings, err := p.createEndpoint(ctx, raw)
	if took := time.Since(began); took > 5*time.Second {
		o.problem("CreateEndpoint took %s", took)
	}
	if err != nil {
		return o, refusedURL(ctx, w, p, o, raw, before, err)
	}
	defer p.forget(ctx, e.GetName())
	o.Detail = fmt.Sprintf("the endpoint was made for %s, warnings %q", e.GetUrl(), warnings)
	o.checkStored(ctx, p, e, c)
	createLookups := p.net.lookups(hostOf(e.GetUrl()))
	sequence := 0
	for _, s := range c.DNSSequence {
		sequence = max(sequence, len(s))
	}
	// What is resolved in turn needs an attempt for each turn.
	w.receiver.respond(func(rw http.ResponseWriter, _ *http.Request) {
		if sequence > 1 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	healthy := w.besideIt(ctx, p, c)
	attempts, err := p.push(ctx, w, e.GetName(), func(a []*deliveryv1.Attempt) bool {
		last := a[len(a)-1]
		return len(a) > sequence || last.GetOutcome() == deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_ACKNOWLEDGED || last.GetHttpStatus() == 0
	})
	if err != nil {
		return nil, err
	}
	o.deliver(w, p, c, e, attempts, createLookups)
	if healthy != nil {
		o.check("other endpoints", <-healthy)
	}
	return o, nil
}

// inputURL is the URL of a case: as it is, or made of a repeated part.
func inputURL(in *Map) (string, error) {
	if in.Has("url_repeat") {
		m := in.Map("url_repeat")
		n, err := m.Number("count")
		if err != nil {
			return "", err
		}
		return m.Text("prefix") + strings.Repeat(m.Text("char"), n) + m.Text("suffix"), m.rest()
	}
	if !in.Has("url") {
		return "", fmt.Errorf("the case has no url: %w", in.rest())
	}
	return in.Text("url"), nil
}

func (p *product) createEndpoint(ctx context.Context, raw string) (*subscriptionv1.Endpoint, []string, error) {
	resp, err := p.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: &subscriptionv1.Endpoint{
		Url: raw, RetryPolicy: quick(),
	}})
	return resp.GetEndpoint(), resp.GetWarnings(), err
}

// quick repeats soon and gives up soon.
func quick() *subscriptionv1.RetryPolicy {
	p := &subscriptionv1.RetryPolicy{MaxAttempts: 8}
	for range 7 {
		p.Delays = append(p.Delays, durationpb.New(50*time.Millisecond))
	}
	return p
}

func (p *product) countEndpoints(ctx context.Context) (int, error) {
	n, token := 0, ""
	for {
		resp, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 100, PageToken: token})
		if err != nil {
			return 0, err
		}
		n += len(resp.GetEndpoints())
		if token = resp.GetNextPageToken(); token == "" {
			return n, nil
		}
	}
}

// refusedURL looks at a refusal: it names the field, stores nothing, and an
// update is refused as well.
func refusedURL(ctx context.Context, _ *World, p *product, o *Outcome, raw string, before int, refusal error) error {
	o.Detail = fmt.Sprintf("CreateEndpoint answered: %v", refusal)
	o.saw("refused:%s", status.Code(refusal))
	if err := namesField(refusal, "endpoint.url"); err != nil {
		o.problem("CreateEndpoint: %w", err)
		return nil
	}
	o.saw("reject_url")
	o.saw("reject_or_block")
	o.saw("http:400")
	o.check("create answers 4", nil)
	if after, err := p.countEndpoints(ctx); err != nil || after != before {
		o.problem("there were %d endpoints, and now %d (%v)", before, after, err)
	}
	good, _, err := p.createEndpoint(ctx, "https://update.example.com/cb")
	if err != nil {
		return err
	}
	defer p.forget(ctx, good.GetName())
	_, err = p.endpoints.UpdateEndpoint(ctx, &subscriptionv1.UpdateEndpointRequest{
		Endpoint: &subscriptionv1.Endpoint{Name: good.GetName(), Url: raw}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
	})
	if err := namesField(err, "endpoint.url"); err != nil {
		o.problem("UpdateEndpoint: %w", err)
	}
	if d := p.net.dials(); len(d) > 0 {
		o.problem("%s was dialled for a URL that was refused", strings.Join(d, ", "))
	}
	return nil
}

// namesField says what is wrong with an answer that must refuse a field, nil for
// nothing. UTF-8 is gRPC's own to refuse, before any field.
func namesField(err error, field string) error {
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		return fmt.Errorf("answered %s (%s), and must refuse %s", st.Code(), st.Message(), field)
	}
	for _, d := range st.Details() {
		bad, ok := d.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			if strings.HasPrefix(v.GetField(), field) {
				return nil
			}
		}
	}
	return fmt.Errorf("the refusal doesn't name %s: %s", field, st.Message())
}

var quotedURL = regexp.MustCompile(`https?://[^\s"'),;]+`)

// checkStored looks at the normal form that was stored.
func (o *Outcome) checkStored(ctx context.Context, p *product, e *subscriptionv1.Endpoint, c *Case) {
	o.check("create answers 4|accepts", nil)
	stored, err := url.Parse(e.GetUrl())
	ascii := err == nil && strings.IndexFunc(stored.Host, func(r rune) bool { return r >= 0x80 || 'A' <= r && r <= 'Z' }) < 0
	o.holds("ASCII|lower|punycode", ascii, "%s was stored", e.GetUrl())
	for _, line := range c.Expect.Checks {
		if !says(line, "equal", "duplicate", "same endpoint", "normal form") {
			continue
		}
		for _, other := range quotedURL.FindAllString(line, -1) {
			twin, _, err := p.createEndpoint(ctx, other)
			if err == nil {
				p.forget(ctx, twin.GetName())
			}
			o.holds("equal|duplicate|same endpoint|normal form", err == nil && twin.GetUrl() == e.GetUrl(), "%s is stored as %s, and this as %s (%v)", other, twin.GetUrl(), e.GetUrl(), err)
		}
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// besideIt delivers to a healthy endpoint meanwhile, if the case asks for it.
func (w *World) besideIt(ctx context.Context, p *product, c *Case) <-chan error {
	if !slices.ContainsFunc(c.Expect.Checks, func(s string) bool { return says(s, "other endpoints") }) {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		healthy, _, err := p.createEndpoint(ctx, "https://93.184.216.34/healthy")
		if err != nil {
			done <- err
			return
		}
		defer p.forget(ctx, healthy.GetName())
		began := time.Now()
		_, err = p.push(ctx, w, healthy.GetName(), func([]*deliveryv1.Attempt) bool { return true })
		if took := time.Since(began); err == nil && took > connectTime-time.Second {
			err = fmt.Errorf("it took %s", took)
		}
		done <- err
	}()
	return done
}

// push subscribes a new waybill, reports an event of it, and returns the attempts
// when they are enough.
func (p *product) push(ctx context.Context, w *World, endpoint string, enough func([]*deliveryv1.Attempt) bool) ([]*deliveryv1.Attempt, error) {
	sub, err := p.subscribe(ctx, w, endpoint, "an attack's event")
	if err != nil {
		return nil, err
	}
	return p.awaitAttempts(ctx, sub, enough)
}

// subscribe subscribes a new waybill and reports an event of it.
func (p *product) subscribe(ctx context.Context, w *World, endpoint, text string) (string, error) {
	number := w.fresh("ATK")
	sub, err := p.subscribeTo(ctx, endpoint, "ups", number)
	if err != nil {
		return "", err
	}
	return sub, p.reportTo(ctx, "ups", number, text)
}

func (p *product) subscribeTo(ctx context.Context, endpoint, carrier, number string) (string, error) {
	resp, err := p.subs.CreateSubscription(ctx, &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: &subscriptionv1.Subscription{
		Endpoint: endpoint, CarrierCode: carrier, WaybillNumber: number,
	}})
	if err != nil {
		return "", fmt.Errorf("subscribe: %w", err)
	}
	return resp.GetSubscription().GetName(), nil
}

// reportTo reports an event of a waybill, of this moment.
func (p *product) reportTo(ctx context.Context, carrier, number, text string) error {
	rep, err := p.reports.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: carrier, WaybillNumber: number, EventTime: time.Now().Format(time.RFC3339Nano), Status: trackingv1.Status_STATUS_IN_TRANSIT, Text: text,
	}}})
	if err == nil && rep.GetAcceptedCount() != 1 {
		err = fmt.Errorf("the event was rejected: %v", rep.GetRejectedEvents())
	}
	if err != nil {
		return fmt.Errorf("report an event: %w", err)
	}
	return nil
}

func (p *product) awaitAttempts(ctx context.Context, sub string, enough func([]*deliveryv1.Attempt) bool) (attempts []*deliveryv1.Attempt, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = await(ctx, "attempts", func() (bool, error) {
		attempts, err = p.attempts(ctx, sub)
		return len(attempts) > 0 && enough(attempts), err
	})
	return attempts, err
}

// forget ends what an endpoint is still owed.
func (p *product) forget(ctx context.Context, endpoint string) {
	token := ""
	for {
		resp, err := p.subs.ListSubscriptions(ctx, &subscriptionv1.ListSubscriptionsRequest{Parent: tenant, PageSize: 100, PageToken: token})
		if err != nil {
			return
		}
		for _, s := range resp.GetSubscriptions() {
			if s.GetEndpoint() == endpoint {
				_, _ = p.subs.CancelSubscription(ctx, &subscriptionv1.CancelSubscriptionRequest{Name: s.GetName()})
			}
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	_, _ = p.endpoints.DeleteEndpoint(ctx, &subscriptionv1.DeleteEndpointRequest{Name: endpoint})
}

// deliver looks at what became of a push to a URL that was taken.
func (o *Outcome) deliver(w *World, p *product, c *Case, e *subscriptionv1.Endpoint, attempts []*deliveryv1.Attempt, createLookups int) {
	dials := p.net.dials()
	last := attempts[len(attempts)-1]
	o.Detail += fmt.Sprintf("; dialled %q; the last of %d attempts ended with HTTP %d, class %q", dials, len(attempts), last.GetHttpStatus(), last.GetErrorClass())
	breach := p.net.breaches()
	if len(breach) > 0 {
		o.problem("forbidden addresses were dialled: %s", strings.Join(breach, ", "))
	}
	o.holds("no connection", len(breach) == 0, "dialled %q", breach)
	failed := last.GetOutcome() != deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_ACKNOWLEDGED
	class := last.GetErrorClass()
	if failed && last.GetHttpStatus() == 0 && class != "" && class != "timeout" && len(breach) == 0 {
		o.saw("block_dial")
		o.saw("reject_or_block")
	}
	dns := strings.HasPrefix(class, "dns")
	o.holds("code dns|retries", failed && dns && last.GetNextAttemptTime() != nil, "class is %q, the next attempt %v", class, last.GetNextAttemptTime())
	took := last.GetDuration().AsDuration()
	o.holds("connect time-?out|ends within", took <= connectTime+2*time.Second, "the attempt took %s", took)
	came := w.receiver.came()
	if i := slices.IndexFunc(came, func(a arrival) bool { return a.URI != "/healthy" }); i >= 0 && len(dials) > 0 {
		o.arrived(p, c, e, came[i], dials, attempts, createLookups)
	}
}

// arrived looks at a request that came to the receiver.
func (o *Outcome) arrived(p *product, c *Case, e *subscriptionv1.Endpoint, a arrival, dials []string, attempts []*deliveryv1.Attempt, createLookups int) {
	acknowledged := attempts[len(attempts)-1].GetOutcome() == deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_ACKNOWLEDGED
	if acknowledged && (c.Expect.Dials == "" || dials[0] == c.Expect.Dials) {
		o.saw("allow")
	}
	u, err := url.Parse(e.GetUrl())
	if err != nil {
		o.problem("the stored URL can't be read: %w", err)
		return
	}
	raw, _ := inputURL(&c.Input)
	noFragment, _, _ := strings.Cut(raw, "#")
	_, query, _ := strings.Cut(noFragment, "?")
	_, sent, _ := strings.Cut(a.URI, "?")
	o.holds("fragment", !strings.Contains(a.URI, "#") && !strings.Contains(e.GetUrl(), "#"), "sent %s", a.URI)
	o.holds("query", sent == query, "sent %q, and the query is %q", sent, query)
	host := u.Host
	o.holds("ASCII|Host", a.Host == host, "Host was %s, and the URL's host is %s", a.Host, host)
	if u.Scheme == "https" && c.DNS[u.Hostname()] != nil {
		o.holds("TLS name|SNI", a.SNI == u.Hostname(), "the TLS name was %s", a.SNI)
	}
	looked := p.net.lookups(u.Hostname()) - createLookups
	o.holds("one resolution|resolved once", looked == len(attempts) && (len(c.DNS[u.Hostname()]) == 0 || slices.ContainsFunc(c.DNS[u.Hostname()], func(a string) bool { return strings.Contains(dials[0], a) })),
		"%d look-ups for %d attempts, dialled %q", looked, len(attempts), dials)
}
