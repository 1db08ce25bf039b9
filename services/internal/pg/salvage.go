package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Refusal is an outcome that PostgreSQL refuses.
type Refusal struct {
	// SubscriptionID, EndpointID, TenantID and PushID are empty where the outcome
	// has none.
	SubscriptionID, EndpointID, TenantID, PushID string
	// Reason is what PostgreSQL said.
	Reason string
	// Detail is what was to be written.
	Detail string
}

// Refused says whether PostgreSQL will never take what it was given: bad data, a
// broken constraint, something too large. What it can't take now isn't refused.
func Refused(err error) bool {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(refusal.Code) != 5 {
		return false
	}
	switch refusal.Code[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}

// SalvageOutcomes writes what PostgreSQL takes of outcomes that it refused as a
// whole, each by itself, in one transaction. What it refuses is recorded in
// refused_outcome, with the event that refused makes of it, and returned.
func SalvageOutcomes(ctx context.Context, pool *pgxpool.Pool, lease Lease, o *Outcomes, now time.Time, event func(Refusal) (*OpsEvent, error)) (refusals []Refusal, err error) {
	err = InTx(ctx, pool, func(tx pgx.Tx) error {
		refusals = nil
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		try := func(r Refusal, detail any, queue func(b *pgx.Batch)) error {
			err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint
				b := &pgx.Batch{}
				queue(b)
				return tx.SendBatch(ctx, b).Close()
			})
			if err == nil || !Refused(err) {
				return err
			}
			r.Reason, r.Detail = err.Error(), fmt.Sprintf("%.4000v", detail)
			refusals = append(refusals, r)
			return nil
		}
		if err := o.each(now, try); err != nil {
			return err
		}
		for _, r := range refusals {
			if err := recordRefusal(ctx, tx, r, event); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit %d attempts one by one: %w", len(o.Attempts), err)
	}
	return refusals, nil
}

// each tries the outcomes one by one, in the order in which they are written
// together.
func (o *Outcomes) each(now time.Time, try func(r Refusal, detail any, queue func(b *pgx.Batch)) error) error {
	of := make(map[string]Refusal, len(o.Attempts))
	for i := range o.Attempts {
		a := &o.Attempts[i]
		r := Refusal{SubscriptionID: a.SubscriptionID, EndpointID: a.EndpointID, TenantID: a.TenantID, PushID: a.PushID}
		of[a.SubscriptionID] = r
		if err := try(r, *a, func(b *pgx.Batch) { insertAttempts(b, o.Attempts[i:i+1], true) }); err != nil {
			return err
		}
	}
	for sub, revision := range o.Acknowledged {
		r := of[sub]
		r.SubscriptionID = sub
		one := &Outcomes{Acknowledged: map[string]track.Revision{sub: revision}}
		if err := try(r, revision, func(b *pgx.Batch) { one.queueAcknowledged(b, now) }); err != nil {
			return err
		}
	}
	for _, id := range o.Gone {
		one := &Outcomes{Gone: []string{id}}
		if err := try(Refusal{EndpointID: id}, id, func(b *pgx.Batch) { one.queueGone(b, now) }); err != nil {
			return err
		}
	}
	for _, s := range o.rows {
		if err := try(s.refusal(), s.args, s.queue); err != nil {
			return err
		}
	}
	return nil
}

// refusal names whose row a statement is about. Only that of a subscription has
// ids: those of an owed push come first.
func (s statement) refusal() Refusal {
	const subscription, endpoint, tenant = 0, 1, 3
	if !s.owes {
		return Refusal{}
	}
	text := func(i int) string { v, _ := s.args[i].(string); return v }
	return Refusal{SubscriptionID: text(subscription), EndpointID: text(endpoint), TenantID: text(tenant)}
}

func recordRefusal(ctx context.Context, tx pgx.Tx, r Refusal, event func(Refusal) (*OpsEvent, error)) error {
	// What was refused may be text that PostgreSQL doesn't take.
	for _, field := range []*string{&r.SubscriptionID, &r.EndpointID, &r.TenantID, &r.PushID, &r.Reason, &r.Detail} {
		*field = strings.ReplaceAll(strings.ToValidUTF8(*field, "�"), "\x00", "�")
	}
	const query = `INSERT INTO refused_outcome (subscription_id, endpoint_id, tenant_id, push_id, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)`
	if _, err := tx.Exec(ctx, query, r.SubscriptionID, r.EndpointID, r.TenantID, r.PushID, r.Reason, r.Detail); err != nil {
		return err
	}
	e, err := event(r)
	if err != nil || e == nil {
		return err
	}
	_, err = tx.Exec(ctx, insertEvent, e.args()...)
	return err
}
