package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
)

// fake is a Posthaste in memory, for this package's tests: it keeps what it's
// told and pushes nothing. A page holds two things.
type fake struct {
	subscriptionv1.UnimplementedEndpointServiceServer
	subscriptionv1.UnimplementedSubscriptionServiceServer
	trackingv1.UnimplementedWaybillServiceServer
	ingestv1.UnimplementedIngestServiceServer
	deliveryv1.UnimplementedPushServiceServer

	mu            sync.Mutex
	endpoints     []*subscriptionv1.Endpoint
	subscriptions []*subscriptionv1.Subscription
	waybills      map[string]*trackingv1.TraceUpdate
	reported      [][]*ingestv1.ReportedEvent
	jobs          []*deliveryv1.PushJob
	requestIDs    map[string]int
	// fail is asked before each unary call.
	fail func(method string) error
	// watch holds one stream of a watch.
	watch func(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error
	// deadline of the newest unary call.
	deadline time.Duration
	health   *health.Server
}

var epoch = time.Date(2025, 3, 1, 2, 0, 0, 0, time.UTC)

// start serves f in memory and returns a client of it, and what ends both.
func start(f *fake, opts ...client.Option) (*client.Client, func()) {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnaryInterceptor(f.unary))
	subscriptionv1.RegisterEndpointServiceServer(server, f)
	subscriptionv1.RegisterSubscriptionServiceServer(server, f)
	trackingv1.RegisterWaybillServiceServer(server, f)
	ingestv1.RegisterIngestServiceServer(server, f)
	deliveryv1.RegisterPushServiceServer(server, f)
	f.health = health.NewServer()
	healthpb.RegisterHealthServer(server, f.health)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	c, err := client.Dial("passthrough:///memory", append([]client.Option{
		client.WithoutTLS(),
		client.WithDialOptions(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })),
	}, opts...)...)
	if err != nil {
		panic(err)
	}
	return c, func() {
		_ = c.Close()
		server.Stop()
		served.Wait()
	}
}

// dial is start for tests.
func dial(t *testing.T, f *fake, opts ...client.Option) *client.Client {
	t.Helper()
	c, stop := start(f, opts...)
	t.Cleanup(stop)
	return c
}

func (f *fake) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/grpc.") {
		return handle(ctx, req)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = 0
	if d, ok := ctx.Deadline(); ok {
		f.deadline = time.Until(d)
	}
	if r, ok := req.(interface{ GetRequestId() string }); ok {
		if f.requestIDs == nil {
			f.requestIDs = make(map[string]int)
		}
		f.requestIDs[r.GetRequestId()]++
	}
	if f.fail != nil {
		if err := f.fail(info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]); err != nil {
			return nil, err
		}
	}
	return handle(ctx, req)
}

func (f *fake) CreateEndpoint(_ context.Context, req *subscriptionv1.CreateEndpointRequest) (*subscriptionv1.CreateEndpointResponse, error) {
	e := proto.CloneOf(req.GetEndpoint())
	e.Name = fmt.Sprintf("%s/endpoints/ep_%d", req.GetParent(), len(f.endpoints)+1)
	e.Secret = cmp.Or(e.GetSecret(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	e.State, e.CreateTime = subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED, timestamppb.New(epoch)
	f.endpoints = append(f.endpoints, e)
	return &subscriptionv1.CreateEndpointResponse{Endpoint: e}, nil
}

func (f *fake) endpoint(name string) (*subscriptionv1.Endpoint, error) {
	i := slices.IndexFunc(f.endpoints, func(e *subscriptionv1.Endpoint) bool { return e.GetName() == name })
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "%s was not found", name)
	}
	return f.endpoints[i], nil
}

func (f *fake) GetEndpoint(_ context.Context, req *subscriptionv1.GetEndpointRequest) (*subscriptionv1.GetEndpointResponse, error) {
	e, err := f.endpoint(req.GetName())
	return &subscriptionv1.GetEndpointResponse{Endpoint: e}, err
}

