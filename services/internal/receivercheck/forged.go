package receivercheck

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/push"
)

// forgery is a push that must not be taken.
type forgery struct {
	check, want string
	forge       func(c *checker, r *request)
}

func without(name string) func(*checker, *request) {
	return func(_ *checker, r *request) { r.header.Del(name) }
}

func with(name, value string) func(*checker, *request) {
	return func(_ *checker, r *request) { r.header.Set(name, value) }
}

// sentAt signs rightly, with another time.
func sentAt(d time.Duration) func(*checker, *request) {
	return func(c *checker, r *request) {
		webhook.SetHeaders(r.header, r.id, c.now().Add(d), r.body, c.cfg.Signer)
	}
}

var forgeries = []forgery{
	{"signature_by_another_key", "a signature by another key must be refused", func(c *checker, r *request) {
		if other, err := webhook.ParseSecret(webhook.NewSecret()); err == nil {
			webhook.SetHeaders(r.header, r.id, c.now(), r.body, other)
		}
	}},
	{"changed_body", "a body that was changed after it was signed must be refused", func(_ *checker, r *request) {
		r.body = append(r.body[:len(r.body)-1:len(r.body)-1], ` }`...)
	}},
	{"changed_id", "an id that was changed must be refused", with(webhook.HeaderID, "psh_receivercheck_other_1")},
	{"changed_timestamp", "a timestamp that was changed must be refused", func(c *checker, r *request) {
		r.header.Set(webhook.HeaderTimestamp, strconv.FormatInt(c.now().Add(-time.Minute).Unix(), 10))
	}},
	{"empty_signature", "an empty signature must be refused", with(webhook.HeaderSignature, "v1,")},
	{"half_signature", "a part of a signature must be refused", func(_ *checker, r *request) {
		r.header.Set(webhook.HeaderSignature, r.header.Get(webhook.HeaderSignature)[:12])
	}},
	{"no_signature", "a push without a signature must be refused", without(webhook.HeaderSignature)},
	{"no_id", "a push without an id must be refused", without(webhook.HeaderID)},
	{"no_timestamp", "a push without a timestamp must be refused", without(webhook.HeaderTimestamp)},
	{"no_headers", "a push without any of the headers must be refused", func(_ *checker, r *request) {
		for _, name := range []string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderSignature} {
			r.header.Del(name)
		}
	}},
	{"old_timestamp", "a push signed 10 minutes ago must be refused: it may be a replay by who has seen it", sentAt(-stale)},
	{"future_timestamp", "a push signed 10 minutes in the future must be refused", sentAt(stale)},
	{"bad_timestamp", "a timestamp that isn't a number must be refused", with(webhook.HeaderTimestamp, "yesterday")},
}

// platformForgeries are of the platforms' own signatures, under rightful headers
// of Posthaste's where there is a key for them.
func (c *checker) platformForgeries() []forgery {
	change := func(field, value string) func(*checker, *request) {
		return func(c *checker, r *request) {
			r.form.Set(field, value)
			r.body = []byte(r.form.Encode())
			*r = c.sign(*r)
		}
	}
	if c.cfg.Format == push.Kdniao {
		return []forgery{
			{"signature_by_another_key", "DataSign by another key must be refused", func(c *checker, r *request) {
				change("DataSign", push.SignKdniao(r.form.Get("RequestData"), "another"))(c, r)
			}},
			{"changed_body", "RequestData that was changed must be refused", func(c *checker, r *request) {
				change("RequestData", strings.Replace(r.form.Get("RequestData"), `"State":"2"`, `"State":"3"`, 1))(c, r)
			}},
			{"no_signature", "a push without DataSign must be refused", change("DataSign", "")},
			{"another_account", "a push of another EBusinessID must be refused", change("EBusinessID", "0")},
		}
	}
	return []forgery{
		{"signature_by_another_key", "sign with another salt must be refused", func(c *checker, r *request) {
			change("sign", push.SignKuaidi100(r.form.Get("param"), "another"))(c, r)
		}},
		{"changed_body", "param that was changed must be refused", func(c *checker, r *request) {
			change("param", strings.Replace(r.form.Get("param"), `"state":"0"`, `"state":"3"`, 1))(c, r)
		}},
		{"no_signature", "a push without sign must be refused", change("sign", "")},
	}
}

func (c *checker) forged(ctx context.Context) {
	list := forgeries
	if c.cfg.Format != push.JSON {
		list = c.platformForgeries()
	}
	for _, f := range list {
		if f.check == "another_account" && c.cfg.Account.ID == "" {
			continue
		}
		r := c.honest(c.next())
		r.header = r.header.Clone()
		f.forge(c, &r)
		c.refused(f.check, c.post(ctx, r), f.want)
	}
	// Nothing of a forgery may stay.
	c.taken("push_after_forgeries", c.post(ctx, c.honest(c.next())), "an honest push must be acknowledged after forged ones")
	if c.cfg.Format == push.JSON {
		return
	}
	if s := c.cfg.Signer; s == nil || s.IsZero() {
		return
	}
	r := c.honest(c.next())
	r.header = r.header.Clone()
	for _, name := range []string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderSignature} {
		r.header.Del(name)
	}
	if a := c.post(ctx, r); a.verdict == push.Acknowledged {
		c.add("no_headers", Unwise, a, "a push without Posthaste's headers is taken: a platform's MD5 alone is weak and knows no time")
	} else {
		c.add("no_headers", OK, a, "")
	}
}
