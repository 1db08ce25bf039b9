package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/receivercheck"
)

// checkReceiverCmd finds out what a receiver of callbacks does wrong.
type checkReceiverCmd struct {
	URL      string        `arg:"" name:"url" help:"Where the receiver takes pushes."`
	Secret   app.Secret    `env:"POSTHASTE_RECEIVER_SECRET" help:"The endpoint's signing key, whsec_… or whsk_…. Others on this machine see what is on the command line; the variable they don't. Required for the format json."`
	Format   string        `env:"-" enum:"json,kdniao,kuaidi100" default:"json" help:"The form of pushes: json, kdniao or kuaidi100."`
	Account  string        `env:"-" help:"EBusinessID, for kdniao."`
	Key      app.Secret    `env:"POSTHASTE_RECEIVER_KEY" help:"AppKey, for kdniao."`
	Salt     app.Secret    `env:"POSTHASTE_RECEIVER_SALT" help:"Salt, for kuaidi100."`
	Local    bool          `env:"-" help:"Allow a receiver on this machine, at 127.0.0.1 or ::1. Otherwise only public addresses are called, as by Posthaste itself."`
	Allow    []egress.Rule `env:"-" placeholder:"CIDR[:PORT]" help:"Addresses that aren't public and may be called, separated by commas."`
	Timeout  time.Duration `env:"-" default:"15s" help:"Longest wait for an answer, as the endpoint's."`
	SlowTime time.Duration `env:"-" default:"30s" help:"How long the receiver may keep a connection that says half a request."`
	JSON     bool          `name:"json" env:"-" help:"Print a line of JSON for each check."`
}

var receiverFormats = map[string]push.Format{"json": push.JSON, "kdniao": push.Kdniao, "kuaidi100": push.Kuaidi100}

// Run is called by kong.
func (c *checkReceiverCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	policy := egress.Open
	if c.Local {
		policy = egress.Lab
	}
	cfg := receivercheck.Config{
		URL: c.URL, Format: receiverFormats[c.Format], Guard: egress.New(egress.Config{Policy: policy, Allow: c.Allow}),
		Account: push.Account{ID: c.Account, Key: c.Key.Reveal(), Salt: c.Salt.Reveal()}, Timeout: c.Timeout, SlowTime: c.SlowTime,
	}
	if text := c.Secret.Reveal(); text != "" {
		var err error
		if cfg.Signer, err = webhook.ParseSigner(text); err != nil {
			return fmt.Errorf("--secret: %w", err)
		}
	}
	switch {
	case c.Format == "json" && cfg.Signer == nil:
		return errors.New("--secret is required: nothing can be signed without it")
	case c.Format == "kdniao" && (c.Account == "" || c.Key.Reveal() == ""):
		return errors.New("--account and --key are required for the format kdniao")
	case c.Format == "kuaidi100" && c.Salt.Reveal() == "":
		return errors.New("--salt is required for the format kuaidi100")
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	lines := json.NewEncoder(os.Stdout)
	if !c.JSON {
		_, _ = fmt.Fprintln(table, "CHECK\tVERDICT\tSTATUS\tMS\tWHAT")
	}
	var printed error
	count := map[receivercheck.Verdict]int{}
	cfg.Report = func(f receivercheck.Finding) {
		count[f.Verdict]++
		if c.JSON {
			printed = errors.Join(printed, lines.Encode(f))
			return
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", strings.ReplaceAll(f.Check, "_", " "), f.Verdict, f.Status, f.Milliseconds, f.Words)
	}
	_, err := receivercheck.Run(ctx, cfg)
	if err := errors.Join(printed, table.Flush(), err); err != nil {
		return err
	}
	if n := count[receivercheck.Wrong]; n > 0 {
		return fmt.Errorf("the receiver fails %d of %d checks", n, n+count[receivercheck.OK]+count[receivercheck.Unwise])
	}
	return nil
}
