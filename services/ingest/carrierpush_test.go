package ingest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/ingest"
)

// A carrier is told that its push is taken when that is on disk, and to come again
// when it can't be kept.
func TestCarrierPush_AnswersAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	raw := &memory{fail: errAway}
	w := newWorld(t, func(cfg *ingest.Config) { cfg.Raw = raw })
	mux := http.NewServeMux()
	mux.Handle("POST /v1/carriers/{carrier}/events", w.service.CarrierHandler(map[string]webhook.Secret{"sf": secret}))
	post := func() *httptest.ResponseRecorder {
		const body = `{"waybill":"SF1234567890","event_time":"2026-03-01T09:30:00+08:00","status":"IN_TRANSIT","description":"已发往深圳"}`
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/carriers/sf/events", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		webhook.SetHeaders(r.Header, "msg_1", received, []byte(body), secret)
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		return rec
	}
	if rec := post(); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("while the stream is away the answer is %d %s", rec.Code, rec.Body)
	}
	raw.heal()
	if rec := post(); rec.Code >= http.StatusMultipleChoices || !strings.Contains(rec.Body.String(), `"accepted":1`) {
		t.Errorf("then it is %d %s", rec.Code, rec.Body)
	}
	if len(raw.msgs) != 1 {
		t.Errorf("RAW has %d messages, want one", len(raw.msgs))
	}
}
