package pg

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// Of says whose pushes and attempts are read: a subscription's when ID is not
// empty, an endpoint's when EndpointID is not, a tenant's when only that is there,
// and else a waybill's. Pushes are read of waybills and subscriptions alone.
type Of struct {
	Waybill    track.Waybill
	TenantID   string
	ID         string
	EndpointID string
	// Only restricts a waybill's to those of one tenant; empty doesn't.
	Only string
}

func (o Of) args() (a, b string) {
	if o.ID != "" {
		return o.TenantID, o.ID
	}
	return string(o.Waybill.Carrier), string(o.Waybill.Number)
}

// The states of a push.
const (
	PushPending      = 1
	PushAcknowledged = 2
	PushParked       = 3
)

// ParkedCancelled is why a push stands still whose subscription was cancelled
// before the push was acknowledged.
const ParkedCancelled = "subscription_cancelled"

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
// the log of attempts, for as long as that is kept; what was not attempted is in
// the row of what is owed, or between the matcher and delivery, and is one push.
func Pushes(ctx context.Context, pool *pgxpool.Pool, of Of, after *PushKey, limit int) ([]Push, error) {
	// No index leads from a waybill to its ended subscriptions; but tenants are
	// few, and subscription_of_number leads there from each.
	from := `tenant t JOIN subscription s ON s.tenant_id = t.id LEFT JOIN acknowledged a ON a.subscription_id = s.id
		WHERE s.carrier_code = $1 AND s.waybill_number = $2 AND ($6::text = '' OR t.id = $6)`
	if of.ID != "" {
		from = `subscription s LEFT JOIN acknowledged a ON a.subscription_id = s.id WHERE s.tenant_id = $1 AND s.id = $2`
	}
	query := `
		WITH sub AS (
			SELECT s.id, s.endpoint_id, s.tenant_id, s.carrier_code, s.waybill_number, s.state, s.pushed_revision, coalesce(a.revision, 0) AS acknowledged
			FROM ` + from + `
		), owed AS (
			SELECT o.* FROM sub JOIN owed_push o ON o.subscription_id = sub.id
		), tried AS (
			SELECT t.subscription_id, t.revision, max(t.after_revision) AS after_revision, count(*) AS attempts, max(t.attempt_time) AS last
			FROM sub JOIN attempt t ON t.subscription_id = sub.id
			GROUP BY t.subscription_id, t.revision
		), flying AS (
			SELECT sub.id AS subscription_id, sub.pushed_revision AS revision, greatest(sub.acknowledged,
				(SELECT o.revision FROM owed o WHERE o.subscription_id = sub.id),
				(SELECT max(t.revision) FROM tried t WHERE t.subscription_id = sub.id)) AS after_revision
			FROM sub WHERE sub.state <> 4
		), known AS (
			SELECT subscription_id, revision, after_revision, attempts, last FROM tried
			UNION ALL
			SELECT subscription_id, attempt_revision, after_revision, attempt_count, last_attempt_time FROM owed WHERE attempt_count > 0
			UNION ALL
			SELECT subscription_id, revision, greatest(after_revision, attempt_revision), 0, NULL FROM owed WHERE revision > attempt_revision
			UNION ALL
			SELECT subscription_id, revision, after_revision, 0, NULL FROM flying WHERE revision > after_revision
		), push AS (
			SELECT subscription_id, revision, max(after_revision) AS after_revision, max(attempts) AS attempts, max(last) AS last
			FROM known GROUP BY subscription_id, revision
		), standing AS (
			-- A push that a greater one took in stands as that does.
			SELECT sub.*, p.after_revision, p.revision, p.attempts, p.last,
				CASE
					WHEN p.revision <= sub.acknowledged THEN 2
					WHEN sub.state = 4 OR o.park_time IS NOT NULL AND p.revision <= o.revision THEN 3
					ELSE 1
				END AS stands,
				CASE WHEN sub.state = 4 THEN '` + ParkedCancelled + `' ELSE o.park_reason END AS reason,
				CASE WHEN p.revision = CASE WHEN o.attempt_count > 0 THEN o.attempt_revision ELSE o.revision END THEN o.next_attempt_time END AS next
			FROM push p JOIN sub ON sub.id = p.subscription_id LEFT JOIN owed o ON o.subscription_id = sub.id
		)
		SELECT id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision, stands, attempts, last,
			CASE WHEN stands = 1 THEN next END, CASE WHEN stands = 3 THEN reason ELSE '' END
		FROM standing WHERE (revision, id) < ($3, $4)
		ORDER BY revision DESC, id DESC LIMIT $5`
	key := PushKey{Revision: 1<<63 - 1}
	if after != nil {
		key = *after
	}
	a, b := of.args()
	args := []any{a, b, int64(key.Revision), key.SubscriptionID, limit}
	if of.ID == "" {
		args = append(args, of.Only)
	}
	rows, err := pool.Query(ctx, query, args...)
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

// endOfTime is after every attempt.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// AttemptFilter says which attempts to list. Empty fields don't restrict.
type AttemptFilter struct {
	PushID      string
	Outcomes    []int16
	Class       string
	HTTPStatus  int32
	From, Until *time.Time // [From, Until)
}

// Attempts lists attempts after a place; nil begins.
func Attempts(ctx context.Context, pool *pgxpool.Pool, of Of, f AttemptFilter, after *AttemptKey, limit int) ([]Attempt, error) {
	key := AttemptKey{Time: endOfTime}
	if after != nil {
		key = *after
	}
	// Each of these yields the newest of every subscription or endpoint from an
	// index, so that only few rows are sorted.
	var from, owner string
	var args []any
	switch {
	case of.ID != "":
		from, owner, args = `(SELECT id FROM subscription WHERE tenant_id = $1 AND id = $2)`, "subscription_id", []any{of.TenantID, of.ID}
	case of.EndpointID != "":
		from, owner, args = `(SELECT id FROM endpoint WHERE tenant_id = $1 AND id = $2)`, "endpoint_id", []any{of.TenantID, of.EndpointID}
	case of.TenantID != "":
		from, owner, args = `(SELECT id FROM endpoint WHERE tenant_id = $1)`, "endpoint_id", []any{of.TenantID}
	default:
		// As in Pushes.
		from = `(SELECT s.id FROM tenant t JOIN subscription s ON s.tenant_id = t.id WHERE s.carrier_code = $1 AND s.waybill_number = $2
			AND ($3::text = '' OR t.id = $3))`
		owner, args = "subscription_id", []any{string(of.Waybill.Carrier), string(of.Waybill.Number), of.Only}
	}
	var where conditions
	where.args = args
	where.and(owner + " = o.id")
	where.and("attempt_time <= ? AND (attempt_time < ? OR id < ?)", key.Time, key.Time, key.ID)
	if f.PushID != "" {
		where.and("push_id = ?", f.PushID)
	}
	if len(f.Outcomes) > 0 {
		where.and("outcome = ANY(?)", f.Outcomes)
		if !slices.Contains(f.Outcomes, AttemptAcknowledged) {
			where.and("outcome <> 1") // attempt_failed
		}
	}
	if f.Class != "" {
		where.and("error_class = ?", f.Class)
	}
	if f.HTTPStatus != 0 {
		where.and("http_status = ?", f.HTTPStatus)
	}
	if f.From != nil {
		where.and("attempt_time >= ?", *f.From)
	}
	if f.Until != nil {
		where.and("attempt_time < ?", *f.Until)
	}
	const order = ` ORDER BY attempt_time DESC, id DESC LIMIT `
	most := where.arg(limit)
	query := `
		SELECT a.* FROM ` + from + ` o CROSS JOIN LATERAL (
			SELECT ` + attemptColumns + ` FROM attempt WHERE ` + where.String() + order + most + `
		) a` + order + most
	rows, err := pool.Query(ctx, query, where.args...)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAttempt)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return list, nil
}

