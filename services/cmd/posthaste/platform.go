package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// platformCmd holds the commands about accounts at the platforms whose clients
// Posthaste answers.
type platformCmd struct {
	Create platformCreateCmd `cmd:"" help:"Make a tenant's accounts, and the tenant if it isn't there, and say what to change in the clients."`
	List   platformListCmd   `cmd:"" help:"List a tenant's accounts."`
	Delete platformDeleteCmd `cmd:"" help:"Remove an account that no live subscription uses."`
}

// platformServer says how the commands reach a running Posthaste.
type platformServer struct {
	Server  string        `default:"127.0.0.1:9090" help:"Address of the gRPC server, called in the clear."`
	Timeout time.Duration `default:"30s" help:"Longest wait for an answer."`
}

func (f *platformServer) call(do func(context.Context, tenantv1.PlatformAccountServiceClient) error) (err error) {
	conn, err := grpc.NewClient("dns:///"+f.Server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), f.Timeout)
	defer cancel()
	return do(ctx, tenantv1.NewPlatformAccountServiceClient(conn))
}

// platformFlags are a tenant's accounts.
type platformFlags struct {
	KdniaoID          string     `name:"kdniao-id" env:"-" help:"Kdniao's EBusinessID."`
	KdniaoKey         app.Secret `name:"kdniao-key" env:"-" help:"Its AppKey; made if it is empty."`
	Kuaidi100Customer string     `name:"kuaidi100-customer" env:"-" help:"Kuaidi100's customer."`
	Kuaidi100Key      app.Secret `name:"kuaidi100-key" env:"-" help:"Its key; made if it is empty."`
	Callback          string     `env:"-" help:"Where Kdniao's pushes go, and Kuaidi100's to subscriptions without a callback."`
	HTTPURL           string     `name:"http-url" env:"-" default:"http://127.0.0.1:8080" help:"Address of Posthaste's HTTP server as the clients reach it; it is only printed."`
}

var errNoAccounts = errors.New("no account is named: give --kdniao-id, --kuaidi100-customer or both")

// accounts are those that the flags name.
func (f *platformFlags) accounts() []*tenantv1.PlatformAccount {
	var list []*tenantv1.PlatformAccount
	add := func(p tenantv1.Platform, id string, key app.Secret) {
		if id == "" {
			return
		}
		k := key.Reveal()
		if k == "" {
			k = rand.Text()
		}
		list = append(list, &tenantv1.PlatformAccount{Platform: p, AccountId: id, Key: k, CallbackUrl: f.Callback})
	}
	add(tenantv1.Platform_PLATFORM_KDNIAO, f.KdniaoID, f.KdniaoKey)
	add(tenantv1.Platform_PLATFORM_KUAIDI100, f.Kuaidi100Customer, f.Kuaidi100Key)
	return list
}

// make makes the accounts, and says what to change in the clients.
func (f *platformFlags) make(ctx context.Context, c tenantv1.PlatformAccountServiceClient, tenant string, out io.Writer) error {
	list := f.accounts()
	if len(list) == 0 {
		return errNoAccounts
	}
	for _, a := range list {
		resp, err := c.CreatePlatformAccount(ctx, &tenantv1.CreatePlatformAccountRequest{Parent: rpc.TenantName(tenant), PlatformAccount: a})
		if err != nil {
			return fmt.Errorf("make the account %s: %w", a.GetAccountId(), err)
		}
		if err := f.tell(out, resp.GetPlatformAccount(), a.GetKey()); err != nil {
			return err
		}
	}
	return nil
}

// tell says what to change in a platform's client. It is shown once: the key
// can't be read again.
func (f *platformFlags) tell(out io.Writer, a *tenantv1.PlatformAccount, key string) error {
	base := strings.TrimSuffix(f.HTTPURL, "/")
	text := fmt.Sprintf("%s\n  replace   https://api.kdniao.com\n  by        %s\n  EBusinessID %s\n  AppKey      %s\n", a.GetName(), base, a.GetAccountId(), key)
	if a.GetPlatform() == tenantv1.Platform_PLATFORM_KUAIDI100 {
		text = fmt.Sprintf("%s\n  replace   https://poll.kuaidi100.com and https://www.kuaidi100.com\n  by        %s\n  customer  %s\n  key       %s\n", a.GetName(), base, a.GetAccountId(), key)
	}
	if a.GetCallbackUrl() != "" {
		text += "  pushes go to " + a.GetCallbackUrl() + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

type platformCreateCmd struct {
	platformServer `embed:""`
	platformFlags  `embed:""`

	Tenant string `arg:"" help:"The tenant's id: a–z, 0–9 and '-'."`
}

// Run is called by kong.
func (c *platformCreateCmd) Run() error {
	return c.call(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		return c.make(ctx, s, c.Tenant, os.Stdout)
	})
}

type platformListCmd struct {
	platformServer `embed:""`

	Tenant string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *platformListCmd) Run() error {
	return c.call(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		resp, err := s.ListPlatformAccounts(ctx, &tenantv1.ListPlatformAccountsRequest{Parent: rpc.TenantName(c.Tenant)})
		if err != nil {
			return err
		}
		const gap = 2
		w := tabwriter.NewWriter(os.Stdout, 0, 0, gap, ' ', 0)
		_, _ = fmt.Fprintln(w, "ACCOUNT\tCALLBACK\tCREATED") // Flush says what went wrong
		for _, a := range resp.GetPlatformAccounts() {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", a.GetName(), a.GetCallbackUrl(), a.GetCreateTime().AsTime().Format(time.RFC3339))
		}
		return w.Flush()
	})
}

type platformDeleteCmd struct {
	platformServer `embed:""`

	Name string `arg:"" help:"The account's name, as platform list shows it."`
}

// Run is called by kong.
func (c *platformDeleteCmd) Run() error {
	return c.call(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		_, err := s.DeletePlatformAccount(ctx, &tenantv1.DeletePlatformAccountRequest{Name: c.Name})
		return err
	})
}
