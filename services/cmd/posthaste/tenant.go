package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// tenantCmd holds the commands about tenants.
type tenantCmd struct {
	Create  tenantCreateCmd  `cmd:"" help:"Make a tenant."`
	Get     tenantGetCmd     `cmd:"" help:"Show a tenant."`
	List    tenantListCmd    `cmd:"" help:"List all tenants."`
	Disable tenantDisableCmd `cmd:"" help:"Refuse a tenant's keys."`
	Enable  tenantEnableCmd  `cmd:"" help:"Take a disabled tenant's keys again."`
}

// tenants calls the TenantService and prints the tenants it answers with.
func (f *connectFlags) tenants(do func(context.Context, tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error)) error {
	return f.call(func(ctx context.Context, c *client.Client) error {
		answer, list, err := do(ctx, tenantv1.NewTenantServiceClient(c.Conn()))
		if err != nil {
			return err
		}
		t := table{heading: []string{"TENANT", "STATE", "DISPLAY NAME", "CREATED"}}
		for _, m := range list {
			t.add(strings.TrimPrefix(m.GetName(), "tenants/"), word(m.GetState().String(), "TENANT_STATE_"), m.GetDisplayName(), moment(m.GetCreateTime()))
		}
		return f.print(answer, t)
	})
}

func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Format(time.RFC3339)
}

type tenantCreateCmd struct {
	connectFlags  `embed:""`
	platformFlags `embed:""`

	ID          string `arg:"" help:"The tenant's id: a–z, 0–9 and '-'."`
	DisplayName string `env:"-" help:"For people."`
}

// Help is shown by kong.
func (*tenantCreateCmd) Help() string {
	return "With --kdniao-id or --kuaidi100-customer it also makes the tenant's accounts for clients of those platforms, with the callback as their default endpoint, and says what to change in the clients."
}

// Run is called by kong.
func (c *tenantCreateCmd) Run() error {
	err := c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		resp, err := s.CreateTenant(ctx, &tenantv1.CreateTenantRequest{TenantId: c.ID, Tenant: &tenantv1.Tenant{DisplayName: c.DisplayName}})
		return resp.GetTenant(), []*tenantv1.Tenant{resp.GetTenant()}, err
	})
	if err != nil || len(c.accounts()) == 0 {
		return err
	}
	if err := c.makeAccounts(&c.connectFlags, c.ID); err != nil {
		return fmt.Errorf("tenant %s is there, an account isn't; posthaste platform create %s makes it: %w", c.ID, c.ID, err)
	}
	return nil
}

type tenantGetCmd struct {
	connectFlags `embed:""`

	ID string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *tenantGetCmd) Run() error {
	return c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		resp, err := s.GetTenant(ctx, &tenantv1.GetTenantRequest{Name: rpc.TenantName(c.ID)})
		return resp.GetTenant(), []*tenantv1.Tenant{resp.GetTenant()}, err
	})
}

type tenantListCmd struct {
	connectFlags `embed:""`
}

// Run is called by kong.
func (c *tenantListCmd) Run() error {
	return c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		all := &tenantv1.ListTenantsResponse{}
		req := &tenantv1.ListTenantsRequest{PageSize: rpc.MaxPageSize}
		for {
			resp, err := s.ListTenants(ctx, req)
			if err != nil {
				return nil, nil, err
			}
			all.Tenants = append(all.Tenants, resp.GetTenants()...)
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				return all, all.GetTenants(), nil
			}
		}
	})
}

type tenantDisableCmd struct {
	connectFlags `embed:""`

	ID string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *tenantDisableCmd) Run() error {
	return c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		resp, err := s.DisableTenant(ctx, &tenantv1.DisableTenantRequest{Name: rpc.TenantName(c.ID)})
		return resp.GetTenant(), []*tenantv1.Tenant{resp.GetTenant()}, err
	})
}

type tenantEnableCmd struct {
	connectFlags `embed:""`

	ID string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *tenantEnableCmd) Run() error {
	return c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		resp, err := s.EnableTenant(ctx, &tenantv1.EnableTenantRequest{Name: rpc.TenantName(c.ID)})
		return resp.GetTenant(), []*tenantv1.Tenant{resp.GetTenant()}, err
	})
}

// keyCmd holds the commands about API keys.
type keyCmd struct {
	Create   keyCreateCmd   `cmd:"" help:"Make a key and print its secret, once."`
	List     keyListCmd     `cmd:"" help:"List keys."`
	Revoke   keyRevokeCmd   `cmd:"" help:"End a key for good."`
	Rotate   keyRotateCmd   `cmd:"" help:"Give a key a new secret and print it, once."`
	Generate keyGenerateCmd `cmd:"" help:"Print a new secret for --auth-admin-key-file, without a server."`
}

