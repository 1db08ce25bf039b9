package query_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	recognitionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/query"
)

// Numbers of one shape turn out to be a carrier's; from then on numbers that
// begin alike are recognised as its, although no form says so.
func TestRecognize_LearnsFromWhatIsProjected(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	memory := pg.NewRecognition(b.pool)
	l := query.NewLearner(query.LearnerConfig{Memory: memory, Flush: time.Millisecond, Log: slog.New(slog.DiscardHandler), Now: now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b.project(func(cfg *query.ProjectorConfig) { cfg.Observe = l.Observe })
	service := query.NewRecognitions(memory, slog.New(slog.DiscardHandler))
	ask := func() []*recognitionv1.Candidate {
		resp, err := service.Recognize(t.Context(), &recognitionv1.RecognizeRequest{Numbers: []string{"QZ-77-0000099"}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetRecognitions()[0].GetCandidates()
	}
	if got := ask(); len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	for i := range 40 {
		b.publish(updateAt("QZ77"+string(rune('A'+i%26))+string(rune('0'+i/26))+"00000", 1))
	}
	b.await("it is learned", func() bool {
		got := ask()
		return len(got) > 0 && got[0].GetCarrierCode() == "sf" && got[0].GetConfidence() > 50
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Only what is new and tells something counts.
func TestLearner_CountsWaybillsOnce(t *testing.T) {
	t.Parallel()
	memory := pg.NewRecognition(testkit.PostgreSQL(t))
	l := query.NewLearner(query.LearnerConfig{Memory: memory, Flush: time.Hour, Log: slog.New(slog.DiscardHandler), Now: now})
	first := &trackingv1.Waybill{CarrierCode: "sf", WaybillNumber: "QQ123456", Revision: 1, Status: trackingv1.Status_STATUS_IN_TRANSIT, EventCount: 1}
	l.Observe(first)
	for _, w := range []*trackingv1.Waybill{
		{CarrierCode: "sf", WaybillNumber: "QQ123456", Revision: 2, Status: trackingv1.Status_STATUS_IN_TRANSIT, EventCount: 2},
		{CarrierCode: "sf", WaybillNumber: "QQ123457", Revision: 1},
		{CarrierCode: "sf", WaybillNumber: "QQ1", Revision: 1, Status: trackingv1.Status_STATUS_IN_TRANSIT, EventCount: 1},
		{
			CarrierCode: "sf", WaybillNumber: "QQ123458", Revision: 1, Status: trackingv1.Status_STATUS_IN_TRANSIT, EventCount: 1,
			Links: []*trackingv1.Link{{Role: trackingv1.LinkRole_LINK_ROLE_CORRECTED, CarrierCode: "yto", WaybillNumber: "QQ123458"}},
		},
	} {
		l.Observe(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = l.Run(ctx) // writes once at its end
	got, err := memory.Answers(t.Context(), "QQ12-3459")
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range recognize.Shapes("QQ123459") {
		if a := got[shape]; len(a) != 1 || a[0] != (recognize.Answer{Carrier: "sf", Count: 1}) {
			t.Errorf("%s: %v", shape, a)
		}
	}
}

func TestRecognition_ForgetsWhatIsOldOrTooMuch(t *testing.T) {
	t.Parallel()
	pool := testkit.PostgreSQL(t)
	memory := pg.NewRecognition(pool)
	const fill = `INSERT INTO carrier_answer (shape, carrier_code, count, update_time)
		SELECT '9:' || n, 'sf', 1, timestamptz '2026-01-01' + n * interval '1 day' FROM generate_series(1, 100) n`
	if _, err := pool.Exec(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM carrier_answer`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := memory.Forget(t.Context(), time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC), 1000); err != nil || count() != 91 {
		t.Errorf("%v: %d are left by age", err, count())
	}
	if err := memory.Forget(t.Context(), time.Time{}, 20); err != nil || count() != 21 {
		t.Errorf("%v: %d are left by number", err, count())
	}
}

func TestRecognize_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	service := query.NewRecognitions(pg.NewRecognition(testkit.PostgreSQL(t)), slog.New(slog.DiscardHandler))
	for name, tt := range map[string]struct {
		req  *recognitionv1.RecognizeRequest
		want string
	}{
		"nothing":      {&recognitionv1.RecognizeRequest{}, "numbers"},
		"too many":     {&recognitionv1.RecognizeRequest{Numbers: make([]string, 201)}, "numbers"},
		"empty":        {&recognitionv1.RecognizeRequest{Numbers: []string{"SF1234567890123", ""}}, "numbers[1]"},
		"too long":     {&recognitionv1.RecognizeRequest{Numbers: []string{strings.Repeat("1", 65)}}, "numbers[0]"},
		"no carrier":   {&recognitionv1.RecognizeRequest{Numbers: []string{"1"}, UsualCarrierCodes: []string{"!"}}, "usual_carrier_codes[0]"},
		"all carriers": {&recognitionv1.RecognizeRequest{Numbers: []string{"1"}, UsualCarrierCodes: make([]string, 21)}, "usual_carrier_codes"},
	} {
		_, err := service.Recognize(t.Context(), tt.req)
		e, ok := errors.AsType[*rpc.Error](err)
		if !ok || len(e.Fields) == 0 || e.Fields[0].Field != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
