package subscription

import (
	"context"
	"errors"
	"slices"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Endpoints is the gRPC service that manages where pushes go.
type Endpoints struct {
	subscriptionv1.UnimplementedEndpointServiceServer
	cfg ControlConfig
}

// NewEndpoints makes the service.
func NewEndpoints(cfg ControlConfig) *Endpoints { return &Endpoints{cfg: cfg} }

// CreateEndpoint makes an endpoint and shows its secret.
func (s *Endpoints) CreateEndpoint(ctx context.Context, req *subscriptionv1.CreateEndpointRequest) (*subscriptionv1.CreateEndpointResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	m := req.GetEndpoint()
	if m == nil {
		return nil, rpc.Invalid("endpoint", "is required")
	}
	r, err := request(req.GetRequestId(), m)
	if err != nil {
		return nil, err
	}
	now := s.cfg.now()
	e := pg.Endpoint{ID: id.New("ep_", now), TenantID: tenant, CreateTime: now, UpdateTime: now}
	var v violations
	m, warnings, err := s.address(ctx, &v, tenant, m)
	if err != nil {
		return nil, err
	}
	for _, f := range endpointFields {
		setEndpointField(&v, &e, m, f)
	}
	if err := v.result(); err != nil {
		return nil, err
	}
	if err := s.account(ctx, tenant, m.GetPlatformAccount(), &e); err != nil {
		return nil, err
	}
	if e.Secret == "" {
		e.Secret = newSecret(m.GetSignatureScheme())
	}
	if push.Format(e.Format).Whole() {
		warnings = append(warnings, "endpoint.format: the platform's own signature is a keyed MD5 and weak; check the webhook-… headers, which are sent as well")
	}
	made, err := s.cfg.Endpoints.Create(ctx, e, r)
	if err != nil {
		return nil, s.fail(ctx, req.GetParent(), err)
	}
	return &subscriptionv1.CreateEndpointResponse{Endpoint: withSecret(endpointMessage(&made, now), made.Secret), Warnings: warnings}, nil
}

// account gives an endpoint of a platform's format its account.
func (s *Endpoints) account(ctx context.Context, tenant, name string, e *pg.Endpoint) error {
	const field = "endpoint.platform_account"
	switch {
	case push.Format(e.Format).Whole() != (name != ""):
		return rpc.Invalid(field, "is required for the formats of platforms, and can't be set for others")
	case name == "":
		return nil
	}
	owner, platform, account, err := parseAccountName(name)
	switch {
	case err != nil:
		return rpc.Invalid(field, err.Error())
	case owner != tenant || platform != e.Format:
		return rpc.Invalid(field, "must be of the same tenant, and of the format's platform")
	}
	found, err := s.cfg.Accounts.Get(ctx, platform, account)
	if err != nil && !errors.Is(err, pg.ErrNoAccount) {
		return s.fail(ctx, "", err)
	}
	if err != nil || found.TenantID != tenant {
		return rpc.NotFound(name)
	}
	e.AccountID = &account
	return nil
}

// GetEndpoint returns one endpoint.
func (s *Endpoints) GetEndpoint(ctx context.Context, req *subscriptionv1.GetEndpointRequest) (*subscriptionv1.GetEndpointResponse, error) {
	tenant, id, err := rpc.ParseEndpointName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	e, err := s.cfg.Endpoints.Get(ctx, tenant, id)
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &subscriptionv1.GetEndpointResponse{Endpoint: endpointMessage(&e, s.cfg.now())}, nil
}

// ListEndpoints returns a tenant's endpoints, newest first.
func (s *Endpoints) ListEndpoints(ctx context.Context, req *subscriptionv1.ListEndpointsRequest) (*subscriptionv1.ListEndpointsResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListEndpoints", tenant)
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	var before string
	if key != nil {
		before = key[0]
	}
	list, err := s.cfg.Endpoints.List(ctx, tenant, before, size+1)
	if err != nil {
		return nil, s.fail(ctx, "", err)
	}
	resp := &subscriptionv1.ListEndpointsResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	for i := range list {
		resp.Endpoints = append(resp.Endpoints, endpointMessage(&list[i], s.cfg.now()))
	}
	return resp, nil
}

// UpdateEndpoint changes the fields named in the mask.
func (s *Endpoints) UpdateEndpoint(ctx context.Context, req *subscriptionv1.UpdateEndpointRequest) (*subscriptionv1.UpdateEndpointResponse, error) {
	m := req.GetEndpoint()
	if m == nil {
		return nil, rpc.Invalid("endpoint", "is required")
	}
	tenant, id, err := rpc.ParseEndpointName(m.GetName())
	if err != nil {
		return nil, rpc.Invalid("endpoint.name", err.Error())
	}
	change, err := fields(req.GetUpdateMask(), endpointFields, func(f string) bool { return endpointFieldSet(m, f) }, refuseEndpointField)
	if err != nil {
		return nil, err
	}
	var warnings []string
	if slices.Contains(change, "url") {
		if e, err := s.cfg.Endpoints.Get(ctx, tenant, id); err == nil && isFeed(&e) {
			return nil, rpc.Invalid("endpoint.url", "can't be set for a FEED")
		}
		var v violations
		if m, warnings = s.normalURL(ctx, &v, tenant, m); v.err != nil {
			return nil, v.result()
		}
	}
	e, err := s.cfg.Endpoints.Update(ctx, tenant, id, s.cfg.now(), func(e *pg.Endpoint) error {
		var v violations
		if err := checkETag(m.GetName(), m.GetEtag(), endpointMessage(e, s.cfg.now()).GetEtag()); err != nil {
			return err
		}
		for _, f := range change {
			was := e.Format
			if isFeed(e) {
				checkFeedField(&v, m, f)
			}
			setEndpointField(&v, e, m, f)
			if e.Format != was && (push.Format(was).Whole() || push.Format(e.Format).Whole()) {
				v.add("endpoint.format", "of a platform can't be given or taken: make another endpoint")
			}
		}
		return v.result()
	})
	if err != nil {
		return nil, s.fail(ctx, m.GetName(), err)
	}
	return &subscriptionv1.UpdateEndpointResponse{Endpoint: endpointMessage(&e, s.cfg.now()), Warnings: warnings}, nil
}

// DeleteEndpoint removes an endpoint that no live subscription uses.
func (s *Endpoints) DeleteEndpoint(ctx context.Context, req *subscriptionv1.DeleteEndpointRequest) (*subscriptionv1.DeleteEndpointResponse, error) {
	tenant, id, err := rpc.ParseEndpointName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	if err := s.cfg.Endpoints.Delete(ctx, tenant, id, s.cfg.now()); err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &subscriptionv1.DeleteEndpointResponse{}, nil
}

func (s *Endpoints) fail(ctx context.Context, name string, err error) error {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, pg.ErrNoEndpoint), errors.Is(err, pg.ErrNoTenant):
		return rpc.NotFound(name)
	case errors.Is(err, pg.ErrEndpointInUse):
		return rpc.Precondition(name, "live subscriptions use the endpoint: cancel them first")
	case errors.Is(err, pg.ErrRequestReused):
		return rpc.RequestIDReused()
	}
	return s.cfg.fault(ctx, err)
}
