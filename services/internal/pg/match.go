package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/track"
)

// announceChannel is notified when subscriptions want the present state of
// their waybills.
const announceChannel = "posthaste_announce"

// Match is an active subscription, as far as matching needs it.
type Match struct {
	ID           string
	TenantID     string
	EndpointID   string
	Waybill      track.Waybill
	Metadata     map[string]string
	IncludeTrace bool
	Format       int16  // of the endpoint
	AccountID    string // of a platform's format
	Terms        []byte // of a platform's subscriber, in JSON; nil for none
	// Pushed is the newest revision handed to delivery; of one that holds changes
	// back, or what was acknowledged when that is newer.
	Pushed track.Revision
	Pace   pace.Rule
	// State is where the parcel stood at the revision handed over, at PushTime.
	State    pace.Code
	PushTime time.Time
	// Ends is when the subscription ends if nothing more happens.
	Ends time.Time
}

// Pushed is a subscription of which a revision was handed to delivery, or held
// back.
type Pushed struct {
	ID string
	// Revision is the newest handed over, and State what it says; 0 for none.
	Revision track.Revision
	State    pace.Code
	Time     time.Time // when; only before it is recorded, which gives it its own
	// Held is the newest that was held back, until Due, or, when that is zero,
	// until something else is pushed; 0 for none.
	Held track.Revision
	Due  time.Time
	// Ended is when the journey ended, zero while it goes on.
	Ended time.Time
}

// Matching is what the matchers read and write.
type Matching struct{ pool *pgxpool.Pool }

// NewMatching uses a pool.
func NewMatching(pool *pgxpool.Pool) *Matching { return &Matching{pool: pool} }

const matchColumns = `s.id, s.tenant_id, s.endpoint_id, s.carrier_code, s.waybill_number, s.metadata::text, e.include_trace, e.format,
	coalesce(e.account_id, ''), s.terms::text,
	CASE WHEN s.tier + e.tier > 1 OR s.filter IS NOT NULL OR s.held_revision > s.pushed_revision
		THEN greatest(s.pushed_revision, (SELECT a.revision FROM acknowledged a WHERE a.subscription_id = s.id)) ELSE s.pushed_revision END,
	CASE s.tier WHEN 0 THEN e.tier ELSE s.tier END, CASE s.tier WHEN 0 THEN e.digest_interval ELSE s.digest_interval END, s.filter,
	s.pushed_status, s.push_time, coalesce(s.complete_time, s.expire_time)`

func scanMatch(row pgx.CollectableRow) (Match, error) {
	var m Match
	var metadata []byte
	var interval *time.Duration
	var pushed *time.Time
	if err := row.Scan(&m.ID, &m.TenantID, &m.EndpointID, &m.Waybill.Carrier, &m.Waybill.Number, &metadata, &m.IncludeTrace, &m.Format, &m.AccountID, &m.Terms, &m.Pushed,
		&m.Pace.Tier, &interval, &m.Pace.Filter, &m.State, &pushed, &m.Ends); err != nil {
		return m, err
	}
	if interval != nil {
		m.Pace.Interval = *interval
	}
	if pushed != nil {
		m.PushTime = *pushed
	}
	if string(metadata) == "{}" {
		return m, nil
	}
	return m, json.Unmarshal(metadata, &m.Metadata)
}

// matchQuery relies on subscription_live_once.
const matchQuery = `
	SELECT ` + matchColumns + `
	FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
	JOIN subscription s USING (carrier_code, waybill_number)
	JOIN endpoint e ON e.id = s.endpoint_id
	WHERE s.state = 1`

// ExplainOf is PostgreSQL's plan of [Matching.Of].
func (m *Matching) ExplainOf(ctx context.Context, waybills []track.Waybill) (string, error) {
	carriers, numbers := make([]string, len(waybills)), make([]string, len(waybills))
	for i, w := range waybills {
		carriers[i], numbers[i] = string(w.Carrier), string(w.Number)
	}
	lines, err := ids(ctx, m.pool, "explain the look-up of subscriptions", `EXPLAIN `+matchQuery, carriers, numbers)
	return strings.Join(lines, "\n"), err
}

