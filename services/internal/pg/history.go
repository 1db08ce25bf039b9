package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Of says whose pushes and attempts are read: a waybill's, or a subscription's
// when ID is not empty.
type Of struct {
	Waybill  track.Waybill
	TenantID string
	ID       string
}

// condition selects rows with the columns of a waybill and a subscription. It
// uses the first four parameters.
const ofCondition = `($3 = '' AND carrier_code = $1 AND waybill_number = $2 OR $3 <> '' AND subscription_id = $3 AND tenant_id = $4)`

func (o Of) args() []any {
	return []any{string(o.Waybill.Carrier), string(o.Waybill.Number), o.ID, o.TenantID}
}

// The states of a push.
const (
	PushPending      = 1
	PushAcknowledged = 2
	PushParked       = 3
)

// Push is what is known of a push.
type Push struct {
	SubscriptionID string
	EndpointID     string
	TenantID       string
	Waybill        track.Waybill
	After          track.Revision
	Revision       track.Revision
	State          int
	Attempts       int
	LastAttempt    *time.Time
	NextAttempt    *time.Time
	ParkReason     string
}

// PushKey is the place of a push in the list: by revision and subscription, the
// greatest first.
type PushKey struct {
	Revision       track.Revision
	SubscriptionID string
}

// Pushes lists pushes after a place; nil begins. A push that was attempted is in
// the log of attempts; what was not attempted is in the row of what is owed, or
// between the matcher and delivery.
func Pushes(ctx context.Context, pool *pgxpool.Pool, of Of, after *PushKey, limit int) ([]Push, error) {
	const query = `
		WITH tried AS (
			SELECT DISTINCT ON (subscription_id, revision) subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number,
				after_revision, revision, number, attempt_time, outcome
			FROM attempt WHERE ` + ofCondition + `
			ORDER BY subscription_id, revision, number DESC
		), owed AS (
			SELECT * FROM owed_push WHERE ` + ofCondition + `
		), live AS (
			SELECT * FROM (SELECT id AS subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, pushed_revision FROM subscription) s
			WHERE ` + ofCondition + `
		), pushes AS (
			SELECT t.subscription_id, t.endpoint_id, t.tenant_id, t.carrier_code, t.waybill_number, t.after_revision, t.revision,
				CASE WHEN t.outcome = 1 OR coalesce(a.revision, 0) >= t.revision THEN 2
					WHEN o.park_time IS NOT NULL THEN 3 ELSE 1 END AS state,
				t.number AS attempts, t.attempt_time AS last_attempt, CASE WHEN t.outcome <> 1 THEN o.next_attempt_time END AS next_attempt,
				CASE WHEN t.outcome <> 1 THEN coalesce(o.park_reason, '') ELSE '' END AS park_reason
			FROM tried t LEFT JOIN owed o ON o.subscription_id = t.subscription_id AND o.attempt_revision = t.revision
				LEFT JOIN acknowledged a ON a.subscription_id = t.subscription_id
			UNION ALL
			SELECT o.subscription_id, o.endpoint_id, o.tenant_id, o.carrier_code, o.waybill_number, greatest(o.after_revision, o.attempt_revision), o.revision,
				CASE WHEN o.park_time IS NOT NULL THEN 3 ELSE 1 END, 0, NULL, o.next_attempt_time, o.park_reason
			FROM owed o WHERE o.revision > o.attempt_revision
				AND NOT EXISTS (SELECT 1 FROM tried t WHERE t.subscription_id = o.subscription_id AND t.revision = o.revision)
			UNION ALL
			SELECT l.subscription_id, l.endpoint_id, l.tenant_id, l.carrier_code, l.waybill_number, greatest(coalesce(a.revision, 0), coalesce(o.revision, 0)), l.pushed_revision,
				1, 0, NULL, NULL, ''
			FROM live l LEFT JOIN owed o ON o.subscription_id = l.subscription_id LEFT JOIN acknowledged a ON a.subscription_id = l.subscription_id
			WHERE l.pushed_revision > greatest(coalesce(a.revision, 0), coalesce(o.revision, 0))
				AND NOT EXISTS (SELECT 1 FROM tried t WHERE t.subscription_id = l.subscription_id AND t.revision = l.pushed_revision)
		)
		SELECT subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision, state, attempts, last_attempt, next_attempt, park_reason
		FROM pushes WHERE (revision, subscription_id) < ($5, $6)
		ORDER BY revision DESC, subscription_id DESC LIMIT $7`
	key := PushKey{Revision: 1<<63 - 1}
	if after != nil {
		key = *after
	}
	rows, err := pool.Query(ctx, query, append(of.args(), int64(key.Revision), key.SubscriptionID, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list pushes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Push, error) {
		var p Push
		err := row.Scan(&p.SubscriptionID, &p.EndpointID, &p.TenantID, &p.Waybill.Carrier, &p.Waybill.Number, &p.After, &p.Revision, &p.State,
			&p.Attempts, &p.LastAttempt, &p.NextAttempt, &p.ParkReason)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list pushes: %w", err)
	}
	return list, nil
}

// AttemptKey is the place of an attempt in the list: by time and id, the newest
// first.
type AttemptKey struct {
	Time time.Time
	ID   string
}

// Attempts lists attempts after a place; nil begins. pushID of "" means all.
func Attempts(ctx context.Context, pool *pgxpool.Pool, of Of, pushID string, after *AttemptKey, limit int) ([]Attempt, error) {
	const query = `
		SELECT id, push_id, subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision, number,
			attempt_time, duration, outcome, http_status, error_class, error, response_excerpt, next_attempt_time
		FROM attempt
		WHERE ` + ofCondition + ` AND ($5 = '' OR push_id = $5) AND ($6::timestamptz IS NULL OR (attempt_time, id) < ($6, $7))
		ORDER BY attempt_time DESC, id DESC LIMIT $8`
	var at *time.Time
	var id string
	if after != nil {
		at, id = &after.Time, after.ID
	}
	rows, err := pool.Query(ctx, query, append(of.args(), pushID, at, id, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Attempt, error) {
		var a Attempt
		var next *time.Time
		err := row.Scan(&a.ID, &a.PushID, &a.SubscriptionID, &a.EndpointID, &a.TenantID, &a.Waybill.Carrier, &a.Waybill.Number, &a.After, &a.Revision, &a.Number,
			&a.Time, &a.Took, &a.Outcome, &a.HTTPStatus, &a.Class, &a.Error, &a.Excerpt, &next)
		if next != nil {
			a.Next = *next
		}
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return list, nil
}

// Query is what the query service reads and writes.
type Query struct{ pool *pgxpool.Pool }

// NewQuery uses a pool.
func NewQuery(pool *pgxpool.Pool) *Query { return &Query{pool: pool} }

// Traces is [Traces] with the store's pool.
func (q *Query) Traces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	return Traces(ctx, q.pool, waybills)
}

// Project is [Project] with the store's pool.
func (q *Query) Project(ctx context.Context, updates []*trackingv1.TraceUpdate) error {
	return Project(ctx, q.pool, updates)
}

// Pushes is [Pushes] with the store's pool.
func (q *Query) Pushes(ctx context.Context, of Of, after *PushKey, limit int) ([]Push, error) {
	return Pushes(ctx, q.pool, of, after, limit)
}

// Attempts is [Attempts] with the store's pool.
func (q *Query) Attempts(ctx context.Context, of Of, pushID string, after *AttemptKey, limit int) ([]Attempt, error) {
	return Attempts(ctx, q.pool, of, pushID, after, limit)
}
