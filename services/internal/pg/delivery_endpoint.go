package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
)

// Deliveries is what delivery reads and writes.
type Deliveries struct{ pool *pgxpool.Pool }

// NewDeliveries uses a pool.
func NewDeliveries(pool *pgxpool.Pool) *Deliveries { return &Deliveries{pool: pool} }

// Acquire is [Acquire] with the store's pool.
func (d *Deliveries) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (Lease, bool, error) {
	return Acquire(ctx, d.pool, name, owner, ttl)
}

// Release is [Lease.Release] with the store's pool.
func (d *Deliveries) Release(ctx context.Context, l Lease) error { return l.Release(ctx, d.pool) }

// DeliveryEndpoint is an endpoint as far as delivery needs it. Its secret is in
// the clear: keep it from logs.
type DeliveryEndpoint struct {
	ID          string
	URL         string
	Secret      string
	MaxInFlight int
	Timeout     time.Duration
	RetryPolicy []byte // JSON, or nil
	State       int16
}

// Endpoints reads endpoints, deleted ones included. One that doesn't exist is
// absent.
func (d *Deliveries) Endpoints(ctx context.Context, ids []string) ([]DeliveryEndpoint, error) {
	const query = `
		SELECT id, url, secret, max_in_flight, timeout, retry_policy::text, state
		FROM endpoint WHERE id = ANY($1)`
	rows, err := d.pool.Query(ctx, query, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d endpoints: %w", len(ids), err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e DeliveryEndpoint, err error) {
		return e, row.Scan(&e.ID, &e.URL, &e.Secret, &e.MaxInFlight, &e.Timeout, &e.RetryPolicy, &e.State)
	})
	if err != nil {
		return nil, fmt.Errorf("read %d endpoints: %w", len(ids), err)
	}
	return list, nil
}

// SubscriptionStates reads the states of subscriptions. One that doesn't exist
// is absent.
func (d *Deliveries) SubscriptionStates(ctx context.Context, ids []string) (map[string]int16, error) {
	rows, err := d.pool.Query(ctx, `SELECT id, state FROM subscription WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read the states of %d subscriptions: %w", len(ids), err)
	}
	states := make(map[string]int16, len(ids))
	var id string
	var state int16
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		states[id] = state
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the states of %d subscriptions: %w", len(ids), err)
	}
	return states, nil
}

// OwedEndpoints lists the endpoints of some slots that have rows, parked ones
// included.
func (d *Deliveries) OwedEndpoints(ctx context.Context, slots []subject.Slot) ([]string, error) {
	numbers := make([]int16, len(slots))
	for i, s := range slots {
		numbers[i] = int16(s)
	}
	rows, err := d.pool.Query(ctx, `SELECT DISTINCT endpoint_id FROM owed_push WHERE slot = ANY($1)`, numbers)
	if err != nil {
		return nil, fmt.Errorf("list the endpoints that are owed: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the endpoints that are owed: %w", err)
	}
	return ids, nil
}

// SaveFloor records up to where a shard has acknowledged everything, and returns
// the lowest floor of all shards, 0 while one hasn't recorded any.
func (d *Deliveries) SaveFloor(ctx context.Context, shard, shards int, floor uint64) (uint64, error) {
	const query = `
		WITH mine AS (
			INSERT INTO push_floor AS f (shard, floor) VALUES ($1, $3)
			ON CONFLICT (shard) DO UPDATE SET floor = excluded.floor
			RETURNING floor
		)
		SELECT CASE WHEN count(f.floor) < $2 - 1 THEN 0 ELSE least($3, min(f.floor)) END
		FROM push_floor f WHERE f.shard < $2 AND f.shard <> $1`
	var lowest int64
	if err := d.pool.QueryRow(ctx, query, shard, shards, int64(floor)).Scan(&lowest); err != nil {
		return 0, fmt.Errorf("save the floor of shard %d: %w", shard, err)
	}
	return uint64(lowest), nil
}
