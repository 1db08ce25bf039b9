package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/pkg/subject"
)

// LevelPage says which subscriptions a level check looks at.
type LevelPage struct {
	Slots []subject.Slot
	After string // ids above; empty for the first
	Limit int
	// HandedOver is the time before which everything that was handed to delivery
	// has left its stream: it is acknowledged or owed.
	HandedOver time.Time
	// Matched is the time before which every change that is projected has been
	// matched.
	Matched time.Time
}

// Level is what a level check found.
type Level struct {
	// Last is the id to go on after; empty when no more follow.
	Last string
	// Pushes are subscriptions whose newest push is nowhere; Changes are those that
	// lack a change of their waybill. Both are announced anew.
	Pushes, Changes int
}

// Level looks at a page of subscriptions, in the order of ids, for what got lost
// on its way: a push that was handed to delivery, and is neither acknowledged nor
// owed; a change that was projected and neither matched nor held back. Such a subscription is set
// back to what its endpoint acknowledged and announced, so that what it lacks is
// pushed again. It costs one read a subscription where nothing is lost.
func (m *Matching) Level(ctx context.Context, lease Lease, p LevelPage) (found Level, err error) {
	err = InTx(ctx, m.pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		const query = `
			WITH page AS (
				SELECT id, carrier_code, waybill_number, state, announce, pushed_revision, push_time, held_revision
				FROM subscription WHERE id > $1 AND slot = ANY($2) ORDER BY id LIMIT $3
			), behind AS (
				SELECT p.id, coalesce(a.revision, 0) AS revision, true AS push
				FROM page p LEFT JOIN acknowledged a ON a.subscription_id = p.id
				WHERE p.state IN (1, 2) AND p.pushed_revision > coalesce(a.revision, 0) AND coalesce(p.push_time, '-infinity') < $4
					AND NOT EXISTS (SELECT 1 FROM owed_push o WHERE o.subscription_id = p.id)
				UNION ALL
				SELECT p.id, p.pushed_revision, false
				FROM page p JOIN waybill w USING (carrier_code, waybill_number)
				WHERE p.state = 1 AND NOT p.announce AND w.revision > greatest(p.pushed_revision, p.held_revision) AND w.update_time < $5
			), again AS (
				UPDATE subscription s SET announce = true, pushed_revision = b.revision,
					-- What the receiver knows isn't known: it isn't held back.
					pushed_status = CASE WHEN b.revision < s.pushed_revision THEN -1 ELSE s.pushed_status END
				FROM (SELECT id, min(revision) AS revision FROM behind GROUP BY id) b
				WHERE s.id = b.id
			)
			SELECT (SELECT CASE WHEN count(*) = $3 THEN max(id) ELSE '' END FROM page),
				(SELECT count(*) FROM behind WHERE push), (SELECT count(*) FROM behind WHERE NOT push)`
		return tx.QueryRow(ctx, query, p.After, smallints(p.Slots), p.Limit, p.HandedOver, p.Matched).Scan(&found.Last, &found.Pushes, &found.Changes)
	})
	if err != nil {
		return Level{}, fmt.Errorf("check the level of subscriptions: %w", err)
	}
	return found, nil
}
