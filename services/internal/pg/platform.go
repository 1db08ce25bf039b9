package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/pace"
)

// Errors about platform accounts.
var (
	// ErrNoAccount says that there is no such platform account.
	ErrNoAccount = errors.New("there is no such platform account")
	// ErrAccountTaken says that the account, or its key, is there already.
	ErrAccountTaken = errors.New("the platform account or its key is taken")
	// ErrAccountInUse says that live subscriptions push in the account's name.
	ErrAccountInUse = errors.New("live subscriptions push in the account's name")
)

// PlatformAccount is a row of the table. Its key and salt are in the clear: keep
// them from logs.
type PlatformAccount struct {
	Platform      int16 // the format of its pushes
	ID            string
	TenantID      string
	Key           string
	Salt          string
	EndpointID    *string // nil for no default
	JSONBody      bool
	LowerCaseSign bool
	CreateTime    time.Time
	UpdateTime    time.Time
	// Callback is the default endpoint's URL, and Disabled says that the tenant is.
	// Read only.
	Callback string
	Disabled bool
}

// NewEndpoint is an endpoint of the account, with the defaults of an endpoint.
func (a *PlatformAccount) NewEndpoint(id, url, secret string, now time.Time) Endpoint {
	// Kuaidi100 gives receivers 20 s, and Kdniao's document names no time.
	const timeout, maxInFlight = 20 * time.Second, 16
	return Endpoint{
		ID: id, TenantID: a.TenantID, URL: url, Secret: secret, Format: a.Platform, AccountID: &a.ID,
		MaxInFlight: maxInFlight, Timeout: timeout, FailureThreshold: 3, State: EndpointEnabled, CreateTime: now, UpdateTime: now,
	}
}

const accountColumns = `a.platform, a.account_id, a.tenant_id, a.key, a.salt, a.endpoint_id, a.json_body, a.lower_case_sign, a.create_time, a.update_time,
	coalesce(d.url, ''), t.state = 2`

const fromAccount = ` FROM platform_account a JOIN tenant t ON t.id = a.tenant_id LEFT JOIN endpoint d ON d.id = a.endpoint_id `

func scanAccount(row pgx.CollectableRow) (PlatformAccount, error) {
	var a PlatformAccount
	err := row.Scan(&a.Platform, &a.ID, &a.TenantID, &a.Key, &a.Salt, &a.EndpointID, &a.JSONBody, &a.LowerCaseSign, &a.CreateTime, &a.UpdateTime, &a.Callback, &a.Disabled)
	return a, err
}

// PlatformAccounts are the accounts of all tenants.
type PlatformAccounts struct{ pool *pgxpool.Pool }

// NewPlatformAccounts uses a pool.
func NewPlatformAccounts(pool *pgxpool.Pool) *PlatformAccounts { return &PlatformAccounts{pool: pool} }

// Create stores an account, and the endpoint that is its default unless that is
// nil, in one transaction. It returns [ErrAccountTaken].
func (s *PlatformAccounts) Create(ctx context.Context, a PlatformAccount, e *Endpoint) (PlatformAccount, error) {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := ensureTenant(ctx, tx, a.TenantID); err != nil {
			return err
		}
		const insert = `
			INSERT INTO platform_account (platform, account_id, tenant_id, key, salt, json_body, lower_case_sign, create_time, update_time)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT DO NOTHING`
		tag, err := tx.Exec(ctx, insert, a.Platform, a.ID, a.TenantID, a.Key, a.Salt, a.JSONBody, a.LowerCaseSign, a.CreateTime)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrAccountTaken
		}
		if err := Audit(ctx, tx, accountEvent(ctx, "CreatePlatformAccount", a.TenantID, a.Platform, a.ID)); err != nil || e == nil {
			return err
		}
		if err := insertEndpoint(ctx, tx, e); err != nil {
			return err
		}
		a.EndpointID, a.Callback = &e.ID, e.URL
		_, err = tx.Exec(ctx, `UPDATE platform_account SET endpoint_id = $3 WHERE platform = $1 AND account_id = $2`, a.Platform, a.ID, e.ID)
		return err
	})
	if err != nil {
		return PlatformAccount{}, fmt.Errorf("create platform account %s: %w", a.ID, err)
	}
	return a, nil
}

