package resend

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// maxGroups of parked pushes are told apart.
const maxGroups = 1000

// parked reads whose parked pushes are asked for, and which.
func parked(parent string, m *deliveryv1.ParkedFilter) (string, pg.ParkedFilter, error) {
	tenant, err := parentTenant(parent)
	if err != nil {
		return "", pg.ParkedFilter{}, err
	}
	r := reader{tenant: tenant}
	f := r.filter(m)
	return tenant, f, r.Result()
}

// ListParkedPushes returns parked pushes, the longest parked first.
func (p *Pushes) ListParkedPushes(ctx context.Context, req *deliveryv1.ListParkedPushesRequest) (*deliveryv1.ListParkedPushesResponse, error) {
	tenant, f, err := parked(req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	selects, err := proto.MarshalOptions{Deterministic: true}.Marshal(req.GetFilter())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListParkedPushes", tenant, string(selects))
	token, err := rpc.DecodePageToken(req.GetPageToken(), filter, 2)
	if err != nil {
		return nil, err
	}
	var after *pg.ParkedKey
	if token != nil {
		micros, err := strconv.ParseInt(token[0], 10, 64)
		if _, _, bad := rpc.ParseSubscriptionName(rpc.SubscriptionName(tenant, token[1])); err != nil || bad != nil || !time.UnixMicro(micros).Before(endOfTime) {
			return nil, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
		after = &pg.ParkedKey{Time: time.UnixMicro(micros), SubscriptionID: token[1]}
	}
	list, err := p.cfg.Store.ListParked(ctx, tenant, &f, after, size+1)
	if err != nil {
		return nil, p.fault(ctx, err)
	}
	resp := &deliveryv1.ListParkedPushesResponse{}
	if len(list) > size {
		list = list[:size]
		l := &list[size-1]
		resp.NextPageToken = rpc.EncodePageToken(filter, strconv.FormatInt(l.ParkTime.UnixMicro(), 10), l.SubscriptionID)
	}
	for i := range list {
		resp.ParkedPushes = append(resp.ParkedPushes, parkedMessage(&list[i]))
	}
	return resp, nil
}

// endOfTime is what PostgreSQL is asked about at most.
var endOfTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

func parkedMessage(p *pg.ParkedPush) *deliveryv1.ParkedPush {
	return &deliveryv1.ParkedPush{
		Push: &deliveryv1.Push{
			Id:           push.ID(p.SubscriptionID, p.Revision),
			Subscription: rpc.SubscriptionName(p.TenantID, p.SubscriptionID), Endpoint: rpc.EndpointName(p.TenantID, p.EndpointID),
			Waybill:       rpc.WaybillName(string(p.Waybill.Carrier), string(p.Waybill.Number)),
			AfterRevision: uint64(p.After), Revision: uint64(p.Revision), State: deliveryv1.PushState_PUSH_STATE_PARKED,
			AttemptCount: int32(p.Attempts), LastAttemptTime: timestamp(p.LastAttempt), ParkReason: p.ParkReason,
		},
		ParkTime: timestamppb.New(p.ParkTime),
	}
}

// CountParkedPushes counts parked pushes, by endpoint and reason.
func (p *Pushes) CountParkedPushes(ctx context.Context, req *deliveryv1.CountParkedPushesRequest) (*deliveryv1.CountParkedPushesResponse, error) {
	tenant, f, err := parked(req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	all, groups, err := p.cfg.Store.CountParked(ctx, tenant, &f, maxGroups)
	if err != nil {
		return nil, p.fault(ctx, err)
	}
	resp := &deliveryv1.CountParkedPushesResponse{Count: all}
	for _, g := range groups {
		resp.Groups = append(resp.Groups, &deliveryv1.CountParkedPushesResponse_Group{
			Endpoint: rpc.EndpointName(tenant, g.EndpointID), Reason: g.Reason, Count: g.Count, OldestParkTime: timestamppb.New(g.Oldest),
		})
	}
	return resp, nil
}

// GetPushStatistics counts revisions by how they stand.
func (p *Pushes) GetPushStatistics(ctx context.Context, req *deliveryv1.GetPushStatisticsRequest) (*deliveryv1.GetPushStatisticsResponse, error) {
	tenant, endpoint, subscription, err := p.counted(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	s, err := p.cfg.Store.Statistics(ctx, tenant, endpoint, subscription)
	if err != nil {
		return nil, p.fault(ctx, err)
	}
	return &deliveryv1.GetPushStatisticsResponse{Statistics: &deliveryv1.PushStatistics{
		SubscriptionCount: s.Subscriptions, AcceptedCount: s.Accepted, WaitingCount: s.Waiting, InFlightCount: s.InFlight, PendingCount: s.Pending,
		AcknowledgedCount: s.Acknowledged, ParkedCount: s.Parked, CancelledCount: s.Cancelled,
		PendingPushCount: s.PendingPushes, ParkedPushCount: s.ParkedPushes, OldestPendingTime: timestamp(s.OldestPending),
	}}, nil
}

// counted reads whose pushes are counted: a tenant's, an endpoint's, or a
// subscription's.
func (p *Pushes) counted(ctx context.Context, parent string) (tenant, endpoint, subscription string, err error) {
	var known bool
	if tenant, endpoint, err = rpc.ParseEndpointName(parent); err == nil {
		known, err = p.cfg.Store.KnowsEndpoint(ctx, tenant, endpoint)
	} else if tenant, subscription, err = rpc.ParseSubscriptionName(parent); err == nil {
		known, err = p.cfg.Store.KnowsSubscription(ctx, tenant, subscription)
	} else {
		tenant, err = parentTenant(parent)
		return tenant, "", "", err
	}
	switch {
	case err != nil:
		err = p.fault(ctx, err)
	case !known:
		err = rpc.NotFound(parent)
	}
	return tenant, endpoint, subscription, err
}
