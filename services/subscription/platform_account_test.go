package subscription_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
)

func (c *control) account(change ...func(*tenantv1.PlatformAccount)) (*tenantv1.PlatformAccount, error) {
	a := &tenantv1.PlatformAccount{
		Platform: tenantv1.Platform_PLATFORM_KDNIAO, AccountId: "1237100", Key: "56da2cf8", CallbackUrl: "https://shop.example/kdniao",
	}
	for _, f := range change {
		f(a)
	}
	resp, err := c.accounts.CreatePlatformAccount(c.t.Context(), &tenantv1.CreatePlatformAccountRequest{Parent: tenant, PlatformAccount: a})
	return resp.GetPlatformAccount(), err
}

func TestPlatformAccount_IsMadeWithItsEndpointAndHidesItsKey(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made, err := c.account(func(a *tenantv1.PlatformAccount) { a.Salt = "pinch" })
	if err != nil {
		t.Fatal(err)
	}
	want := &tenantv1.PlatformAccount{
		Name: tenant + "/platformAccounts/kdniao-1237100", Platform: tenantv1.Platform_PLATFORM_KDNIAO, AccountId: "1237100", CallbackUrl: "https://shop.example/kdniao",
	}
	ignore := protocmp.IgnoreFields(&tenantv1.PlatformAccount{}, "endpoint", "create_time")
	if diff := cmp.Diff(want, made, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	e, err := c.endpoints.GetEndpoint(t.Context(), &subscriptionv1.GetEndpointRequest{Name: made.GetEndpoint()})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.GetEndpoint(); got.GetFormat() != subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO || got.GetPlatformAccount() != made.GetName() || got.GetUrl() != made.GetCallbackUrl() {
		t.Errorf("its endpoint is %v", got)
	}
	list, err := c.accounts.ListPlatformAccounts(t.Context(), &tenantv1.ListPlatformAccountsRequest{Parent: tenant})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*tenantv1.PlatformAccount{made}, list.GetPlatformAccounts(), protocmp.Transform()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	// Another endpoint in the account's name can be made, and pushes go there too.
	other := c.endpoint(func(e *subscriptionv1.Endpoint) {
		e.Format, e.PlatformAccount = subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, made.GetName()
	})
	sub := c.subscribe(wish(other.GetName(), "SF1000000000001"))

	del := &tenantv1.DeletePlatformAccountRequest{Name: made.GetName()}
	if _, err := c.accounts.DeletePlatformAccount(t.Context(), del); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("an account in use was deleted: %v", err)
	}
	if _, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: sub.GetName()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.accounts.DeletePlatformAccount(t.Context(), del); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{other.GetName(), made.GetEndpoint()} {
		if _, err := c.endpoints.GetEndpoint(t.Context(), &subscriptionv1.GetEndpointRequest{Name: name}); status.Code(err) != codes.NotFound {
			t.Errorf("%s outlives its account: %v", name, err)
		}
	}
	if _, err := c.accounts.DeletePlatformAccount(t.Context(), del); status.Code(err) != codes.NotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := c.account(); err != nil {
		t.Errorf("it can't be made again: %v", err)
	}
}

