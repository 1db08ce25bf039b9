package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The outcomes of an attempt.
const (
	AttemptAcknowledged = 1
	AttemptRetry        = 2
	AttemptParked       = 3
)

// Attempt is one HTTP try of one push.
type Attempt struct {
	ID              string
	PushID          string
	SubscriptionID  string
	EndpointID      string
	TenantID        string
	CarrierCode     string
	WaybillNumber   string
	AfterRevision   uint64
	Revision        uint64
	Number          int
	Time            time.Time
	Duration        time.Duration
	Outcome         int16
	HTTPStatus      int
	ErrorClass      string
	Error           string
	ResponseExcerpt string
	NextAttemptTime *time.Time
}

// insertAttempts adds to the log. With again, the same may have been added
// before, and what was is left out: a commit whose answer got lost.
func insertAttempts(b *pgx.Batch, list []Attempt, again bool) {
	if len(list) == 0 {
		return
	}
	n := len(list)
	ids, pushes, subs, endpoints, tenants := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	carriers, numbers, classes, errors, excerpts := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	after, revisions := make([]int64, n), make([]int64, n)
	counts, statuses, outcomes := make([]int32, n), make([]int32, n), make([]int16, n)
	times, durations, next := make([]time.Time, n), make([]time.Duration, n), make([]*time.Time, n)
	for i := range list {
		a := &list[i]
		ids[i], pushes[i], subs[i], endpoints[i], tenants[i] = a.ID, a.PushID, a.SubscriptionID, a.EndpointID, a.TenantID
		carriers[i], numbers[i], classes[i], errors[i], excerpts[i] = a.CarrierCode, a.WaybillNumber, a.ErrorClass, a.Error, a.ResponseExcerpt
		after[i], revisions[i] = int64(a.AfterRevision), int64(a.Revision)
		counts[i], statuses[i], outcomes[i] = int32(a.Number), int32(a.HTTPStatus), a.Outcome
		times[i], durations[i], next[i] = a.Time, a.Duration, a.NextAttemptTime
	}
	query := `
		INSERT INTO attempt (id, push_id, subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision,
			number, attempt_time, duration, outcome, http_status, error_class, error, response_excerpt, next_attempt_time)
		SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
			$10::integer[], $11::timestamptz[], $12::interval[], $13::smallint[], $14::integer[], $15::text[], $16::text[], $17::text[], $18::timestamptz[])
			AS n (id, push_id, subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision,
			number, attempt_time, duration, outcome, http_status, error_class, error, response_excerpt, next_attempt_time)`
	if again {
		// Relies on attempt_of_subscription.
		query += ` WHERE NOT EXISTS (
			SELECT 1 FROM attempt a WHERE a.subscription_id = n.subscription_id AND a.attempt_time = n.attempt_time AND a.id = n.id)`
	}
	b.Queue(query, ids, pushes, subs, endpoints, tenants, carriers, numbers, after, revisions,
		counts, times, durations, outcomes, statuses, classes, errors, excerpts, next)
}

const attemptDay = "attempt_20060102"

// maintainLock is the advisory lock of those who make and drop partitions.
const maintainLock = 0x706f7374 // "post"

// MaintainAttempts makes the log's partitions, a day each, for today and some
// days ahead, and drops those of days that ended before keep began. Several
// processes may call it at once.
func (d *Deliveries) MaintainAttempts(ctx context.Context, now time.Time, ahead int, keep time.Duration) error {
	err := InTx(ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, maintainLock); err != nil {
			return err
		}
		days, err := attemptDays(ctx, tx)
		if err != nil {
			return err
		}
		today := now.UTC().Truncate(24 * time.Hour)
		for i := range ahead + 1 {
			if day := today.AddDate(0, 0, i); !days[day] {
				if err := makeAttemptDay(ctx, tx, day); err != nil {
					return fmt.Errorf("make partition %s: %w", day.Format(attemptDay), err)
				}
			}
		}
		for day := range days {
			if day.AddDate(0, 0, 1).After(now.Add(-keep)) {
				continue
			}
			if _, err := tx.Exec(ctx, "DROP TABLE "+day.Format(attemptDay)); err != nil {
				return fmt.Errorf("drop partition %s: %w", day.Format(attemptDay), err)
			}
		}
		_, err = tx.Exec(ctx, `DELETE FROM attempt_default WHERE attempt_time < $1`, now.Add(-keep))
		return err
	})
	if err != nil {
		return fmt.Errorf("maintain the attempt log: %w", err)
	}
	return nil
}

func attemptDays(ctx context.Context, tx pgx.Tx) (map[time.Time]bool, error) {
	rows, err := tx.Query(ctx, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'attempt'::regclass`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	days := make(map[time.Time]bool)
	for _, n := range names {
		if day, err := time.Parse(attemptDay, n); err == nil {
			days[day] = true
		}
	}
	return days, nil
}

// makeAttemptDay makes a partition and moves into it what the default one holds
// of its day: with that in the way it could not be attached.
func makeAttemptDay(ctx context.Context, tx pgx.Tx, day time.Time) error {
	const script = `
		CREATE TABLE $name (LIKE attempt INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
		WITH moved AS (DELETE FROM attempt_default WHERE attempt_time >= '$from' AND attempt_time < '$to' RETURNING *)
		INSERT INTO $name SELECT * FROM moved;
		ALTER TABLE attempt ATTACH PARTITION $name FOR VALUES FROM ('$from') TO ('$to')`
	replace := strings.NewReplacer("$name", day.Format(attemptDay), "$from", day.Format(time.RFC3339), "$to", day.AddDate(0, 0, 1).Format(time.RFC3339))
	_, err := tx.Exec(ctx, replace.Replace(script))
	return err
}
