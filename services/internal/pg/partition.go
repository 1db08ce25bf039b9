package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const attemptDay = "attempt_20060102"

// maintainLock is the advisory lock of those who make and drop partitions.
const maintainLock = 0x706f7374 // "post"

// KeepAttemptPartitions makes the log's partitions, a day each, for today and some
// days ahead, and drops those of days that ended before keep began. Several
// processes may call it at once.
func KeepAttemptPartitions(ctx context.Context, pool *pgxpool.Pool, now time.Time, ahead int, keep time.Duration) error {
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
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