func scanAttempt(row pgx.CollectableRow) (Attempt, error) {
	var a Attempt
	var next *time.Time
	var dns, connect, tls, firstByte int64
	err := row.Scan(&a.ID, &a.PushID, &a.SubscriptionID, &a.EndpointID, &a.TenantID, &a.Waybill.Carrier, &a.Waybill.Number, &a.After, &a.Revision, &a.Number,
		&a.Time, &a.Took, &a.Outcome, &a.HTTPStatus, &a.Class, &a.Error, &a.Excerpt, &next, &dns, &connect, &tls, &firstByte, &a.Phases.Reused)
	if next != nil {
		a.Next = *next
	}
	p := &a.Phases
	for _, of := range []struct {
		phase  *time.Duration
		micros int64
	}{{&p.DNS, dns}, {&p.Connect, connect}, {&p.TLS, tls}, {&p.FirstByte, firstByte}} {
		*of.phase = time.Duration(of.micros) * time.Microsecond
	}
	return a, err
}

// KnowsSubscription says whether a tenant has, or had, a subscription.
func KnowsSubscription(ctx context.Context, pool *pgxpool.Pool, tenant, id string) (known bool, err error) {
	return knows(ctx, pool, "subscription", tenant, id)
}

// KnowsEndpoint says whether a tenant has, or had, an endpoint.
func KnowsEndpoint(ctx context.Context, pool *pgxpool.Pool, tenant, id string) (known bool, err error) {
	return knows(ctx, pool, "endpoint", tenant, id)
}

