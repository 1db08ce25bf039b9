package tenant

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Tenants is the gRPC service that manages tenants.
type Tenants struct {
	tenantv1.UnimplementedTenantServiceServer
	cfg Config
}

// NewTenants makes the service.
func NewTenants(cfg Config) *Tenants { return &Tenants{cfg: cfg} }

// CreateTenant makes a tenant.
func (s *Tenants) CreateTenant(ctx context.Context, req *tenantv1.CreateTenantRequest) (*tenantv1.CreateTenantResponse, error) {
	name := rpc.TenantName(req.GetTenantId())
	var v rpc.Violations
	if _, err := rpc.ParseTenantName(name); err != nil {
		v.Add("tenant_id", "has 1 to 40 characters of a–z, 0–9 and '-', and doesn't begin with '-'")
	}
	now := s.cfg.now()
	t := pg.Tenant{ID: req.GetTenantId(), CreateTime: now}
	for _, f := range tenantFields {
		setTenantField(&v, &t, req.GetTenant(), f)
	}
	if err := v.Result(); err != nil {
		return nil, err
	}
	hash, err := rpc.RequestHash(req.GetRequestId(), &tenantv1.CreateTenantRequest{TenantId: req.GetTenantId(), Tenant: req.GetTenant()})
	if err != nil {
		return nil, err
	}
	t, err = s.cfg.Tenants.Create(ctx, t, pg.Request{ID: req.GetRequestId(), Hash: hash}, pg.AuditEvent{Action: "CreateTenant", Resource: name, TenantID: t.ID})
	if err != nil {
		return nil, s.cfg.fail(ctx, name, err)
	}
	return &tenantv1.CreateTenantResponse{Tenant: tenantMessage(&t)}, nil
}

// tenantFields are those that can be changed.
var tenantFields = []string{"display_name", "quota"}

func tenantFieldSet(m *tenantv1.Tenant, field string) bool {
	return field == "display_name" && m.GetDisplayName() != "" || field == "quota" && m.GetQuota() != nil
}

func setTenantField(v *rpc.Violations, t *pg.Tenant, m *tenantv1.Tenant, field string) {
	switch field {
	case "display_name":
		t.DisplayName = m.GetDisplayName()
		v.CheckText("tenant.display_name", t.DisplayName, maxDisplayName)
	case "quota":
		q := m.GetQuota()
		t.Quota = pg.Quota{DailyCalls: q.GetDailyCalls(), ActiveSubscriptions: q.GetActiveSubscriptions(), CallsPerSecond: q.GetCallsPerSecond(), DailyPushes: q.GetDailyPushes()}
		for name, n := range map[string]int64{
			"daily_calls": q.GetDailyCalls(), "active_subscriptions": q.GetActiveSubscriptions(), "calls_per_second": int64(q.GetCallsPerSecond()),
			"daily_pushes": q.GetDailyPushes(),
		} {
			if n < 0 {
				v.Add("tenant.quota."+name, "must not be negative")
			}
		}
	}
}

// GetTenant returns one tenant.
func (s *Tenants) GetTenant(ctx context.Context, req *tenantv1.GetTenantRequest) (*tenantv1.GetTenantResponse, error) {
	id, err := rpc.ParseTenantName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	if err := seen(ctx, id, req.GetName()); err != nil {
		return nil, err
	}
	t, err := s.cfg.Tenants.Get(ctx, id)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetName(), err)
	}
	return &tenantv1.GetTenantResponse{Tenant: tenantMessage(&t)}, nil
}

// ListTenants returns all tenants, by id.
func (s *Tenants) ListTenants(ctx context.Context, req *tenantv1.ListTenantsRequest) (*tenantv1.ListTenantsResponse, error) {
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListTenants")
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	var after string
	if key != nil {
		after = key[0]
	}
	list, err := s.cfg.Tenants.List(ctx, after, size+1)
	if err != nil {
		return nil, s.cfg.fail(ctx, "", err)
	}
	resp := &tenantv1.ListTenantsResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	for i := range list {
		resp.Tenants = append(resp.Tenants, tenantMessage(&list[i]))
	}
	return resp, nil
}

