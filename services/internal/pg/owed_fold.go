package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// addOwed makes rows of pushes that were not attempted. Those that may be folded
// take up the older rows of their subscription, so that a backlog is bounded by
// the subscriptions and not by their events.
func addOwed(ctx context.Context, tx pgx.Tx, rows []Owed, fold FoldFunc) error {
	if len(rows) == 0 {
		return nil
	}
	bySub := make(map[string][]Owed)
	var subs []string
	for i := range rows {
		id := rows[i].SubscriptionID
		if _, ok := bySub[id]; !ok {
			subs = append(subs, id)
		}
		bySub[id] = append(bySub[id], rows[i])
	}
	have, err := lockOwed(ctx, tx, subs)
	if err != nil {
		return err
	}
	var removed []PushRange
	var added []Owed
	for _, id := range subs {
		r, a := foldOwed(have[id], bySub[id], fold)
		removed, added = append(removed, r...), append(added, a...)
	}
	var b pgx.Batch
	removeOwed(&b, removed)
	if len(added) > 0 {
		b.Queue(insertOwed+`DO NOTHING`, owedColumns(added)...)
	}
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, &b).Close()
}

// storedOwed is a row that is there; its body is read only if it may be folded.
type storedOwed struct {
	after, revision uint64
	body            []byte
}

func lockOwed(ctx context.Context, tx pgx.Tx, subs []string) (map[string][]storedOwed, error) {
	const query = `
		SELECT subscription_id, after_revision, revision, CASE WHEN attempt_count = 0 OR park_time IS NOT NULL THEN body END
		FROM owed_push WHERE subscription_id = ANY($1)
		ORDER BY subscription_id, revision FOR UPDATE`
	rows, err := tx.Query(ctx, query, subs)
	if err != nil {
		return nil, err
	}
	have := make(map[string][]storedOwed)
	var id string
	var s storedOwed
	_, err = pgx.ForEachRow(rows, []any{&id, &s.after, &s.revision, &s.body}, func() error {
		have[id] = append(have[id], s)
		s.body = nil
		return nil
	})
	return have, err
}

// foldOwed says which rows of one subscription to remove, and which to add, for
// its new ones, which are in order.
func foldOwed(have []storedOwed, rows []Owed, fold FoldFunc) (removed []PushRange, added []Owed) {
	for _, n := range rows {
		if covered(have, added, &n) {
			continue
		}
		if n.Fold {
			// From the newest down, as long as they adjoin.
			for i := len(added) - 1; i >= 0 && join(&n, added[i].AfterRevision, added[i].Revision, added[i].Body, fold); i-- {
				added = added[:i]
			}
			for i := len(have) - 1; i >= 0 && have[i].body != nil; i-- {
				old := have[i]
				if !join(&n, old.after, old.revision, old.body, fold) {
					break
				}
				removed = append(removed, PushRange{SubscriptionID: n.SubscriptionID, After: old.after, Revision: old.revision})
				have = have[:i]
			}
		}
		added = append(added, n)
	}
	return removed, added
}

func covered(have []storedOwed, added []Owed, n *Owed) bool {
	for _, h := range have {
		if h.revision == n.Revision || h.revision > n.Revision && h.after <= n.AfterRevision {
			return true
		}
	}
	for i := range added {
		if added[i].Revision >= n.Revision && added[i].AfterRevision <= n.AfterRevision {
			return true
		}
	}
	return false
}

// join widens n to cover an older push too, if the two adjoin. A body that can't
// be folded stays a row of its own.
func join(n *Owed, after, revision uint64, body []byte, fold FoldFunc) bool {
	if revision >= n.Revision || revision < n.AfterRevision || after >= n.AfterRevision {
		return false
	}
	folded, err := fold(body, n.Body)
	if err != nil {
		return false
	}
	n.AfterRevision, n.Body = after, folded
	return true
}
