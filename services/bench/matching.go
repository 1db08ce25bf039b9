package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool" //nolint:depguard // it fills a database of its own

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
)

// MatchingResult is the last line that the benchmark prints.
type MatchingResult struct {
	Bench string         `json:"bench"`
	Sizes []MatchingSize `json:"sizes"`
	// Ratio is the cost of the largest count to that of the smallest.
	Ratio float64 `json:"ratio"`
}

// MatchingSize is what matching costs with so many subscriptions.
type MatchingSize struct {
	Subscriptions int     `json:"subscriptions"`
	PerEvent      float64 `json:"us_per_event"` // the median of batches
	PerSecond     float64 `json:"events_per_s"`
}

// lookupBatch is how many waybills the matcher looks up at once, of which every
// second one is subscribed.
const lookupBatch = 500

// Matching measures the matcher's look-up of subscriptions in a PostgreSQL of its
// own, with more and more of them.
func Matching(ctx context.Context, counts []int, length time.Duration, out io.Writer) (MatchingResult, error) {
	res := MatchingResult{Bench: "matching"}
	if len(counts) == 0 || slices.Min(counts) < 1 {
		return res, errors.New("--counts: give one or more numbers above 0")
	}
	counts = slices.Sorted(slices.Values(counts))
	dir, err := os.MkdirTemp("", "posthaste-bench-")
	if err != nil {
		return res, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get in
		return res, err
	}
	server, err := embedded.StartPostgreSQL(ctx, embedded.PostgreSQLConfig{
		Dir: filepath.Join(dir, "postgres"), Search: embedded.Search{Bin: os.Getenv("POSTHASTE_PG_BIN"), Fetched: filepath.Join(".cache", "postgres")}, Volatile: true,
	})
	if err != nil {
		return res, err
	}
	defer func() { _ = server.Stop(context.WithoutCancel(ctx)) }()
	if err := pg.Migrate(ctx, server.URL()); err != nil {
		return res, err
	}
	pool, err := pg.Open(ctx, server.URL(), 4)
	if err != nil {
		return res, err
	}
	defer pool.Close()
	const setup = `
		INSERT INTO tenant (id) VALUES ('bench');
		INSERT INTO endpoint (id, tenant_id, url, secret) SELECT 'ep_' || n, 'bench', 'https://callback.example', 's' FROM generate_series(0, 99) n`
	if _, err := pool.Exec(ctx, setup); err != nil {
		return res, fmt.Errorf("make the endpoints: %w", err)
	}
	have := 0
	for _, count := range counts {
		if err := fill(ctx, pool, have, count); err != nil {
			return res, err
		}
		have = count
		size, err := lookUp(ctx, pool, count, length)
		if err != nil {
			return res, err
		}
		_, _ = fmt.Fprintf(out, "%9d subscriptions: %6.2f µs an event, %8.0f events/s\n", count, size.PerEvent, size.PerSecond)
		res.Sizes = append(res.Sizes, size)
	}
	res.Ratio = res.Sizes[len(res.Sizes)-1].PerEvent / res.Sizes[0].PerEvent
	return res, nil
}

// fill makes the subscriptions from one number to another, in pieces.
func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	const piece = 100_000
	const query = `
		INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, slot, metadata, announce, expire_time)
		SELECT 'sub_' || lpad(to_hex(n), 16, '0'), 'bench', 'ep_' || n % 100, 'sf-express', 'SF' || lpad(n::text, 12, '0'), n % 64,
			jsonb_build_object('order_id', 'ORDER-' || n), false, now() + interval '90 days'
		FROM generate_series($1::int, $2::int - 1) n`
	for ; from < to; from += piece {
		if _, err := pool.Exec(ctx, query, from, min(from+piece, to)); err != nil {
			return fmt.Errorf("fill in subscriptions: %w", err)
		}
	}
	if _, err := pool.Exec(ctx, `VACUUM (ANALYZE) subscription`); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}

// lookUp looks batches up as the matcher does.
func lookUp(ctx context.Context, pool *pgxpool.Pool, count int, length time.Duration) (MatchingSize, error) {
	matching := pg.NewMatching(pool)
	var took []time.Duration
	const warm = 20
	for until := time.Now().Add(length); len(took) < 2*warm || time.Now().Before(until); {
		waybills := make([]track.Waybill, lookupBatch)
		for i := range waybills {
			n := rand.IntN(count) //nolint:gosec // any will do
			if i%2 == 1 {
				n += 1_000_000_000 // nobody's
			}
			waybills[i] = track.Waybill{Carrier: "sf-express", Number: track.Number(fmt.Sprintf("SF%012d", n))}
		}
		began := time.Now()
		found, err := matching.Of(ctx, waybills)
		if err != nil {
			return MatchingSize{}, err
		}
		took = append(took, time.Since(began))
		if len(found) == 0 {
			return MatchingSize{}, errors.New("nothing was found")
		}
	}
	took = took[warm:]
	slices.Sort(took)
	median := took[len(took)/2]
	perEvent := float64(median.Nanoseconds()) / lookupBatch / 1000
	if err := byIndex(ctx, pool); err != nil {
		return MatchingSize{}, err
	}
	return MatchingSize{Subscriptions: count, PerEvent: perEvent, PerSecond: lookupBatch / median.Seconds()}, nil
}

// byIndex fails when the look-up isn't by its index.
func byIndex(ctx context.Context, pool *pgxpool.Pool) error {
	plan, err := pg.NewMatching(pool).ExplainOf(ctx, []track.Waybill{{Carrier: "sf-express", Number: "SF000000000001"}})
	if err != nil {
		return err
	}
	if !strings.Contains(plan, "subscription_live_once") || strings.Contains(plan, "Seq Scan on subscription") {
		return fmt.Errorf("the look-up isn't by the index subscription_live_once:\n%s", plan)
	}
	return nil
}
