package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Keys of a subscription's metadata that Posthaste sets, and that so are in every
// push. All begin with [ReservedMetadata].
const (
	ReservedMetadata = "posthaste."
	// MetadataCarrier says how the subscription came by its carrier: "recognized"
	// or "corrected". It isn't there when the carrier was given.
	MetadataCarrier = "posthaste.carrier"
	// MetadataPreviousCarrier is the carrier that proved wrong, and
	// MetadataPreviousSubscription the subscription that was made with it.
	MetadataPreviousCarrier      = "posthaste.previous_carrier_code"
	MetadataPreviousSubscription = "posthaste.previous_subscription_id"
	// MetadataCorrectedCarrier is, on the subscription that was corrected, the
	// carrier that told something.
	MetadataCorrectedCarrier = "posthaste.corrected_carrier_code"

	CarrierRecognized = "recognized"
	CarrierCorrected  = "corrected"
)

// Known says which of the waybills something is known of. It may be behind the
// TRACE stream by a moment.
func (r *Recognition) Known(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]bool, error) {
	carriers, numbers := columns(waybills)
	const query = `
		SELECT carrier_code, waybill_number
		FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
		JOIN waybill w USING (carrier_code, waybill_number)
		WHERE w.event_count > 0`
	rows, err := r.pool.Query(ctx, query, carriers, numbers)
	if err != nil {
		return nil, fmt.Errorf("look for %d waybills: %w", len(waybills), err)
	}
	known := make(map[track.Waybill]bool)
	var w track.Waybill
	if _, err = pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number}, func() error { known[w] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look for %d waybills: %w", len(waybills), err)
	}
	return known, nil
}

// insertChecks notes the carriers of new subscriptions that aren't proven.
func insertChecks(ctx context.Context, tx pgx.Tx, made []*NewSubscription) error {
	var ids, carriers, numbers, candidates []string
	for _, n := range made {
		if n.Candidates == nil {
			continue
		}
		list, err := json.Marshal(n.Candidates)
		if err != nil {
			return err
		}
		ids, carriers, numbers = append(ids, n.ID), append(carriers, string(n.Waybill.Carrier)), append(numbers, string(n.Waybill.Number))
		candidates = append(candidates, string(list))
	}
	if len(ids) == 0 {
		return nil
	}
	const query = `
		INSERT INTO carrier_check (subscription_id, carrier_code, waybill_number, candidates)
		SELECT id, carrier_code, waybill_number, ARRAY(SELECT jsonb_array_elements_text(candidates::jsonb))
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS n (id, carrier_code, waybill_number, candidates)`
	_, err := tx.Exec(ctx, query, ids, carriers, numbers, candidates)
	return err
}

// CarrierChecks are the subscriptions whose carrier isn't proven.
type CarrierChecks struct{ pool *pgxpool.Pool }

// NewCarrierChecks uses a pool.
func NewCarrierChecks(pool *pgxpool.Pool) *CarrierChecks { return &CarrierChecks{pool: pool} }

// Checked is what became of carriers that were looked at.
type Checked struct {
	// Proven told something, Corrected are those for which another did, Waiting
	// those for which nobody has, and Ended those whose subscription has ended.
	Proven, Corrected, Waiting, Ended int
}

// Total is how many were looked at.
func (c Checked) Total() int { return c.Proven + c.Corrected + c.Waiting + c.Ended }

// unproven is a row that is due.
type unproven struct {
	id         string
	carrier    track.Carrier
	number     track.Number
	candidates []track.Carrier
	count      int
	live       bool
	pushed     bool
	known      []track.Carrier // of carrier and candidates
}