func knows(ctx context.Context, pool *pgxpool.Pool, table, tenant, id string) (known bool, err error) {
	query := `SELECT EXISTS (SELECT 1 FROM ` + table + ` WHERE tenant_id = $1 AND id = $2)`
	if err := pool.QueryRow(ctx, query, tenant, id).Scan(&known); err != nil {
		return false, fmt.Errorf("look up %s %s: %w", table, id, err)
	}
	return known, nil
}

// Subscribed are those of some waybills that a tenant has, or had, a
// subscription to.
func (q *Query) Subscribed(ctx context.Context, tenant string, waybills []track.Waybill) (map[track.Waybill]bool, error) {
	carriers, numbers := make([]string, len(waybills)), make([]string, len(waybills))
	for i, w := range waybills {
		carriers[i], numbers[i] = string(w.Carrier), string(w.Number)
	}
	// Relies on subscription_of_number.
	const query = `
		SELECT k.carrier_code, k.waybill_number FROM unnest($2::text[], $3::text[]) AS k (carrier_code, waybill_number)
		WHERE EXISTS (SELECT 1 FROM subscription s WHERE s.tenant_id = $1 AND s.waybill_number = k.waybill_number AND s.carrier_code = k.carrier_code)`
	rows, err := q.pool.Query(ctx, query, tenant, carriers, numbers)
	if err != nil {
		return nil, fmt.Errorf("look up the subscriptions to %d waybills: %w", len(waybills), err)
	}
	found := make(map[track.Waybill]bool, len(waybills))
	var w track.Waybill
	if _, err := pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number}, func() error {
		found[w] = true
		return nil
	}); err != nil {
		return nil, fmt.Errorf("look up the subscriptions to %d waybills: %w", len(waybills), err)
	}
	return found, nil
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
func (q *Query) Project(ctx context.Context, traces []*wire.Split) error {
	return Project(ctx, q.pool, traces)
}

// Pushes is [Pushes] with the store's pool.
func (q *Query) Pushes(ctx context.Context, of Of, after *PushKey, limit int) ([]Push, error) {
	return Pushes(ctx, q.pool, of, after, limit)
}

// Attempts is [Attempts] with the store's pool.
func (q *Query) Attempts(ctx context.Context, of Of, f AttemptFilter, after *AttemptKey, limit int) ([]Attempt, error) {
	return Attempts(ctx, q.pool, of, f, after, limit)
}

// KnowsEndpoint is [KnowsEndpoint] with the store's pool.
func (q *Query) KnowsEndpoint(ctx context.Context, tenant, id string) (bool, error) {
	return KnowsEndpoint(ctx, q.pool, tenant, id)
}

// KnowsSubscription is [KnowsSubscription] with the store's pool.
func (q *Query) KnowsSubscription(ctx context.Context, tenant, id string) (bool, error) {
	return KnowsSubscription(ctx, q.pool, tenant, id)
}
