package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
)

// Health is how an endpoint's breaker stands.
type Health struct {
	EndpointID string
	TenantID   string
	Slot       int16
	Opened     time.Time // zero when it is closed
	Probes     int       // that failed since
	ProbeTime  time.Time // when the next may go
	Class      string
	HTTPStatus int
}

// OpsEvent is an operational event on its way to the stream.
type OpsEvent struct {
	ID       string
	Slot     int16
	TenantID string
	Kind     string // as in the subject
	Body     []byte // ops.v1.Event, encoded
}

// Health records how an endpoint's breaker stands.
func (o *Outcomes) Health(h *Health) {
	const query = `
		INSERT INTO endpoint_health AS e (endpoint_id, tenant_id, slot, open_time, probe_count, probe_time, error_class, http_status)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (endpoint_id) DO UPDATE SET open_time = excluded.open_time, probe_count = excluded.probe_count,
			probe_time = excluded.probe_time, error_class = excluded.error_class, http_status = excluded.http_status`
	o.queue(query, h.EndpointID, h.TenantID, h.Slot, nullTime(h.Opened), h.Probes, nullTime(h.ProbeTime), h.Class, h.HTTPStatus)
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const insertEvent = `INSERT INTO ops_event (id, slot, tenant_id, kind, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`

// Event records an operational event, to be told after the commit.
func (o *Outcomes) Event(e *OpsEvent) { o.queue(insertEvent, e.args()...) }

func (e *OpsEvent) args() []any { return []any{e.ID, e.Slot, e.TenantID, e.Kind, e.Body} }

// countParked adds what a statement parked to what is to be told of an
// endpoint. The statement returns a row for each.
func countParked(statement, endpoint, tenant, slot, reason string) string {
	return `WITH parked AS (` + statement + ` RETURNING 1)
		INSERT INTO endpoint_health AS e (endpoint_id, tenant_id, slot, parked_count, parked_reason)
		SELECT ` + endpoint + `, ` + tenant + `, ` + slot + `, count(*), ` + reason + ` FROM parked HAVING count(*) > 0
		ON CONFLICT (endpoint_id) DO UPDATE SET parked_count = e.parked_count + excluded.parked_count, parked_reason = excluded.parked_reason`
}

// HealthOf reads the health of endpoints; one that never had trouble is absent.
func HealthOf(ctx context.Context, pool *pgxpool.Pool, endpoints []string) (map[string]Health, error) {
	const query = `
		SELECT endpoint_id, tenant_id, slot, coalesce(open_time, '0001-01-01Z'), probe_count, coalesce(probe_time, '0001-01-01Z'), error_class, http_status
		FROM endpoint_health WHERE endpoint_id = ANY($1) AND open_time IS NOT NULL`
	rows, err := pool.Query(ctx, query, endpoints)
	if err != nil {
		return nil, fmt.Errorf("read the health of %d endpoints: %w", len(endpoints), err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Health])
	if err != nil {
		return nil, fmt.Errorf("read the health of %d endpoints: %w", len(endpoints), err)
	}
	found := make(map[string]Health, len(list))
	for _, h := range list {
		found[h.EndpointID] = h
	}
	return found, nil
}

// Parked is what was parked of an endpoint's pushes and is to be told.
type Parked struct {
	EndpointID string
	TenantID   string
	Slot       int16
	Count      int64
	Reason     string
}

// TellParked makes events of what was parked at endpoints of some slots, one for
// each endpoint and no sooner than an interval after its last. It returns how
// long the next one has to wait, 0 when nothing is left to tell.
func TellParked(ctx context.Context, pool *pgxpool.Pool, lease Lease, slots []subject.Slot, interval time.Duration, event func(Parked) (*OpsEvent, error)) (wait time.Duration, err error) {
	err = InTx(ctx, pool, func(tx pgx.Tx) error {
		if err := lease.Check(ctx, tx); err != nil {
			return err
		}
		// Relies on endpoint_health_to_tell. The clock is the database's alone.
		const query = `
			UPDATE endpoint_health e SET parked_count = 0, parked_told = clock_timestamp()
			FROM (
				SELECT endpoint_id, parked_count FROM endpoint_health
				WHERE slot = ANY($1) AND parked_count > 0 AND coalesce(parked_told <= clock_timestamp() - $2::interval, true)
				ORDER BY endpoint_id LIMIT 500 FOR UPDATE
			) due
			WHERE e.endpoint_id = due.endpoint_id
			RETURNING e.endpoint_id, e.tenant_id, e.slot, due.parked_count, e.parked_reason`
		rows, err := tx.Query(ctx, query, smallints(slots), interval)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Parked])
		if err != nil {
			return err
		}
		for _, p := range list {
			e, err := event(p)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, insertEvent, e.args()...); err != nil {
				return err
			}
		}
		const next = `
			SELECT min(parked_told) + $2::interval - clock_timestamp() FROM endpoint_health
			WHERE slot = ANY($1) AND parked_count > 0 AND parked_told IS NOT NULL`
		var left *time.Duration // nil when nothing is to be told
		if err := tx.QueryRow(ctx, next, smallints(slots), interval).Scan(&left); err != nil {
			return err
		}
		if left != nil {
			wait = max(*left, time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("tell of parked pushes: %w", err)
	}
	return wait, nil
}

// OpsEvents reads events of some slots that are on their way, the oldest first.
func OpsEvents(ctx context.Context, pool *pgxpool.Pool, slots []subject.Slot, limit int) ([]OpsEvent, error) {
	// Relies on ops_event_of_slot.
	rows, err := pool.Query(ctx, `SELECT id, slot, tenant_id, kind, body FROM ops_event WHERE slot = ANY($1) ORDER BY create_time, id LIMIT $2`, smallints(slots), limit)
	if err != nil {
		return nil, fmt.Errorf("read operational events: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[OpsEvent])
	if err != nil {
		return nil, fmt.Errorf("read operational events: %w", err)
	}
	return list, nil
}

// ToldOpsEvents deletes events that are stored in the stream.
func ToldOpsEvents(ctx context.Context, pool *pgxpool.Pool, list []OpsEvent) error {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	if _, err := pool.Exec(ctx, `DELETE FROM ops_event WHERE id = ANY($1)`, ids); err != nil {
		return fmt.Errorf("delete %d operational events that were told: %w", len(list), err)
	}
	return nil
}

// OperationsEndpoints reads where a tenant's operational events go.
func OperationsEndpoints(ctx context.Context, pool *pgxpool.Pool, tenant string) ([]Endpoint, error) {
	// Relies on endpoint_for_operations.
	rows, err := pool.Query(ctx, `SELECT `+endpointColumns+` FROM endpoint WHERE tenant_id = $1 AND operations AND state = 1 ORDER BY id`, tenant)
	if err != nil {
		return nil, fmt.Errorf("read the endpoints for operations of %s: %w", tenant, err)
	}
	list, err := pgx.CollectRows(rows, scanEndpoint)
	if err != nil {
		return nil, fmt.Errorf("read the endpoints for operations of %s: %w", tenant, err)
	}
	return list, nil
}

// OwedStats is how much is owed, over all endpoints of some slots.
type OwedStats struct {
	Waiting, Parked int64
	// Oldest is when the events of the push that waits longest were taken in; zero
	// when none waits.
	Oldest time.Time
}

// StatOwed counts what is owed. It reads all rows.
func StatOwed(ctx context.Context, pool *pgxpool.Pool, slots []subject.Slot) (s OwedStats, err error) {
	const query = `SELECT count(*) - count(park_time), count(park_time), min(receive_time) FILTER (WHERE park_time IS NULL) FROM owed_push WHERE slot = ANY($1)`
	var oldest *time.Time
	if err := pool.QueryRow(ctx, query, smallints(slots)).Scan(&s.Waiting, &s.Parked, &oldest); err != nil {
		return s, fmt.Errorf("count what is owed: %w", err)
	}
	if oldest != nil {
		s.Oldest = *oldest
	}
	return s, nil
}

// deliveryChannel is notified by triggers of endpoint and subscription.
const deliveryChannel = "posthaste_delivery"

// ListenForDelivery tells of endpoints that changed and subscriptions that were
// cancelled, until the context or the connection ends. When it has begun to
// listen it calls begun: what changed before must be read. The connection is its
// own, beside the pool.
func ListenForDelivery(ctx context.Context, pool *pgxpool.Pool, begun func(), endpoint, cancelled func(id string)) error {
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("listen for changes of endpoints: %w", err)
	}
	//nolint:contextcheck // it closes when ctx has ended
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+deliveryChannel); err != nil {
		return fmt.Errorf("listen for changes of endpoints: %w", err)
	}
	begun()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen for changes of endpoints: %w", err)
		}
		const kind = 2 // "e:" or "s:"
		if len(n.Payload) <= kind {
			return errors.New("listen for changes of endpoints: a notification without an id")
		}
		switch id := n.Payload[kind:]; n.Payload[:kind] {
		case "e:":
			endpoint(id)
		case "s:":
			if !fault.CancelUnchecked {
				cancelled(id)
			}
		}
	}
}