func (f *fake) ListEndpoints(_ context.Context, req *subscriptionv1.ListEndpointsRequest) (*subscriptionv1.ListEndpointsResponse, error) {
	page, next := page(f.endpoints, req.GetPageToken())
	return &subscriptionv1.ListEndpointsResponse{Endpoints: page, NextPageToken: next}, nil
}

func (f *fake) UpdateEndpoint(_ context.Context, req *subscriptionv1.UpdateEndpointRequest) (*subscriptionv1.UpdateEndpointResponse, error) {
	e, err := f.endpoint(req.GetEndpoint().GetName())
	if err != nil {
		return nil, err
	}
	merge(e, req.GetEndpoint(), req.GetUpdateMask().GetPaths())
	return &subscriptionv1.UpdateEndpointResponse{Endpoint: e}, nil
}

func (f *fake) RotateSecret(_ context.Context, req *subscriptionv1.RotateSecretRequest) (*subscriptionv1.RotateSecretResponse, error) {
	e, err := f.endpoint(req.GetName())
	if err != nil {
		return nil, err
	}
	overlap := 24 * time.Hour
	if req.GetOverlap() != nil {
		overlap = req.GetOverlap().AsDuration()
	}
	e.Secret, e.SignatureScheme = cmp.Or(req.GetSecret(), "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"), req.GetSignatureScheme()
	if e.OldSecretExpireTime = timestamppb.New(epoch.Add(overlap)); overlap == 0 {
		e.OldSecretExpireTime = nil
	}
	return &subscriptionv1.RotateSecretResponse{Endpoint: e}, nil
}

func (f *fake) DeleteEndpoint(_ context.Context, req *subscriptionv1.DeleteEndpointRequest) (*subscriptionv1.DeleteEndpointResponse, error) {
	e, err := f.endpoint(req.GetName())
	if err != nil {
		return nil, err
	}
	f.endpoints = slices.DeleteFunc(f.endpoints, func(other *subscriptionv1.Endpoint) bool { return other == e })
	return &subscriptionv1.DeleteEndpointResponse{}, nil
}

func (f *fake) create(req *subscriptionv1.CreateSubscriptionRequest) (*subscriptionv1.Subscription, error) {
	s := proto.CloneOf(req.GetSubscription())
	if len(s.GetWaybillNumber()) < 4 {
		return nil, status.Error(codes.InvalidArgument, "subscription.waybill_number: it has 4 to 64 characters")
	}
	s.Name = fmt.Sprintf("%s/subscriptions/sub_%d", req.GetParent(), len(f.subscriptions)+1)
	s.State, s.CreateTime = subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE, timestamppb.New(epoch)
	f.subscriptions = append(f.subscriptions, s)
	return s, nil
}

func (f *fake) CreateSubscription(_ context.Context, req *subscriptionv1.CreateSubscriptionRequest) (*subscriptionv1.CreateSubscriptionResponse, error) {
	s, err := f.create(req)
	return &subscriptionv1.CreateSubscriptionResponse{Subscription: s}, err
}

func (f *fake) BatchCreateSubscriptions(_ context.Context, req *subscriptionv1.BatchCreateSubscriptionsRequest) (*subscriptionv1.BatchCreateSubscriptionsResponse, error) {
	if len(req.GetRequests()) > 1000 {
		return nil, status.Error(codes.InvalidArgument, "requests: there are more than 1,000")
	}
	resp := &subscriptionv1.BatchCreateSubscriptionsResponse{}
	for _, r := range req.GetRequests() {
		s, err := f.create(r)
		result := &subscriptionv1.BatchCreateSubscriptionsResponse_Result{Subscription: s}
		if err != nil {
			result.Error = &subscriptionv1.BatchCreateSubscriptionsResponse_Error{
				Code: int32(status.Code(err)), Reason: "INVALID_ARGUMENT", Field: "subscription.waybill_number", Message: "it has 4 to 64 characters",
			}
		}
		resp.Results = append(resp.Results, result)
	}
	return resp, nil
}

