package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/pkg/subject"
)

// Owed is a row of owed_push: a push that waits for its next attempt, or is
// parked.
type Owed struct {
	SubscriptionID string
	Revision       uint64
	AfterRevision  uint64
	EndpointID     string
	TenantID       string
	CarrierCode    string
	WaybillNumber  string
	AttemptCount   int
	Body           []byte
	ReceiveTime    time.Time
	FirstAttempt   time.Time // zero before the first
	LastAttempt    time.Time // zero before the first
	NextAttempt    time.Time // zero when parked
	ParkTime       time.Time // zero while it waits
	ParkReason     string
	// Fold lets older rows of the subscription that were not attempted, or are
	// parked, become part of this one. Only for pushes that were not attempted,
	// and while no row of the subscription is in memory.
	Fold bool
	// Cancelled says that the subscription has been. Set by reading only.
	Cancelled bool
}

// Due are an endpoint's rows whose time has come, and how the rest stands.
type Due struct {
	// Rows are at most as many as asked for, one for each subscription: its
	// oldest.
	Rows []Owed
	// Next is when the next of the others is due; zero when there is none.
	Next time.Time
	// Subscriptions are those with rows, parked ones included; with More, only
	// some of them.
	Subscriptions []string
	More          bool
	// Held says that rows wait because their subscription is paused.
	Held bool
}

// DueQuery asks for rows to attempt.
type DueQuery struct {
	EndpointID string
	Now        time.Time
	// Recovered, if not zero, makes due whatever was last attempted before it, or
	// never.
	Recovered time.Time
	Except    []string // subscriptions to leave out
	Limit     int
	// MaxSubscriptions bounds [Due.Subscriptions].
	MaxSubscriptions int
}

