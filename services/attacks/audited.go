package attacks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// acts is what a tenant's owner did: the RPC, and the name that its record must have.
type acts struct {
	w        *World
	l        *locked
	endpoint *subscriptionv1.Endpoint
	sub      string
	number   string
}

// act does what a word asks for.
func (a *acts) act(ctx context.Context, word string) (action, resource string, err error) {
	owner := as(ctx, a.l.keys[tenantA+"/owner"])
	l := a.l
	switch {
	case says(word, "rotate") && says(word, "key"), says(word, "revoke"):
		k, err := l.newKey(ctx, a.w, noTime)
		if err != nil {
			return "", "", err
		}
		if says(word, "revoke") {
			_, err := l.keyring.RevokeKey(owner, &tenantv1.RevokeKeyRequest{Name: k.GetKey().GetName()})
			return "RevokeKey", k.GetKey().GetName(), err
		}
		r, err := l.keyring.RotateKey(owner, &tenantv1.RotateKeyRequest{Name: k.GetKey().GetName()})
		a.w.own = append(a.w.own, r.GetSecret())
		return "RotateKey", k.GetKey().GetName(), err
	case says(word, "key"):
		k, err := l.keyring.CreateKey(owner, &tenantv1.CreateKeyRequest{Parent: tenantA, Key: &tenantv1.Key{Roles: []tenantv1.Role{tenantv1.Role_ROLE_READER}}})
		a.w.own = append(a.w.own, k.GetSecret())
		return "CreateKey", k.GetKey().GetName(), err
	case says(word, "rotate", "secret"):
		r, err := l.endpoints.RotateSecret(owner, &subscriptionv1.RotateSecretRequest{Name: a.endpoint.GetName()})
		a.w.own = append(a.w.own, r.GetEndpoint().GetSecret())
		return "RotateSecret", a.endpoint.GetName(), err
	case says(word, "replay"):
		j, err := deliveryv1.NewPushServiceClient(l.conn).ReplayPushes(owner, &deliveryv1.ReplayPushesRequest{Parent: tenantA, Endpoint: a.endpoint.GetName()})
		return "ReplayPushes", j.GetJob().GetName(), err
	case says(word, "resend"):
		j, err := deliveryv1.NewPushServiceClient(l.conn).ResendPushes(owner, &deliveryv1.ResendPushesRequest{Parent: tenantA, Filter: &deliveryv1.ParkedFilter{Endpoint: a.endpoint.GetName()}})
		return "ResendPushes", j.GetJob().GetName(), err
	case says(word, "erase", "erasure", "forget"):
		name := "waybills/ups/" + a.number
		return "EraseWaybill", name, await(ctx, "the waybill to be known", func() (bool, error) {
			_, err := privacyv1.NewErasureServiceClient(l.conn).EraseWaybill(owner, &privacyv1.EraseWaybillRequest{Name: name})
			return err == nil, nil
		})
	case says(word, "endpoint") && says(word, "create", "make", "new"):
		e, err := l.endpoints.CreateEndpoint(owner, &subscriptionv1.CreateEndpointRequest{Parent: tenantA, Endpoint: &subscriptionv1.Endpoint{Url: a.endpoint.GetUrl()}})
		a.w.own = append(a.w.own, e.GetEndpoint().GetSecret())
		return "CreateEndpoint", e.GetEndpoint().GetName(), err
	case says(word, "endpoint") && says(word, "delete", "remove"):
		_, name, err := a.act(ctx, "create endpoint")
		if err != nil {
			return "", "", err
		}
		_, err = l.endpoints.DeleteEndpoint(owner, &subscriptionv1.DeleteEndpointRequest{Name: name})
		return "DeleteEndpoint", name, err
	case says(word, "subscription") && says(word, "create", "make", "new"):
		s, err := l.subs.CreateSubscription(owner, &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{Endpoint: a.endpoint.GetName(), CarrierCode: "ups", WaybillNumber: a.w.fresh("AUD")}})
		return "CreateSubscription", s.GetSubscription().GetName(), err
	case says(word, "delete", "cancel", "subscription"):
		_, err := l.subs.CancelSubscription(owner, &subscriptionv1.CancelSubscriptionRequest{Name: a.sub})
		return "CancelSubscription", a.sub, err
	case says(word, "tenant") && says(word, "disable", "enable"):
		enable := &tenantv1.EnableTenantRequest{Name: tenantB}
		_, err := l.tenants.EnableTenant(as(ctx, l.admin), enable)
		return "EnableTenant", tenantB, err
	}
	return "", "", fmt.Errorf("the runner doesn't know how to %q", word)
}

// audited does what some words say, one after another, and looks for its records.
func (o *Outcome) audited(ctx context.Context, w *World, words string) error {
	l, err := w.locked(ctx)
	if err != nil {
		return err
	}
	owner := as(ctx, l.keys[tenantA+"/owner"])
	made, err := l.endpoints.CreateEndpoint(owner, &subscriptionv1.CreateEndpointRequest{Parent: tenantA, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + "/audit"}})
	if err != nil {
		return err
	}
	w.own = append(w.own, made.GetEndpoint().GetSecret())
	a := &acts{w: w, l: l, endpoint: made.GetEndpoint(), number: strings.ToUpper(w.fresh("AUD"))}
	sub, err := l.subs.CreateSubscription(owner, &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{Endpoint: made.GetEndpoint().GetName(), CarrierCode: "ups", WaybillNumber: a.number}})
	if err != nil {
		return err
	}
	a.sub = sub.GetSubscription().GetName()
	if _, err := l.reports.ReportEvents(as(ctx, l.keys[tenantA+"/reporter"]), &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: "ups", WaybillNumber: a.number, EventTime: time.Now().Format(time.RFC3339), Status: trackingv1.Status_STATUS_IN_TRANSIT, Text: "快递员 张三丰 13812345678",
	}}}); err != nil {
		return err
	}
	var errs []error
	for word := range strings.SplitSeq(words, ",") {
		action, resource, err := a.act(ctx, word)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(word), err)
		}
		list, err := l.audit.ListAuditEvents(as(ctx, l.admin), &tenantv1.ListAuditEventsRequest{Parent: "platform", PageSize: 1000, Resource: resource})
		if err != nil {
			return err
		}
		errs = append(errs, recorded(list.GetEvents(), action))
		for _, leak := range leaksIn(fmt.Sprint(list), w.secrets()) {
			o.problem("the audit log holds %s", leak)
		}
	}
	o.check("record|who|what|when|where|result", errors.Join(errs...))
	o.check("append", l.appendOnly(ctx))
	return nil
}

// recorded says whether an act has one record, with all that belongs to it.
func recorded(events []*tenantv1.AuditEvent, action string) error {
	n := 0
	for _, e := range events {
		if e.GetAction() != action {
			continue
		}
		n++
		if e.GetActor() == "" || e.GetEventTime() == nil || e.GetSourceAddress() == "" || e.GetRequestId() == "" || e.GetResult() == "" || e.GetResource() == "" {
			return fmt.Errorf("the record of %s lacks something: %v", action, e)
		}
	}
	if n != 1 {
		return fmt.Errorf("%s has %d records", action, n)
	}
	return nil
}

// appendOnly tries to rewrite the log with the service's own rights.
func (l *locked) appendOnly(ctx context.Context) error {
	conn, err := l.database(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, query := range []string{`UPDATE audit_event SET actor = 'nobody'`, `DELETE FROM audit_event`, `TRUNCATE audit_event`} {
		if _, err := conn.Exec(ctx, query); err == nil {
			return fmt.Errorf("%s is allowed", query)
		}
	}
	return nil
}