func (f *fake) subscription(name string) (*subscriptionv1.Subscription, error) {
	i := slices.IndexFunc(f.subscriptions, func(s *subscriptionv1.Subscription) bool { return s.GetName() == name })
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "%s was not found", name)
	}
	return f.subscriptions[i], nil
}

func (f *fake) GetSubscription(_ context.Context, req *subscriptionv1.GetSubscriptionRequest) (*subscriptionv1.GetSubscriptionResponse, error) {
	s, err := f.subscription(req.GetName())
	return &subscriptionv1.GetSubscriptionResponse{Subscription: s}, err
}

func (f *fake) ListSubscriptions(_ context.Context, req *subscriptionv1.ListSubscriptionsRequest) (*subscriptionv1.ListSubscriptionsResponse, error) {
	matching := slices.DeleteFunc(slices.Clone(f.subscriptions), func(s *subscriptionv1.Subscription) bool {
		return len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), s.GetState()) ||
			req.GetEndpoint() != "" && req.GetEndpoint() != s.GetEndpoint() ||
			req.GetCarrierCode() != "" && req.GetCarrierCode() != s.GetCarrierCode() ||
			req.GetWaybillNumber() != "" && req.GetWaybillNumber() != s.GetWaybillNumber()
	})
	page, next := page(matching, req.GetPageToken())
	return &subscriptionv1.ListSubscriptionsResponse{Subscriptions: page, NextPageToken: next}, nil
}

func (f *fake) UpdateSubscription(_ context.Context, req *subscriptionv1.UpdateSubscriptionRequest) (*subscriptionv1.UpdateSubscriptionResponse, error) {
	s, err := f.subscription(req.GetSubscription().GetName())
	if err != nil {
		return nil, err
	}
	merge(s, req.GetSubscription(), req.GetUpdateMask().GetPaths())
	return &subscriptionv1.UpdateSubscriptionResponse{Subscription: s}, nil
}

func (f *fake) setState(name string, state subscriptionv1.SubscriptionState) (*subscriptionv1.Subscription, error) {
	s, err := f.subscription(name)
	if err == nil {
		s.State = state
	}
	return s, err
}

func (f *fake) PauseSubscription(_ context.Context, req *subscriptionv1.PauseSubscriptionRequest) (*subscriptionv1.PauseSubscriptionResponse, error) {
	s, err := f.setState(req.GetName(), subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_PAUSED)
	return &subscriptionv1.PauseSubscriptionResponse{Subscription: s}, err
}

func (f *fake) ResumeSubscription(_ context.Context, req *subscriptionv1.ResumeSubscriptionRequest) (*subscriptionv1.ResumeSubscriptionResponse, error) {
	s, err := f.setState(req.GetName(), subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE)
	return &subscriptionv1.ResumeSubscriptionResponse{Subscription: s}, err
}

func (f *fake) CancelSubscription(_ context.Context, req *subscriptionv1.CancelSubscriptionRequest) (*subscriptionv1.CancelSubscriptionResponse, error) {
	s, err := f.setState(req.GetName(), subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_CANCELLED)
	return &subscriptionv1.CancelSubscriptionResponse{Subscription: s}, err
}

func (f *fake) ReportEvents(_ context.Context, req *ingestv1.ReportEventsRequest) (*ingestv1.ReportEventsResponse, error) {
	f.reported = append(f.reported, req.GetEvents())
	rejected := judge(req.GetEvents(), 0)
	return &ingestv1.ReportEventsResponse{AcceptedCount: int32(len(req.GetEvents()) - len(rejected)), RejectedEvents: rejected}, nil
}

func (f *fake) StreamEvents(stream grpc.ClientStreamingServer[ingestv1.StreamEventsRequest, ingestv1.StreamEventsResponse]) error {
	resp := &ingestv1.StreamEventsResponse{}
	seen := 0
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(resp)
		}
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.reported = append(f.reported, req.GetEvents())
		f.mu.Unlock()
		for _, e := range req.GetEvents() {
			if e.GetText() == "break off" {
				return status.Error(codes.Unavailable, "the disk is away")
			}
		}
		rejected := judge(req.GetEvents(), seen)
		seen += len(req.GetEvents())
		resp.AcceptedCount += int64(len(req.GetEvents()) - len(rejected))
		resp.RejectedCount += int64(len(rejected))
		resp.RejectedEvents = append(resp.RejectedEvents, rejected...)
	}
}

