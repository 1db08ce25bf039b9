package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/auth"
)

// AuditEvent is a change that somebody made. Who made it is known from the
// context.
type AuditEvent struct {
	ID       int64
	Time     time.Time // written by PostgreSQL
	Actor    string
	Action   string // the RPC's name, such as "RevokeKey"
	Resource string // a resource name
	TenantID string // empty for the platform
	// RequestID and Source are those of the call.
	RequestID string
	Source    string
	// Details must hold neither secrets nor personal data.
	Details map[string]string
}

// Audit notes a change in its own transaction: there is no change without a note
// of it. Actor, RequestID and Source come from the context's [auth.Call].
func Audit(ctx context.Context, tx pgx.Tx, e AuditEvent) error {
	call := auth.CallOf(ctx)
	details, err := encodeMetadata(e.Details)
	if err != nil {
		return err
	}
	const query = `
		INSERT INTO audit_event (actor, action, resource, tenant_id, request_id, source_address, details)
		VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb)`
	if _, err := tx.Exec(ctx, query, call.Principal.Name, e.Action, e.Resource, e.TenantID, call.RequestID, call.Source, details); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// action is the RPC that is being worked on, or, when the change came another
// way, the one that does the same.
func action(ctx context.Context, same string) string {
	if m := auth.CallOf(ctx).Method; m != "" {
		return m
	}
	return same
}

func endpointName(tenant, id string) string { return "tenants/" + tenant + "/endpoints/" + id }

func subscriptionName(tenant, id string) string { return "tenants/" + tenant + "/subscriptions/" + id }

// AuditFilter says which changes to list. Empty fields don't restrict.
type AuditFilter struct {
	TenantID string // empty for all tenants and the platform
	Resource string
	Actor    string
	From, To time.Time // from it on, and before it
	Before   int64     // only ids below it
}

// AuditLog reads what was changed.
type AuditLog struct{ pool *pgxpool.Pool }

// NewAuditLog uses a pool.
func NewAuditLog(pool *pgxpool.Pool) *AuditLog { return &AuditLog{pool: pool} }

// List reads changes, newest first.
func (l *AuditLog) List(ctx context.Context, f AuditFilter, limit int) ([]AuditEvent, error) {
	where, args := "true", []any{}
	and := func(condition string, arg any) {
		args = append(args, arg)
		where += " AND " + strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args)))
	}
	if f.TenantID != "" {
		and("tenant_id = ?", f.TenantID)
	}
	if f.Resource != "" {
		and("resource = ?", f.Resource)
	}
	if f.Actor != "" {
		and("actor = ?", f.Actor)
	}
	if !f.From.IsZero() {
		and("event_time >= ?", f.From)
	}
	if !f.To.IsZero() {
		and("event_time < ?", f.To)
	}
	if f.Before != 0 {
		and("id < ?", f.Before)
	}
	args = append(args, limit)
	query := `
		SELECT id, event_time, actor, action, resource, tenant_id, request_id, source_address, details::text FROM audit_event
		WHERE ` + where + ` ORDER BY id DESC LIMIT $` + strconv.Itoa(len(args))
	rows, err := l.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (AuditEvent, error) {
		var e AuditEvent
		var details []byte
		if err := row.Scan(&e.ID, &e.Time, &e.Actor, &e.Action, &e.Resource, &e.TenantID, &e.RequestID, &e.Source, &details); err != nil {
			return e, err
		}
		return e, json.Unmarshal(details, &e.Details)
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return list, nil
}
