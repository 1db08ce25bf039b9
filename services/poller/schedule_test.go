package poller

import (
	"testing"
	"testing/quick"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pg"
)

const middle = 0.5 // by chance neither longer nor shorter

func TestNext_IsByNeed(t *testing.T) {
	t.Parallel()
	known := func(n need) need { n.known, n.tier = true, max(n.tier, pg.TierNormal); return n }
	for name, tt := range map[string]struct {
		need need
		want time.Duration // 0 for never
	}{
		"in transit":                  {known(need{status: status.InTransit}), 4 * time.Hour},
		"out for delivery":            {known(need{status: status.OutForDelivery}), 30 * time.Minute},
		"out for delivery, fast":      {need{status: status.OutForDelivery, known: true, tier: pg.TierFast}, 15 * time.Minute},
		"out for delivery, economy":   {need{status: status.OutForDelivery, known: true, tier: pg.TierEconomy}, 90 * time.Minute},
		"within the carrier's limits": {need{status: status.OutForDelivery, known: true, tier: pg.TierFast, least: time.Hour}, time.Hour},
		"delivered":                   {known(need{status: status.Delivered, terminal: true}), 0},
		"a new number":                {need{tier: pg.TierNormal, age: time.Hour}, 2 * time.Hour},
		"a number not known for days": {need{tier: pg.TierNormal, age: 4 * day}, 12 * time.Hour},
		"a number never known":        {need{tier: pg.TierNormal, age: 31 * day}, 0},
		"no news for long":            {known(need{status: status.InTransit, silent: 12}), 12 * time.Hour},
		"no news for very long":       {known(need{status: status.InTransit, silent: 1000, age: 50 * day}), 24 * time.Hour},
		"no news for too long":        {known(need{status: status.InTransit, age: 61 * day}), 0},
		"a failure":                   {known(need{status: status.InTransit, failures: 1}), 2 * time.Minute},
		"several failures":            {known(need{status: status.InTransit, failures: 4}), 16 * time.Minute},
		"failures without end":        {known(need{status: status.InTransit, failures: 1000}), 6 * time.Hour},
		// What said that the journey has ended could not all be read.
		"ended, in an answer that can't be used": {known(need{status: status.Delivered, terminal: true, failures: 1}), 2 * time.Minute},
	} {
		got, ok := tt.need.next(middle)
		if got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s: %v, %v; want %v", name, got, ok, tt.want)
		}
	}
}

// Whatever the need, the pause is positive, bounded, and not far below what the
// carrier wants.
func TestNext_IsBounded(t *testing.T) {
	t.Parallel()
	err := quick.Check(func(st, tier uint8, silent, failures, hours uint16, chance uint8) bool {
		n := need{
			status: status.Status(st % 15), tier: int16(tier%3) + 1, silent: int(silent), failures: int(failures),
			age: time.Duration(hours%1400) * time.Hour, known: true, least: 30 * time.Minute,
		}
		d, ok := n.next(float64(chance) / 255)
		return !ok || d >= 24*time.Minute && d <= 10*day
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestBreaker_OpensForRefusalsAtOnceAndForFaultsLater(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	pause := func(b *breaker) time.Duration {
		until, _ := b.open(now)
		if until.IsZero() {
			return 0
		}
		return until.Sub(now)
	}
	var b breaker
	if !b.note(Answer{Verdict: Refused, Reason: "key"}, now) || pause(&b) != refusedPause {
		t.Errorf("after a refusal: %v", pause(&b))
	}
	if _, why := b.open(now); why != "refused: key" {
		t.Errorf("it says %q", why)
	}
	b.note(Answer{Verdict: Refused}, now) // of the same batch
	if pause(&b) != refusedPause {
		t.Errorf("a second of the same batch counts: %v", pause(&b))
	}
	now = now.Add(refusedPause)
	b.note(Answer{Verdict: Refused}, now)
	if pause(&b) != 2*refusedPause {
		t.Errorf("after a second refusal: %v", pause(&b))
	}
	now = now.Add(time.Hour)
	b.note(Answer{Verdict: Nothing}, now)
	b.note(Answer{Verdict: Throttled, After: 7 * time.Second}, now)
	if pause(&b) != 7*time.Second {
		t.Errorf("told to come in 7 s: %v", pause(&b))
	}
	b = breaker{}
	for i := range maxFailures {
		if pause(&b) != 0 {
			t.Fatalf("open after %d failures", i)
		}
		b.note(Answer{Verdict: Failed}, now)
	}
	if pause(&b) != failedPause {
		t.Errorf("after failures: %v", pause(&b))
	}
}
