package query

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// parent reads whose pushes or attempts are asked for.
func parent(name string) (pg.Of, error) {
	if strings.HasPrefix(name, "tenants/") {
		tenant, id, err := rpc.ParseSubscriptionName(name)
		if err != nil {
			return pg.Of{}, rpc.Invalid("parent", err.Error())
		}
		return pg.Of{TenantID: tenant, ID: id}, nil
	}
	w, err := parse("parent", name)
	return pg.Of{Waybill: w}, err
}

// checkParent tells a subscription that doesn't exist from one that has no
// history. A waybill can be subscribed before anything is known of it, so it has
// no such check.
func (w *Waybills) checkParent(ctx context.Context, of pg.Of, name string) error {
	if of.ID == "" {
		return nil
	}
	known, err := w.cfg.Store.KnowsSubscription(ctx, of.TenantID, of.ID)
	if err != nil {
		return w.unavailable(ctx, err)
	}
	if !known {
		return rpc.NotFound(name)
	}
	return nil
}

// maxMicros is in the year 9999, the last that PostgreSQL is asked about.
const maxMicros = 253_370_764_800_000_000

// storable says that PostgreSQL can compare with it.
func storable(s string) bool {
	const longest = 200
	return len(s) <= longest && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// ListPushes returns the pushes of a waybill or a subscription, newest first.
func (w *Waybills) ListPushes(ctx context.Context, req *trackingv1.ListPushesRequest) (*trackingv1.ListPushesResponse, error) {
	of, err := parent(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListPushes", req.GetParent())
	token, err := rpc.DecodePageToken(req.GetPageToken(), filter, 2)
	if err != nil {
		return nil, err
	}
	var key *pg.PushKey
	if token != nil {
		revision, err := strconv.ParseInt(token[0], 10, 64)
		if err != nil || revision < 1 || !storable(token[1]) {
			return nil, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
		key = &pg.PushKey{Revision: track.Revision(revision), SubscriptionID: token[1]}
	}
	list, err := w.cfg.Store.Pushes(ctx, of, key, size+1)
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	if len(list) == 0 {
		return &trackingv1.ListPushesResponse{}, w.checkParent(ctx, of, req.GetParent())
	}
	resp := &trackingv1.ListPushesResponse{}
	if len(list) > size {
		list = list[:size]
		l := list[size-1]
		resp.NextPageToken = rpc.EncodePageToken(filter, strconv.FormatUint(uint64(l.Revision), 10), l.SubscriptionID)
	}
	for i := range list {
		resp.Pushes = append(resp.Pushes, toPush(&list[i]))
	}
	return resp, nil
}

func toPush(p *pg.Push) *deliveryv1.Push {
	return &deliveryv1.Push{
		Id:           push.ID(p.SubscriptionID, p.Revision),
		Subscription: rpc.SubscriptionName(p.TenantID, p.SubscriptionID), Endpoint: rpc.EndpointName(p.TenantID, p.EndpointID),
		Waybill:       rpc.WaybillName(string(p.Waybill.Carrier), string(p.Waybill.Number)),
		AfterRevision: uint64(p.After), Revision: uint64(p.Revision), State: deliveryv1.PushState(p.State), AttemptCount: int32(p.Attempts),
		LastAttemptTime: timestamp(p.LastAttempt), NextAttemptTime: timestamp(p.NextAttempt), ParkReason: p.ParkReason,
	}
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// ListAttempts returns the attempts of a waybill or a subscription, newest
// first.
func (w *Waybills) ListAttempts(ctx context.Context, req *trackingv1.ListAttemptsRequest) (*trackingv1.ListAttemptsResponse, error) {
	of, err := parent(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	if !storable(req.GetPushId()) {
		return nil, rpc.Invalid("push_id", "can't be a push's")
	}
	filter := rpc.FilterHash("ListAttempts", req.GetParent(), req.GetPushId())
	token, err := rpc.DecodePageToken(req.GetPageToken(), filter, 2)
	if err != nil {
		return nil, err
	}
	var key *pg.AttemptKey
	if token != nil {
		micros, err := strconv.ParseInt(token[0], 10, 64)
		if err != nil || micros < 0 || micros > maxMicros || !storable(token[1]) {
			return nil, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
		key = &pg.AttemptKey{Time: time.UnixMicro(micros), ID: token[1]}
	}
	list, err := w.cfg.Store.Attempts(ctx, of, req.GetPushId(), key, size+1)
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	if len(list) == 0 {
		return &trackingv1.ListAttemptsResponse{}, w.checkParent(ctx, of, req.GetParent())
	}
	resp := &trackingv1.ListAttemptsResponse{}
	if len(list) > size {
		list = list[:size]
		l := list[size-1]
		resp.NextPageToken = rpc.EncodePageToken(filter, strconv.FormatInt(l.Time.UnixMicro(), 10), l.ID)
	}
	for i := range list {
		resp.Attempts = append(resp.Attempts, toAttempt(&list[i]))
	}
	return resp, nil
}

func toAttempt(a *pg.Attempt) *deliveryv1.Attempt {
	m := &deliveryv1.Attempt{
		Id: a.ID, PushId: a.PushID,
		Subscription: rpc.SubscriptionName(a.TenantID, a.SubscriptionID), Endpoint: rpc.EndpointName(a.TenantID, a.EndpointID),
		Waybill:       rpc.WaybillName(string(a.Waybill.Carrier), string(a.Waybill.Number)),
		AfterRevision: uint64(a.After), Revision: uint64(a.Revision), Number: int32(a.Number),
		AttemptTime: timestamppb.New(a.Time), Duration: durationpb.New(a.Took), Outcome: deliveryv1.AttemptOutcome(a.Outcome),
		HttpStatus: int32(a.HTTPStatus), ErrorClass: a.Class, Error: a.Error, ResponseExcerpt: a.Excerpt,
	}
	if !a.Next.IsZero() {
		m.NextAttemptTime = timestamppb.New(a.Next)
	}
	return m
}