func insertEndpoint(ctx context.Context, tx pgx.Tx, e *Endpoint) error {
	const insert = `
		INSERT INTO endpoint (` + endpointColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`
	_, err := tx.Exec(ctx, insert, e.ID, e.TenantID, e.URL, e.Secret, e.Format, e.IncludeTrace, e.MaxInFlight, e.Timeout, e.Retry, e.State, e.DisplayName, e.CreateTime, e.UpdateTime,
		e.OldSecret, e.OldSecretExpires, e.Resent, e.AccountID, e.FailureThreshold, e.Operations, max(e.Pace.Tier, pace.Realtime), digestInterval(e.Pace))
	return err
}

// Get reads an account of any tenant, or returns [ErrNoAccount].
func (s *PlatformAccounts) Get(ctx context.Context, platform int16, id string) (PlatformAccount, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+accountColumns+fromAccount+`WHERE a.platform = $1 AND a.account_id = $2`, platform, id)
	return oneAccount(rows, err)
}

// OfKey reads the account of a platform whose keys name them, or returns
// [ErrNoAccount].
func (s *PlatformAccounts) OfKey(ctx context.Context, platform int16, key string) (PlatformAccount, error) {
	// Relies on platform_account_kuaidi100_key.
	rows, err := s.pool.Query(ctx, `SELECT `+accountColumns+fromAccount+`WHERE a.platform = $1 AND a.key = $2 ORDER BY a.account_id LIMIT 1`, platform, key)
	return oneAccount(rows, err)
}

func oneAccount(rows pgx.Rows, err error) (PlatformAccount, error) {
	var a PlatformAccount
	if err == nil {
		a, err = pgx.CollectExactlyOneRow(rows, scanAccount)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return PlatformAccount{}, ErrNoAccount
	}
	if err != nil {
		return PlatformAccount{}, fmt.Errorf("read a platform account: %w", err)
	}
	return a, nil
}

// List reads a tenant's accounts in order of platform and id.
func (s *PlatformAccounts) List(ctx context.Context, tenant string) ([]PlatformAccount, error) {
	// Relies on platform_account_of_tenant.
	rows, err := s.pool.Query(ctx, `SELECT `+accountColumns+fromAccount+`WHERE a.tenant_id = $1 ORDER BY a.platform, a.account_id`, tenant)
	if err != nil {
		return nil, fmt.Errorf("list platform accounts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return nil, fmt.Errorf("list platform accounts: %w", err)
	}
	return list, nil
}

// AccountChange is what to change of an account; nil leaves what there is.
type AccountChange struct {
	Key, Salt               *string
	JSONBody, LowerCaseSign *bool
	// Moved says that pushes go to Endpoint's URL from now on: the default endpoint has
	// it then, or, where there is none, Endpoint is it. Nil for no default; subscriptions
	// that there are stay with it.
	Moved    bool
	Endpoint *Endpoint
}

// Update changes a tenant's account. It returns [ErrNoAccount], or [ErrAccountTaken]
// for a key that is another's.
func (s *PlatformAccounts) Update(ctx context.Context, tenant string, platform int16, id string, c AccountChange, now time.Time) (PlatformAccount, error) {
	var a PlatformAccount
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var endpoint *string
		const lock = `SELECT endpoint_id FROM platform_account WHERE tenant_id = $1 AND platform = $2 AND account_id = $3 FOR UPDATE`
		switch err := tx.QueryRow(ctx, lock, tenant, platform, id).Scan(&endpoint); {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNoAccount
		case err != nil:
			return err
		}
		if c.Moved {
			var err error
			if endpoint, err = move(ctx, tx, endpoint, c.Endpoint, now); err != nil {
				return err
			}
		}
		const update = `
			UPDATE platform_account SET key = coalesce($3, key), salt = coalesce($4, salt), json_body = coalesce($5, json_body),
				lower_case_sign = coalesce($6, lower_case_sign), endpoint_id = $7, update_time = $8
			WHERE platform = $1 AND account_id = $2`
		_, err := tx.Exec(ctx, update, platform, id, c.Key, c.Salt, c.JSONBody, c.LowerCaseSign, endpoint, now)
		switch {
		case IsUnique(err, "platform_account_kuaidi100_key"):
			return ErrAccountTaken
		case err != nil:
			return err
		}
		rows, err := tx.Query(ctx, `SELECT `+accountColumns+fromAccount+`WHERE a.platform = $1 AND a.account_id = $2`, platform, id)
		if a, err = oneAccount(rows, err); err != nil {
			return err
		}
		return Audit(ctx, tx, accountEvent(ctx, "UpdatePlatformAccount", tenant, platform, id))
	})
	if err != nil {
		return PlatformAccount{}, fmt.Errorf("change platform account %s: %w", id, err)
	}
	return a, nil
}

// move gives an account's default endpoint another's URL, or makes that the default.
func move(ctx context.Context, tx pgx.Tx, from *string, to *Endpoint, now time.Time) (*string, error) {
	switch {
	case to == nil:
		return nil, nil //nolint:nilnil // none
	case from == nil:
		id, err := endpointFor(ctx, tx, to)
		return &id, err
	default:
		_, err := tx.Exec(ctx, `UPDATE endpoint SET url = $2, update_time = $3 WHERE id = $1`, *from, to.URL, now)
		return from, err
	}
}

// accountEvent is the note of a change. The platform is told by its number, which is
// that of its pushes' format.
func accountEvent(ctx context.Context, same, tenant string, platform int16, id string) AuditEvent {
	name := map[int16]string{2: "kdniao", 3: "kuaidi100"}[platform]
	return AuditEvent{Action: action(ctx, same), Resource: "tenants/" + tenant + "/platformAccounts/" + name + "-" + id, TenantID: tenant}
}

// Delete removes a tenant's account and its endpoints. It returns
// [ErrNoAccount], or [ErrAccountInUse].
func (s *PlatformAccounts) Delete(ctx context.Context, tenant string, platform int16, id string, now time.Time) error {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		// The lock of the endpoints keeps subscriptions from being made meanwhile.
		const lock = `SELECT id FROM endpoint WHERE tenant_id = $1 AND format = $2 AND account_id = $3 AND delete_time IS NULL ORDER BY id FOR UPDATE`
		rows, err := tx.Query(ctx, lock, tenant, platform, id)
		if err != nil {
			return err
		}
		endpoints, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM subscription WHERE endpoint_id = ANY($1) AND state IN (1, 2))`, endpoints).Scan(&used); err != nil {
			return err
		}
		if used {
			return ErrAccountInUse
		}
		tag, err := tx.Exec(ctx, `DELETE FROM platform_account WHERE tenant_id = $1 AND platform = $2 AND account_id = $3`, tenant, platform, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoAccount
		}
		if _, err = tx.Exec(ctx, `UPDATE endpoint SET delete_time = $2, state = 3 WHERE id = ANY($1)`, endpoints, now); err != nil {
			return err
		}
		return Audit(ctx, tx, accountEvent(ctx, "DeletePlatformAccount", tenant, platform, id))
	})
	if err != nil {
		return fmt.Errorf("delete platform account %s: %w", id, err)
	}
	return nil
}

