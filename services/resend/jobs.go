package resend

import (
	"context"
	"errors"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// request makes a call's request id and content comparable with a repeat's.
func request(requestID string, content proto.Message) (pg.Request, error) {
	hash, err := rpc.RequestHash(requestID, content)
	return pg.Request{ID: requestID, Hash: hash}, err
}

func (p *Pushes) newJob(tenant string, kind int16) pg.PushJob {
	now := p.now()
	return pg.PushJob{ID: id.New("job_", now), TenantID: tenant, Kind: kind, CreateTime: now}
}

// ResendPushes makes parked pushes due again.
func (p *Pushes) ResendPushes(ctx context.Context, req *deliveryv1.ResendPushesRequest) (*deliveryv1.ResendPushesResponse, error) {
	tenant, f, err := parked(req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	r, err := request(req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	j := p.newJob(tenant, pg.JobResend)
	j.Filter = f
	job, err := p.create(ctx, j, r)
	if err != nil {
		return nil, err
	}
	return &deliveryv1.ResendPushesResponse{Job: job}, nil
}

// ReplayPushes pushes once more what was pushed before.
func (p *Pushes) ReplayPushes(ctx context.Context, req *deliveryv1.ReplayPushesRequest) (*deliveryv1.ReplayPushesResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	v := reader{tenant: tenant}
	j := p.newJob(tenant, pg.JobReplay)
	j.After = track.Revision(req.GetAfterRevision())
	j.Filter = pg.ParkedFilter{
		SubscriptionID: v.subscription("subscription", req.GetSubscription()), EndpointID: v.endpoint("endpoint", req.GetEndpoint()),
		Waybill: v.waybill("waybill", req.GetWaybill()),
	}
	if req.GetAfterRevision() > math.MaxInt64 {
		v.Add("after_revision", "is larger than any revision")
	}
	targets := 0
	for _, name := range []string{req.GetSubscription(), req.GetEndpoint(), req.GetWaybill()} {
		if name != "" {
			targets++
		}
	}
	if targets != 1 {
		v.Add("subscription", "exactly one of subscription, waybill and endpoint is required")
	}
	if err := v.Result(); err != nil {
		return nil, err
	}
	r, err := request(req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	job, err := p.create(ctx, j, r)
	if err != nil {
		return nil, err
	}
	return &deliveryv1.ReplayPushesResponse{Job: job}, nil
}

// GetPushJob returns a job.
func (p *Pushes) GetPushJob(ctx context.Context, req *deliveryv1.GetPushJobRequest) (*deliveryv1.GetPushJobResponse, error) {
	tenant, jobID, err := rpc.ParsePushJobName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	j, err := p.cfg.Store.GetJob(ctx, tenant, jobID)
	if err != nil {
		return nil, p.failJob(ctx, req.GetName(), err)
	}
	return &deliveryv1.GetPushJobResponse{Job: jobMessage(&j)}, nil
}

// ListPushJobs returns a tenant's jobs, newest first.
func (p *Pushes) ListPushJobs(ctx context.Context, req *deliveryv1.ListPushJobsRequest) (*deliveryv1.ListPushJobsResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListPushJobs", tenant)
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	var before string
	if key != nil {
		before = key[0]
		if _, _, err := rpc.ParsePushJobName(rpc.PushJobName(tenant, before)); err != nil {
			return nil, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
	}
	list, err := p.cfg.Store.ListJobs(ctx, tenant, before, size+1)
	if err != nil {
		return nil, p.fault(ctx, err)
	}
	resp := &deliveryv1.ListPushJobsResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	for i := range list {
		resp.Jobs = append(resp.Jobs, jobMessage(&list[i]))
	}
	return resp, nil
}

// CancelPushJob ends a job early.
func (p *Pushes) CancelPushJob(ctx context.Context, req *deliveryv1.CancelPushJobRequest) (*deliveryv1.CancelPushJobResponse, error) {
	tenant, jobID, err := rpc.ParsePushJobName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	j, err := p.cfg.Store.CancelJob(ctx, tenant, jobID, p.now())
	if err != nil {
		return nil, p.failJob(ctx, req.GetName(), err)
	}
	return &deliveryv1.CancelPushJobResponse{Job: jobMessage(&j)}, nil
}

func (p *Pushes) failJob(ctx context.Context, name string, err error) error {
	if errors.Is(err, pg.ErrNoJob) {
		return rpc.NotFound(name)
	}
	return p.fault(ctx, err)
}

func jobMessage(j *pg.PushJob) *deliveryv1.PushJob {
	m := &deliveryv1.PushJob{
		Name: rpc.PushJobName(j.TenantID, j.ID), Kind: deliveryv1.PushJobKind(j.Kind), State: deliveryv1.PushJobState(j.State),
		MatchedCount: j.Matched, SentCount: j.Sent, SkippedCount: j.Skipped, Caller: j.Caller, RequestId: j.RequestID,
		CreateTime: timestamppb.New(j.CreateTime), EndTime: timestamp(j.EndTime),
	}
	if j.Kind == pg.JobResend {
		m.Filter = filterMessage(j.TenantID, &j.Filter)
		return m
	}
	m.Subscription, m.Endpoint, m.Waybill = targetNames(j.TenantID, &j.Filter)
	m.AfterRevision = uint64(j.After)
	return m
}