// keys calls the KeyService and prints the keys it answers with; secret, if it
// isn't empty, is the last line.
func (f *connectFlags) keys(do func(context.Context, tenantv1.KeyServiceClient) (answer proto.Message, list []*tenantv1.Key, secret string, err error)) error {
	return f.call(func(ctx context.Context, c *client.Client) error {
		answer, list, secret, err := do(ctx, tenantv1.NewKeyServiceClient(c.Conn()))
		if err != nil {
			return err
		}
		return f.printKeys(answer, list, secret)
	})
}

func (f *connectFlags) printKeys(answer proto.Message, list []*tenantv1.Key, secret string) error {
	t := table{heading: []string{"KEY", "ROLES", "STATE", "EXPIRES", "LAST USED", "DISPLAY NAME"}}
	for _, m := range list {
		var roles []string
		for _, r := range m.GetRoles() {
			roles = append(roles, word(r.String(), "ROLE_"))
		}
		t.add(m.GetName(), strings.Join(roles, ","), word(m.GetState().String(), "KEY_STATE_"), moment(m.GetExpireTime()), moment(m.GetLastUseTime()), m.GetDisplayName())
	}
	if err := f.print(answer, t); err != nil || secret == "" || f.inJSON() {
		return err
	}
	_, err := fmt.Fprintf(os.Stdout, "\nIts secret is shown this once:\n%s\n", secret)
	return err
}

type keyCreateCmd struct {
	connectFlags `embed:""`

	Tenant      string        `env:"-" help:"Whose key it is; empty means the platform's."`
	Role        []string      `env:"-" help:"What it may do: owner, writer, reader, reporter, admin; several are separated by commas."`
	Admin       bool          `env:"-" help:"A key of the platform that may do everything."`
	Expires     time.Duration `env:"-" help:"How long it is taken, such as 2160h; 0 means for ever."`
	DisplayName string        `env:"-" help:"What it is for."`
	DatabaseURL app.SecretURL `name:"database-url" help:"Write the key to this PostgreSQL, instead of calling a server: for the first key of a platform."`
}

// Run is called by kong.
func (c *keyCreateCmd) Run() error {
	k := &tenantv1.Key{DisplayName: c.DisplayName}
	if c.Admin {
		if c.Tenant != "" {
			return fmt.Errorf("--admin is for a key of the platform, not of tenant %s", c.Tenant)
		}
		c.Role = append(c.Role, auth.Admin.String())
	}
	for _, name := range c.Role {
		r, err := auth.ParseRole(name)
		if err != nil {
			return fmt.Errorf("--role: %w", err)
		}
		k.Roles = append(k.Roles, tenantv1.Role(r))
	}
	if c.Expires > 0 {
		k.ExpireTime = timestamppb.New(time.Now().Add(c.Expires))
	}
	if c.DatabaseURL != "" {
		return c.write(k)
	}
	return c.keys(func(ctx context.Context, s tenantv1.KeyServiceClient) (proto.Message, []*tenantv1.Key, string, error) {
		resp, err := s.CreateKey(ctx, &tenantv1.CreateKeyRequest{Parent: rpc.OwnerName(c.Tenant), Key: k})
		return resp, []*tenantv1.Key{resp.GetKey()}, resp.GetSecret(), err
	})
}

// write makes the key without a server.
func (c *keyCreateCmd) write(k *tenantv1.Key) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.CallTimeout)
	defer cancel()
	pool, err := pg.Open(ctx, c.DatabaseURL.Reveal(), 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	resp, err := app.CreateKey(ctx, pool, &tenantv1.CreateKeyRequest{Parent: rpc.OwnerName(c.Tenant), Key: k})
	if err != nil {
		return err
	}
	return c.printKeys(resp, []*tenantv1.Key{resp.GetKey()}, resp.GetSecret())
}

type keyListCmd struct {
	connectFlags `embed:""`

	Tenant string `env:"-" help:"Whose keys; empty means the platform's."`
}

// Run is called by kong.
func (c *keyListCmd) Run() error {
	return c.keys(func(ctx context.Context, s tenantv1.KeyServiceClient) (proto.Message, []*tenantv1.Key, string, error) {
		all := &tenantv1.ListKeysResponse{}
		req := &tenantv1.ListKeysRequest{Parent: rpc.OwnerName(c.Tenant), PageSize: rpc.MaxPageSize}
		for {
			resp, err := s.ListKeys(ctx, req)
			if err != nil {
				return nil, nil, "", err
			}
			all.Keys = append(all.Keys, resp.GetKeys()...)
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				return all, all.GetKeys(), "", nil
			}
		}
	})
}

type keyRevokeCmd struct {
	connectFlags `embed:""`

	Name string `arg:"" help:"The key's name, as key list shows it."`
}

