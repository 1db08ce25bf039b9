package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Outcomes is what one transaction of delivery writes: all of it or nothing.
// What is said of rows is done in the order in which it was said.
type Outcomes struct {
	Attempts []Attempt
	// Acknowledged is the newest revision of subscriptions.
	Acknowledged map[string]track.Revision
	// Gone are endpoints that said so.
	Gone []string
	rows []statement
}

// statement is queued anew at every try: a pgx.Batch remembers the statements that
// the connection of its first try prepared, and fails on any other for ever.
type statement struct {
	query string
	args  []any
	owes  bool // it writes an owed push, whose ids come first
}

func (o *Outcomes) queue(query string, args ...any) {
	o.rows = append(o.rows, statement{query: query, args: args})
}

// queueOwed is queue of a statement whose first arguments are those of an owed
// push.
func (o *Outcomes) queueOwed(query string, args ...any) {
	o.rows = append(o.rows, statement{query: query, args: args, owes: true})
}

func (s statement) queue(b *pgx.Batch) { b.Queue(s.query, s.args...) }

// Empty says that there is nothing to write.
func (o *Outcomes) Empty() bool {
	return len(o.Attempts) == 0 && len(o.Acknowledged) == 0 && len(o.Gone) == 0 && len(o.rows) == 0
}

// Owe adds a push that can't be delivered now to what its subscription is owed,
// due at a time. What was parked becomes due again with it, as one range.
func (o *Outcomes) Owe(a *Attempt, slot int16, receive, due time.Time) {
	const query = `
		INSERT INTO owed_push AS o (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (subscription_id) DO UPDATE SET
			after_revision = least(o.after_revision, excluded.after_revision),
			revision = greatest(o.revision, excluded.revision),
			attempt_count = CASE WHEN o.park_time IS NULL THEN o.attempt_count ELSE 0 END,
			attempt_revision = CASE WHEN o.park_time IS NULL THEN o.attempt_revision ELSE 0 END,
			body = CASE WHEN o.park_time IS NULL THEN o.body END,
			first_attempt_time = CASE WHEN o.park_time IS NULL THEN o.first_attempt_time END,
			next_attempt_time = coalesce(o.next_attempt_time, excluded.next_attempt_time),
			park_time = NULL, park_reason = ''`
	o.queueOwed(query, a.SubscriptionID, a.EndpointID, slot, a.TenantID, string(a.Waybill.Carrier), string(a.Waybill.Number), int64(a.After), int64(a.Revision), receive, due)
}

// Retry records that a push failed and is repeated at its attempt's next time,
// or is parked for a reason when that is zero. When its row begins before it, a
// replay was asked for meanwhile: that is rendered anew, from its beginning.
func (o *Outcomes) Retry(a *Attempt, slot int16, receive, first time.Time, body []byte, reason string) {
	const query = `
		INSERT INTO owed_push AS o (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision,
			attempt_count, attempt_revision, body, receive_time, first_attempt_time, last_attempt_time, next_attempt_time, park_time, park_reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $10, $11, $12, $13, $14::timestamptz, CASE WHEN $14::timestamptz IS NULL THEN $13::timestamptz END, $15)
		ON CONFLICT (subscription_id) DO UPDATE SET
			revision = greatest(o.revision, excluded.revision),
			attempt_count = CASE WHEN o.after_revision < excluded.after_revision THEN 0 ELSE excluded.attempt_count END,
			attempt_revision = CASE WHEN o.after_revision < excluded.after_revision THEN 0 ELSE excluded.attempt_revision END,
			body = CASE WHEN o.after_revision < excluded.after_revision THEN NULL ELSE excluded.body END,
			first_attempt_time = excluded.first_attempt_time, last_attempt_time = excluded.last_attempt_time,
			next_attempt_time = excluded.next_attempt_time, park_time = excluded.park_time, park_reason = excluded.park_reason`
	if fault.DroppedPark {
		return
	}
	var next *time.Time
	said := query
	if a.Next.IsZero() {
		said = countParked(query, "$2::text", "$4::text", "$3::smallint", "$15::text")
	} else {
		next, reason = &a.Next, ""
	}
	o.queueOwed(said, a.SubscriptionID, a.EndpointID, slot, a.TenantID, string(a.Waybill.Carrier), string(a.Waybill.Number), int64(a.After), int64(a.Revision),
		a.Number, body, receive, first, a.Time, next, reason)
}

// Settle records that what a subscription was owed is acknowledged in the range
// (after, upTo]. What is owed beyond is due; so is all of a row that begins
// before the range: a replay was asked for meanwhile.
func (o *Outcomes) Settle(subscription string, after, upTo track.Revision, now time.Time) {
	o.queue(`DELETE FROM owed_push WHERE subscription_id = $1 AND revision <= $3 AND after_revision >= $2`, subscription, int64(after), int64(upTo))
	const query = `
		UPDATE owed_push SET after_revision = CASE WHEN after_revision < $2 THEN after_revision ELSE $3 END,
			attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL,
			next_attempt_time = $4, park_time = NULL, park_reason = ''
		WHERE subscription_id = $1 AND after_revision < $3`
	o.queue(query, subscription, int64(after), int64(upTo), now)
}

