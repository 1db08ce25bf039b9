package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNoKey says that there is no such key.
var ErrNoKey = errors.New("there is no such key")

// Key is an API key, without its secret.
type Key struct {
	ID          string
	TenantID    string // empty for the platform's
	DisplayName string
	Roles       []int16
	// Hash is the SHA-256 of the secret; PreviousHash that of the one before,
	// taken until PreviousExpireTime; nil if there is none.
	Hash               []byte
	PreviousHash       []byte
	PreviousExpireTime *time.Time
	CreateTime         time.Time
	ExpireTime         *time.Time
	RevokeTime         *time.Time
	RotateTime         *time.Time
	LastUseTime        *time.Time
	// TenantState is that of its tenant; enabled for the platform's.
	TenantState int16
}

const keyColumns = `k.id, coalesce(k.tenant_id, ''), k.display_name, k.roles, k.hash, k.previous_hash, k.previous_expire_time,
	k.create_time, k.expire_time, k.revoke_time, k.rotate_time, k.last_use_time, coalesce(t.state, 1)`

const fromKey = ` FROM api_key k LEFT JOIN tenant t ON t.id = k.tenant_id `

func scanKey(row pgx.CollectableRow) (Key, error) {
	var k Key
	err := row.Scan(&k.ID, &k.TenantID, &k.DisplayName, &k.Roles, &k.Hash, &k.PreviousHash, &k.PreviousExpireTime,
		&k.CreateTime, &k.ExpireTime, &k.RevokeTime, &k.RotateTime, &k.LastUseTime, &k.TenantState)
	return k, err
}

func oneKey(rows pgx.Rows) (Key, error) {
	k, err := pgx.CollectExactlyOneRow(rows, scanKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, ErrNoKey
	}
	return k, err
}

// Keys are the API keys of all tenants and of the platform, whose tenant id is
// empty.
type Keys struct{ pool *pgxpool.Pool }

// NewKeys uses a pool.
func NewKeys(pool *pgxpool.Pool) *Keys { return &Keys{pool: pool} }

func nullable(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Create stores a new key, or returns [ErrNoTenant].
func (s *Keys) Create(ctx context.Context, k Key, audit AuditEvent) error {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		const insert = `
			INSERT INTO api_key (id, tenant_id, display_name, roles, hash, create_time, expire_time)
			SELECT $1, $2, $3, $4, $5, $6, $7 WHERE $2::text IS NULL OR EXISTS (SELECT 1 FROM tenant WHERE id = $2)`
		tag, err := tx.Exec(ctx, insert, k.ID, nullable(k.TenantID), k.DisplayName, k.Roles, k.Hash, k.CreateTime, k.ExpireTime)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoTenant
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return fmt.Errorf("create key: %w", err)
	}
	return nil
}

// Get reads one key, or returns [ErrNoKey].
func (s *Keys) Get(ctx context.Context, tenant, id string) (Key, error) {
	k, err := s.Find(ctx, id)
	if err == nil && k.TenantID != tenant {
		return Key{}, ErrNoKey
	}
	return k, err
}

// Find reads one key, whosever it is, or returns [ErrNoKey].
func (s *Keys) Find(ctx context.Context, id string) (Key, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+keyColumns+fromKey+`WHERE k.id = $1`, id)
	if err != nil {
		return Key{}, fmt.Errorf("read key %s: %w", id, err)
	}
	k, err := oneKey(rows)
	if err != nil {
		return Key{}, fmt.Errorf("read key %s: %w", id, err)
	}
	return k, nil
}

// List reads a tenant's keys with ids below before, or from the newest on if it
// is empty, newest first.
func (s *Keys) List(ctx context.Context, tenant, before string, limit int) ([]Key, error) {
	const query = `SELECT ` + keyColumns + fromKey + `
		WHERE k.tenant_id IS NOT DISTINCT FROM $1 AND ($2 = '' OR k.id < $2)
		ORDER BY k.id DESC LIMIT $3`
	rows, err := s.pool.Query(ctx, query, nullable(tenant), before, limit)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanKey)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return list, nil
}

// Update changes one key: change gets the row, locked, alters its hashes and
// times, and says whether it did. An error of change is returned as it is.
func (s *Keys) Update(ctx context.Context, tenant, id string, audit AuditEvent, change func(*Key) (changed bool, err error)) (Key, error) {
	var k Key
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+keyColumns+fromKey+`WHERE k.id = $1 AND k.tenant_id IS NOT DISTINCT FROM $2 FOR UPDATE OF k`, id, nullable(tenant))
		if err != nil {
			return err
		}
		if k, err = oneKey(rows); err != nil {
			return err
		}
		changed, err := change(&k)
		if err != nil || !changed {
			return err
		}
		const query = `
			UPDATE api_key SET hash = $2, previous_hash = $3, previous_expire_time = $4, revoke_time = $5, rotate_time = $6
			WHERE id = $1`
		if _, err := tx.Exec(ctx, query, id, k.Hash, k.PreviousHash, k.PreviousExpireTime, k.RevokeTime, k.RotateTime); err != nil {
			return err
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return Key{}, fmt.Errorf("change key %s: %w", id, err)
	}
	return k, nil
}

// Used notes when keys were last used.
func (s *Keys) Used(ctx context.Context, last map[string]time.Time) error {
	ids, times := make([]string, 0, len(last)), make([]time.Time, 0, len(last))
	for id, t := range last {
		ids, times = append(ids, id), append(times, t)
	}
	const query = `
		UPDATE api_key k SET last_use_time = greatest(k.last_use_time, x.used)
		FROM (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS u (id, used) ORDER BY id) x WHERE k.id = x.id`
	if _, err := s.pool.Exec(ctx, query, ids, times); err != nil {
		return fmt.Errorf("note the use of %d keys: %w", len(last), err)
	}
	return nil
}
