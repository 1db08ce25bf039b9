package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SpentPushes is what a tenant has used of its daily pushes.
type SpentPushes struct {
	Pushes int64
	Quota  int64 // 0 means any number
}

// AddPushes adds pushes of tenants on a day to those noted before, and tells the
// sums. Tenants that don't exist are absent.
func (m *Matching) AddPushes(ctx context.Context, day time.Time, pushes map[string]int64) (map[string]SpentPushes, error) {
	ids, counts := make([]string, 0, len(pushes)), make([]int64, 0, len(pushes))
	for id, n := range pushes {
		ids, counts = append(ids, id), append(counts, n)
	}
	const query = `
		WITH x AS (SELECT * FROM unnest($2::text[], $3::bigint[]) AS x (id, pushes)),
		added AS (
			INSERT INTO usage_day AS u (tenant_id, day, pushes)
			SELECT t.id, $1, x.pushes FROM x JOIN tenant t ON t.id = x.id WHERE x.pushes > 0 ORDER BY t.id
			ON CONFLICT (tenant_id, day) DO UPDATE SET pushes = u.pushes + excluded.pushes
			RETURNING tenant_id, pushes
		)
		SELECT t.id, coalesce(a.pushes, u.pushes, 0), t.daily_pushes
		FROM x JOIN tenant t ON t.id = x.id LEFT JOIN added a ON a.tenant_id = t.id LEFT JOIN usage_day u ON u.tenant_id = t.id AND u.day = $1`
	rows, err := m.pool.Query(ctx, query, day, ids, counts)
	if err != nil {
		return nil, fmt.Errorf("note the pushes of %d tenants: %w", len(pushes), err)
	}
	out := make(map[string]SpentPushes, len(pushes))
	var id string
	var s SpentPushes
	if _, err := pgx.ForEachRow(rows, []any{&id, &s.Pushes, &s.Quota}, func() error {
		out[id] = s
		return nil
	}); err != nil {
		return nil, fmt.Errorf("note the pushes of %d tenants: %w", len(pushes), err)
	}
	return out, nil
}

// Raise stores an operational event of a tenant. One that is on its way already is
// left alone.
func (m *Matching) Raise(ctx context.Context, e *OpsEvent) error {
	const query = `INSERT INTO ops_event (id, slot, tenant_id, kind, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	if _, err := m.pool.Exec(ctx, query, e.ID, e.Slot, e.TenantID, e.Kind, e.Body); err != nil {
		return fmt.Errorf("raise an operational event: %w", err)
	}
	return nil
}

// holdsSettle is how long it may take until all matchers know a new quota.
const holdsSettle = 3 * time.Second

// releaseHeld has what is held back of a tenant looked at anew, once its new quota
// is known to all.
func releaseHeld(ctx context.Context, tx pgx.Tx, tenant string) error {
	// Relies on subscription_live_of_tenant.
	const query = `UPDATE subscription SET due_time = least(due_time, now() + $2::interval) WHERE tenant_id = $1 AND state IN (1, 2) AND due_time IS NOT NULL`
	_, err := tx.Exec(ctx, query, tenant, holdsSettle)
	return err
}