func judge(events []*ingestv1.ReportedEvent, before int) []*ingestv1.RejectedEvent {
	var rejected []*ingestv1.RejectedEvent
	for i, e := range events {
		if e.GetEventTime() == "" {
			rejected = append(rejected, &ingestv1.RejectedEvent{Index: int64(before + i), Field: "event_time", Description: "it is required"})
		}
	}
	return rejected
}

func (f *fake) GetWaybill(_ context.Context, req *trackingv1.GetWaybillRequest) (*trackingv1.GetWaybillResponse, error) {
	u, ok := f.waybills[req.GetName()]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "%s was not found", req.GetName())
	}
	return &trackingv1.GetWaybillResponse{Waybill: u.GetWaybill()}, nil
}

func (f *fake) BatchGetWaybills(_ context.Context, req *trackingv1.BatchGetWaybillsRequest) (*trackingv1.BatchGetWaybillsResponse, error) {
	if len(req.GetNames()) > 200 {
		return nil, status.Error(codes.InvalidArgument, "names: there are more than 200")
	}
	resp := &trackingv1.BatchGetWaybillsResponse{}
	for _, name := range req.GetNames() {
		if u, ok := f.waybills[name]; ok {
			resp.Waybills = append(resp.Waybills, u.GetWaybill())
		} else {
			resp.UnknownNames = append(resp.UnknownNames, name)
		}
	}
	return resp, nil
}

func (f *fake) ListTraceEvents(_ context.Context, req *trackingv1.ListTraceEventsRequest) (*trackingv1.ListTraceEventsResponse, error) {
	events := slices.DeleteFunc(slices.Clone(f.waybills[req.GetParent()].GetEvents()), func(e *trackingv1.TraceEvent) bool {
		return e.GetRevision() <= req.GetAfterRevision()
	})
	page, next := page(events, req.GetPageToken())
	return &trackingv1.ListTraceEventsResponse{Events: page, NextPageToken: next}, nil
}

func (f *fake) ListPushes(_ context.Context, req *trackingv1.ListPushesRequest) (*trackingv1.ListPushesResponse, error) {
	return &trackingv1.ListPushesResponse{Pushes: []*deliveryv1.Push{{
		Id: "psh_1_2", Subscription: req.GetParent(), Waybill: "waybills/sf/SF%2F100", AfterRevision: 1, Revision: 2,
		State: deliveryv1.PushState_PUSH_STATE_PARKED, AttemptCount: 3, ParkReason: "horizon",
	}}}, nil
}

func (f *fake) ListAttempts(_ context.Context, req *trackingv1.ListAttemptsRequest) (*trackingv1.ListAttemptsResponse, error) {
	return &trackingv1.ListAttemptsResponse{Attempts: []*deliveryv1.Attempt{{
		Id: "att_1", PushId: req.GetPushId(), Subscription: req.GetParent(), Number: 1, HttpStatus: 503, ErrorClass: "http_503",
		Outcome: deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_RETRY,
	}}}, nil
}

func (f *fake) WatchWaybill(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
	return f.watch(req, stream)
}

// page returns two of the things, from the place that the token says.
func page[T any](all []T, token string) (two []T, next string) {
	from := 0
	if token != "" {
		from, _ = strconv.Atoi(token)
	}
	to := min(from+2, len(all))
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next
}

// merge sets the fields of a mask.
func merge(to, from proto.Message, mask []string) {
	fields := from.ProtoReflect().Descriptor().Fields()
	for _, path := range mask {
		for i := range fields.Len() {
			field := fields.Get(i)
			switch {
			case field.TextName() != path:
			case from.ProtoReflect().Has(field):
				to.ProtoReflect().Set(field, from.ProtoReflect().Get(field))
			default:
				to.ProtoReflect().Clear(field)
			}
		}
	}
}

