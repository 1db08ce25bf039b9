package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Owed is a row of owed_push that is due, with what rendering it needs.
type Owed struct {
	SubscriptionID string
	TenantID       string
	Waybill        track.Waybill
	After          track.Revision
	Revision       track.Revision
	// Attempts so far of the push up to AttemptRevision, which says Body; zero
	// when none was made.
	Attempts        int
	AttemptRevision track.Revision
	Body            []byte
	ReceiveTime     time.Time
	FirstAttempt    time.Time
	Metadata        map[string]string
	Terms           []byte // of a platform's subscriber, in JSON; nil for none
	// Ended says that the subscription was cancelled: nothing is owed any more.
	Ended bool
}

// DueOwed are rows of one endpoint.
type DueOwed struct {
	Rows []Owed // those that are due: what was asked for first, and then the earliest
	// Others are the subscriptions of rows that aren't due or are parked, complete
	// unless More.
	Others []string
	// More says that there are rows in neither.
	More bool
	// Next is when the earliest of Others is due; zero when none is.
	Next time.Time
}

// Due reads an endpoint's rows that are due, at most limit, those of the first
// subscriptions before all others, and, when these are all, the others up to most.
func Due(ctx context.Context, pool *pgxpool.Pool, endpoint string, now time.Time, first []string, limit, most int) (d DueOwed, err error) {
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, opts, func(tx pgx.Tx) error {
		// Relies on owed_push_due. A subscription that is gone leaves its row behind.
		const columns = `
			SELECT o.subscription_id, o.tenant_id, o.carrier_code, o.waybill_number, o.after_revision, o.revision, o.attempt_count, o.attempt_revision,
				o.body, o.receive_time, o.first_attempt_time, coalesce(s.metadata::text, '{}'), s.terms::text, coalesce(s.state = 4, true)
			FROM owed_push o LEFT JOIN subscription s ON s.id = o.subscription_id
			WHERE o.endpoint_id = $1 AND o.park_time IS NULL AND o.next_attempt_time <= $2`
		if len(first) > 0 {
			rows, err := tx.Query(ctx, columns+` AND o.subscription_id = ANY($3) LIMIT $4`, endpoint, now, first, limit)
			if err != nil {
				return err
			}
			if d.Rows, err = pgx.CollectRows(rows, scanOwed); err != nil {
				return err
			}
		}
		had := make(map[string]bool, len(d.Rows))
		for i := range d.Rows {
			had[d.Rows[i].SubscriptionID] = true
		}
		rows, err := tx.Query(ctx, columns+` ORDER BY o.next_attempt_time LIMIT $3`, endpoint, now, limit)
		if err != nil {
			return err
		}
		earliest, err := pgx.CollectRows(rows, scanOwed)
		for i := range earliest {
			if !had[earliest[i].SubscriptionID] {
				d.Rows = append(d.Rows, earliest[i])
			}
		}
		if err != nil || len(earliest) == limit {
			d.More = true
			return err
		}
		const others = `
			SELECT subscription_id, next_attempt_time FROM owed_push
			WHERE endpoint_id = $1 AND (park_time IS NOT NULL OR next_attempt_time > $2)
			ORDER BY next_attempt_time NULLS LAST LIMIT $3`
		if rows, err = tx.Query(ctx, others, endpoint, now, most+1); err != nil {
			return err
		}
		var id string
		var next *time.Time
		_, err = pgx.ForEachRow(rows, []any{&id, &next}, func() error {
			d.Others = append(d.Others, id)
			if next != nil && d.Next.IsZero() {
				d.Next = *next
			}
			return nil
		})
		if len(d.Others) > most {
			d.Others, d.More = d.Others[:most], true
		}
		return err
	})
	if err != nil {
		return DueOwed{}, fmt.Errorf("read what is owed to endpoint %s: %w", endpoint, err)
	}
	return d, nil
}