// Due reads what is to be attempted. Of each subscription only the oldest row
// can be due, and nothing of paused ones is.
func (d *Deliveries) Due(ctx context.Context, q DueQuery) (due Due, err error) {
	const (
		oldest = `o.park_time IS NULL AND NOT EXISTS (
			SELECT 1 FROM owed_push e WHERE e.subscription_id = o.subscription_id AND e.revision < o.revision AND e.park_time IS NULL)`
		rows = `
			SELECT o.subscription_id, o.revision, o.after_revision, o.endpoint_id, o.tenant_id, o.carrier_code, o.waybill_number,
				o.attempt_count, o.body, o.receive_time, o.first_attempt_time, o.last_attempt_time, o.next_attempt_time, s.state IS NOT DISTINCT FROM 4
			FROM owed_push o LEFT JOIN subscription s ON s.id = o.subscription_id
			WHERE o.endpoint_id = $1 AND (o.next_attempt_time <= $2 OR $3::timestamptz IS NOT NULL AND coalesce(o.last_attempt_time, '-infinity') < $3)
			AND o.subscription_id <> ALL($4) AND s.state IS DISTINCT FROM 2 AND ` + oldest + `
			ORDER BY o.next_attempt_time LIMIT $5`
		next = `
			SELECT o.next_attempt_time
			FROM owed_push o LEFT JOIN subscription s ON s.id = o.subscription_id
			WHERE o.endpoint_id = $1 AND o.next_attempt_time > $2 AND o.subscription_id <> ALL($3) AND s.state IS DISTINCT FROM 2 AND ` + oldest + `
			ORDER BY o.next_attempt_time LIMIT 1`
		subscriptions = `SELECT DISTINCT subscription_id FROM owed_push WHERE endpoint_id = $1 LIMIT $2`
		held          = `
			SELECT 1 FROM owed_push o JOIN subscription s ON s.id = o.subscription_id
			WHERE o.endpoint_id = $1 AND o.park_time IS NULL AND s.state = 2 LIMIT 1`
	)
	var b pgx.Batch
	b.Queue(rows, q.EndpointID, q.Now, optionalTime(q.Recovered), orEmpty(q.Except), q.Limit).Query(func(rows pgx.Rows) (err error) {
		due.Rows, err = pgx.CollectRows(rows, scanOwed)
		return err
	})
	b.Queue(next, q.EndpointID, q.Now, orEmpty(q.Except)).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&due.Next}, func() error { return nil })
		return err
	})
	b.Queue(subscriptions, q.EndpointID, q.MaxSubscriptions+1).Query(func(rows pgx.Rows) (err error) {
		due.Subscriptions, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	b.Queue(held, q.EndpointID).Query(func(rows pgx.Rows) error {
		var one int
		_, err := pgx.ForEachRow(rows, []any{&one}, func() error { due.Held = true; return nil })
		return err
	})
	if err := d.pool.SendBatch(ctx, &b).Close(); err != nil {
		return Due{}, fmt.Errorf("read what is due of %s: %w", q.EndpointID, err)
	}
	if len(due.Subscriptions) > q.MaxSubscriptions {
		due.Subscriptions, due.More = due.Subscriptions[:q.MaxSubscriptions], true
	}
	return due, nil
}

func scanOwed(row pgx.CollectableRow) (o Owed, err error) {
	var first, last *time.Time
	err = row.Scan(&o.SubscriptionID, &o.Revision, &o.AfterRevision, &o.EndpointID, &o.TenantID, &o.CarrierCode, &o.WaybillNumber,
		&o.AttemptCount, &o.Body, &o.ReceiveTime, &first, &last, &o.NextAttempt, &o.Cancelled)
	if first != nil && last != nil {
		o.FirstAttempt, o.LastAttempt = *first, *last
	}
	return o, err
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Owing is how much is owed.
type Owing struct {
	Waiting, Parked int64
	// Oldest is when the oldest that waits was taken in; zero when none does.
	Oldest time.Time
}

// Owing counts the rows of some slots. It reads all of them.
func (d *Deliveries) Owing(ctx context.Context, slots []subject.Slot) (Owing, error) {
	numbers := make([]int16, len(slots))
	for i, s := range slots {
		numbers[i] = int16(s)
	}
	var o Owing
	var oldest *time.Time
	const query = `
		SELECT count(*) FILTER (WHERE park_time IS NULL), count(park_time), min(receive_time) FILTER (WHERE park_time IS NULL)
		FROM owed_push WHERE slot = ANY($1)`
	if err := d.pool.QueryRow(ctx, query, numbers).Scan(&o.Waiting, &o.Parked, &oldest); err != nil {
		return Owing{}, fmt.Errorf("count what is owed: %w", err)
	}
	if oldest != nil {
		o.Oldest = *oldest
	}
	return o, nil
}

// DeliveryBatch is what happened to pushes since the batch before.
type DeliveryBatch struct {
	Attempts     []Attempt
	Acknowledged []Acknowledged
	// Done are rows to remove: acknowledged, or of a cancelled subscription.
	Done []PushRange
	// Attempted are pushes whose attempt failed: their rows are made or replaced.
	Attempted []Owed
	// New are pushes that were not attempted and have no row. One that a row covers
	// is left out.
	New []Owed
	// Gone are endpoints that said they are: they are disabled, and what they are
	// owed is parked.
	Gone []Gone
}

// Gone is an endpoint to disable.
type Gone struct {
	EndpointID string
	Time       time.Time
	Reason     string
}

// Empty says that there is nothing to write.
func (b *DeliveryBatch) Empty() bool {
	return len(b.Attempts)+len(b.Acknowledged)+len(b.Done)+len(b.Attempted)+len(b.New)+len(b.Gone) == 0
}

// FoldFunc makes the body of a push that covers two adjoining ones.
type FoldFunc func(older, newer []byte) ([]byte, error)

// Commit writes a batch in one transaction, or returns [ErrLeaseLost]. With
// again, it may have been written before.
func (d *Deliveries) Commit(ctx context.Context, lease Lease, batch *DeliveryBatch, fold FoldFunc, again bool) error {
	err := InTx(ctx, d.pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		var b pgx.Batch
		insertAttempts(&b, batch.Attempts, again)
		acknowledge(&b, batch.Acknowledged)
		removeOwed(&b, batch.Done)
		saveAttempted(&b, batch.Attempted)
		if b.Len() > 0 {
			if err := tx.SendBatch(ctx, &b).Close(); err != nil {
				return err
			}
		}
		if err := addOwed(ctx, tx, batch.New, fold); err != nil {
			return err
		}
		return disableGone(ctx, tx, batch.Gone)
	})
	if err != nil {
		return fmt.Errorf("record %d attempts: %w", len(batch.Attempts), err)
	}
	return nil
}

func removeOwed(b *pgx.Batch, rows []PushRange) {
	if len(rows) == 0 {
		return
	}
	subs, revisions := make([]string, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		subs[i], revisions[i] = r.SubscriptionID, int64(r.Revision)
	}
	// By the very revision: "up to" would remove what was never acknowledged if an
	// order were ever wrong.
	b.Queue(`DELETE FROM owed_push o USING unnest($1::text[], $2::bigint[]) AS k (subscription_id, revision)
		WHERE o.subscription_id = k.subscription_id AND o.revision = k.revision`, subs, revisions)
}

// owedColumns are the columns of rows to write, as arrays.
func owedColumns(rows []Owed) []any {
	n := len(rows)
	subs, endpoints, tenants, carriers, numbers, reasons := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	revisions, after, counts, slots := make([]int64, n), make([]int64, n), make([]int32, n), make([]int16, n)
	bodies, received := make([][]byte, n), make([]time.Time, n)
	first, last, next, parked := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	for i := range rows {
		o := &rows[i]
		subs[i], endpoints[i], tenants[i], carriers[i], numbers[i], reasons[i] = o.SubscriptionID, o.EndpointID, o.TenantID, o.CarrierCode, o.WaybillNumber, o.ParkReason
		revisions[i], after[i], counts[i], slots[i] = int64(o.Revision), int64(o.AfterRevision), int32(o.AttemptCount), int16(subject.EndpointSlot(o.EndpointID))
		bodies[i], received[i] = o.Body, o.ReceiveTime
		first[i], last[i], next[i], parked[i] = optionalTime(o.FirstAttempt), optionalTime(o.LastAttempt), optionalTime(o.NextAttempt), optionalTime(o.ParkTime)
	}
	return []any{subs, revisions, after, endpoints, slots, tenants, carriers, numbers, counts, bodies, received, first, last, next, parked, reasons}
}

const insertOwed = `
	INSERT INTO owed_push (subscription_id, revision, after_revision, endpoint_id, slot, tenant_id, carrier_code, waybill_number, attempt_count,
		body, receive_time, first_attempt_time, last_attempt_time, next_attempt_time, park_time, park_reason)
	SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::integer[],
		$10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $16::text[])
	ON CONFLICT (subscription_id, revision) `

func saveAttempted(b *pgx.Batch, rows []Owed) {
	if len(rows) == 0 {
		return
	}
	b.Queue(insertOwed+`DO UPDATE SET after_revision = excluded.after_revision, body = excluded.body, attempt_count = excluded.attempt_count,
		first_attempt_time = excluded.first_attempt_time, last_attempt_time = excluded.last_attempt_time,
		next_attempt_time = excluded.next_attempt_time, park_time = excluded.park_time, park_reason = excluded.park_reason`, owedColumns(rows)...)
}

func disableGone(ctx context.Context, tx pgx.Tx, list []Gone) error {
	for _, g := range list {
		var b pgx.Batch
		b.Queue(`UPDATE endpoint SET state = 3, update_time = $2 WHERE id = $1 AND state <> 3`, g.EndpointID, g.Time)
		b.Queue(`UPDATE owed_push SET park_time = $2, park_reason = $3, next_attempt_time = NULL WHERE endpoint_id = $1 AND park_time IS NULL`, g.EndpointID, g.Time, g.Reason)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("disable endpoint %s: %w", g.EndpointID, err)
		}
	}
	return nil
}