// Check looks at carriers whose time has come, at most limit. Where only another
// carrier has told something of the number, a subscription to that one's waybill
// is made beside, which otherwise is the same: newID names it. Several may check
// at once.
func (c *CarrierChecks) Check(ctx context.Context, now time.Time, limit int, newID func() string) (Checked, error) {
	var out Checked
	err := InTx(ctx, c.pool, func(tx pgx.Tx) error {
		out = Checked{}
		due, err := dueChecks(ctx, tx, now, limit)
		if err != nil || len(due) == 0 {
			return err
		}
		var done, later []string
		var pauses []time.Duration
		for i := range due {
			u := &due[i]
			other, found := u.other()
			switch {
			case !u.live:
				out.Ended++
			case u.pushed || u.knows(u.carrier):
				out.Proven++
			case found:
				if err := correct(ctx, tx, u, other, newID(), now); err != nil {
					return err
				}
				out.Corrected++
			default:
				out.Waiting++
				later, pauses = append(later, u.id), append(pauses, checkPause(u.count))
				continue
			}
			done = append(done, u.id)
		}
		if out.Corrected > 0 {
			if _, err := tx.Exec(ctx, `SELECT pg_notify($1, '')`, announceChannel); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM carrier_check WHERE subscription_id = ANY($1)`, done); err != nil {
			return err
		}
		const wait = `
			UPDATE carrier_check c SET check_time = $3::timestamptz + l.pause, check_count = check_count + 1
			FROM unnest($1::text[], $2::interval[]) AS l (id, pause) WHERE c.subscription_id = l.id`
		_, err = tx.Exec(ctx, wait, later, pauses, now)
		return err
	})
	if err != nil {
		return Checked{}, fmt.Errorf("check carriers of subscriptions: %w", err)
	}
	return out, nil
}

// checkPause is how long until a carrier is looked at again without a cause. The
// first is short: it covers a projection that was committed while the subscription
// was made, and so couldn't see it.
func checkPause(count int) time.Duration {
	switch count {
	case 0:
		return time.Minute
	case 1:
		return time.Hour
	default:
		return 24 * time.Hour
	}
}

func dueChecks(ctx context.Context, tx pgx.Tx, now time.Time, limit int) ([]unproven, error) {
	const query = `
		WITH due AS (
			SELECT * FROM carrier_check WHERE check_time <= $1 ORDER BY check_time LIMIT $2 FOR UPDATE SKIP LOCKED
		)
		SELECT d.subscription_id, d.carrier_code, d.waybill_number, d.candidates, d.check_count, s.state IN (1, 2), s.pushed_revision > 0,
			ARRAY(SELECT w.carrier_code FROM waybill w
				WHERE w.carrier_code = ANY(d.candidates || d.carrier_code) AND w.waybill_number = d.waybill_number AND w.event_count > 0)
		FROM due d JOIN subscription s ON s.id = d.subscription_id`
	rows, err := tx.Query(ctx, query, now, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (unproven, error) {
		var u unproven
		err := row.Scan(&u.id, &u.carrier, &u.number, &u.candidates, &u.count, &u.live, &u.pushed, &u.known)
		return u, err
	})
}

func (u *unproven) knows(c track.Carrier) bool {
	return slices.Contains(u.known, c)
}

// other is the likeliest other carrier that has told something.
func (u *unproven) other() (track.Carrier, bool) {
	for _, c := range u.candidates {
		if u.knows(c) {
			return c, true
		}
	}
	return "", false
}

// correct makes the subscription to the waybill that is known, and says so in the
// metadata of both. The endpoint may have that subscription already.
func correct(ctx context.Context, tx pgx.Tx, u *unproven, to track.Carrier, id string, now time.Time) error {
	said, err := json.Marshal(map[string]string{
		MetadataCarrier: CarrierCorrected, MetadataPreviousCarrier: string(u.carrier), MetadataPreviousSubscription: u.id,
	})
	if err != nil {
		return err
	}
	// Of the row whatever it has, now and later, but for what is the waybill's and
	// the call's.
	const successor = `
		INSERT INTO subscription
		SELECT (jsonb_populate_record(s, jsonb_build_object(
			'id', $2::text, 'carrier_code', $3::text, 'slot', $4::int, 'metadata', s.metadata || $5::jsonb, 'state', s.state,
			'pushed_revision', 0, 'pushed_status', 0, 'held_revision', 0, 'due_time', NULL, 'announce', true, 'request_id', NULL, 'request_hash', NULL,
			'create_time', $6::timestamptz, 'update_time', $6::timestamptz, 'complete_time', NULL))).*
		FROM subscription s WHERE s.id = $1
		ON CONFLICT DO NOTHING`
	slot := int(subject.WaybillSlot(string(to), string(u.number)))
	if _, err := tx.Exec(ctx, successor, u.id, id, string(to), slot, string(said), now); err != nil {
		return err
	}
	const note = `UPDATE subscription SET metadata = metadata || jsonb_build_object($2::text, $3::text) WHERE id = $1`
	_, err = tx.Exec(ctx, note, u.id, MetadataCorrectedCarrier, string(to))
	return err
}
