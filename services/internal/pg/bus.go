package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Bus remembers what the bus should hold.
type Bus struct{ pool *pgxpool.Pool }

// NewBus uses a pool.
func NewBus(pool *pgxpool.Pool) *Bus { return &Bus{pool: pool} }

// Streams are the streams that were made, and when.
func (b *Bus) Streams(ctx context.Context) (map[string]time.Time, error) {
	rows, err := b.pool.Query(ctx, `SELECT name, made_time FROM bus_stream`)
	if err != nil {
		return nil, fmt.Errorf("read which streams were made: %w", err)
	}
	made := make(map[string]time.Time)
	var name string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&name, &at}, func() error { made[name] = at.UTC(); return nil }); err != nil {
		return nil, fmt.Errorf("read which streams were made: %w", err)
	}
	return made, nil
}

// RememberStream notes that a stream was made.
func (b *Bus) RememberStream(ctx context.Context, name string, made time.Time) error {
	const query = `INSERT INTO bus_stream VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET made_time = excluded.made_time`
	if _, err := b.pool.Exec(ctx, query, name, made); err != nil {
		return fmt.Errorf("remember that stream %s was made: %w", name, err)
	}
	return nil
}

// Projected are projected waybills that changed since, above after, in the order
// of their keys: f is called for each.
func (b *Bus) Projected(ctx context.Context, after track.Waybill, since time.Time, limit int, f func(track.Waybill, track.Revision)) error {
	const query = `
		SELECT carrier_code, waybill_number, revision FROM waybill
		WHERE (carrier_code, waybill_number) > ($1, $2) AND update_time > $3
		ORDER BY carrier_code, waybill_number LIMIT $4`
	rows, err := b.pool.Query(ctx, query, string(after.Carrier), string(after.Number), since, limit)
	if err != nil {
		return fmt.Errorf("list projected waybills: %w", err)
	}
	var w track.Waybill
	var revision int64
	if _, err := pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number, &revision}, func() error { f(w, track.Revision(revision)); return nil }); err != nil {
		return fmt.Errorf("list projected waybills: %w", err)
	}
	return nil
}
