package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// platformCmd holds the commands about accounts at the platforms whose clients
// Posthaste answers.
type platformCmd struct {
	Create platformCreateCmd `cmd:"" help:"Make a tenant's accounts, and the tenant if it isn't there, and say what to change in the clients."`
	List   platformListCmd   `cmd:"" help:"List a tenant's accounts."`
	Update platformUpdateCmd `cmd:"" help:"Change an account's key, callback or options."`
	Delete platformDeleteCmd `cmd:"" help:"Remove an account that no live subscription uses."`
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

// makeAccounts makes the accounts at a server.
func (f *platformFlags) makeAccounts(at *connectFlags, tenant string) error {
	return at.platforms(func(ctx context.Context, c tenantv1.PlatformAccountServiceClient) error {
		return f.make(ctx, c, tenant, os.Stdout, at.inJSON())
	})
}

// make makes the accounts, and says what to change in the clients, or, in JSON, what
// was made.
func (f *platformFlags) make(ctx context.Context, c tenantv1.PlatformAccountServiceClient, tenant string, out io.Writer, inJSON bool) error {
	list := f.accounts()
	if len(list) == 0 {
		return errNoAccounts
	}
	for _, a := range list {
		resp, err := c.CreatePlatformAccount(ctx, &tenantv1.CreatePlatformAccountRequest{Parent: rpc.TenantName(tenant), PlatformAccount: a})
		if err != nil {
			return fmt.Errorf("make the account %s: %w", a.GetAccountId(), err)
		}
		made := resp.GetPlatformAccount()
		if inJSON {
			made.Key = a.GetKey() // it may have been made here
			err = printMessage(out, made)
		} else {
			err = f.tell(out, made, a.GetKey())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// platforms calls the PlatformAccountService.
func (f *connectFlags) platforms(do func(context.Context, tenantv1.PlatformAccountServiceClient) error) error {
	return f.call(func(ctx context.Context, c *client.Client) error {
		return do(ctx, tenantv1.NewPlatformAccountServiceClient(c.Conn()))
	})
}

// printAccounts prints accounts, without their secrets.
func (f *connectFlags) printAccounts(answer proto.Message, list ...*tenantv1.PlatformAccount) error {
	t := table{heading: []string{"ACCOUNT", "CALLBACK", "CREATED"}}
	for _, a := range list {
		t.add(a.GetName(), cmp.Or(a.GetCallbackUrl(), "-"), moment(a.GetCreateTime()))
	}
	return f.print(answer, t)
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
	connectFlags  `embed:""`
	platformFlags `embed:""`

	Tenant string `arg:"" help:"The tenant's id: a–z, 0–9 and '-'."`
}

// Run is called by kong.
func (c *platformCreateCmd) Run() error { return c.makeAccounts(&c.connectFlags, c.Tenant) }

type platformListCmd struct {
	connectFlags `embed:""`

	Tenant string `arg:"" help:"The tenant's id."`
}

// Run is called by kong.
func (c *platformListCmd) Run() error {
	return c.platforms(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		resp, err := s.ListPlatformAccounts(ctx, &tenantv1.ListPlatformAccountsRequest{Parent: rpc.TenantName(c.Tenant)})
		if err != nil {
			return err
		}
		return c.printAccounts(resp, resp.GetPlatformAccounts()...)
	})
}

type platformUpdateCmd struct {
	connectFlags `embed:""`

	Name          string     `arg:"" help:"The account's name, as platform list shows it."`
	Key           app.Secret `env:"-" xor:"key" help:"The new key; the old one is refused from then on."`
	NewKey        bool       `env:"-" xor:"key" help:"Make a new key, and show it this once."`
	Callback      *string    `env:"-" help:"Where pushes go from now on, also those that are owed; empty for nowhere."`
	Salt          *string    `env:"-" help:"Kuaidi100: signs pushes to subscriptions that weren't made in its form; empty for no signature."`
	JSONBody      *bool      `name:"json-body" env:"-" help:"Kdniao: post the document itself and not a form, true or false."`
	LowerCaseSign *bool      `env:"-" help:"Kuaidi100: write signatures in lower case, true or false."`
}

var errNothingToChange = errors.New("nothing is to be changed: give --key, --new-key, --callback or an option")

// Run is called by kong.
func (c *platformUpdateCmd) Run() error {
	a, mask := c.change()
	if len(mask) == 0 {
		return errNothingToChange
	}
	return c.platforms(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		resp, err := s.UpdatePlatformAccount(ctx, &tenantv1.UpdatePlatformAccountRequest{PlatformAccount: a, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}})
		if err != nil {
			return err
		}
		changed := resp.GetPlatformAccount()
		if c.NewKey && c.inJSON() {
			changed.Key = a.GetKey()
		}
		if err := c.printAccounts(changed, changed); err != nil || !c.NewKey || c.inJSON() {
			return err
		}
		_, err = fmt.Fprintf(os.Stdout, "\nIts key is shown this once:\n%s\n", a.GetKey())
		return err
	})
}

// change is what to change, and the names of the fields.
func (c *platformUpdateCmd) change() (a *tenantv1.PlatformAccount, mask []string) {
	a = &tenantv1.PlatformAccount{Name: c.Name, Key: c.Key.Reveal()}
	if c.NewKey {
		a.Key = rand.Text()
	}
	if a.GetKey() != "" {
		mask = append(mask, "key")
	}
	if c.Callback != nil {
		a.CallbackUrl, mask = *c.Callback, append(mask, "callback_url")
	}
	if c.Salt != nil {
		a.Salt, mask = *c.Salt, append(mask, "salt")
	}
	if c.JSONBody != nil {
		a.JsonBody, mask = *c.JSONBody, append(mask, "json_body")
	}
	if c.LowerCaseSign != nil {
		a.LowerCaseSign, mask = *c.LowerCaseSign, append(mask, "lower_case_sign")
	}
	return a, mask
}

type platformDeleteCmd struct {
	connectFlags `embed:""`

	Name string `arg:"" help:"The account's name, as platform list shows it."`
}

// Run is called by kong.
func (c *platformDeleteCmd) Run() error {
	return c.platforms(func(ctx context.Context, s tenantv1.PlatformAccountServiceClient) error {
		_, err := s.DeletePlatformAccount(ctx, &tenantv1.DeletePlatformAccountRequest{Name: c.Name})
		return err
	})
}
