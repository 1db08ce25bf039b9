package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/pace"
)

// Errors of the control plane.
var (
	// ErrNoEndpoint says that the tenant has no such endpoint.
	ErrNoEndpoint = errors.New("there is no such endpoint")
	// ErrEndpointInUse says that live subscriptions use the endpoint.
	ErrEndpointInUse = errors.New("live subscriptions use the endpoint")
	// ErrRequestReused says that a request id came with another request before.
	ErrRequestReused = errors.New("the request id was used for another request")
)

// The states of an endpoint.
const (
	EndpointEnabled  = 1
	EndpointPaused   = 2
	EndpointDisabled = 3
)

// Endpoint is a row of the table. Its secret is in the clear: keep it from logs.
type Endpoint struct {
	ID           string
	TenantID     string
	URL          string
	Secret       string
	Format       int16
	IncludeTrace bool
	MaxInFlight  int32
	Timeout      time.Duration
	Retry        *RetryPolicy // nil means the default
	State        int16
	DisplayName  string
	AccountID    *string // of a platform's format, nil for others
	// FailureThreshold is how many failures in a row open the breaker.
	FailureThreshold int32
	// Operations says that the tenant's operational events are posted to it.
	Operations bool
	Pace       pace.Rule // of subscriptions that don't say; without a filter
	CreateTime time.Time
	UpdateTime time.Time
	// OldSecret is the key before the last rotation, live until OldSecretExpires;
	// nil when there is none.
	OldSecret        *string
	OldSecretExpires *time.Time
	// Resent is when its owner last made something due at it; nil for never.
	Resent *time.Time
	// Account is filled in by [EndpointsByID] alone.
	Account *PlatformAccount
}

// LiveOldSecret is the key before the last rotation while it is live.
func (e *Endpoint) LiveOldSecret(now time.Time) (secret string, until time.Time, live bool) {
	if e.OldSecret == nil || !now.Before(*e.OldSecretExpires) {
		return "", time.Time{}, false
	}
	return *e.OldSecret, *e.OldSecretExpires, true
}

// RetryPolicy is how the retry_policy column is spelled: durations are in
// nanoseconds.
type RetryPolicy struct {
	Delays      []time.Duration `json:"delays"`
	Horizon     time.Duration   `json:"horizon"`      // 0 means the default
	MaxAttempts int32           `json:"max_attempts"` // 0 means no limit
	// Preset is a policy's name, instead of the others.
	Preset string `json:"preset,omitempty"`
}

// Request makes a repeat of a call recognisable. An empty ID doesn't.
type Request struct {
	ID   string
	Hash []byte
}

func (r Request) columns() (id *string, hash []byte) {
	if r.ID == "" {
		return nil, nil
	}
	return &r.ID, r.Hash
}

const endpointColumns = `id, tenant_id, url, secret, format, include_trace, max_in_flight, timeout, retry_policy, state, display_name, create_time, update_time,
	old_secret, old_secret_expire_time, resend_time, account_id, failure_threshold, operations, tier, digest_interval`

func digestInterval(r pace.Rule) *time.Duration {
	if r.Tier != pace.Digest {
		return nil
	}
	return &r.Interval
}

func scanEndpoint(row pgx.CollectableRow) (Endpoint, error) {
	var e Endpoint
	var interval *time.Duration
	err := row.Scan(&e.ID, &e.TenantID, &e.URL, &e.Secret, &e.Format, &e.IncludeTrace, &e.MaxInFlight, &e.Timeout, &e.Retry, &e.State, &e.DisplayName, &e.CreateTime, &e.UpdateTime,
		&e.OldSecret, &e.OldSecretExpires, &e.Resent, &e.AccountID, &e.FailureThreshold, &e.Operations, &e.Pace.Tier, &interval)
	if interval != nil {
		e.Pace.Interval = *interval
	}
	return e, err
}

// Endpoints are the endpoints of all tenants, as their owners manage them.
type Endpoints struct{ pool *pgxpool.Pool }

// NewEndpoints uses a pool.
func NewEndpoints(pool *pgxpool.Pool) *Endpoints { return &Endpoints{pool: pool} }

