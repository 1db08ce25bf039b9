package receivercheck_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/receivercheck"
)

// check runs all checks against a receiver, with short times.
func check(t *testing.T, cfg receivercheck.Config, h http.Handler, readTime time.Duration) map[string]receivercheck.Verdict {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadTimeout = readTime
	s.Start()
	t.Cleanup(s.Close)
	cfg.URL, cfg.Guard = s.URL+"/parcels?shop=1", egress.New(egress.Config{Policy: egress.Lab})
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.SlowTime == 0 {
		cfg.SlowTime = time.Minute
	}
	findings, err := receivercheck.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]receivercheck.Verdict{}
	for _, f := range findings {
		if f.Verdict != receivercheck.OK {
			t.Logf("%s: %s: %s", f.Check, f.Verdict, f.Words)
			if f.Words == "" {
				t.Errorf("%s is %s without words", f.Check, f.Verdict)
			}
		}
		out[f.Check] = f.Verdict
	}
	return out
}

func newSecret(t *testing.T) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shortly is how long good receivers wait for a request: longer than any push
// takes here.
const shortly = 5 * time.Second

func nothingWrong(t *testing.T, got map[string]receivercheck.Verdict, least int) {
	t.Helper()
	for name, v := range got {
		if v != receivercheck.OK {
			t.Errorf("%s of a good receiver is %s", name, v)
		}
	}
	if len(got) < least {
		t.Errorf("only %d checks were made", len(got))
	}
}

func TestRun_FindsNothingWrongWithGoodReceivers(t *testing.T) {
	t.Parallel()
	secret := newSecret(t)
	v := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	t.Run("own form", func(t *testing.T) {
		t.Parallel()
		in := inbox.NewMemory(inbox.MemoryOptions{Ask: func(context.Context, string, uint64) error { return nil }})
		h := webhook.Handler(v, func(ctx context.Context, p payload.Push) error {
			_, err := in.Take(ctx, p, func(context.Context, payload.Push, []payload.Event) error { return nil })
			return err
		})
		nothingWrong(t, check(t, receivercheck.Config{Format: push.JSON, Signer: secret}, h, shortly), 30)
	})
	t.Run("own form, refusing gaps", func(t *testing.T) {
		t.Parallel()
		in := inbox.NewMemory(inbox.MemoryOptions{})
		h := webhook.Handler(v, func(ctx context.Context, p payload.Push) error {
			_, err := in.Take(ctx, p, func(context.Context, payload.Push, []payload.Event) error { return nil })
			return err
		})
		nothingWrong(t, check(t, receivercheck.Config{Format: push.JSON, Signer: secret}, h, shortly), 30)
	})
	t.Run("kdniao", func(t *testing.T) {
		t.Parallel()
		h := webhook.KdniaoHandler(webhook.KdniaoConfig{EBusinessID: "1237100", AppKey: "key", Verifier: v}, func(context.Context, webhook.KdniaoPush) error { return nil })
		nothingWrong(t, check(t, receivercheck.Config{Format: push.Kdniao, Signer: secret, Account: push.Account{ID: "1237100", Key: "key"}}, h, shortly), 18)
	})
	t.Run("kuaidi100", func(t *testing.T) {
		t.Parallel()
		h := webhook.Kuaidi100Handler(webhook.Kuaidi100Config{Salt: "salt"}, func(context.Context, webhook.Kuaidi100Push) error { return nil })
		nothingWrong(t, check(t, receivercheck.Config{Format: push.Kuaidi100, Account: push.Account{Salt: "salt"}}, h, shortly), 17)
	})
}

// refusing refuses what a filter says, before a good receiver sees it.
func refusing(h http.Handler, status int, bad func(r *http.Request, p payload.Push) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, webhook.MaxBody))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if p, err := webhook.Decode(body); err == nil && bad(r, p) {
			w.WriteHeader(status)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}