func TestPlatformAccount_RefusesWhatIsWrongAndNamesTheField(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	for field, change := range map[string]func(*tenantv1.PlatformAccount){
		"platform_account.platform":     func(a *tenantv1.PlatformAccount) { a.Platform = 9 },
		"platform_account.account_id":   func(a *tenantv1.PlatformAccount) { a.AccountId = "a b" },
		"platform_account.key":          func(a *tenantv1.PlatformAccount) { a.Key = "" },
		"platform_account.salt":         func(a *tenantv1.PlatformAccount) { a.Salt = strings.Repeat("s", 101) },
		"platform_account.callback_url": func(a *tenantv1.PlatformAccount) { a.CallbackUrl = "/relative" },
	} {
		if _, err := c.account(change); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := c.account(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.account(); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the same account twice: %v", err)
	}
	kuaidi100 := func(id string) func(a *tenantv1.PlatformAccount) {
		return func(a *tenantv1.PlatformAccount) { a.Platform, a.AccountId = tenantv1.Platform_PLATFORM_KUAIDI100, id }
	}
	if _, err := c.account(kuaidi100("A")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.account(kuaidi100("B")); status.Code(err) != codes.AlreadyExists {
		t.Errorf("two accounts of one key: %v", err)
	}
	for name, e := range map[string]*subscriptionv1.Endpoint{
		"no account":            {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO},
		"account without need":  {PlatformAccount: tenant + "/platformAccounts/kdniao-1237100"},
		"of the other platform": {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KUAIDI100, PlatformAccount: tenant + "/platformAccounts/kdniao-1237100"},
		"of another tenant":     {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, PlatformAccount: "tenants/other/platformAccounts/kdniao-1237100"},
		"unknown":               {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, PlatformAccount: tenant + "/platformAccounts/kdniao-1"},
		"not a name":            {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, PlatformAccount: "kdniao-1237100"},
	} {
		e.Url = "https://callback.example/"
		_, err := c.endpoints.CreateEndpoint(t.Context(), &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: e})
		if code := status.Code(err); code != codes.InvalidArgument && code != codes.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlatformAccount_IsChanged(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made, err := c.account()
	if err != nil {
		t.Fatal(err)
	}
	update := func(m *tenantv1.PlatformAccount, paths ...string) (*tenantv1.PlatformAccount, error) {
		m.Name = made.GetName()
		resp, err := c.accounts.UpdatePlatformAccount(t.Context(), &tenantv1.UpdatePlatformAccountRequest{PlatformAccount: m, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return resp.GetPlatformAccount(), err
	}
	stored := func() (key, salt string) {
		t.Helper()
		if err := c.pool.QueryRow(t.Context(), `SELECT key, salt FROM platform_account WHERE account_id = '1237100'`).Scan(&key, &salt); err != nil {
			t.Fatal(err)
		}
		return key, salt
	}
	if _, err := update(&tenantv1.PlatformAccount{Key: "another", Salt: "pinch"}); err != nil {
		t.Fatal(err)
	}
	if key, salt := stored(); key != "another" || salt != "pinch" {
		t.Errorf("key %s, salt %s", key, salt)
	}
	// What subscriptions are owed goes to the new callback: the endpoint is the same.
	got, err := update(&tenantv1.PlatformAccount{CallbackUrl: "https://new.example/cb", JsonBody: true}, "callback_url", "json_body", "salt")
	if err != nil || got.GetCallbackUrl() != "https://new.example/cb" || got.GetEndpoint() != made.GetEndpoint() || !got.GetJsonBody() {
		t.Fatalf("%v, %v", got, err)
	}
	if key, salt := stored(); key != "another" || salt != "" {
		t.Errorf("key %s, salt %s", key, salt)
	}
	e, err := c.endpoints.GetEndpoint(t.Context(), &subscriptionv1.GetEndpointRequest{Name: made.GetEndpoint()})
	if err != nil || e.GetEndpoint().GetUrl() != "https://new.example/cb" {
		t.Errorf("%v, %v", e, err)
	}
	if got, err := update(&tenantv1.PlatformAccount{}, "callback_url"); err != nil || got.GetCallbackUrl() != "" || got.GetEndpoint() != "" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := update(&tenantv1.PlatformAccount{CallbackUrl: "https://third.example/cb"}); err != nil || got.GetEndpoint() == "" || got.GetEndpoint() == made.GetEndpoint() {
		t.Errorf("%v, %v", got, err)
	}
	for field, m := range map[string]*tenantv1.PlatformAccount{
		"platform_account.key": {Key: "a b"}, "platform_account.callback_url": {CallbackUrl: "/relative"}, "platform_account.salt": {Salt: strings.Repeat("s", 101)},
	} {
		if _, err := update(m); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := update(&tenantv1.PlatformAccount{AccountId: "2"}, "account_id"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("another id: %v", err)
	}
	other := &tenantv1.UpdatePlatformAccountRequest{PlatformAccount: &tenantv1.PlatformAccount{Name: "tenants/other/platformAccounts/kdniao-1237100", Key: "stolen"}}
	if _, err := c.accounts.UpdatePlatformAccount(t.Context(), other); status.Code(err) != codes.NotFound {
		t.Errorf("another tenant's: %v", err)
	}
	kuaidi100 := func(id, key string) func(*tenantv1.PlatformAccount) {
		return func(a *tenantv1.PlatformAccount) {
			a.Platform, a.AccountId, a.Key = tenantv1.Platform_PLATFORM_KUAIDI100, id, key
		}
	}
	if _, err := c.account(kuaidi100("A", "one")); err != nil {
		t.Fatal(err)
	}
	b, err := c.account(kuaidi100("B", "two"))
	if err != nil {
		t.Fatal(err)
	}
	made = b
	if _, err := update(&tenantv1.PlatformAccount{Key: "one"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("another account's key: %v", err)
	}
}
