package query

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// attemptsParent reads whose attempts are asked for.
func attemptsParent(ctx context.Context, name string) (pg.Of, error) {
	if tenant, id, err := rpc.ParseEndpointName(name); err == nil {
		return pg.Of{TenantID: tenant, EndpointID: id}, nil
	}
	if tenant, err := rpc.ParseTenantName(name); err == nil {
		return pg.Of{TenantID: tenant}, nil
	}
	return parent(ctx, name)
}

// parent reads whose pushes are asked for: a waybill's or a subscription's. Of a
// waybill, a tenant sees its own alone.
func parent(ctx context.Context, name string) (pg.Of, error) {
	if strings.HasPrefix(name, "tenants/") {
		tenant, id, err := rpc.ParseSubscriptionName(name)
		if err != nil {
			return pg.Of{}, rpc.Invalid("parent", err.Error())
		}
		return pg.Of{TenantID: tenant, ID: id}, nil
	}
	w, err := parse("parent", name)
	return pg.Of{Waybill: w, Only: auth.CallOf(ctx).Principal.Tenant}, err
}

// checkParent tells a subscription or an endpoint that doesn't exist from one that
// has no history. A waybill can be subscribed before anything is known of it, and
// a tenant is there from its first use on, so they have no such check.
func (w *Waybills) checkParent(ctx context.Context, of pg.Of, name string) error {
	knows, id := w.cfg.Store.KnowsSubscription, of.ID
	if of.EndpointID != "" {
		knows, id = w.cfg.Store.KnowsEndpoint, of.EndpointID
	}
	if id == "" {
		return nil
	}
	known, err := knows(ctx, of.TenantID, id)
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
	of, err := parent(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListPushes", req.GetParent(), of.Only)
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

// attemptFilter reads which attempts are asked for, and what tells this list from
// others.
func attemptFilter(req *trackingv1.ListAttemptsRequest) (f pg.AttemptFilter, hash string, err error) {
	if !storable(req.GetPushId()) {
		return f, "", rpc.Invalid("push_id", "can't be a push's")
	}
	if !storable(req.GetErrorClass()) {
		return f, "", rpc.Invalid("error_class", "can't be an error's")
	}
	f = pg.AttemptFilter{PushID: req.GetPushId(), Class: req.GetErrorClass(), HTTPStatus: req.GetHttpStatus()}
	for i, o := range req.GetOutcomes() {
		if _, known := deliveryv1.AttemptOutcome_name[int32(o)]; !known || o == 0 {
			return f, "", rpc.Invalid(fmt.Sprintf("outcomes[%d]", i), "is not a known outcome")
		}
		f.Outcomes = append(f.Outcomes, int16(o))
	}
	if f.From, err = moment("start_time", req.GetStartTime()); err != nil {
		return f, "", err
	}
	if f.Until, err = moment("end_time", req.GetEndTime()); err != nil {
		return f, "", err
	}
	return f, rpc.FilterHash("ListAttempts", req.GetParent(), f.PushID, f.Class, fmt.Sprint(f.HTTPStatus, f.Outcomes, f.From, f.Until)), nil
}

// moment reads a time to compare with; nil for none.
func moment(field string, m *timestamppb.Timestamp) (*time.Time, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // absent
	}
	if err := m.CheckValid(); err != nil {
		return nil, rpc.Invalid(field, "must be from the year 1 to 9999")
	}
	return new(m.AsTime()), nil
}

// ListAttempts returns the attempts of a waybill, a subscription, an endpoint or a
// tenant, newest first.
func (w *Waybills) ListAttempts(ctx context.Context, req *trackingv1.ListAttemptsRequest) (*trackingv1.ListAttemptsResponse, error) {
	of, err := attemptsParent(ctx, req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	f, filter, err := attemptFilter(req)
	if err != nil {
		return nil, err
	}
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
	list, err := w.cfg.Store.Attempts(ctx, of, f, key, size+1)
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
	p := &a.Phases
	m.Phases = &deliveryv1.AttemptPhases{
		Dns: phase(p.DNS), Connect: phase(p.Connect), Tls: phase(p.TLS), FirstByte: phase(p.FirstByte), ReusedConnection: p.Reused,
	}
	if !a.Next.IsZero() {
		m.NextAttemptTime = timestamppb.New(a.Next)
	}
	return m
}

func phase(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