// Run is called by kong.
func (c *keyRevokeCmd) Run() error {
	return c.keys(func(ctx context.Context, s tenantv1.KeyServiceClient) (proto.Message, []*tenantv1.Key, string, error) {
		resp, err := s.RevokeKey(ctx, &tenantv1.RevokeKeyRequest{Name: c.Name})
		return resp.GetKey(), []*tenantv1.Key{resp.GetKey()}, "", err
	})
}

type keyRotateCmd struct {
	connectFlags `embed:""`

	Name    string        `arg:"" help:"The key's name, as key list shows it."`
	Overlap time.Duration `env:"-" default:"24h" help:"How long the old secret is taken beside the new one, to 168h; 0s for one that leaked."`
}

// Run is called by kong.
func (c *keyRotateCmd) Run() error {
	return c.keys(func(ctx context.Context, s tenantv1.KeyServiceClient) (proto.Message, []*tenantv1.Key, string, error) {
		resp, err := s.RotateKey(ctx, &tenantv1.RotateKeyRequest{Name: c.Name, Overlap: durationpb.New(c.Overlap)})
		return resp, []*tenantv1.Key{resp.GetKey()}, resp.GetSecret(), err
	})
}

type keyGenerateCmd struct{}

// Run is called by kong.
func (keyGenerateCmd) Run() error {
	_, err := fmt.Fprintln(os.Stdout, auth.NewKey(auth.NewKeyID(time.Now())))
	return err
}

// quotaCmd holds the commands about quotas.
type quotaCmd struct {
	Get quotaGetCmd `cmd:"" help:"Show what a tenant may use and has used."`
	Set quotaSetCmd `cmd:"" help:"Set what a tenant may use; 0 means any number, what isn't given stays."`
}

type quotaGetCmd struct {
	connectFlags `embed:""`

	ID string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *quotaGetCmd) Run() error {
	return c.call(func(ctx context.Context, cl *client.Client) error {
		u, err := tenantv1.NewTenantServiceClient(cl.Conn()).GetUsage(ctx, &tenantv1.GetUsageRequest{Name: rpc.TenantName(c.ID)})
		if err != nil {
			return err
		}
		t := table{heading: []string{"QUOTA", "USED", "OF"}}
		of := func(n int64) string {
			if n == 0 {
				return "any number"
			}
			return strconv.FormatInt(n, 10)
		}
		t.add("calls on "+u.GetDay().AsTime().Format(time.DateOnly), strconv.FormatInt(u.GetCalls(), 10), of(u.GetQuota().GetDailyCalls()))
		t.add("active subscriptions", strconv.FormatInt(u.GetActiveSubscriptions(), 10), of(u.GetQuota().GetActiveSubscriptions()))
		pushes := strconv.FormatInt(u.GetPushes(), 10)
		if until := u.GetPushesHeldUntil(); until != nil {
			pushes += ", held until " + until.AsTime().Format(time.RFC3339)
		}
		t.add("pushes on the same day", pushes, of(u.GetQuota().GetDailyPushes()))
		t.add("calls in a second", "-", of(int64(u.GetQuota().GetCallsPerSecond())))
		return c.print(u, t)
	})
}

type quotaSetCmd struct {
	connectFlags `embed:""`

	ID                  string `arg:"" help:"The tenant's id."`
	DailyCalls          *int64 `env:"-" help:"Calls in a day, which begins at 00:00 UTC."`
	ActiveSubscriptions *int64 `env:"-" help:"Subscriptions that haven't ended."`
	CallsPerSecond      *int32 `env:"-" help:"Calls in a second to each server."`
	DailyPushes         *int64 `env:"-" help:"Pushes in a day; what is spent is held until the next."`
}

// Run is called by kong.
func (c *quotaSetCmd) Run() error {
	return c.tenants(func(ctx context.Context, s tenantv1.TenantServiceClient) (proto.Message, []*tenantv1.Tenant, error) {
		got, err := s.GetTenant(ctx, &tenantv1.GetTenantRequest{Name: rpc.TenantName(c.ID)})
		if err != nil {
			return nil, nil, err
		}
		t := got.GetTenant()
		if t.GetQuota() == nil {
			t.Quota = &tenantv1.Quota{}
		}
		if c.DailyCalls != nil {
			t.Quota.DailyCalls = *c.DailyCalls
		}
		if c.ActiveSubscriptions != nil {
			t.Quota.ActiveSubscriptions = *c.ActiveSubscriptions
		}
		if c.CallsPerSecond != nil {
			t.Quota.CallsPerSecond = *c.CallsPerSecond
		}
		if c.DailyPushes != nil {
			t.Quota.DailyPushes = *c.DailyPushes
		}
		// With the etag, so that another change isn't undone.
		resp, err := s.UpdateTenant(ctx, &tenantv1.UpdateTenantRequest{Tenant: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"quota"}}})
		return resp.GetTenant(), []*tenantv1.Tenant{resp.GetTenant()}, err
	})
}
