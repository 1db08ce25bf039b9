package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Subscriptions is the gRPC service that manages who wants to hear of which
// waybill.
type Subscriptions struct {
	subscriptionv1.UnimplementedSubscriptionServiceServer
	cfg ControlConfig
}

// NewSubscriptions makes the service.
func NewSubscriptions(cfg ControlConfig) *Subscriptions { return &Subscriptions{cfg: cfg} }

// CreateSubscription subscribes one waybill.
func (s *Subscriptions) CreateSubscription(ctx context.Context, req *subscriptionv1.CreateSubscriptionRequest) (*subscriptionv1.CreateSubscriptionResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	recognized, err := s.cfg.recognize(ctx, req)
	if err != nil {
		return nil, err
	}
	n, err := newSubscription(tenant, req, recognized, s.cfg.now())
	if err != nil {
		return nil, err
	}
	made, err := s.cfg.Subscriptions.Create(ctx, tenant, []pg.NewSubscription{n})
	if err != nil {
		return nil, s.fail(ctx, "", err)
	}
	if err := made[0].Err; err != nil {
		return nil, s.fail(ctx, "", refusal(tenant, n.EndpointID, &made[0]))
	}
	return &subscriptionv1.CreateSubscriptionResponse{Subscription: shownSubscription(&made[0].Subscription)}, nil
}

// refusal says why a subscription was not made.
func refusal(tenant, endpoint string, c *pg.Created) error {
	switch {
	case errors.Is(c.Err, pg.ErrSubscribed):
		return rpc.Exists(rpc.SubscriptionName(tenant, c.Subscription.ID))
	case errors.Is(c.Err, pg.ErrNoEndpoint):
		return rpc.NotFound(rpc.EndpointName(tenant, endpoint))
	case errors.Is(c.Err, pg.ErrRequestReused):
		return rpc.RequestIDReused()
	case errors.Is(c.Err, pg.ErrQuotaSubscriptions):
		return rpc.QuotaExhausted(rpc.TenantName(tenant), 0, "the tenant has as many subscriptions as it may have; more can be made when some have ended")
	case errors.Is(c.Err, pg.ErrChanging):
		return rpc.Conflict("", "a subscription to the same waybill ended at the same time; try again")
	}
	return c.Err
}

const maxCreate = 1000

// BatchCreateSubscriptions subscribes several waybills, each with a result of
// its own.
func (s *Subscriptions) BatchCreateSubscriptions(ctx context.Context, req *subscriptionv1.BatchCreateSubscriptionsRequest) (*subscriptionv1.BatchCreateSubscriptionsResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	count := len(req.GetRequests())
	if count == 0 || count > maxCreate {
		return nil, rpc.Invalid("requests", fmt.Sprintf("must be 1 to %d, and there are %d", maxCreate, count))
	}
	results, err := s.createAll(ctx, tenant, req.GetParent(), req.GetRequests())
	if err != nil {
		return nil, err
	}
	resp := &subscriptionv1.BatchCreateSubscriptionsResponse{Results: make([]*subscriptionv1.BatchCreateSubscriptionsResponse_Result, count)}
	for i := range results {
		if err := results[i].err; err != nil {
			resp.Results[i] = refused(err)
			continue
		}
		resp.Results[i] = &subscriptionv1.BatchCreateSubscriptionsResponse_Result{Subscription: shownSubscription(&results[i].sub)}
	}
	return resp, nil
}

// refused is the result of a request that was not carried out.
func refused(err error) *subscriptionv1.BatchCreateSubscriptionsResponse_Result {
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok {
		e = rpc.Internal(err)
	}
	m := &subscriptionv1.BatchCreateSubscriptionsResponse_Error{Code: int32(e.Code), Reason: e.Reason, Message: e.Message}
	if len(e.Fields) > 0 {
		m.Field = e.Fields[0].Field
	}
	return &subscriptionv1.BatchCreateSubscriptionsResponse_Result{Error: m}
}

// GetSubscription returns one subscription.
func (s *Subscriptions) GetSubscription(ctx context.Context, req *subscriptionv1.GetSubscriptionRequest) (*subscriptionv1.GetSubscriptionResponse, error) {
	tenant, id, err := rpc.ParseSubscriptionName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	sub, err := s.cfg.Subscriptions.Get(ctx, tenant, id)
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &subscriptionv1.GetSubscriptionResponse{Subscription: shownSubscription(&sub)}, nil
}

// ListSubscriptions returns a tenant's subscriptions, newest first.
func (s *Subscriptions) ListSubscriptions(ctx context.Context, req *subscriptionv1.ListSubscriptionsRequest) (*subscriptionv1.ListSubscriptionsResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	f, err := subscriptionFilter(tenant, req)
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListSubscriptions", tenant, fmt.Sprint(f.States), f.EndpointID, f.Carrier, f.Number)
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	if key != nil {
		f.Before = key[0]
	}
	list, err := s.cfg.Subscriptions.List(ctx, tenant, f, size+1)
	if err != nil {
		return nil, s.fail(ctx, "", err)
	}
	resp := &subscriptionv1.ListSubscriptionsResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	for i := range list {
		resp.Subscriptions = append(resp.Subscriptions, shownSubscription(&list[i]))
	}
	return resp, nil
}