// Create stores a new endpoint. A request that was answered before gives the
// endpoint it made then, or [ErrRequestReused].
func (s *Endpoints) Create(ctx context.Context, e Endpoint, r Request) (made Endpoint, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := ensureTenant(ctx, tx, e.TenantID); err != nil {
			return err
		}
		id, hash := r.columns()
		const insert = `
			INSERT INTO endpoint (` + endpointColumns + `, request_id, request_hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
			ON CONFLICT (tenant_id, request_id) DO NOTHING
			RETURNING ` + endpointColumns
		rows, err := tx.Query(ctx, insert, e.ID, e.TenantID, e.URL, e.Secret, e.Format, e.IncludeTrace, e.MaxInFlight, e.Timeout, e.Retry, e.State, e.DisplayName, e.CreateTime, e.UpdateTime,
			e.OldSecret, e.OldSecretExpires, e.Resent, e.AccountID, e.FailureThreshold, e.Operations, max(e.Pace.Tier, pace.Realtime), digestInterval(e.Pace), id, hash)
		if err != nil {
			return err
		}
		made, err = pgx.CollectExactlyOneRow(rows, scanEndpoint)
		if err == nil {
			return Audit(ctx, tx, AuditEvent{Action: action(ctx, "CreateEndpoint"), Resource: endpointName(e.TenantID, made.ID), TenantID: e.TenantID})
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		made, err = endpointOfRequest(ctx, tx, e.TenantID, r)
		return err
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("create endpoint: %w", err)
	}
	return made, nil
}

func endpointOfRequest(ctx context.Context, tx pgx.Tx, tenant string, r Request) (Endpoint, error) {
	var hash []byte
	const hashes = `SELECT request_hash FROM endpoint WHERE tenant_id = $1 AND request_id = $2`
	if err := tx.QueryRow(ctx, hashes, tenant, r.ID).Scan(&hash); err != nil {
		return Endpoint{}, err
	}
	if !bytes.Equal(hash, r.Hash) {
		return Endpoint{}, ErrRequestReused
	}
	rows, err := tx.Query(ctx, `SELECT `+endpointColumns+` FROM endpoint WHERE tenant_id = $1 AND request_id = $2`, tenant, r.ID)
	if err != nil {
		return Endpoint{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanEndpoint)
}

// Get reads one endpoint, or returns [ErrNoEndpoint].
func (s *Endpoints) Get(ctx context.Context, tenant, id string) (Endpoint, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+endpointColumns+` FROM endpoint WHERE tenant_id = $1 AND id = $2 AND delete_time IS NULL`, tenant, id)
	if err != nil {
		return Endpoint{}, fmt.Errorf("read endpoint %s: %w", id, err)
	}
	return oneEndpoint(rows, "read", id)
}

func oneEndpoint(rows pgx.Rows, doing, id string) (Endpoint, error) {
	e, err := pgx.CollectExactlyOneRow(rows, scanEndpoint)
	if errors.Is(err, pgx.ErrNoRows) {
		return Endpoint{}, ErrNoEndpoint
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("%s endpoint %s: %w", doing, id, err)
	}
	return e, nil
}

// List reads a tenant's endpoints with ids below before, or from the newest on
// if it is empty, newest first.
func (s *Endpoints) List(ctx context.Context, tenant, before string, limit int) ([]Endpoint, error) {
	const query = `
		SELECT ` + endpointColumns + ` FROM endpoint
		WHERE tenant_id = $1 AND ($2 = '' OR id < $2) AND delete_time IS NULL
		ORDER BY id DESC LIMIT $3`
	rows, err := s.pool.Query(ctx, query, tenant, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanEndpoint)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	return list, nil
}

// Update changes one endpoint: change gets the row, locked, and alters it. An
// error of change is returned as it is.
func (s *Endpoints) Update(ctx context.Context, tenant, id string, now time.Time, change func(*Endpoint) error) (Endpoint, error) {
	var e Endpoint
	err := InTx(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if e, err = lockEndpoint(ctx, tx, tenant, id); err != nil {
			return err
		}
		paced := e.Pace
		if err := change(&e); err != nil {
			return err
		}
		const query = `
			UPDATE endpoint SET url = $3, secret = $4, format = $5, include_trace = $6, max_in_flight = $7, timeout = $8,
				retry_policy = $9, state = $10, display_name = $11, update_time = $12, old_secret = $13, old_secret_expire_time = $14, account_id = $15,
				failure_threshold = $16, operations = $17, tier = $18, digest_interval = $19
			WHERE tenant_id = $1 AND id = $2
			RETURNING ` + endpointColumns
		rows, err := tx.Query(ctx, query, tenant, id, e.URL, e.Secret, e.Format, e.IncludeTrace, e.MaxInFlight, e.Timeout, e.Retry, e.State, e.DisplayName, now,
			e.OldSecret, e.OldSecretExpires, e.AccountID, e.FailureThreshold, e.Operations, max(e.Pace.Tier, pace.Realtime), digestInterval(e.Pace))
		if err != nil {
			return err
		}
		if e, err = oneEndpoint(rows, "update", id); err != nil {
			return err
		}
		if !e.Pace.Equal(&paced) {
			if err := announceHeld(ctx, tx, id); err != nil {
				return err
			}
		}
		return Audit(ctx, tx, AuditEvent{Action: action(ctx, "UpdateEndpoint"), Resource: endpointName(tenant, id), TenantID: tenant})
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("update endpoint %s: %w", id, err)
	}
	return e, nil
}

