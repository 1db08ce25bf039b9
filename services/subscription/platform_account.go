package subscription

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// PlatformAccounts is the gRPC service that manages tenants' accounts at the
// platforms whose clients Posthaste answers.
type PlatformAccounts struct {
	tenantv1.UnimplementedPlatformAccountServiceServer
	cfg ControlConfig
}

// NewPlatformAccounts makes the service.
func NewPlatformAccounts(cfg ControlConfig) *PlatformAccounts { return &PlatformAccounts{cfg: cfg} }

// Limits of an account's secrets.
const maxPlatformSecret = 100

var accountID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,50}$`)

// platforms are the names of platforms, by the formats of their pushes.
var platforms = map[push.Format]string{push.Kdniao: "kdniao", push.Kuaidi100: "kuaidi100"}

// accountName is "tenants/{tenant}/platformAccounts/{platform}-{account}".
func accountName(tenant string, platform int16, account string) string {
	return rpc.TenantName(tenant) + "/platformAccounts/" + platforms[push.Format(platform)] + "-" + account
}

// parseAccountName reads a name made by accountName.
func parseAccountName(name string) (tenant string, platform int16, account string, err error) {
	parent, last, found := strings.Cut(name, "/platformAccounts/")
	if tenant, err = rpc.ParseTenantName(parent); err != nil {
		return "", 0, "", fmt.Errorf("%q is not of the form tenants/{tenant}/platformAccounts/{account}", name)
	}
	code, account, _ := strings.Cut(last, "-")
	for f, c := range platforms {
		if c == code && accountID.MatchString(account) {
			return tenant, int16(f), account, nil
		}
	}
	if !found {
		last = name
	}
	return "", 0, "", fmt.Errorf("%q is not kdniao- or kuaidi100- and an account", last)
}

// formatOf is the format of a platform's pushes; 0 for an unknown platform.
func formatOf(p tenantv1.Platform) push.Format {
	switch p {
	case tenantv1.Platform_PLATFORM_KDNIAO:
		return push.Kdniao
	case tenantv1.Platform_PLATFORM_KUAIDI100:
		return push.Kuaidi100
	default:
		return 0
	}
}

// CreatePlatformAccount makes an account and the endpoint of its callback.
func (s *PlatformAccounts) CreatePlatformAccount(ctx context.Context, req *tenantv1.CreatePlatformAccountRequest) (*tenantv1.CreatePlatformAccountResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	m := req.GetPlatformAccount()
	if m == nil {
		return nil, rpc.Invalid("platform_account", "is required")
	}
	now := s.cfg.now()
	a := pg.PlatformAccount{
		Platform: int16(formatOf(m.GetPlatform())), ID: m.GetAccountId(), TenantID: tenant, Key: m.GetKey(), Salt: m.GetSalt(),
		JSONBody: m.GetJsonBody(), LowerCaseSign: m.GetLowerCaseSign(), CreateTime: now, UpdateTime: now,
	}
	var v violations
	checkAccount(&v, &a)
	e := s.callback(ctx, &v, &a, m.GetCallbackUrl())
	if err := v.result(); err != nil {
		return nil, err
	}
	made, err := s.cfg.Accounts.Create(ctx, a, e)
	if errors.Is(err, pg.ErrAccountTaken) {
		return nil, rpc.Exists(accountName(tenant, a.Platform, a.ID))
	}
	if err != nil {
		return nil, s.cfg.fault(ctx, err)
	}
	return &tenantv1.CreatePlatformAccountResponse{PlatformAccount: accountMessage(&made)}, nil
}

// accountFields are those that can be changed.
var accountFields = []string{"key", "salt", "callback_url", "json_body", "lower_case_sign"}

func accountFieldSet(m *tenantv1.PlatformAccount, field string) bool {
	switch field {
	case "key":
		return m.GetKey() != ""
	case "salt":
		return m.GetSalt() != ""
	case "callback_url":
		return m.GetCallbackUrl() != ""
	case "json_body":
		return m.GetJsonBody()
	default:
		return m.GetLowerCaseSign()
	}
}

// UpdatePlatformAccount changes an account.
func (s *PlatformAccounts) UpdatePlatformAccount(ctx context.Context, req *tenantv1.UpdatePlatformAccountRequest) (*tenantv1.UpdatePlatformAccountResponse, error) {
	m := req.GetPlatformAccount()
	if m == nil {
		return nil, rpc.Invalid("platform_account", "is required")
	}
	tenant, platform, account, err := parseAccountName(m.GetName())
	if err != nil {
		return nil, rpc.Invalid("platform_account.name", err.Error())
	}
	list, err := fields(req.GetUpdateMask(), accountFields, func(f string) bool { return accountFieldSet(m, f) }, func(f string) string {
		return fmt.Sprintf("%q isn't a field of an account that can be changed", f)
	})
	if err != nil {
		return nil, err
	}
	var v violations
	var change pg.AccountChange
	for _, f := range list {
		switch f {
		case "key":
			change.Key = &m.Key
			checkKey(&v, m.GetKey())
		case "salt":
			change.Salt = &m.Salt
			checkSalt(&v, m.GetSalt())
		case "callback_url":
			change.Moved = true
			change.Endpoint = s.callback(ctx, &v, &pg.PlatformAccount{Platform: platform, ID: account, TenantID: tenant}, m.GetCallbackUrl())
		case "json_body":
			change.JSONBody = &m.JsonBody
		case "lower_case_sign":
			change.LowerCaseSign = &m.LowerCaseSign
		}
	}
	if err := v.result(); err != nil {
		return nil, err
	}
	changed, err := s.cfg.Accounts.Update(ctx, tenant, platform, account, change, s.cfg.now())
	switch {
	case errors.Is(err, pg.ErrNoAccount):
		return nil, rpc.NotFound(m.GetName())
	case errors.Is(err, pg.ErrAccountTaken):
		return nil, rpc.Invalid("platform_account.key", "is another account's")
	case err != nil:
		return nil, s.cfg.fault(ctx, err)
	}
	return &tenantv1.UpdatePlatformAccountResponse{PlatformAccount: accountMessage(&changed)}, nil
}

// callback is the endpoint of an account's callback; nil for none.
func (s *PlatformAccounts) callback(ctx context.Context, v *violations, a *pg.PlatformAccount, url string) *pg.Endpoint {
	if url == "" {
		return nil
	}
	normal, _, err := s.cfg.checkURL(ctx, a.TenantID, url)
	if err != nil {
		v.add("platform_account.callback_url", err.Error())
		return nil
	}
	now := s.cfg.now()
	return new(a.NewEndpoint(id.New("ep_", now), normal, webhook.NewSecret(), now))
}

func checkAccount(v *violations, a *pg.PlatformAccount) {
	const field = "platform_account."
	if a.Platform == 0 {
		v.add(field+"platform", "must be PLATFORM_KDNIAO or PLATFORM_KUAIDI100")
	}
	if !accountID.MatchString(a.ID) {
		v.add(field+"account_id", "must have 1 to 50 letters, digits, '_' and '-'")
	}
	checkKey(v, a.Key)
	checkSalt(v, a.Salt)
}

func checkKey(v *violations, key string) {
	unusable := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(key); n == 0 || n > maxPlatformSecret || strings.ContainsFunc(key, unusable) {
		v.add("platform_account.key", fmt.Sprintf("must have 1 to %d printable characters without blanks", maxPlatformSecret))
	}
}

func checkSalt(v *violations, salt string) {
	v.checkText("platform_account.salt", salt, maxPlatformSecret, fmt.Sprintf("must have at most %d characters", maxPlatformSecret))
}

// ListPlatformAccounts returns a tenant's accounts.
func (s *PlatformAccounts) ListPlatformAccounts(ctx context.Context, req *tenantv1.ListPlatformAccountsRequest) (*tenantv1.ListPlatformAccountsResponse, error) {
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Accounts.List(ctx, tenant)
	if err != nil {
		return nil, s.cfg.fault(ctx, err)
	}
	resp := &tenantv1.ListPlatformAccountsResponse{}
	for i := range list {
		resp.PlatformAccounts = append(resp.PlatformAccounts, accountMessage(&list[i]))
	}
	return resp, nil
}

// DeletePlatformAccount removes an account and its endpoints.
func (s *PlatformAccounts) DeletePlatformAccount(ctx context.Context, req *tenantv1.DeletePlatformAccountRequest) (*tenantv1.DeletePlatformAccountResponse, error) {
	tenant, platform, account, err := parseAccountName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	err = s.cfg.Accounts.Delete(ctx, tenant, platform, account, s.cfg.now())
	switch {
	case errors.Is(err, pg.ErrNoAccount):
		return nil, rpc.NotFound(req.GetName())
	case errors.Is(err, pg.ErrAccountInUse):
		return nil, rpc.Precondition(req.GetName(), "live subscriptions push in the account's name: cancel them first")
	case err != nil:
		return nil, s.cfg.fault(ctx, err)
	}
	return &tenantv1.DeletePlatformAccountResponse{}, nil
}

// accountMessage is an account as its owner sees it, without secrets.
func accountMessage(a *pg.PlatformAccount) *tenantv1.PlatformAccount {
	m := &tenantv1.PlatformAccount{
		Name: accountName(a.TenantID, a.Platform, a.ID), AccountId: a.ID, CallbackUrl: a.Callback, JsonBody: a.JSONBody, LowerCaseSign: a.LowerCaseSign,
		CreateTime: timestamppb.New(a.CreateTime),
	}
	for _, p := range []tenantv1.Platform{tenantv1.Platform_PLATFORM_KDNIAO, tenantv1.Platform_PLATFORM_KUAIDI100} {
		if int16(formatOf(p)) == a.Platform {
			m.Platform = p
		}
	}
	if a.EndpointID != nil {
		m.Endpoint = rpc.EndpointName(a.TenantID, *a.EndpointID)
	}
	return m
}
