package pg_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// The log of attempts has a partition for each day, made ahead; days that are too
// old go as a whole, and so does what is old among what came outside of them.
func TestKeepAttemptPartitions_MakesDaysAheadAndDropsOldOnes(t *testing.T) {
	t.Parallel()
	pool := testkit.PostgreSQL(t)
	day := func(d int) time.Time { return time.Date(2026, 3, d, 12, 0, 0, 0, time.UTC) }
	log := func(d int) {
		t.Helper()
		const query = `INSERT INTO attempt VALUES ($1, 'psh_1_1', 'sub_1', 'ep_1', 'acme', 'sf', 'SF1', 0, 1, 1, $2, '20 ms', 1, 200, '', '', '', NULL)`
		if _, err := pool.Exec(t.Context(), query, fmt.Sprint("att_", d), day(d)); err != nil {
			t.Fatal(err)
		}
	}
	list := func(query string) []string {
		t.Helper()
		rows, err := pool.Query(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	keep := func(d int) {
		t.Helper()
		if err := pg.KeepAttemptPartitions(t.Context(), pool, day(d), 2, 3*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	const partitions = `SELECT relname::text FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'attempt'::regclass ORDER BY 1`
	log(10) // before there is any: in the default partition
	keep(10)
	keep(10)
	want := []string{"attempt_20260310", "attempt_20260311", "attempt_20260312", "attempt_default"}
	if got := list(partitions); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	if got := list(`SELECT id FROM attempt_20260310`); !slices.Equal(got, []string{"att_10"}) {
		t.Errorf("the day has %v", got)
	}
	log(11)
	log(1) // too old
	keep(13)
	want = []string{"attempt_20260310", "attempt_20260311", "attempt_20260312", "attempt_20260313", "attempt_20260314", "attempt_20260315", "attempt_default"}
	if got := list(partitions); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	keep(14)
	if got := list(`SELECT id FROM attempt ORDER BY 1`); !slices.Equal(got, []string{"att_11"}) {
		t.Errorf("the log has %v", got)
	}
	if got := list(partitions); slices.Contains(got, "attempt_20260310") {
		t.Errorf("a day that is too old is there: %v", got)
	}
	// The indexes of the whole are those of each day.
	const indexes = `SELECT count(*)::text FROM pg_indexes WHERE tablename = 'attempt_20260313' AND indexdef LIKE '%(endpoint_id, attempt_time)%'`
	if got := list(indexes); !slices.Equal(got, []string{"2"}) {
		t.Errorf("a day has %v of the indexes by endpoint", got)
	}
}