// Drop records that a subscription is owed nothing any more.
func (o *Outcomes) Drop(subscription string) {
	o.queue(`DELETE FROM owed_push WHERE subscription_id = $1`, subscription)
}

// DropAll is [Outcomes.Drop] of those of some subscriptions whose rows are in some
// slots.
func (o *Outcomes) DropAll(subscriptions []string, slots []subject.Slot) {
	o.queue(`DELETE FROM owed_push WHERE subscription_id = ANY($1) AND slot = ANY($2)`, subscriptions, smallints(slots))
}

// DropEnded removes what cancelled subscriptions were owed, at most limit rows:
// those whose cancellation nobody heard of when it came.
func DropEnded(ctx context.Context, pool *pgxpool.Pool, limit int) error {
	const query = `
		DELETE FROM owed_push WHERE subscription_id IN (
			SELECT o.subscription_id FROM owed_push o JOIN subscription s ON s.id = o.subscription_id WHERE s.state = 4 LIMIT $1)`
	if _, err := pool.Exec(ctx, query, limit); err != nil {
		return fmt.Errorf("drop what cancelled subscriptions were owed: %w", err)
	}
	return nil
}

// Place is whose rows are parked.
type Place struct {
	EndpointID, TenantID string
	Slot                 int16
}

const park = `UPDATE owed_push SET park_time = $1, park_reason = $2, next_attempt_time = NULL WHERE park_time IS NULL AND `

func (o *Outcomes) park(of Place, where, reason string, now time.Time, args ...any) {
	query := countParked(park+where, "$3::text", "$4::text", "$5::smallint", "$2::text")
	o.queue(query, append([]any{now, reason, of.EndpointID, of.TenantID, of.Slot}, args...)...)
}

// Park records that what a subscription is owed can't be delivered.
func (o *Outcomes) Park(of Place, subscription, reason string, now time.Time) {
	o.park(of, `subscription_id = $6`, reason, now, subscription)
}

// ParkAll parks what waits for its time at an endpoint.
func (o *Outcomes) ParkAll(of Place, reason string, now time.Time) {
	o.park(of, `endpoint_id = $3`, reason, now)
}

// ParkSpent parks, of what waits at an endpoint, what has waited since before a
// time, at most limit rows.
func (o *Outcomes) ParkSpent(of Place, since time.Time, limit int, reason string, now time.Time) {
	const where = `subscription_id IN (
		SELECT subscription_id FROM owed_push WHERE endpoint_id = $3 AND park_time IS NULL AND owed_since < $6 LIMIT $7)`
	o.park(of, where, reason, now, since, limit)
}

// Hasten makes due what waits for its time at an endpoint: it has come back.
func (o *Outcomes) Hasten(endpoint string, now time.Time) {
	o.queue(`UPDATE owed_push SET next_attempt_time = $2 WHERE endpoint_id = $1 AND park_time IS NULL AND next_attempt_time > $2`, endpoint, now)
}

// Reopen makes due what was parked at an endpoint for a reason that is gone.
func (o *Outcomes) Reopen(endpoint, reason string, now time.Time) {
	const query = `
		UPDATE owed_push SET park_time = NULL, park_reason = '', next_attempt_time = $3, attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL
		WHERE endpoint_id = $1 AND park_time IS NOT NULL AND park_reason = $2`
	o.queue(query, endpoint, reason, now)
}

// CommitOutcomes writes outcomes in one transaction, unless the lease has passed
// on. After an error it is not known whether it did: it may be called again,
// and says so with again.
func CommitOutcomes(ctx context.Context, pool *pgxpool.Pool, lease Lease, o *Outcomes, now time.Time, again bool) error {
	fault.Crash("deliver.before_commit")
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		b := &pgx.Batch{}
		insertAttempts(b, o.Attempts, again)
		o.queueAcknowledged(b, now)
		o.queueGone(b, now)
		for _, r := range o.rows {
			r.queue(b)
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("commit %d attempts: %w", len(o.Attempts), err)
	}
	fault.Crash("deliver.committed")
	return nil
}

func (o *Outcomes) queueGone(b *pgx.Batch, now time.Time) {
	if len(o.Gone) > 0 {
		b.Queue(`UPDATE endpoint SET state = 3, update_time = $2 WHERE id = ANY($1) AND state <> 3`, o.Gone, now)
	}
}

func (o *Outcomes) queueAcknowledged(b *pgx.Batch, now time.Time) {
	if len(o.Acknowledged) == 0 {
		return
	}
	subs, revisions := make([]string, 0, len(o.Acknowledged)), make([]int64, 0, len(o.Acknowledged))
	for id, r := range o.Acknowledged {
		subs, revisions = append(subs, id), append(revisions, int64(r))
	}
	const query = `
		INSERT INTO acknowledged AS a (subscription_id, revision, acknowledge_time)
		SELECT id, revision, $3 FROM unnest($1::text[], $2::bigint[]) AS x (id, revision)
		ON CONFLICT (subscription_id) DO UPDATE SET revision = excluded.revision, acknowledge_time = excluded.acknowledge_time
		WHERE a.revision < excluded.revision`
	b.Queue(query, subs, revisions, now)
}
