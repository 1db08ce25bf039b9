package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/track"
)

// ParkedFilter says which of a tenant's parked pushes. Empty fields don't
// restrict.
type ParkedFilter struct {
	SubscriptionID string
	// Covers is a revision that the push has.
	Covers      track.Revision
	EndpointID  string
	Waybill     track.Waybill
	Reasons     []string
	From, Until *time.Time // when it was parked: [From, Until)
}

// parked are the conditions on a row o of what is owed and its subscription s.
// What a cancelled subscription was owed is cancelled, not parked.
func (f *ParkedFilter) parked(tenant string) *conditions {
	w := &conditions{}
	w.and("o.tenant_id = ? AND o.park_time IS NOT NULL AND s.state <> 4", tenant)
	if f.SubscriptionID != "" {
		w.and("o.subscription_id = ?", f.SubscriptionID)
	}
	if f.Covers != 0 {
		w.and("o.after_revision < ? AND o.revision >= ?", int64(f.Covers), int64(f.Covers))
	}
	if f.EndpointID != "" {
		w.and("o.endpoint_id = ?", f.EndpointID)
	}
	if f.Waybill != (track.Waybill{}) {
		w.and("o.carrier_code = ? AND o.waybill_number = ?", string(f.Waybill.Carrier), string(f.Waybill.Number))
	}
	if len(f.Reasons) > 0 {
		w.and("o.park_reason = ANY(?)", f.Reasons)
	}
	if f.From != nil {
		w.and("o.park_time >= ?", *f.From)
	}
	if f.Until != nil {
		w.and("o.park_time < ?", *f.Until)
	}
	return w
}

const fromParked = ` FROM owed_push o JOIN subscription s ON s.id = o.subscription_id `

// ParkedPush is a push that no attempt follows by itself.
type ParkedPush struct {
	Push
	ParkTime time.Time
}

// ParkedKey is the place of a push in the list: by the time it was parked, and its
// subscription.
type ParkedKey struct {
	Time           time.Time
	SubscriptionID string
}

// Resending is what the control plane of pushes reads and writes.
type Resending struct{ pool *pgxpool.Pool }

// NewResending uses a pool.
func NewResending(pool *pgxpool.Pool) *Resending { return &Resending{pool: pool} }

