package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Acknowledged is a revision that a subscription's endpoint acknowledged.
type Acknowledged struct {
	SubscriptionID string
	Revision       uint64
	Time           time.Time
}

// acknowledge raises acknowledged revisions. A subscription may occur more than
// once.
func acknowledge(b *pgx.Batch, list []Acknowledged) {
	if len(list) == 0 {
		return
	}
	subs, revisions, times := make([]string, len(list)), make([]int64, len(list)), make([]time.Time, len(list))
	for i, a := range list {
		subs[i], revisions[i], times[i] = a.SubscriptionID, int64(a.Revision), a.Time
	}
	// Grouped, since a statement can't update a row twice.
	const query = `
		INSERT INTO acknowledged AS a (subscription_id, revision, acknowledge_time)
		SELECT n.subscription_id, max(n.revision), max(n.time)
		FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS n (subscription_id, revision, time)
		GROUP BY n.subscription_id
		ON CONFLICT (subscription_id) DO UPDATE SET revision = excluded.revision, acknowledge_time = excluded.acknowledge_time
		WHERE a.revision < excluded.revision`
	b.Queue(query, subs, revisions, times)
}

// PushRange is a push by what it covers: the revisions (After, Revision] of a
// subscription.
type PushRange struct {
	SubscriptionID  string
	After, Revision uint64
}

// Settled says of each push whether delivery is done with it: it was
// acknowledged, or a row covers it.
func (d *Deliveries) Settled(ctx context.Context, pushes []PushRange) ([]bool, error) {
	subs, after, revisions := make([]string, len(pushes)), make([]int64, len(pushes)), make([]int64, len(pushes))
	for i, p := range pushes {
		subs[i], after[i], revisions[i] = p.SubscriptionID, int64(p.After), int64(p.Revision)
	}
	const query = `
		SELECT k.n
		FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS k (subscription_id, after_revision, revision, n)
		WHERE EXISTS (SELECT 1 FROM acknowledged a WHERE a.subscription_id = k.subscription_id AND a.revision >= k.revision)
		OR EXISTS (
			SELECT 1 FROM owed_push o
			WHERE o.subscription_id = k.subscription_id AND o.revision >= k.revision AND o.after_revision <= k.after_revision
		)`
	rows, err := d.pool.Query(ctx, query, subs, after, revisions)
	if err != nil {
		return nil, fmt.Errorf("look up %d pushes: %w", len(pushes), err)
	}
	settled := make([]bool, len(pushes))
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&n}, func() error {
		settled[n-1] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d pushes: %w", len(pushes), err)
	}
	return settled, nil
}
