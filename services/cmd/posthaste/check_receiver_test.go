package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
)

func TestCheckReceiver_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	key := webhook.NewSecret()
	secret, err := webhook.ParseSecret(key)
	if err != nil {
		t.Fatal(err)
	}
	good := httptest.NewServer(webhook.Handler(&webhook.Verifier{Secrets: []webhook.Secret{secret}}, func(context.Context, payload.Push) error { return nil }))
	t.Cleanup(good.Close)
	credulous := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(credulous.Close)
	env := []string{"POSTHASTE_RECEIVER_SECRET=" + key}

	out, err := posthaste(t, env, "check-receiver", good.URL, "--local", "--slow-time=10ms")
	if err != nil || !strings.Contains(out, "old timestamp") || strings.Contains(out, "wrong") || strings.Contains(out, key) {
		t.Errorf("%v: %s", err, out)
	}
	out, err = posthaste(t, env, "check-receiver", credulous.URL, "--local", "--slow-time=10ms", "--json")
	if err == nil || !strings.Contains(out, "the receiver fails") {
		t.Errorf("%v: %s", err, out)
	}
	var f struct{ Check, Verdict string }
	if err := json.Unmarshal([]byte(out[:strings.IndexByte(out, '\n')]), &f); err != nil || f.Check != "push" || f.Verdict != "ok" {
		t.Errorf("%v: %+v", err, f)
	}
	for _, args := range [][]string{{good.URL}, {good.URL, "--local", "--format=kdniao"}, {"http://10.0.0.1", "--local"}} {
		if out, err := posthaste(t, env, append([]string{"check-receiver"}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