// EndpointFor finds an account's endpoint with e's URL, or else makes e, which
// has the account's format and tenant.
func (s *PlatformAccounts) EndpointFor(ctx context.Context, e *Endpoint) (id string, err error) {
	if id, err = findEndpoint(ctx, s.pool, e); errors.Is(err, pgx.ErrNoRows) {
		err = InTx(ctx, s.pool, func(tx pgx.Tx) (err error) {
			id, err = endpointFor(ctx, tx, e)
			return err
		})
	}
	if err != nil {
		return "", fmt.Errorf("find the endpoint of platform account %s: %w", *e.AccountID, err)
	}
	return id, nil
}

func endpointFor(ctx context.Context, tx pgx.Tx, e *Endpoint) (id string, err error) {
	// Of two at once the second finds what the first made.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('endpoint ' || $1 || ' ' || $2, 0))`, *e.AccountID, e.URL); err != nil {
		return "", err
	}
	if id, err = findEndpoint(ctx, tx, e); errors.Is(err, pgx.ErrNoRows) {
		return e.ID, insertEndpoint(ctx, tx, e)
	}
	return id, err
}

func findEndpoint(ctx context.Context, q interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}, e *Endpoint,
) (id string, err error) {
	// Relies on endpoint_of_account.
	const find = `
		SELECT id FROM endpoint
		WHERE format = $1 AND account_id = $2 AND url = $3 AND tenant_id = $4 AND delete_time IS NULL
		ORDER BY id LIMIT 1`
	err = q.QueryRow(ctx, find, e.Format, e.AccountID, e.URL, e.TenantID).Scan(&id)
	return id, err
}

// Followed finds the live subscription of an account to a waybill, whatever its
// callback, or returns [ErrNoSubscription].
func (s *PlatformAccounts) Followed(ctx context.Context, a *PlatformAccount, carrier, number string) (Subscription, error) {
	// Relies on subscription_live_once.
	const query = `
		SELECT ` + subscriptionColumns + fromSubscription + `
		JOIN endpoint e ON e.id = s.endpoint_id
		WHERE s.carrier_code = $3 AND s.waybill_number = $4 AND s.state IN (1, 2) AND s.tenant_id = $5 AND e.format = $1 AND e.account_id = $2
		ORDER BY s.id LIMIT 1`
	rows, err := s.pool.Query(ctx, query, a.Platform, a.ID, carrier, number, a.TenantID)
	if err != nil {
		return Subscription{}, fmt.Errorf("find a subscription: %w", err)
	}
	sub, err := oneSubscription(rows)
	if err != nil {
		return Subscription{}, fmt.Errorf("find a subscription: %w", err)
	}
	return sub, nil
}

// addAccounts fills in the accounts of endpoints of a platform's format.
func addAccounts(ctx context.Context, pool *pgxpool.Pool, endpoints []Endpoint) error {
	var platforms []int16
	var accounts []string
	for i := range endpoints {
		if e := &endpoints[i]; e.AccountID != nil {
			platforms, accounts = append(platforms, e.Format), append(accounts, *e.AccountID)
		}
	}
	if len(accounts) == 0 {
		return nil
	}
	const query = `SELECT ` + accountColumns + fromAccount + `
		WHERE (a.platform, a.account_id) IN (SELECT * FROM unnest($1::smallint[], $2::text[]))`
	rows, err := pool.Query(ctx, query, platforms, accounts)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return err
	}
	type key struct {
		platform int16
		id       string
	}
	found := make(map[key]*PlatformAccount, len(list))
	for i := range list {
		found[key{list[i].Platform, list[i].ID}] = &list[i]
	}
	for i := range endpoints {
		if e := &endpoints[i]; e.AccountID != nil {
			e.Account = found[key{e.Format, *e.AccountID}]
		}
	}
	return nil
}
