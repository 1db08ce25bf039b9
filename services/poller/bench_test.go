package poller_test

import (
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// BenchmarkPolls_ClaimOfAMillion takes 200 due waybills out of a million watched,
// and puts them back, again and again.
func BenchmarkPolls_ClaimOfAMillion(b *testing.B) {
	pool := testkit.PostgreSQL(b)
	const fill = `INSERT INTO poll (carrier_code, waybill_number, source, due_time)
		SELECT 'sf-express', 'N' || n, 'kdniao', now() + (n - 500000) * interval '10 ms' FROM generate_series(1, 1000000) n`
	for _, q := range []string{fill, `VACUUM ANALYZE poll`} {
		if _, err := pool.Exec(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
	polls := pg.NewPolls(pool)
	const batch = 200
	for b.Loop() {
		now := time.Now()
		due, err := polls.Claim(b.Context(), "kdniao", now, time.Minute, batch)
		if err != nil || len(due) != batch {
			b.Fatal(err, len(due))
		}
		done := make([]pg.Polled, len(due))
		for i, d := range due {
			done[i] = pg.Polled{Waybill: d.Waybill, Next: now.Add(4 * time.Hour), Time: now, Silent: 1}
		}
		if err := polls.Finish(b.Context(), done); err != nil {
			b.Fatal(err)
		}
		if _, _, err := polls.Next(b.Context(), "kdniao"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "waybills/s")
}
