package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNoFeedUser says that there is no such user of a feed.
var ErrNoFeedUser = errors.New("there is no such feed user")

// ErrFeedUserRevoked says that a user was revoked.
var ErrFeedUserRevoked = errors.New("the feed user is revoked")

// FeedUser is who may read a tenant's feed.
type FeedUser struct {
	ID, TenantID, DisplayName string
	PublicKey                 string
	CreateTime, RotateTime    time.Time
	ExpireTime, RevokeTime    *time.Time
}

const feedUserColumns = `id, tenant_id, display_name, public_key, create_time, rotate_time, expire_time, revoke_time`

func scanFeedUser(row pgx.CollectableRow) (FeedUser, error) {
	var u FeedUser
	err := row.Scan(&u.ID, &u.TenantID, &u.DisplayName, &u.PublicKey, &u.CreateTime, &u.RotateTime, &u.ExpireTime, &u.RevokeTime)
	return u, err
}

// FeedAccount is what NATS is to know of a tenant's account.
type FeedAccount struct {
	TenantID string
	Enabled  bool
	// Revoked keys, and when they were.
	Revoked map[string]time.Time
}

// Feeds are the users of tenants' feeds.
type Feeds struct{ pool *pgxpool.Pool }

// NewFeeds uses a pool.
func NewFeeds(pool *pgxpool.Pool) *Feeds { return &Feeds{pool: pool} }

// Create stores a new user, or returns [ErrNoTenant].
func (s *Feeds) Create(ctx context.Context, u FeedUser, audit AuditEvent) error {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		const insert = `
			INSERT INTO feed_user (id, tenant_id, display_name, public_key, create_time, rotate_time, expire_time)
			SELECT $1, $2, $3, $4, $5, $5, $6 WHERE EXISTS (SELECT 1 FROM tenant WHERE id = $2)`
		tag, err := tx.Exec(ctx, insert, u.ID, u.TenantID, u.DisplayName, u.PublicKey, u.CreateTime, u.ExpireTime)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoTenant
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return fmt.Errorf("create feed user: %w", err)
	}
	return nil
}

// List reads a tenant's users with ids below before, or from the newest on if it is
// empty, newest first.
func (s *Feeds) List(ctx context.Context, tenant, before string, limit int) ([]FeedUser, error) {
	const query = `SELECT ` + feedUserColumns + ` FROM feed_user WHERE tenant_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`
	rows, err := s.pool.Query(ctx, query, tenant, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list feed users: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanFeedUser)
	if err != nil {
		return nil, fmt.Errorf("list feed users: %w", err)
	}
	return list, nil
}

// Rotate gives a user another key and revokes the one before, or returns
// [ErrNoFeedUser] or [ErrFeedUserRevoked]. change gets the row, locked, and sets
// the key and when it ceases.
func (s *Feeds) Rotate(ctx context.Context, tenant, id string, now time.Time, audit AuditEvent, change func(*FeedUser) error) (FeedUser, error) {
	u, err := s.update(ctx, tenant, id, func(tx pgx.Tx, u *FeedUser) error {
		if u.RevokeTime != nil {
			return ErrFeedUserRevoked
		}
		if err := revokeFeedKey(ctx, tx, u, now); err != nil {
			return err
		}
		if err := change(u); err != nil {
			return err
		}
		u.RotateTime = now
		if _, err := tx.Exec(ctx, `UPDATE feed_user SET public_key = $2, expire_time = $3, rotate_time = $4 WHERE id = $1`, id, u.PublicKey, u.ExpireTime, now); err != nil {
			return err
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return FeedUser{}, fmt.Errorf("rotate feed user %s: %w", id, err)
	}
	return u, nil
}

// Revoke ends a user, or returns [ErrNoFeedUser]. One that is revoked stays so.
func (s *Feeds) Revoke(ctx context.Context, tenant, id string, now time.Time, audit AuditEvent) (FeedUser, error) {
	u, err := s.update(ctx, tenant, id, func(tx pgx.Tx, u *FeedUser) error {
		if u.RevokeTime != nil {
			return nil
		}
		if err := revokeFeedKey(ctx, tx, u, now); err != nil {
			return err
		}
		u.RevokeTime = &now
		if _, err := tx.Exec(ctx, `UPDATE feed_user SET revoke_time = $2 WHERE id = $1`, id, now); err != nil {
			return err
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return FeedUser{}, fmt.Errorf("revoke feed user %s: %w", id, err)
	}
	return u, nil
}

func (s *Feeds) update(ctx context.Context, tenant, id string, work func(tx pgx.Tx, u *FeedUser) error) (u FeedUser, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+feedUserColumns+` FROM feed_user WHERE id = $1 AND tenant_id = $2 FOR UPDATE`, id, tenant)
		if err != nil {
			return err
		}
		u, err = pgx.CollectExactlyOneRow(rows, scanFeedUser)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoFeedUser
		}
		if err != nil {
			return err
		}
		return work(tx, &u)
	})
	return u, err
}

func revokeFeedKey(ctx context.Context, tx pgx.Tx, u *FeedUser, now time.Time) error {
	const insert = `INSERT INTO feed_revoked_key (public_key, tenant_id, revoke_time, expire_time) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	_, err := tx.Exec(ctx, insert, u.PublicKey, u.TenantID, now, u.ExpireTime)
	return err
}

// Account reads what NATS is to know of a tenant, or returns [ErrNoTenant].
func (s *Feeds) Account(ctx context.Context, tenant string) (FeedAccount, error) {
	list, err := s.accounts(ctx, `id = $1`, tenant)
	if err == nil && len(list) == 0 {
		// As an endpoint does: without keys a tenant begins with its first use.
		if err = InTx(ctx, s.pool, func(tx pgx.Tx) error { return ensureTenant(ctx, tx, tenant) }); err == nil {
			list, err = s.accounts(ctx, `id = $1`, tenant)
		}
	}
	if err == nil && len(list) == 0 {
		err = ErrNoTenant
	}
	if err != nil {
		return FeedAccount{}, fmt.Errorf("read the feed account of tenant %s: %w", tenant, err)
	}
	return list[0], nil
}

// Accounts reads what NATS is to know of all tenants that have a feed.
func (s *Feeds) Accounts(ctx context.Context) ([]FeedAccount, error) {
	list, err := s.accounts(ctx, `id IN (SELECT tenant_id FROM feed_user UNION SELECT tenant_id FROM endpoint WHERE url = 'feed:' AND delete_time IS NULL)`)
	if err != nil {
		return nil, fmt.Errorf("read feed accounts: %w", err)
	}
	return list, nil
}

func (s *Feeds) accounts(ctx context.Context, where string, args ...any) ([]FeedAccount, error) {
	query := `
		SELECT t.id, t.state = 1, coalesce(array_agg(k.public_key) FILTER (WHERE k.public_key IS NOT NULL), '{}'),
			coalesce(array_agg(k.revoke_time) FILTER (WHERE k.public_key IS NOT NULL), '{}')
		FROM (SELECT * FROM tenant WHERE ` + where + `) t
		LEFT JOIN feed_revoked_key k ON k.tenant_id = t.id AND (k.expire_time IS NULL OR k.expire_time > now())
		GROUP BY t.id, t.state ORDER BY t.id`
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (FeedAccount, error) {
		a := FeedAccount{Revoked: map[string]time.Time{}}
		var keys []string
		var times []time.Time
		err := row.Scan(&a.TenantID, &a.Enabled, &keys, &times)
		for i, k := range keys {
			a.Revoked[k] = times[i]
		}
		return a, err
	})
}
