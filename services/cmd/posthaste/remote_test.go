package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
)

// server answers a few calls of the commands, and says what it was asked.
type server struct {
	subscriptionv1.UnimplementedEndpointServiceServer
	deliveryv1.UnimplementedPushServiceServer
	tenantv1.UnimplementedTenantServiceServer
	tenantv1.UnimplementedPlatformAccountServiceServer

	key string
}

func (s *server) CreateTenant(ctx context.Context, req *tenantv1.CreateTenantRequest) (*tenantv1.CreateTenantResponse, error) {
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	return &tenantv1.CreateTenantResponse{Tenant: &tenantv1.Tenant{Name: "tenants/" + req.GetTenantId()}}, nil
}

func (s *server) CreatePlatformAccount(ctx context.Context, req *tenantv1.CreatePlatformAccountRequest) (*tenantv1.CreatePlatformAccountResponse, error) {
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	a := req.GetPlatformAccount()
	if a.GetAccountId() == "taken" {
		return nil, status.Error(codes.AlreadyExists, "it is there")
	}
	a.Name, a.Key = req.GetParent()+"/platformAccounts/x-"+a.GetAccountId(), ""
	return &tenantv1.CreatePlatformAccountResponse{PlatformAccount: a}, nil
}

func (s *server) UpdatePlatformAccount(ctx context.Context, req *tenantv1.UpdatePlatformAccountRequest) (*tenantv1.UpdatePlatformAccountResponse, error) {
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	a := req.GetPlatformAccount()
	a.CallbackUrl += "?mask=" + strings.Join(req.GetUpdateMask().GetPaths(), ",")
	return &tenantv1.UpdatePlatformAccountResponse{PlatformAccount: a}, nil
}

// ask refuses who shows no key.
func (s *server) ask(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if s.key != "" && strings.Join(md.Get("authorization"), "") != "Bearer "+s.key {
		return status.Error(codes.Unauthenticated, "a key is needed")
	}
	return nil
}

func (s *server) CreateEndpoint(_ context.Context, req *subscriptionv1.CreateEndpointRequest) (*subscriptionv1.CreateEndpointResponse, error) {
	e := req.GetEndpoint()
	e.Name, e.Secret = req.GetParent()+"/endpoints/ep_1", "whsec_shown"
	e.State, e.SignatureScheme = subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED, subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256
	return &subscriptionv1.CreateEndpointResponse{Endpoint: e}, nil
}

func (s *server) ListParkedPushes(ctx context.Context, req *deliveryv1.ListParkedPushesRequest) (*deliveryv1.ListParkedPushesResponse, error) {
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	id := "psh_1_2"
	if req.GetPageToken() != "" {
		id = "psh_2_2"
	}
	resp := &deliveryv1.ListParkedPushesResponse{ParkedPushes: []*deliveryv1.ParkedPush{{
		Push: &deliveryv1.Push{
			Id: id, Waybill: "waybills/sf/SF100", Endpoint: req.GetFilter().GetEndpoint(), AfterRevision: 1, Revision: 2, AttemptCount: 4, ParkReason: "retries_spent",
		},
		ParkTime: timestamppb.New(time.Date(2025, 3, 1, 2, 0, 0, 0, time.UTC)),
	}}}
	if req.GetPageToken() == "" {
		resp.NextPageToken = "more"
	}
	return resp, nil
}

func (s *server) ReplayPushes(_ context.Context, req *deliveryv1.ReplayPushesRequest) (*deliveryv1.ReplayPushesResponse, error) {
	return &deliveryv1.ReplayPushesResponse{Job: &deliveryv1.PushJob{
		Name: req.GetParent() + "/pushJobs/job_1", Subscription: req.GetSubscription(), Waybill: req.GetWaybill(), Endpoint: req.GetEndpoint(), AfterRevision: req.GetAfterRevision(),
		State: deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING,
	}}, nil
}

func (s *server) GetPushJob(_ context.Context, req *deliveryv1.GetPushJobRequest) (*deliveryv1.GetPushJobResponse, error) {
	return &deliveryv1.GetPushJobResponse{Job: &deliveryv1.PushJob{Name: req.GetName(), State: deliveryv1.PushJobState_PUSH_JOB_STATE_DONE, SentCount: 7}}, nil
}

