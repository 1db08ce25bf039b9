package main

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/app"
)

// platformStub takes accounts, as the service does.
type platformStub struct {
	tenantv1.PlatformAccountServiceClient
	made []*tenantv1.PlatformAccount
}

func (s *platformStub) CreatePlatformAccount(_ context.Context, req *tenantv1.CreatePlatformAccountRequest, _ ...grpc.CallOption) (*tenantv1.CreatePlatformAccountResponse, error) {
	s.made = append(s.made, req.GetPlatformAccount())
	return &tenantv1.CreatePlatformAccountResponse{PlatformAccount: &tenantv1.PlatformAccount{
		Name: req.GetParent() + "/platformAccounts/x", Platform: req.GetPlatformAccount().GetPlatform(),
		AccountId: req.GetPlatformAccount().GetAccountId(), CallbackUrl: req.GetPlatformAccount().GetCallbackUrl(),
	}}, nil
}

func TestPlatform_SaysWhatToChangeInTheClients(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &platformStub{}
	f := platformFlags{
		KdniaoID: "1237100", KdniaoKey: app.Secret("the AppKey"), Kuaidi100Customer: "CUSTOMER", Callback: "https://shop.example/cb", HTTPURL: "https://track.example/",
	}
	if err := f.make(t.Context(), s, "shop", &out, false); err != nil {
		t.Fatal(err)
	}
	if len(s.made) != 2 || s.made[0].GetKey() != "the AppKey" || s.made[1].GetKey() == "" || s.made[1].GetPlatform() != tenantv1.Platform_PLATFORM_KUAIDI100 {
		t.Fatalf("made %v", s.made)
	}
	for _, want := range []string{
		"https://api.kdniao.com", "https://poll.kuaidi100.com", "by        https://track.example\n", "1237100", "the AppKey", "CUSTOMER", s.made[1].GetKey(), "https://shop.example/cb",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if err := new(platformFlags).make(t.Context(), s, "shop", &out, false); err == nil {
		t.Error("no account is no error")
	}
}
