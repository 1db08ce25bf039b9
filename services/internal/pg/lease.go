package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrLeaseLost says that somebody else owns the lease by now: nothing of the
// transaction was written.
var ErrLeaseLost = errors.New("the lease has another owner")

// Lease is the ownership of a shard. Its epoch fences: [Lease.Check] inside a
// transaction makes the commit fail once the lease has passed on.
type Lease struct {
	Name  string
	Owner string
	Epoch int64
}

// Acquire takes the lease when it is free, expired, or already owner's, for ttl
// by the database's clock. ok is false when somebody else holds it. A lease
// that stays with its owner keeps its epoch.
func Acquire(ctx context.Context, pool *pgxpool.Pool, name, owner string, ttl time.Duration) (l Lease, ok bool, err error) {
	const query = `
		INSERT INTO lease AS l (name, owner, epoch, expire_time)
		VALUES ($1, $2, 1, clock_timestamp() + $3)
		ON CONFLICT (name) DO UPDATE SET
			owner = excluded.owner,
			epoch = l.epoch + CASE WHEN l.owner = excluded.owner THEN 0 ELSE 1 END,
			expire_time = excluded.expire_time
		WHERE l.owner = excluded.owner OR l.expire_time < clock_timestamp()
		RETURNING epoch`
	l = Lease{Name: name, Owner: owner}
	err = pool.QueryRow(ctx, query, name, owner, ttl).Scan(&l.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return l, true, nil
}

// Release gives the lease up, so that the next owner need not wait for it to
// expire.
func (l Lease) Release(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `UPDATE lease SET expire_time = '-infinity', owner = '' WHERE name = $1 AND owner = $2 AND epoch = $3`, l.Name, l.Owner, l.Epoch)
	if err != nil {
		return fmt.Errorf("release lease %s: %w", l.Name, err)
	}
	return nil
}

// Check fails with [ErrLeaseLost] unless the lease is still this one. The row
// stays locked until tx ends, so the lease can't pass on before the commit.
func (l Lease) Check(ctx context.Context, tx pgx.Tx) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM lease WHERE name = $1 AND owner = $2 AND epoch = $3 FOR SHARE`, l.Name, l.Owner, l.Epoch).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("check lease %s: %w", l.Name, err)
	}
	return nil
}

// Epochs are those of leases named by a prefix and a number, by number.
func Epochs(ctx context.Context, pool *pgxpool.Pool, prefix string) (map[uint32]uint64, error) {
	const query = `SELECT substr(name, length($1) + 1)::bigint, epoch FROM lease WHERE starts_with(name, $1) AND substr(name, length($1) + 1) ~ '^[0-9]{1,4}$'`
	rows, err := pool.Query(ctx, query, prefix)
	if err != nil {
		return nil, fmt.Errorf("read the epochs of %s: %w", prefix, err)
	}
	epochs := map[uint32]uint64{}
	var number uint32
	var epoch uint64
	if _, err := pgx.ForEachRow(rows, []any{&number, &epoch}, func() error { epochs[number] = epoch; return nil }); err != nil {
		return nil, fmt.Errorf("read the epochs of %s: %w", prefix, err)
	}
	return epochs, nil
}