// Of reads the active subscriptions to any of the waybills.
func (m *Matching) Of(ctx context.Context, waybills []track.Waybill) ([]Match, error) {
	carriers, numbers := make([]string, len(waybills)), make([]string, len(waybills))
	for i, w := range waybills {
		carriers[i], numbers[i] = string(w.Carrier), string(w.Number)
	}
	rows, err := m.pool.Query(ctx, matchQuery, carriers, numbers)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions to %d waybills: %w", len(waybills), err)
	}
	list, err := pgx.CollectRows(rows, scanMatch)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions to %d waybills: %w", len(waybills), err)
	}
	return list, nil
}

// ToAnnounce reads active subscriptions of some slots that want the present
// state of their waybills, with ids above after, in the order of ids.
func (m *Matching) ToAnnounce(ctx context.Context, slots []subject.Slot, after string, limit int) ([]Match, error) {
	// Relies on subscription_to_announce.
	const query = `
		SELECT ` + matchColumns + `
		FROM subscription s JOIN endpoint e ON e.id = s.endpoint_id
		WHERE s.announce AND s.state = 1 AND s.slot = ANY($1) AND s.id > $2
		ORDER BY s.id LIMIT $3`
	rows, err := m.pool.Query(ctx, query, smallints(slots), after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions to announce: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanMatch)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions to announce: %w", err)
	}
	return list, nil
}

// Done records what was handed to delivery or held back, in one statement, unless the lease
// has passed on. With announced, the rows have seen their waybill's present
// state.
func (m *Matching) Done(ctx context.Context, lease Lease, done []Pushed, announced bool) error {
	ids, revisions, ended := make([]string, len(done)), make([]int64, len(done)), make([]*time.Time, len(done))
	states, held, dues := make([]int16, len(done)), make([]int64, len(done)), make([]*time.Time, len(done))
	for i := range done {
		ids[i], revisions[i], states[i], held[i] = done[i].ID, int64(done[i].Revision), int16(done[i].State), int64(done[i].Held)
		if !done[i].Due.IsZero() {
			dues[i] = &done[i].Due
		}
		if !done[i].Ended.IsZero() {
			ended[i] = &done[i].Ended
		}
	}
	err := InTx(ctx, m.pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		// The tail is the row's: its owner may have changed it meanwhile.
		const query = `
			UPDATE subscription s SET
				pushed_revision = greatest(s.pushed_revision, x.revision),
				push_time = CASE WHEN x.revision > s.pushed_revision THEN clock_timestamp() ELSE s.push_time END,
				pushed_status = CASE WHEN x.revision > s.pushed_revision THEN x.state ELSE s.pushed_status END,
				held_revision = greatest(s.held_revision, x.held),
				due_time = CASE WHEN x.held > x.revision THEN x.due WHEN x.revision > 0 OR $4 THEN NULL ELSE s.due_time END,
				complete_time = CASE WHEN greatest(x.revision, x.held) >= greatest(s.pushed_revision, 1) THEN x.ended + s.tail ELSE s.complete_time END,
				announce = s.announce AND NOT $4
			FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $5::smallint[], $6::bigint[], $7::timestamptz[]) AS x (id, revision, ended, state, held, due)
			WHERE s.id = x.id`
		_, err := tx.Exec(ctx, query, ids, revisions, ended, announced, states, held, dues)
		return err
	})
	if err != nil {
		return fmt.Errorf("record %d pushes: %w", len(done), err)
	}
	return nil
}

// Complete ends active subscriptions whose complete time has passed, at most
// limit, unless the lease has passed on. A paused one waits, and so does one
// that has yet to see its waybill's present state, or of which something is held
// back, see [Matching.Remind]: what came meanwhile is owed to them.
func (m *Matching) Complete(ctx context.Context, lease Lease, slots []subject.Slot, now time.Time, limit int) (ended int, err error) {
	// Relies on subscription_to_complete.
	const query = `
		UPDATE subscription SET state = 3
		WHERE id IN (
			SELECT id FROM subscription
			WHERE state = 1 AND NOT announce AND held_revision <= pushed_revision AND complete_time <= $1 AND slot = ANY($2)
			ORDER BY complete_time LIMIT $3 FOR UPDATE SKIP LOCKED
		)`
	return m.end(ctx, lease, "complete", query, slots, now, limit)
}

