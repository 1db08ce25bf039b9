package attacks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// httpStatus is the HTTP status that a gRPC error means, by gRPC's own table.
func httpStatus(err error) int {
	switch status.Code(err) { //nolint:exhaustive // the others are the server's fault
	case codes.OK:
		return http.StatusOK
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// runInjection puts what means something to somebody where a text belongs.
func runInjection(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	in := &c.Input
	switch {
	case in.Has("custom_header"):
		return o, o.customHeader(ctx, p, in.Map("custom_header"))
	case in.Has("header"):
		return o, o.requestID(ctx, w, p, in.Text("header"))
	case in.Has("query"):
		return o, o.query(ctx, w, p, in.Text("query"))
	case in.Has("field"):
		return o, o.field(ctx, w, p, in)
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// field sends a value in a field by every way that it comes in: a carrier's push, a
// team's report, a subscription.
func (o *Outcome) field(ctx context.Context, w *World, p *product, in *Map) error {
	field := in.Text("field")
	value, err := fieldValue(in)
	if err != nil {
		return err
	}
	number := strings.ToUpper(w.fresh("INJ"))
	e := event(number)
	delete(e, field)
	body := []byte(`{"` + field + `":` + value + `,` + string(encode(e)[1:]))
	a, err := p.do(ctx, push("sf", typeJSON, body))
	if err != nil {
		return err
	}
	o.see(w, a)
	if field == "carrier" && a.status == http.StatusForbidden {
		// It isn't the carrier that signed; whether it could be one is asked below.
		o.Seen = nil
	}
	if text, ok := in.Any("value").(string); ok && (field == "waybill" || field == "carrier") {
		if err := o.names(ctx, w, p, field, text); err != nil {
			return err
		}
	}
	o.check("log record|one record|newline|forg", o.oneRecord(w))
	o.holds("escape|terminal|raw", strings.IndexFunc(w.Log.text(), func(r rune) bool { return r < ' ' && r != '\n' }) < 0, "a control character is in the log")
	if a.status == http.StatusOK {
		if err := p.harmless(ctx, w, a, number, body); err != nil {
			o.problem("what was taken: %w", err)
		}
		o.check("escape|terminal|raw|stored", nil)
	}
	o.holds("policy|console|shown as text", strings.Contains(a.header.Get("Content-Security-Policy"), "default-src") && a.header.Get("X-Content-Type-Options") == "nosniff" &&
		strings.HasPrefix(a.header.Get("Content-Type"), "application/json"), "the headers are %v", a.header)
	if err := p.flows(ctx, w); err != nil {
		o.problem("afterwards: %w", err)
	}
	return nil
}

// names uses a text as carrier or waybill over gRPC: where it could reach a subject or
// a query, it must be refused.
func (o *Outcome) names(ctx context.Context, w *World, p *product, field, text string) error {
	carrier, number := "sf", strings.ToUpper(w.fresh("INJ"))
	if field == "waybill" {
		number = text
	} else {
		carrier = text
	}
	rep, err := p.reports.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: carrier, WaybillNumber: number, EventTime: time.Now().Format(time.RFC3339), Status: trackingv1.Status_STATUS_IN_TRANSIT, Text: "x",
	}}})
	if err == nil && rep.GetAcceptedCount() > 0 {
		o.problem("reported over gRPC it is taken")
	}
	endpoint, _, err := p.createEndpoint(ctx, "https://93.184.216.34/injection")
	if err != nil {
		return err
	}
	defer p.forget(ctx, endpoint.GetName())
	_, err = p.subs.CreateSubscription(ctx, &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: &subscriptionv1.Subscription{
		Endpoint: endpoint.GetName(), CarrierCode: carrier, WaybillNumber: number,
	}})
	o.saw("http:%d", httpStatus(err))
	if status.Code(err) != codes.InvalidArgument {
		o.problem("a subscription to it is answered %v", err)
	}
	return nil
}

// oneRecord says whether every line of the log is a record of the product's own.
func (o *Outcome) oneRecord(w *World) error {
	for line := range strings.Lines(w.Log.text()) {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, " level=ERROR msg=forged") {
			return fmt.Errorf("the log has the line %q", line)
		}
	}
	return nil
}

// customHeader asks for a header in callbacks. The product has no way to set any: the
// request's message has no such field, so it can't be said.
func (o *Outcome) customHeader(ctx context.Context, p *product, m Map) error {
	name, value := m.Text("name"), m.Text("value")
	fields := (&subscriptionv1.Endpoint{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if says(string(fields.Get(i).Name()), "header") {
			return errors.New("endpoints have a field of headers now, and the runner doesn't know how to fill it in")
		}
	}
	// What can be tried is to smuggle it through a field that is sent.
	_, err := p.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: &subscriptionv1.Endpoint{Url: "https://93.184.216.34/\r\n" + name + ": " + value}})
	o.saw("http:%d", httpStatus(err))
	o.Detail = fmt.Sprintf("endpoints have no field for headers; within the URL it is answered %v", err)
	return m.rest()
}

// requestID sends a request id that is too long or not fit.
func (o *Outcome) requestID(ctx context.Context, w *World, p *product, words string) error {
	n, err := parseSize(words)
	id := "a b\tc;\x7f"
	if err == nil {
		id = strings.Repeat("x", n)
	}
	a, err := p.raw(ctx, call{method: http.MethodPost, path: "/v1/carriers/sf/events", header: http.Header{"X-Request-Id": {id}}})
	if err != nil {
		return err
	}
	o.see(w, a)
	got := a.header.Get("X-Request-Id")
	o.holds("replaced|cut|128|safe", len(got) <= 128 && got != id && strings.Trim(got, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == "", "the answer's is %q", got)
	if strings.Contains(w.Log.text(), strings.Repeat("x", 200)) {
		o.problem("the log holds it")
	}
	return nil
}

// query asks a list in an order of its own.
func (o *Outcome) query(ctx context.Context, w *World, p *product, query string) error {
	began := time.Now()
	// Lists have a fixed order: what asks for another isn't a path of the API, and
	// as a filter or page token it can't be read.
	a, err := p.do(ctx, call{method: http.MethodGet, path: "/v1/" + tenant + "/endpoints?" + strings.ReplaceAll(query, " ", "%20")})
	if err != nil {
		return err
	}
	if a.status >= 500 || a.status == http.StatusOK {
		o.problem("answered %d", a.status)
	}
	for _, ask := range []func() error{
		func() error {
			_, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageToken: query})
			return err
		},
		func() error {
			_, err := p.subs.ListSubscriptions(ctx, &subscriptionv1.ListSubscriptionsRequest{Parent: tenant, PageToken: query})
			return err
		},
		func() error {
			_, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant + "'" + query})
			return err
		},
	} {
		err := ask()
		o.saw("http:%d", httpStatus(err))
		if httpStatus(err) != http.StatusBadRequest {
			o.problem("it is answered %v", err)
		}
	}
	o.holds("under|within", time.Since(began) < time.Second, "it took %s", time.Since(began))
	_ = w
	return nil
}