// ListParked lists a tenant's parked pushes after a place, the longest parked
// first; nil begins.
func (r *Resending) ListParked(ctx context.Context, tenant string, f *ParkedFilter, after *ParkedKey, limit int) ([]ParkedPush, error) {
	// Relies on owed_push_parked.
	w := f.parked(tenant)
	if after != nil {
		w.and("(o.park_time, o.subscription_id) > (?, ?)", after.Time, after.SubscriptionID)
	}
	most := w.arg(limit)
	query := `SELECT o.subscription_id, o.endpoint_id, o.tenant_id, o.carrier_code, o.waybill_number, o.after_revision, o.revision, o.attempt_count,
			o.last_attempt_time, o.park_reason, o.park_time` + fromParked + `WHERE ` + w.String() + ` ORDER BY o.park_time, o.subscription_id LIMIT ` + most
	rows, err := r.pool.Query(ctx, query, w.args...)
	if err != nil {
		return nil, fmt.Errorf("list parked pushes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ParkedPush, error) {
		p := ParkedPush{Push: Push{State: PushParked}}
		err := row.Scan(&p.SubscriptionID, &p.EndpointID, &p.TenantID, &p.Waybill.Carrier, &p.Waybill.Number, &p.After, &p.Revision, &p.Attempts,
			&p.LastAttempt, &p.ParkReason, &p.ParkTime)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list parked pushes: %w", err)
	}
	return list, nil
}

// ParkedGroup is the parked pushes of one endpoint with one reason.
type ParkedGroup struct {
	EndpointID string
	Reason     string
	Count      int64
	Oldest     time.Time
}

// CountParked counts a tenant's parked pushes, in all and by endpoint and reason:
// the largest groups first, at most limit.
func (r *Resending) CountParked(ctx context.Context, tenant string, f *ParkedFilter, limit int) (all int64, groups []ParkedGroup, err error) {
	w := f.parked(tenant)
	most := w.arg(limit)
	query := `SELECT o.endpoint_id, o.park_reason, count(*) AS n, min(o.park_time), sum(count(*)) OVER ()::bigint` + fromParked +
		`WHERE ` + w.String() + ` GROUP BY o.endpoint_id, o.park_reason ORDER BY n DESC, o.endpoint_id, o.park_reason LIMIT ` + most
	rows, err := r.pool.Query(ctx, query, w.args...)
	if err != nil {
		return 0, nil, fmt.Errorf("count parked pushes: %w", err)
	}
	groups, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (g ParkedGroup, err error) {
		return g, row.Scan(&g.EndpointID, &g.Reason, &g.Count, &g.Oldest, &all)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("count parked pushes: %w", err)
	}
	return all, groups, nil
}

// PushStatistics counts revisions of subscriptions by how they stand, at one
// moment.
type PushStatistics struct {
	Subscriptions                                                         int64
	Accepted, Waiting, InFlight, Pending, Acknowledged, Parked, Cancelled int64
	PendingPushes, ParkedPushes                                           int64
	OldestPending                                                         *time.Time
}

// Statistics counts what a tenant's subscriptions, or those of one endpoint, or
// one, were and are owed. It reads every one of them.
func (r *Resending) Statistics(ctx context.Context, tenant, endpoint, subscription string) (PushStatistics, error) {
	var w conditions
	w.and("s.tenant_id = ?", tenant)
	if endpoint != "" {
		w.and("s.endpoint_id = ?", endpoint)
	}
	if subscription != "" {
		w.and("s.id = ?", subscription)
	}
	// A row may owe again what was acknowledged, a replay: that counts once, as
	// acknowledged.
	query := `
		WITH sub AS (
			SELECT s.state, coalesce(a.revision, 0) AS acknowledged, greatest(s.pushed_revision, coalesce(a.revision, 0), coalesce(o.revision, 0)) AS handed,
				CASE WHEN s.state = 4 THEN 0 ELSE greatest(coalesce(o.revision, 0) - greatest(o.after_revision, coalesce(a.revision, 0)), 0) END AS owed,
				CASE WHEN s.state IN (1, 2) THEN coalesce(w.revision, 0) ELSE 0 END AS newest,
				o.subscription_id IS NOT NULL AND s.state <> 4 AS has_row, o.park_time IS NOT NULL AS parked, o.receive_time
			FROM subscription s
			LEFT JOIN acknowledged a ON a.subscription_id = s.id
			LEFT JOIN owed_push o ON o.subscription_id = s.id
			LEFT JOIN waybill w ON s.state IN (1, 2) AND w.carrier_code = s.carrier_code AND w.waybill_number = s.waybill_number
			WHERE ` + w.String() + `
		)
		SELECT count(*),
			coalesce(sum(greatest(handed, newest)), 0)::bigint,
			coalesce(sum(greatest(newest - handed, 0)), 0)::bigint,
			coalesce(sum(handed - acknowledged - owed) FILTER (WHERE state <> 4), 0)::bigint,
			coalesce(sum(owed) FILTER (WHERE NOT parked), 0)::bigint,
			coalesce(sum(acknowledged), 0)::bigint,
			coalesce(sum(owed) FILTER (WHERE parked), 0)::bigint,
			coalesce(sum(handed - acknowledged) FILTER (WHERE state = 4), 0)::bigint,
			count(*) FILTER (WHERE has_row AND NOT parked),
			count(*) FILTER (WHERE has_row AND parked),
			min(receive_time) FILTER (WHERE has_row AND NOT parked)
		FROM sub`
	var p PushStatistics
	err := r.pool.QueryRow(ctx, query, w.args...).Scan(&p.Subscriptions, &p.Accepted, &p.Waiting, &p.InFlight, &p.Pending, &p.Acknowledged, &p.Parked, &p.Cancelled,
		&p.PendingPushes, &p.ParkedPushes, &p.OldestPending)
	if err != nil {
		return PushStatistics{}, fmt.Errorf("count pushes: %w", err)
	}
	return p, nil
}

// KnowsSubscription is [KnowsSubscription] with the store's pool.
func (r *Resending) KnowsSubscription(ctx context.Context, tenant, id string) (bool, error) {
	return KnowsSubscription(ctx, r.pool, tenant, id)
}

// KnowsEndpoint is [KnowsEndpoint] with the store's pool.
func (r *Resending) KnowsEndpoint(ctx context.Context, tenant, id string) (bool, error) {
	return KnowsEndpoint(ctx, r.pool, tenant, id)
}
