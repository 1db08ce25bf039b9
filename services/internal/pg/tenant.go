package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/auth"
)

// Errors about tenants.
var (
	// ErrNoTenant says that there is no such tenant.
	ErrNoTenant = errors.New("there is no such tenant")
	// ErrTenantExists says that the id is taken.
	ErrTenantExists = errors.New("there is such a tenant already")
)

// The states of a tenant.
const (
	TenantEnabled  = 1
	TenantDisabled = 2
)

// Tenant is a row of the table.
type Tenant struct {
	ID          string
	DisplayName string
	State       int16
	Version     int64 // rises with every change
	CreateTime  time.Time
	UpdateTime  time.Time
	Quota       Quota
}

const tenantColumns = `id, display_name, state, version, create_time, update_time, daily_calls, active_subscriptions, calls_per_second, daily_pushes`

func scanTenant(row pgx.CollectableRow) (Tenant, error) {
	var t Tenant
	err := row.Scan(&t.ID, &t.DisplayName, &t.State, &t.Version, &t.CreateTime, &t.UpdateTime, &t.Quota.DailyCalls, &t.Quota.ActiveSubscriptions, &t.Quota.CallsPerSecond, &t.Quota.DailyPushes)
	return t, err
}

func oneTenant(rows pgx.Rows) (Tenant, error) {
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return Tenant{}, ErrNoTenant
	}
	return t, err
}

// Tenants are those who use Posthaste.
type Tenants struct{ pool *pgxpool.Pool }

// NewTenants uses a pool.
func NewTenants(pool *pgxpool.Pool) *Tenants { return &Tenants{pool: pool} }

// Create stores a new tenant, or returns [ErrTenantExists]. A request that was
// answered before gives the tenant it made then, or [ErrRequestReused].
func (s *Tenants) Create(ctx context.Context, t Tenant, r Request, audit AuditEvent) (made Tenant, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		id, hash := r.columns()
		const insert = `
			INSERT INTO tenant (id, display_name, create_time, update_time, request_id, request_hash, daily_calls, active_subscriptions, calls_per_second, daily_pushes)
			VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
			RETURNING ` + tenantColumns
		rows, err := tx.Query(ctx, insert, t.ID, t.DisplayName, t.CreateTime, id, hash, t.Quota.DailyCalls, t.Quota.ActiveSubscriptions, t.Quota.CallsPerSecond, t.Quota.DailyPushes)
		if err != nil {
			return err
		}
		made, err = oneTenant(rows)
		if !errors.Is(err, ErrNoTenant) {
			if err != nil {
				return err
			}
			return Audit(ctx, tx, audit)
		}
		made, err = tenantOfRequest(ctx, tx, r)
		return err
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("create tenant %s: %w", t.ID, err)
	}
	return made, nil
}

func tenantOfRequest(ctx context.Context, tx pgx.Tx, r Request) (Tenant, error) {
	if r.ID == "" {
		return Tenant{}, ErrTenantExists
	}
	var hash []byte
	err := tx.QueryRow(ctx, `SELECT request_hash FROM tenant WHERE request_id = $1`, r.ID).Scan(&hash)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Tenant{}, ErrTenantExists
	case err != nil:
		return Tenant{}, err
	case !bytes.Equal(hash, r.Hash):
		return Tenant{}, ErrRequestReused
	}
	rows, err := tx.Query(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE request_id = $1`, r.ID)
	if err != nil {
		return Tenant{}, err
	}
	return oneTenant(rows)
}

// Get reads one tenant, or returns [ErrNoTenant].
func (s *Tenants) Get(ctx context.Context, id string) (Tenant, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE id = $1`, id)
	if err != nil {
		return Tenant{}, fmt.Errorf("read tenant %s: %w", id, err)
	}
	t, err := oneTenant(rows)
	if err != nil {
		return Tenant{}, fmt.Errorf("read tenant %s: %w", id, err)
	}
	return t, nil
}

// List reads tenants with ids above after, by id.
func (s *Tenants) List(ctx context.Context, after string, limit int) ([]Tenant, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanTenant)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return list, nil
}

// Update changes one tenant: change gets the row, locked, alters it, and says
// whether it did. An error of change is returned as it is.
func (s *Tenants) Update(ctx context.Context, id string, now time.Time, audit AuditEvent, change func(*Tenant) (changed bool, err error)) (Tenant, error) {
	var t Tenant
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if t, err = oneTenant(rows); err != nil {
			return err
		}
		pushes := t.Quota.DailyPushes
		changed, err := change(&t)
		if err != nil || !changed {
			return err
		}
		const query = `
			UPDATE tenant SET display_name = $2, state = $3, update_time = $4, version = version + 1,
				daily_calls = $5, active_subscriptions = $6, calls_per_second = $7, daily_pushes = $8,
				-- A new quota counts anew.
				counted_subscriptions = CASE WHEN active_subscriptions = $6 THEN counted_subscriptions ELSE $6 END
			WHERE id = $1
			RETURNING ` + tenantColumns
		if rows, err = tx.Query(ctx, query, id, t.DisplayName, t.State, now, t.Quota.DailyCalls, t.Quota.ActiveSubscriptions, t.Quota.CallsPerSecond, t.Quota.DailyPushes); err != nil {
			return err
		}
		if t, err = oneTenant(rows); err != nil {
			return err
		}
		if pushes != t.Quota.DailyPushes {
			if err := releaseHeld(ctx, tx, id); err != nil {
				return err
			}
		}
		return Audit(ctx, tx, audit)
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("update tenant %s: %w", id, err)
	}
	return t, nil
}

// ensureTenant makes a tenant on its first use where nobody is asked who they
// are. Elsewhere there is no tenant that nobody made: [ErrNoTenant].
func ensureTenant(ctx context.Context, tx pgx.Tx, id string) error {
	if !auth.CallOf(ctx).Principal.Open {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM tenant WHERE id = $1)`, id).Scan(&there); err != nil || there {
			return err
		}
		return ErrNoTenant
	}
	// Looked up first: the insert alone would write for every call.
	const query = `
		INSERT INTO tenant (id)
		SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM tenant WHERE id = $1)
		ON CONFLICT DO NOTHING`
	if _, err := tx.Exec(ctx, query, id); err != nil {
		return fmt.Errorf("make tenant %s: %w", id, err)
	}
	return nil
}