// Each kind of bad receiver, and what is found: what is named, and nothing else.
func TestRun_FindsWhatABadReceiverDoesWrong(t *testing.T) {
	t.Parallel()
	secret := newSecret(t)
	v := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	good := webhook.Handler(v, func(context.Context, payload.Push) error { return nil })
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	})
	forged := []string{
		"signature_by_another_key", "changed_body", "changed_id", "changed_timestamp", "empty_signature", "half_signature", "no_signature", "no_id", "no_timestamp",
		"no_headers", "old_timestamp", "future_timestamp", "bad_timestamp", "too_large_body",
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	newest := map[string]uint64{}
	for name, tt := range map[string]struct {
		h      http.Handler
		wrong  []string
		unwise []string
		slow   time.Duration // of the server; 0 has none
	}{
		"checks nothing": {h: ok, wrong: forged, slow: shortly},
		"checks no time": {
			h:     webhook.Handler(&webhook.Verifier{Secrets: v.Secrets, Tolerance: 24 * time.Hour}, func(context.Context, payload.Push) error { return nil }),
			wrong: []string{"old_timestamp", "future_timestamp"}, slow: shortly,
		},
		"refuses repeats": {
			slow: shortly, wrong: []string{"repeat", "after_concurrent_repeats", "newer_again", "oldest_again"}, unwise: []string{"concurrent_repeats"},
			h: refusing(good, http.StatusConflict, func(_ *http.Request, p payload.Push) bool {
				mu.Lock()
				defer mu.Unlock()
				again := seen[p.PushID]
				seen[p.PushID] = true
				return again
			}),
		},
		"refuses what is older": {
			slow: shortly, wrong: []string{"older_after_newer", "oldest_again"},
			h: refusing(good, http.StatusConflict, func(_ *http.Request, p payload.Push) bool {
				mu.Lock()
				defer mu.Unlock()
				older := p.Revision < newest[p.SubscriptionID]
				newest[p.SubscriptionID] = max(newest[p.SubscriptionID], p.Revision)
				return older
			}),
		},
		"gone at a gap":   {slow: shortly, wrong: []string{"gap", "newer_again"}, h: refusing(good, http.StatusGone, func(_ *http.Request, p payload.Push) bool { return p.AfterRevision == 3 })},
		"takes little":    {slow: shortly, wrong: []string{"large_body"}, h: refusing(good, http.StatusRequestEntityTooLarge, func(_ *http.Request, p payload.Push) bool { return len(p.Events) > 100 })},
		"closed statuses": {slow: shortly, wrong: []string{"unknown_sub_status"}, h: refusing(good, http.StatusBadRequest, func(_ *http.Request, p payload.Push) bool { return p.Waybill.SubStatus == "in_transit.added_later" })},
		"one signature":   {slow: shortly, wrong: []string{"signatures_of_two_keys"}, h: refusing(good, http.StatusUnauthorized, func(r *http.Request, _ payload.Push) bool { return len(r.Header.Get("webhook-signature")) > 100 })},
		"faults at forgeries": {slow: shortly, unwise: forged, h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			good.ServeHTTP(rec, r)
			if rec.Code/100 == 4 {
				rec.Code = http.StatusInternalServerError
			}
			w.WriteHeader(rec.Code)
		})},
		"redirects": {
			slow: shortly, h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}),
			wrong: []string{
				"push", "new", "repeat", "concurrent_repeats", "first_revision", "gap", "older_after_newer", "newer_again", "overlap", "oldest_again", "large_body", "push_after_forgeries",
				"unknown_field", "unknown_sub_status", "signatures_of_two_keys", "push_beside_slow_connections",
			},
		},
		"waits for ever": {h: good, unwise: []string{"slow_connections_end"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := receivercheck.Config{Format: push.JSON, Signer: secret}
			if tt.slow == 0 {
				cfg.SlowTime = 100 * time.Millisecond
			}
			got := check(t, cfg, tt.h, tt.slow)
			for check, verdict := range got {
				want := receivercheck.OK
				switch {
				case slices.Contains(tt.wrong, check):
					want = receivercheck.Wrong
				case slices.Contains(tt.unwise, check):
					want = receivercheck.Unwise
				}
				if verdict != want {
					t.Errorf("%s is %s, want %s", check, verdict, want)
				}
			}
			for _, check := range append(tt.wrong, tt.unwise...) {
				if got[check] == "" {
					t.Errorf("%s wasn't checked", check)
				}
			}
		})
	}
}

func TestRun_FindsPlatformReceiversWithoutAWordOfSuccess(t *testing.T) {
	t.Parallel()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	got := check(t, receivercheck.Config{Format: push.Kdniao, Account: push.Account{ID: "1", Key: "key"}}, ok, shortly)
	if got["push"] != receivercheck.Wrong {
		t.Errorf("%v", got)
	}
	always := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"result":true,"returnCode":"200"}`)
	})
	got = check(t, receivercheck.Config{Format: push.Kuaidi100, Account: push.Account{Salt: "salt"}}, always, shortly)
	for _, name := range []string{"signature_by_another_key", "changed_body", "no_signature"} {
		if got[name] != receivercheck.Wrong {
			t.Errorf("%s is %q", name, got[name])
		}
	}
}

// What Posthaste may not call, the check may not either.
func TestRun_KeepsToTheGuard(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was called") }))
	defer s.Close()
	for _, url := range []string{s.URL, "https://169.254.169.254/latest", "ftp://example.com", "https://u:p@example.com"} {
		_, err := receivercheck.Run(t.Context(), receivercheck.Config{URL: url, Format: push.JSON, Signer: newSecret(t), Guard: egress.New(egress.Config{Policy: egress.Open})})
		if !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
