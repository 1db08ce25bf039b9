package attacks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// list makes an ordinary call of tenant a.
func (l *locked) list(ctx context.Context) error {
	_, err := l.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenantA, PageSize: 1})
	return err
}

// runAuth calls with keys that aren't in force. The API is gRPC; its codes are read as
// the HTTP statuses that they mean.
func runAuth(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	l, err := w.locked(ctx)
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	in := &c.Input
	switch {
	case in.Has("key"):
		return o, o.badKey(ctx, w, l, in.Text("key"))
	case in.Has("scope"):
		words := in.Text("scope")
		key := l.keys[tenantA+"/reader"]
		if says(words, "report") {
			key = l.keys[tenantA+"/reporter"]
		}
		_, err := l.subs.CreateSubscription(as(ctx, key), &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{
			Endpoint: tenantA + "/endpoints/ep_1", CarrierCode: "ups", WaybillNumber: "SCOPE1",
		}})
		o.answered(err)
		return o, nil
	case in.Has("header"):
		good := "Bearer " + l.keys[tenantA+"/reader"]
		err := l.list(metadata.AppendToOutgoingContext(ctx, "authorization", good, "authorization", "Bearer pk_nonsense"))
		o.answered(err)
		if both := l.list(metadata.AppendToOutgoingContext(ctx, "authorization", good, "x-api-key", "pk_nonsense")); both == nil {
			o.problem("a key in each of two headers is taken")
		}
		_ = in.Text("header")
		return o, nil
	case in.Has("method"):
		words := in.Text("method")
		name, value, _ := strings.Cut(words, ":")
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		err := l.list(metadata.AppendToOutgoingContext(as(ctx, l.keys[tenantA+"/reader"]), strings.ToLower(strings.TrimSpace(name)), value))
		o.answered(err)
		a, err := l.do(ctx, call{method: "GET", path: "/v1/egress", header: map[string][]string{strings.TrimSpace(name): {value}}})
		if err != nil {
			return nil, err
		}
		o.holds("treated as", a.status == 200, "over HTTP it is answered %d", a.status)
		return o, nil
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// answered notes what a call was answered.
func (o *Outcome) answered(err error) {
	o.saw("http:%d", httpStatus(err))
	o.saw("grpc:%s", codeName(err))
	o.Detail += fmt.Sprintf("answered %v; ", err)
	if httpStatus(err) >= 500 {
		o.problem("a fault: %w", err)
	}
}

// codeName is a code as gRPC's documents spell it.
func codeName(err error) string {
	var b strings.Builder
	for i, r := range status.Code(err).String() {
		if i > 0 && 'A' <= r && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

func (o *Outcome) badKey(ctx context.Context, w *World, l *locked, words string) error {
	good := l.keys[tenantA+"/reader"]
	switch {
	case says(words, "missing", "none"):
		o.answered(l.list(ctx))
	case says(words, "revoked"):
		k, err := l.newKey(ctx, w, time.Time{})
		if err != nil {
			return err
		}
		if err := l.list(as(ctx, k.GetSecret())); err != nil {
			return fmt.Errorf("before it is revoked: %w", err)
		}
		if _, err := l.keyring.RevokeKey(as(ctx, l.admin), &tenantv1.RevokeKeyRequest{Name: k.GetKey().GetName()}); err != nil {
			return err
		}
		began := time.Now()
		var last error
		err = await(ctx, "the key to end", func() (bool, error) {
			last = l.list(as(ctx, k.GetSecret()))
			return last != nil, nil
		})
		if err != nil {
			return err
		}
		o.answered(last)
		// Every replica asks the same table, and remembers for as long as this one.
		o.holds("within|revocation|replica", time.Since(began) < 5*time.Second, "it took %s", time.Since(began))
	case says(words, "expired"):
		k, err := l.newKey(ctx, w, time.Now().Add(1500*time.Millisecond))
		if err != nil {
			return err
		}
		var last error
		if err := await(ctx, "the key to expire", func() (bool, error) {
			last = l.list(as(ctx, k.GetSecret()))
			return last != nil, nil
		}); err != nil {
			return err
		}
		o.answered(last)
	case says(words, "query"):
		a, err := l.do(ctx, call{method: "GET", path: "/v1/" + tenantA + "/endpoints?key=" + good + "&api_key=" + good})
		if err != nil {
			return err
		}
		if a.status == 200 {
			o.problem("a key in the query string is taken")
		}
		if strings.Contains(w.Log.text(), good) {
			o.problem("the key is in the log")
		}
		o.answered(l.list(ctx)) // gRPC has no query; the call comes without a key
	default:
		bad := good[:len(good)-6] + flipped(good[len(good)-6:])
		if says(words, "another tenant") {
			bad = l.keys[tenantB+"/reader"]
		}
		if says(words, "truncat", "short") {
			bad = good[:len(good)/2]
		}
		if says(words, "empty") {
			bad = ""
		}
		o.answered(l.list(as(ctx, bad)))
	}
	return nil
}

// runAuthz calls about what is another tenant's.
func runAuthz(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	l, err := w.locked(ctx)
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	in := &c.Input
	a, b := as(ctx, l.keys[tenantA+"/owner"]), as(ctx, l.keys[tenantB+"/owner"])
	w.receiver.respond(nil)
	made, err := l.endpoints.CreateEndpoint(a, &subscriptionv1.CreateEndpointRequest{Parent: tenantA, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + "/a"}})
	if err != nil {
		return nil, err
	}
	w.own = append(w.own, made.GetEndpoint().GetSecret())
	number := w.fresh("TENA")
	sub, err := l.subs.CreateSubscription(a, &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{
		Endpoint: made.GetEndpoint().GetName(), CarrierCode: "ups", WaybillNumber: number,
	}})
	if err != nil {
		return nil, err
	}
	name := sub.GetSubscription().GetName()
	switch {
	case in.Has("tenant_b_reads"):
		_ = in.Text("tenant_b_reads")
		_, err := l.subs.GetSubscription(b, &subscriptionv1.GetSubscriptionRequest{Name: name})
		o.answered(err)
		foreign := name[:len(name)-4] + "zzzz"
		_, none := l.subs.GetSubscription(b, &subscriptionv1.GetSubscriptionRequest{Name: foreign})
		o.holds("same body|doesn't exist", status.Code(err) == status.Code(none) && strings.ReplaceAll(status.Convert(err).Message(), name, "") == strings.ReplaceAll(status.Convert(none).Message(), foreign, ""),
			"%v, and for one that doesn't exist %v", err, none)
		own := strings.Replace(name, tenantA, tenantB, 1)
		if _, err := l.subs.GetSubscription(b, &subscriptionv1.GetSubscriptionRequest{Name: own}); status.Code(err) != codes.NotFound {
			o.problem("under its own name it is answered %v", err)
		}
	case in.Has("tenant_b_deletes"):
		_ = in.Text("tenant_b_deletes")
		_, err := l.subs.CancelSubscription(b, &subscriptionv1.CancelSubscriptionRequest{Name: name})
		o.answered(err)
		_, gone := l.endpoints.DeleteEndpoint(b, &subscriptionv1.DeleteEndpointRequest{Name: made.GetEndpoint().GetName()})
		if status.Code(gone) != codes.NotFound {
			o.problem("deleting the endpoint is answered %v", gone)
		}
		got, err := l.subs.GetSubscription(a, &subscriptionv1.GetSubscriptionRequest{Name: name})
		o.holds("lives", err == nil && got.GetSubscription().GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE, "it is %v, %v", got, err)
	case in.Has("tenant_b_replays"):
		_ = in.Text("tenant_b_replays")
		pushes := deliveryv1.NewPushServiceClient(l.conn)
		_, err := pushes.ResendPushes(b, &deliveryv1.ResendPushesRequest{Parent: tenantA})
		o.answered(err)
	case in.Has("tenant_b_lists"):
		_ = in.Text("tenant_b_lists")
		resp, err := l.subs.ListSubscriptions(b, &subscriptionv1.ListSubscriptionsRequest{Parent: tenantB, PageSize: 100})
		if err != nil {
			return nil, err
		}
		_, foreign := l.subs.ListSubscriptions(b, &subscriptionv1.ListSubscriptionsRequest{Parent: tenantA, PageSize: 100})
		o.holds("only B|refused|ignored", !strings.Contains(protojson.Format(resp), tenantA) && status.Code(foreign) == codes.NotFound, "the other's list is answered %v", foreign)
	case in.Has("body_extra"):
		_ = in.Map("body_extra")
		// Messages have no such fields. What comes nearest is an output-only field, and
		// the other's name.
		e, err := l.endpoints.CreateEndpoint(b, &subscriptionv1.CreateEndpointRequest{Parent: tenantB, Endpoint: &subscriptionv1.Endpoint{
			Name: tenantA + "/endpoints/ep_chosen", Url: "http://127.0.0.1:" + w.receiver.port() + "/b",
		}})
		o.answered(err)
		w.own = append(w.own, e.GetEndpoint().GetSecret())
		o.holds("none of these|effect", err != nil || strings.HasPrefix(e.GetEndpoint().GetName(), tenantB+"/") && !strings.Contains(e.GetEndpoint().GetName(), "chosen"), "it became %s", e.GetEndpoint().GetName())
	case in.Has("admin_call"):
		_ = in.Text("admin_call")
		_, err := l.tenants.ListTenants(b, &tenantv1.ListTenantsRequest{})
		o.answered(err)
		_, made := l.tenants.CreateTenant(b, &tenantv1.CreateTenantRequest{TenantId: "mine"})
		if c := status.Code(made); c != codes.PermissionDenied && c != codes.NotFound {
			o.problem("making a tenant is answered %v", made)
		}
	case in.Has("cursor"):
		_ = in.Text("cursor")
		for range 2 {
			if _, err := l.subs.CreateSubscription(a, &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{
				Endpoint: made.GetEndpoint().GetName(), CarrierCode: "ups", WaybillNumber: w.fresh("CUR"),
			}}); err != nil {
				return nil, err
			}
		}
		page, err := l.subs.ListSubscriptions(a, &subscriptionv1.ListSubscriptionsRequest{Parent: tenantA, PageSize: 1})
		if err != nil || page.GetNextPageToken() == "" {
			return nil, fmt.Errorf("tenant a's list has no second page: %w", err)
		}
		_, err = l.subs.ListSubscriptions(b, &subscriptionv1.ListSubscriptionsRequest{Parent: tenantB, PageSize: 1, PageToken: page.GetNextPageToken()})
		o.answered(err)
	case in.Has("waybill_query"):
		_ = in.Text("waybill_query")
		_, err := l.reports.ReportEvents(as(ctx, l.keys[tenantA+"/reporter"]), reportOf("ups", number, "known to a alone"))
		if err != nil {
			return nil, err
		}
		if _, err := w.receiver.await(ctx, 1); err != nil {
			return nil, err
		}
		if err := await(ctx, "a to see its waybill", func() (bool, error) {
			_, err := l.waybills.GetWaybill(a, &trackingv1.GetWaybillRequest{Name: "waybills/ups/" + number})
			return err == nil, nil
		}); err != nil {
			return nil, err
		}
		_, err = l.waybills.GetWaybill(b, &trackingv1.GetWaybillRequest{Name: "waybills/ups/" + number})
		o.answered(err)
		if _, err := l.waybills.ListTraceEvents(b, &trackingv1.ListTraceEventsRequest{Parent: "waybills/ups/" + number}); status.Code(err) != codes.NotFound {
			o.problem("its events are answered %v", err)
		}
	default:
		return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
	}
	return o, nil
}