func subscriptionFilter(tenant string, req *subscriptionv1.ListSubscriptionsRequest) (pg.SubscriptionFilter, error) {
	var v violations
	var f pg.SubscriptionFilter
	for i, s := range req.GetStates() {
		if s < subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE || s > subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_EXPIRED {
			v.add(fmt.Sprintf("states[%d]", i), "is not a known state")
			continue
		}
		f.States = append(f.States, int16(s))
	}
	slices.Sort(f.States)
	f.States = slices.Compact(f.States)
	if name := req.GetEndpoint(); name != "" {
		owner, id, err := rpc.ParseEndpointName(name)
		switch {
		case err != nil:
			v.add("endpoint", err.Error())
		case owner != tenant:
			v.add("endpoint", "must be of the same tenant")
		}
		f.EndpointID = id
	}
	if code := req.GetCarrierCode(); code != "" {
		carrier, err := track.NormalCarrier(code)
		if err != nil {
			v.add("carrier_code", err.Error())
		}
		f.Carrier = string(carrier)
	}
	if text := req.GetWaybillNumber(); text != "" {
		number, err := track.NormalNumber(text)
		if err != nil {
			v.add("waybill_number", err.Error())
		}
		f.Number = string(number)
	}
	return f, v.result()
}

// UpdateSubscription changes the fields named in the mask.
func (s *Subscriptions) UpdateSubscription(ctx context.Context, req *subscriptionv1.UpdateSubscriptionRequest) (*subscriptionv1.UpdateSubscriptionResponse, error) {
	m := req.GetSubscription()
	if m == nil {
		return nil, rpc.Invalid("subscription", "is required")
	}
	name := m.GetName()
	if _, _, err := rpc.ParseSubscriptionName(name); err != nil {
		return nil, rpc.Invalid("subscription.name", err.Error())
	}
	paths, err := fields(req.GetUpdateMask(), subscriptionFields, func(f string) bool { return subscriptionFieldSet(m, f) }, refuseSubscriptionField)
	if err != nil {
		return nil, err
	}
	now := s.cfg.now()
	sub, err := s.change(ctx, name, func(sub *pg.Subscription) (bool, error) {
		if !sub.Live() {
			return false, rpc.Precondition(name, "the subscription has ended")
		}
		if err := checkETag(name, m.GetEtag(), subscriptionETag(sub)); err != nil {
			return false, err
		}
		var v violations
		for _, f := range paths {
			setSubscriptionField(&v, sub, m, f, now)
		}
		return len(paths) > 0, v.result()
	})
	return &subscriptionv1.UpdateSubscriptionResponse{Subscription: sub}, err
}

// PauseSubscription holds changes back.
func (s *Subscriptions) PauseSubscription(ctx context.Context, req *subscriptionv1.PauseSubscriptionRequest) (*subscriptionv1.PauseSubscriptionResponse, error) {
	sub, err := s.turn(ctx, req.GetName(), pg.SubscriptionPaused, "paused")
	return &subscriptionv1.PauseSubscriptionResponse{Subscription: sub}, err
}

// ResumeSubscription lets changes through again; the matcher makes one push of
// what came meanwhile.
func (s *Subscriptions) ResumeSubscription(ctx context.Context, req *subscriptionv1.ResumeSubscriptionRequest) (*subscriptionv1.ResumeSubscriptionResponse, error) {
	sub, err := s.turn(ctx, req.GetName(), pg.SubscriptionActive, "resumed")
	return &subscriptionv1.ResumeSubscriptionResponse{Subscription: sub}, err
}

// CancelSubscription ends a subscription for good.
func (s *Subscriptions) CancelSubscription(ctx context.Context, req *subscriptionv1.CancelSubscriptionRequest) (*subscriptionv1.CancelSubscriptionResponse, error) {
	sub, err := s.turn(ctx, req.GetName(), pg.SubscriptionCancelled, "cancelled")
	return &subscriptionv1.CancelSubscriptionResponse{Subscription: sub}, err
}

// turn changes the state. Asking for the state that it has changes nothing.
func (s *Subscriptions) turn(ctx context.Context, name string, state int16, doing string) (*subscriptionv1.Subscription, error) {
	return s.change(ctx, name, func(sub *pg.Subscription) (bool, error) {
		if sub.State == state {
			return false, nil
		}
		if !sub.Live() {
			return false, rpc.Precondition(name, "the subscription has ended and can't be "+doing)
		}
		sub.State = state
		return true, nil
	})
}

func (s *Subscriptions) change(ctx context.Context, name string, change func(*pg.Subscription) (bool, error)) (*subscriptionv1.Subscription, error) {
	tenant, id, err := rpc.ParseSubscriptionName(name)
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	sub, err := s.cfg.Subscriptions.Update(ctx, tenant, id, s.cfg.now(), change)
	if err != nil {
		return nil, s.fail(ctx, name, err)
	}
	return shownSubscription(&sub), nil
}

func (s *Subscriptions) fail(ctx context.Context, name string, err error) error {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e
	}
	if errors.Is(err, pg.ErrNoSubscription) {
		return rpc.NotFound(name)
	}
	return s.cfg.fault(ctx, err)
}
