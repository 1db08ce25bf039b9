package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrQuotaSubscriptions says that the tenant has as many live subscriptions as it
// may have.
var ErrQuotaSubscriptions = errors.New("the tenant has as many subscriptions as it may have")

// Quota is what a tenant may use; 0 means any number.
type Quota struct {
	DailyCalls          int64
	ActiveSubscriptions int64
	CallsPerSecond      int32
	DailyPushes         int64
}

// Spent is what a tenant has used of its daily quota, and what that is.
type Spent struct {
	Calls int64
	Quota Quota
}

// AddCalls adds calls of tenants on a day to those noted before, and tells the
// sums. Tenants that don't exist are absent.
func (s *Tenants) AddCalls(ctx context.Context, day time.Time, calls map[string]int64) (map[string]Spent, error) {
	ids, counts := make([]string, 0, len(calls)), make([]int64, 0, len(calls))
	for id, n := range calls {
		ids, counts = append(ids, id), append(counts, n)
	}
	const query = `
		WITH added AS (
			INSERT INTO usage_day AS u (tenant_id, day, calls)
			SELECT t.id, $1, x.calls FROM unnest($2::text[], $3::bigint[]) AS x (id, calls) JOIN tenant t ON t.id = x.id ORDER BY t.id
			ON CONFLICT (tenant_id, day) DO UPDATE SET calls = u.calls + excluded.calls
			RETURNING tenant_id, calls
		)
		SELECT t.id, a.calls, t.daily_calls, t.active_subscriptions, t.calls_per_second FROM added a JOIN tenant t ON t.id = a.tenant_id`
	rows, err := s.pool.Query(ctx, query, day, ids, counts)
	if err != nil {
		return nil, fmt.Errorf("note the calls of %d tenants: %w", len(calls), err)
	}
	out := make(map[string]Spent, len(calls))
	var id string
	var sp Spent
	if _, err := pgx.ForEachRow(rows, []any{&id, &sp.Calls, &sp.Quota.DailyCalls, &sp.Quota.ActiveSubscriptions, &sp.Quota.CallsPerSecond}, func() error {
		out[id] = sp
		return nil
	}); err != nil {
		return nil, fmt.Errorf("note the calls of %d tenants: %w", len(calls), err)
	}
	return out, nil
}

// Usage reads a tenant's calls and pushes on a day, and its live subscriptions.
func (s *Tenants) Usage(ctx context.Context, id string, day time.Time) (calls, pushes, live int64, err error) {
	// Relies on subscription_live_of_tenant.
	const query = `
		SELECT coalesce((SELECT calls FROM usage_day WHERE tenant_id = $1 AND day = $2), 0),
			coalesce((SELECT pushes FROM usage_day WHERE tenant_id = $1 AND day = $2), 0),
			(SELECT count(*) FROM subscription WHERE tenant_id = $1 AND state IN (1, 2))`
	if err := s.pool.QueryRow(ctx, query, id, day).Scan(&calls, &pushes, &live); err != nil {
		return 0, 0, 0, fmt.Errorf("read the usage of tenant %s: %w", id, err)
	}
	return calls, pushes, live, nil
}

// claim makes room for up to n more subscriptions of a tenant and tells for how
// many there is. The tenant's row stays locked, so that two calls can't have the
// same room. limited is false for a tenant without a quota, which locks nothing.
func claim(ctx context.Context, tx pgx.Tx, tenant string, n int) (room int, limited bool, err error) {
	var quota, counted int64
	const limits = `SELECT active_subscriptions, counted_subscriptions FROM tenant WHERE id = $1 AND active_subscriptions > 0 FOR UPDATE`
	err = tx.QueryRow(ctx, limits, tenant).Scan(&quota, &counted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return n, false, nil
	case err != nil:
		return 0, false, err
	}
	if counted+int64(n) > quota {
		const count = `
			UPDATE tenant SET counted_subscriptions = (SELECT count(*) FROM subscription WHERE tenant_id = $1 AND state IN (1, 2))
			WHERE id = $1 RETURNING counted_subscriptions`
		if err := tx.QueryRow(ctx, count, tenant).Scan(&counted); err != nil {
			return 0, false, err
		}
	}
	return int(min(max(quota-counted, 0), int64(n))), true, nil
}

// claimed takes the room that was used.
func claimed(ctx context.Context, tx pgx.Tx, tenant string, made int) error {
	_, err := tx.Exec(ctx, `UPDATE tenant SET counted_subscriptions = counted_subscriptions + $2 WHERE id = $1`, tenant, made)
	return err
}