// known makes a fake that knows a waybill "sf/<number>" with an event for each
// revision.
func known(number string, revisions uint64) *fake {
	return &fake{waybills: map[string]*trackingv1.TraceUpdate{"waybills/sf/" + number: update(number, revisions)}}
}

func update(number string, revisions uint64) *trackingv1.TraceUpdate {
	u := &trackingv1.TraceUpdate{Waybill: &trackingv1.Waybill{
		CarrierCode: "sf", WaybillNumber: number, Revision: revisions, Status: trackingv1.Status_STATUS_IN_TRANSIT,
		SubStatus: trackingv1.SubStatus_SUB_STATUS_IN_TRANSIT_DEPARTED, EventCount: int32(revisions),
	}}
	for r := range revisions {
		u.Events = append(u.Events, &trackingv1.TraceEvent{
			Id: fmt.Sprint("e", r+1), Kind: trackingv1.EventKind_EVENT_KIND_EVENT, Revision: r + 1, Status: trackingv1.Status_STATUS_IN_TRANSIT,
			Text: fmt.Sprint("scan ", r+1), Time: &trackingv1.EventTime{
				Local: epoch.Add(8*time.Hour + time.Duration(r)*time.Hour).Format("2006-01-02T15:04:05"), UtcOffsetSeconds: proto.Int32(8 * 3600),
				OffsetSource: trackingv1.OffsetSource_OFFSET_SOURCE_GIVEN, Precision: trackingv1.TimePrecision_TIME_PRECISION_SECOND,
				Instant: timestamppb.New(epoch.Add(time.Duration(r) * time.Hour)),
			},
		})
	}
	return u
}

func keys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// parkedPushes are what the fake has parked.
func parkedPushes() []*deliveryv1.ParkedPush {
	var list []*deliveryv1.ParkedPush
	for i := range 3 {
		id := strconv.Itoa(i + 1)
		list = append(list, &deliveryv1.ParkedPush{
			Push: &deliveryv1.Push{
				Id: "psh_" + id + "_2", Subscription: "tenants/shop/subscriptions/sub_" + id, Endpoint: "tenants/shop/endpoints/ep_1", Waybill: "waybills/sf/SF10" + id,
				AfterRevision: 1, Revision: 2, State: deliveryv1.PushState_PUSH_STATE_PARKED, AttemptCount: 12, ParkReason: "retries_spent",
			},
			ParkTime: timestamppb.New(epoch.Add(time.Duration(i) * time.Minute)),
		})
	}
	return list
}

func matchingParked(f *deliveryv1.ParkedFilter) []*deliveryv1.ParkedPush {
	return slices.DeleteFunc(parkedPushes(), func(p *deliveryv1.ParkedPush) bool {
		return f.GetSubscription() != "" && f.GetSubscription() != p.GetPush().GetSubscription() ||
			f.GetEndpoint() != "" && f.GetEndpoint() != p.GetPush().GetEndpoint() ||
			f.GetWaybill() != "" && f.GetWaybill() != p.GetPush().GetWaybill() ||
			f.GetPushId() != "" && f.GetPushId() != p.GetPush().GetId() ||
			f.GetStartTime() != nil && p.GetParkTime().AsTime().Before(f.GetStartTime().AsTime())
	})
}

func (f *fake) ListParkedPushes(_ context.Context, req *deliveryv1.ListParkedPushesRequest) (*deliveryv1.ListParkedPushesResponse, error) {
	page, next := page(matchingParked(req.GetFilter()), req.GetPageToken())
	return &deliveryv1.ListParkedPushesResponse{ParkedPushes: page, NextPageToken: next}, nil
}