func TestRemote_AsksAsItIsTold(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	s := &server{key: "pk_1"}
	subscriptionv1.RegisterEndpointServiceServer(g, s)
	deliveryv1.RegisterPushServiceServer(g, s)
	tenantv1.RegisterTenantServiceServer(g, s)
	tenantv1.RegisterPlatformAccountServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	env := []string{"POSTHASTE_SERVER=" + l.Addr().String(), "POSTHASTE_TENANT=shop", "POSTHASTE_API_KEY=pk_1"}
	for _, tt := range []struct {
		args string
		want []string
		ok   bool
	}{
		{"endpoint create https://example.com/cb --retry-delays 1s,5s", []string{"endpoint   ep_1\n", "secret     whsec_shown\n", "state      enabled\n"}, true},
		{"endpoint create https://example.com/cb --json --ed25519", []string{`{"name":"tenants/shop/endpoints/ep_1",`, `"secret":"whsec_shown"`}, true},
		{"push parked --endpoint ep_9", []string{"psh_1_2  (1,2]  sf/SF100  ep_9      4         2025-03-01T02:00:00Z  retries_spent\npsh_2_2"}, true},
		{"push parked --limit 1 --json", []string{`{"push":{"id":"psh_1_2",`}, true},
		{"push parked --api-key wrong", []string{"a key is needed (Unauthenticated)"}, false},
		{"push replay sub_1 --after 3 --no-wait --json", []string{`"subscription":"tenants/shop/subscriptions/sub_1"`, `"after_revision":"3"`}, true},
		{"push replay sf/SF/1 --no-wait --json", []string{`"waybill":"waybills/sf/SF%2F1"`}, true},
		{"push replay ep_1", []string{"state    done\n", "sent     7\n"}, true},
		{"push resend", []string{"say which pushes, or --all"}, false},
		{"push resend --push psh_1_1 --all", []string{"say which pushes, or --all"}, false},
		{"push attempts --from yesterday", []string{"--from"}, false},
		{"push stats", []string{"Unimplemented"}, false},
		{"waybill get SF100", []string{"isn't of the form CARRIER/NUMBER"}, false},
		{"push parked --limit 1 --output json --plaintext --call-timeout 10s", []string{`{"push":{"id":"psh_1_2",`}, true},
		{
			"tenant create shop --kdniao-id 1237100 --kdniao-key AppKey --kuaidi100-customer CUST --kuaidi100-key KEY --callback https://shop.example/cb --http-url https://track.example",
			[]string{"shop", "by        https://track.example\n", "EBusinessID 1237100", "AppKey      AppKey", "customer  CUST", "key       KEY", "pushes go to https://shop.example/cb"},
			true,
		},
		{"tenant create shop --kdniao-id 1 --json", []string{`{"name":"tenants/shop"}`, `"account_id":"1","key":"`}, true},
		{"tenant create shop --kdniao-id taken", []string{"tenant shop is there", "posthaste platform create shop", "it is there (AlreadyExists)"}, false},
		{"tenant create shop --kdniao-id 1 --api-key wrong", []string{"a key is needed (Unauthenticated)"}, false},
		{"platform create shop", []string{"no account is named"}, false},
		{"platform update tenants/shop/platformAccounts/kdniao-1 --callback https://x --json-body=true", []string{"https://x?mask=callback_url,json_body"}, true},
		{"platform update tenants/shop/platformAccounts/kdniao-1 --new-key", []string{"?mask=key", "Its key is shown this once"}, true},
		{"platform update tenants/shop/platformAccounts/kdniao-1", []string{"nothing is to be changed"}, false},
		{"endpoint get ep_1 --server 127.0.0.1:1", []string{"127.0.0.1:1", "Unavailable"}, false},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			out, err := posthaste(t, env, strings.Fields(tt.args)...)
			if (err == nil) != tt.ok {
				t.Errorf("error is %v:\n%s", err, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q isn't in\n%s", want, out)
				}
			}
		})
	}
}