// Rotate changes the keys of one endpoint: change gets the row, locked, and alters
// it. A repeat of the newest rotation's request gives the endpoint as it is, and
// another request with its id [ErrRequestReused].
func (s *Endpoints) Rotate(ctx context.Context, tenant, id string, r Request, now time.Time, change func(*Endpoint) error) (Endpoint, error) {
	var e Endpoint
	err := InTx(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if e, err = lockEndpoint(ctx, tx, tenant, id); err != nil {
			return err
		}
		var requestID string
		var hash []byte
		const before = `SELECT coalesce(rotate_request_id, ''), rotate_request_hash FROM endpoint WHERE id = $1`
		if err := tx.QueryRow(ctx, before, id).Scan(&requestID, &hash); err != nil {
			return err
		}
		if r.ID != "" && r.ID == requestID {
			if !bytes.Equal(hash, r.Hash) {
				return ErrRequestReused
			}
			return nil
		}
		if err := change(&e); err != nil {
			return err
		}
		newID, newHash := r.columns()
		const query = `
			UPDATE endpoint SET secret = $2, old_secret = $3, old_secret_expire_time = $4, rotate_request_id = $5, rotate_request_hash = $6, update_time = $7
			WHERE id = $1
			RETURNING ` + endpointColumns
		rows, err := tx.Query(ctx, query, id, e.Secret, e.OldSecret, e.OldSecretExpires, newID, newHash, now)
		if err != nil {
			return err
		}
		if e, err = oneEndpoint(rows, "rotate the key of", id); err != nil {
			return err
		}
		if err := Audit(ctx, tx, AuditEvent{Action: action(ctx, "RotateSecret"), Resource: endpointName(tenant, id), TenantID: tenant}); err != nil {
			return err
		}
		return notifyEndpoints(ctx, tx, []string{id})
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("rotate the key of endpoint %s: %w", id, err)
	}
	return e, nil
}

// DropOldSecrets forgets keys that are no longer live.
func DropOldSecrets(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	// Relies on endpoint_old_secret.
	const query = `UPDATE endpoint SET old_secret = NULL, old_secret_expire_time = NULL WHERE old_secret_expire_time <= $1`
	if _, err := pool.Exec(ctx, query, now); err != nil {
		return fmt.Errorf("forget old signing keys: %w", err)
	}
	return nil
}

// endpointChannel is notified with the id of an endpoint at which something
// changed that delivery should look at soon.
const endpointChannel = "posthaste_endpoint"

func notifyEndpoints(ctx context.Context, tx pgx.Tx, list []string) error {
	_, err := tx.Exec(ctx, `SELECT pg_notify($1, id) FROM unnest($2::text[]) AS x (id)`, endpointChannel, list)
	return err
}

func lockEndpoint(ctx context.Context, tx pgx.Tx, tenant, id string) (Endpoint, error) {
	rows, err := tx.Query(ctx, `SELECT `+endpointColumns+` FROM endpoint WHERE tenant_id = $1 AND id = $2 AND delete_time IS NULL FOR UPDATE`, tenant, id)
	if err != nil {
		return Endpoint{}, err
	}
	return oneEndpoint(rows, "lock", id)
}

// Delete hides and disables an endpoint, or returns [ErrEndpointInUse]. The lock
// keeps subscriptions from being made meanwhile: they lock the endpoint too.
func (s *Endpoints) Delete(ctx context.Context, tenant, id string, now time.Time) error {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := lockEndpoint(ctx, tx, tenant, id); err != nil {
			return err
		}
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM subscription WHERE endpoint_id = $1 AND state IN (1, 2))`, id).Scan(&used); err != nil {
			return err
		}
		if used {
			return ErrEndpointInUse
		}
		if _, err := tx.Exec(ctx, `UPDATE endpoint SET delete_time = $2, state = 3 WHERE id = $1`, id, now); err != nil {
			return err
		}
		return Audit(ctx, tx, AuditEvent{Action: action(ctx, "DeleteEndpoint"), Resource: endpointName(tenant, id), TenantID: tenant})
	})
	if err != nil {
		return fmt.Errorf("delete endpoint %s: %w", id, err)
	}
	return nil
}