func (f *fake) CountParkedPushes(_ context.Context, req *deliveryv1.CountParkedPushesRequest) (*deliveryv1.CountParkedPushesResponse, error) {
	n := int64(len(matchingParked(req.GetFilter())))
	return &deliveryv1.CountParkedPushesResponse{Count: n, Groups: []*deliveryv1.CountParkedPushesResponse_Group{{
		Endpoint: "tenants/shop/endpoints/ep_1", Reason: "retries_spent", Count: n, OldestParkTime: timestamppb.New(epoch),
	}}}, nil
}

// job makes one that runs until it is asked for.
func (f *fake) job(parent string, j *deliveryv1.PushJob) *deliveryv1.PushJob {
	j.Name = fmt.Sprintf("%s/pushJobs/job_%d", parent, len(f.jobs)+1)
	j.State, j.CreateTime = deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING, timestamppb.New(epoch)
	f.jobs = append(f.jobs, j)
	return proto.CloneOf(j)
}

func (f *fake) ResendPushes(_ context.Context, req *deliveryv1.ResendPushesRequest) (*deliveryv1.ResendPushesResponse, error) {
	return &deliveryv1.ResendPushesResponse{Job: f.job(req.GetParent(), &deliveryv1.PushJob{
		Kind: deliveryv1.PushJobKind_PUSH_JOB_KIND_RESEND, Filter: req.GetFilter(), MatchedCount: int64(len(matchingParked(req.GetFilter()))),
	})}, nil
}

func (f *fake) ReplayPushes(_ context.Context, req *deliveryv1.ReplayPushesRequest) (*deliveryv1.ReplayPushesResponse, error) {
	return &deliveryv1.ReplayPushesResponse{Job: f.job(req.GetParent(), &deliveryv1.PushJob{
		Kind: deliveryv1.PushJobKind_PUSH_JOB_KIND_REPLAY, Subscription: req.GetSubscription(), Waybill: req.GetWaybill(), Endpoint: req.GetEndpoint(),
		AfterRevision: req.GetAfterRevision(), MatchedCount: 1,
	})}, nil
}

func (f *fake) findJob(name string) (*deliveryv1.PushJob, error) {
	for _, j := range f.jobs {
		if j.GetName() == name {
			return j, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "%s was not found", name)
}

func (f *fake) GetPushJob(_ context.Context, req *deliveryv1.GetPushJobRequest) (*deliveryv1.GetPushJobResponse, error) {
	j, err := f.findJob(req.GetName())
	if err == nil {
		j.State, j.SentCount = deliveryv1.PushJobState_PUSH_JOB_STATE_DONE, j.GetMatchedCount()
	}
	return &deliveryv1.GetPushJobResponse{Job: j}, err
}

func (f *fake) ListPushJobs(_ context.Context, req *deliveryv1.ListPushJobsRequest) (*deliveryv1.ListPushJobsResponse, error) {
	page, next := page(f.jobs, req.GetPageToken())
	return &deliveryv1.ListPushJobsResponse{Jobs: page, NextPageToken: next}, nil
}

func (f *fake) CancelPushJob(_ context.Context, req *deliveryv1.CancelPushJobRequest) (*deliveryv1.CancelPushJobResponse, error) {
	j, err := f.findJob(req.GetName())
	if err == nil {
		j.State = deliveryv1.PushJobState_PUSH_JOB_STATE_CANCELLED
	}
	return &deliveryv1.CancelPushJobResponse{Job: j}, err
}

func (f *fake) GetPushStatistics(_ context.Context, req *deliveryv1.GetPushStatisticsRequest) (*deliveryv1.GetPushStatisticsResponse, error) {
	n := int64(len(req.GetParent())) // so that the parent can be told
	return &deliveryv1.GetPushStatisticsResponse{Statistics: &deliveryv1.PushStatistics{
		SubscriptionCount: n, AcceptedCount: 21, WaitingCount: 1, InFlightCount: 2, PendingCount: 3, AcknowledgedCount: 4, ParkedCount: 5, CancelledCount: 6,
		PendingPushCount: 7, ParkedPushCount: 8, OldestPendingTime: timestamppb.New(epoch),
	}}, nil
}