// Expire ends subscriptions whose expire time has passed and whose journey has
// not ended, at most limit, unless the lease has passed on. A paused one expires
// in any case.
func (m *Matching) Expire(ctx context.Context, lease Lease, slots []subject.Slot, now time.Time, limit int) (ended int, err error) {
	// Relies on subscription_to_expire.
	const query = `
		UPDATE subscription SET state = 5
		WHERE id IN (
			SELECT id FROM subscription
			WHERE state IN (1, 2) AND expire_time <= $1 AND slot = ANY($2) AND (state = 2 OR complete_time IS NULL AND NOT announce AND held_revision <= pushed_revision)
			ORDER BY expire_time LIMIT $3 FOR UPDATE SKIP LOCKED
		)`
	return m.end(ctx, lease, "expire", query, slots, now, limit)
}

// Remind has subscriptions announced of which something is held back whose time
// has come, at most limit of each kind, unless the lease has passed on: it is due,
// or nothing else will come before they end. Ending is the time up to which all
// changes are matched; zero when it isn't known.
func (m *Matching) Remind(ctx context.Context, lease Lease, slots []subject.Slot, now, ending time.Time, limit int) (reminded int, err error) {
	err = InTx(ctx, m.pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		// Relies on subscription_due, subscription_to_complete and
		// subscription_to_expire.
		const query = `
			WITH due AS (
				SELECT id FROM subscription WHERE state = 1 AND due_time <= $1 AND NOT announce AND slot = ANY($3)
				ORDER BY due_time LIMIT $4
			), ends AS (
				SELECT id FROM subscription
				WHERE state IN (1, 2) AND complete_time <= $2 AND state = 1 AND NOT announce AND held_revision > pushed_revision AND due_time IS NULL AND slot = ANY($3)
				ORDER BY complete_time LIMIT $4
			), expires AS (
				SELECT id FROM subscription
				WHERE state IN (1, 2) AND expire_time <= $2 AND state = 1 AND complete_time IS NULL AND NOT announce AND held_revision > pushed_revision AND due_time IS NULL
					AND slot = ANY($3)
				ORDER BY expire_time LIMIT $4
			)
			UPDATE subscription SET announce = true
			WHERE id IN (SELECT id FROM due UNION SELECT id FROM ends UNION SELECT id FROM expires)`
		tag, err := tx.Exec(ctx, query, now, ending, smallints(slots), limit)
		reminded = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for what is due: %w", err)
	}
	return reminded, nil
}

func (m *Matching) end(ctx context.Context, lease Lease, doing, query string, slots []subject.Slot, now time.Time, limit int) (ended int, err error) {
	err = InTx(ctx, m.pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, query, now, smallints(slots), limit)
		ended = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s subscriptions: %w", doing, err)
	}
	return ended, nil
}

// Hold is [Hold] with the store's pool.
func (m *Matching) Hold(ctx context.Context, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	return Hold(ctx, m.pool, opts, work)
}

// Listen calls wake whenever subscriptions may want to be announced, and once
// when it has begun to listen, until the context or the connection ends. The
// connection is its own, beside the pool.
func (m *Matching) Listen(ctx context.Context, wake func()) error {
	return listen(ctx, m.pool, announceChannel, wake)
}

func listen(ctx context.Context, pool *pgxpool.Pool, channel string, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", channel, err)
	}
	//nolint:contextcheck // it closes when ctx has ended
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen on %s: %w", channel, err)
	}
	for {
		wake()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("listen on %s: %w", channel, err)
		}
	}
}

func smallints(slots []subject.Slot) []int16 {
	out := make([]int16, len(slots))
	for i, s := range slots {
		out[i] = int16(s)
	}
	return out
}

func encodeMetadata(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode metadata: %w", err)
	}
	return string(b), nil
}