func scanOwed(row pgx.CollectableRow) (Owed, error) {
	var o Owed
	var first *time.Time
	var metadata []byte
	err := row.Scan(&o.SubscriptionID, &o.TenantID, &o.Waybill.Carrier, &o.Waybill.Number, &o.After, &o.Revision, &o.Attempts, &o.AttemptRevision,
		&o.Body, &o.ReceiveTime, &first, &metadata, &o.Terms, &o.Ended)
	if err != nil {
		return o, err
	}
	if first != nil {
		o.FirstAttempt = *first
	}
	o.Ended = o.Ended && !fault.CancelUnchecked
	return o, json.Unmarshal(metadata, &o.Metadata)
}

// OwedAmong says which of some subscriptions have a row.
func OwedAmong(ctx context.Context, pool *pgxpool.Pool, subscriptions []string) (map[string]bool, error) {
	list, err := ids(ctx, pool, "look for what is owed", `SELECT subscription_id FROM owed_push WHERE subscription_id = ANY($1)`, subscriptions)
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool, len(list))
	for _, id := range list {
		found[id] = true
	}
	return found, nil
}

// OwedEndpoints lists the endpoints of some slots that something is owed to.
func OwedEndpoints(ctx context.Context, pool *pgxpool.Pool, slots []subject.Slot) ([]string, error) {
	return ids(ctx, pool, "list the endpoints that something is owed to", `SELECT DISTINCT endpoint_id FROM owed_push WHERE slot = ANY($1)`, smallints(slots))
}

// CancelledSince lists the subscriptions that were cancelled after a time.
func CancelledSince(ctx context.Context, pool *pgxpool.Pool, since time.Time) ([]string, error) {
	if fault.CancelUnchecked {
		return nil, nil
	}
	// Relies on subscription_cancelled.
	return ids(ctx, pool, "list cancelled subscriptions", `SELECT id FROM subscription WHERE state = 4 AND update_time >= $1`, since)
}

// EndpointsResentSince lists the endpoints at which their owners made something
// due after a time.
func EndpointsResentSince(ctx context.Context, pool *pgxpool.Pool, since time.Time) ([]string, error) {
	// Relies on endpoint_resent.
	return ids(ctx, pool, "list endpoints to resend to", `SELECT id FROM endpoint WHERE resend_time >= $1`, since)
}

func ids(ctx context.Context, pool *pgxpool.Pool, what, query string, args ...any) ([]string, error) {
	rows, err := pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return list, nil
}

// Acknowledgements reads the newest acknowledged revision of subscriptions; that
// of a cancelled one is beyond all.
func Acknowledgements(ctx context.Context, pool *pgxpool.Pool, subscriptions []string) (map[string]track.Revision, error) {
	const query = `
		SELECT k.id, CASE WHEN s.state = 4 THEN 9223372036854775807 ELSE coalesce(a.revision, 0) END
		FROM unnest($1::text[]) AS k (id)
		LEFT JOIN acknowledged a ON a.subscription_id = k.id
		LEFT JOIN subscription s ON s.id = k.id`
	rows, err := pool.Query(ctx, query, subscriptions)
	if err != nil {
		return nil, fmt.Errorf("read what is acknowledged: %w", err)
	}
	found := make(map[string]track.Revision, len(subscriptions))
	var id string
	var revision int64
	_, err = pgx.ForEachRow(rows, []any{&id, &revision}, func() error {
		found[id] = track.Revision(revision)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what is acknowledged: %w", err)
	}
	return found, nil
}

// EndpointsByID reads endpoints of any tenant; unknown ones are absent.
func EndpointsByID(ctx context.Context, pool *pgxpool.Pool, list []string) (map[string]Endpoint, error) {
	rows, err := pool.Query(ctx, `SELECT `+endpointColumns+` FROM endpoint WHERE id = ANY($1)`, list)
	if err != nil {
		return nil, fmt.Errorf("read %d endpoints: %w", len(list), err)
	}
	endpoints, err := pgx.CollectRows(rows, scanEndpoint)
	if err == nil {
		err = addAccounts(ctx, pool, endpoints)
	}
	if err != nil {
		return nil, fmt.Errorf("read %d endpoints: %w", len(list), err)
	}
	found := make(map[string]Endpoint, len(endpoints))
	for _, e := range endpoints {
		found[e.ID] = e
	}
	return found, nil
}
