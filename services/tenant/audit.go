package tenant

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Audit is the gRPC service that tells who changed what.
type Audit struct {
	tenantv1.UnimplementedAuditServiceServer
	cfg Config
}

// NewAudit makes the service.
func NewAudit(cfg Config) *Audit { return &Audit{cfg: cfg} }

const maxFilter = 400

// ListAuditEvents returns changes, newest first.
func (s *Audit) ListAuditEvents(ctx context.Context, req *tenantv1.ListAuditEventsRequest) (*tenantv1.ListAuditEventsResponse, error) {
	tenant, err := owner(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	f := pg.AuditFilter{TenantID: tenant, Resource: req.GetResource(), Actor: req.GetActor()}
	var v rpc.Violations
	v.CheckText("resource", f.Resource, maxFilter)
	v.CheckText("actor", f.Actor, maxFilter)
	if t := req.GetAfterTime(); t != nil {
		f.From = t.AsTime()
		checkTime(&v, "after_time", t)
	}
	if t := req.GetBeforeTime(); t != nil {
		f.To = t.AsTime()
		checkTime(&v, "before_time", t)
	}
	if err := v.Result(); err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListAuditEvents", tenant, f.Resource, f.Actor, f.From.String(), f.To.String())
	token, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	if token != nil {
		if f.Before, err = strconv.ParseInt(token[0], 10, 64); err != nil || f.Before < 1 {
			return nil, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
	}
	list, err := s.cfg.Audit.List(ctx, f, size+1)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetParent(), err)
	}
	resp := &tenantv1.ListAuditEventsResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, strconv.FormatInt(list[size-1].ID, 10))
	}
	for i := range list {
		resp.Events = append(resp.Events, auditMessage(&list[i]))
	}
	return resp, nil
}

// checkTime refuses times that PostgreSQL isn't asked about.
func checkTime(v *rpc.Violations, field string, t *timestamppb.Timestamp) {
	if t.CheckValid() != nil || t.AsTime().Year() < 1 {
		v.Add(field, "must be a time between the years 1 and 9999")
	}
}

func auditMessage(e *pg.AuditEvent) *tenantv1.AuditEvent {
	m := &tenantv1.AuditEvent{
		Id: strconv.FormatInt(e.ID, 10), EventTime: timestamppb.New(e.Time), Actor: e.Actor, Action: e.Action, Resource: e.Resource,
		RequestId: e.RequestID, SourceAddress: e.Source, Details: e.Details, Result: "OK",
	}
	if e.TenantID != "" {
		m.Tenant = rpc.TenantName(e.TenantID)
	}
	return m
}