// UpdateTenant changes the fields named in the mask.
func (s *Tenants) UpdateTenant(ctx context.Context, req *tenantv1.UpdateTenantRequest) (*tenantv1.UpdateTenantResponse, error) {
	m := req.GetTenant()
	if m == nil {
		return nil, rpc.Invalid("tenant", "is required")
	}
	paths, err := rpc.MaskPaths(req.GetUpdateMask(), tenantFields, func(f string) bool { return tenantFieldSet(m, f) })
	if err != nil {
		return nil, err
	}
	t, err := s.change(ctx, "tenant.name", m.GetName(), "UpdateTenant", paths, func(t *pg.Tenant) (bool, error) {
		if e := m.GetEtag(); e != "" && e != tenantETag(t) {
			return false, rpc.Conflict(m.GetName(), "the tenant changed meanwhile; read it and try again")
		}
		var v rpc.Violations
		for _, f := range paths {
			setTenantField(&v, t, m, f)
		}
		return len(paths) > 0, v.Result()
	})
	return &tenantv1.UpdateTenantResponse{Tenant: t}, err
}

// DisableTenant refuses a tenant's keys.
func (s *Tenants) DisableTenant(ctx context.Context, req *tenantv1.DisableTenantRequest) (*tenantv1.DisableTenantResponse, error) {
	t, err := s.turn(ctx, req.GetName(), "DisableTenant", pg.TenantDisabled)
	return &tenantv1.DisableTenantResponse{Tenant: t}, err
}

// EnableTenant takes a tenant's keys again.
func (s *Tenants) EnableTenant(ctx context.Context, req *tenantv1.EnableTenantRequest) (*tenantv1.EnableTenantResponse, error) {
	t, err := s.turn(ctx, req.GetName(), "EnableTenant", pg.TenantEnabled)
	return &tenantv1.EnableTenantResponse{Tenant: t}, err
}

func (s *Tenants) turn(ctx context.Context, name, action string, state int16) (*tenantv1.Tenant, error) {
	return s.change(ctx, "name", name, action, nil, func(t *pg.Tenant) (bool, error) {
		changed := t.State != state
		t.State = state
		return changed, nil
	})
}

func (s *Tenants) change(ctx context.Context, field, name, action string, paths []string, change func(*pg.Tenant) (bool, error)) (*tenantv1.Tenant, error) {
	id, err := rpc.ParseTenantName(name)
	if err != nil {
		return nil, rpc.Invalid(field, err.Error())
	}
	audit := pg.AuditEvent{Action: action, Resource: name, TenantID: id}
	if len(paths) > 0 {
		audit.Details = map[string]string{"fields": strings.Join(paths, ",")}
	}
	t, err := s.cfg.Tenants.Update(ctx, id, s.cfg.now(), audit, change)
	if err != nil {
		return nil, s.cfg.fail(ctx, name, err)
	}
	return tenantMessage(&t), nil
}

// GetUsage tells what a tenant has used of its quota.
func (s *Tenants) GetUsage(ctx context.Context, req *tenantv1.GetUsageRequest) (*tenantv1.GetUsageResponse, error) {
	id, err := rpc.ParseTenantName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	if err := seen(ctx, id, req.GetName()); err != nil {
		return nil, err
	}
	t, err := s.cfg.Tenants.Get(ctx, id)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetName(), err)
	}
	day := s.cfg.now().Truncate(24 * time.Hour)
	calls, pushes, live, err := s.cfg.Tenants.Usage(ctx, id, day)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetName(), err)
	}
	resp := &tenantv1.GetUsageResponse{Day: timestamppb.New(day), Calls: calls, Pushes: pushes, ActiveSubscriptions: live, Quota: quotaMessage(t.Quota)}
	if q := t.Quota.DailyPushes; q > 0 && pushes >= q {
		resp.PushesHeldUntil = timestamppb.New(day.Add(24 * time.Hour))
	}
	return resp, nil
}

func quotaMessage(q pg.Quota) *tenantv1.Quota {
	if q == (pg.Quota{}) {
		return nil
	}
	return &tenantv1.Quota{DailyCalls: q.DailyCalls, ActiveSubscriptions: q.ActiveSubscriptions, CallsPerSecond: q.CallsPerSecond, DailyPushes: q.DailyPushes}
}

func tenantETag(t *pg.Tenant) string { return strconv.FormatInt(t.Version, 36) }

func tenantMessage(t *pg.Tenant) *tenantv1.Tenant {
	return &tenantv1.Tenant{
		Name: rpc.TenantName(t.ID), DisplayName: t.DisplayName, State: tenantv1.TenantState(t.State),
		CreateTime: timestamppb.New(t.CreateTime), UpdateTime: timestamppb.New(t.UpdateTime), Etag: tenantETag(t), Quota: quotaMessage(t.Quota),
	}
}
