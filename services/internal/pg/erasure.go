package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Errors of erasing.
var (
	// ErrNoErasure says that nobody asked for it.
	ErrNoErasure = errors.New("there is no such erasure")
	// ErrNotSubscribed says that the tenant never subscribed the waybill.
	ErrNotSubscribed = errors.New("the tenant has no subscription to the waybill")
	// ErrNotAlone says that others subscribed the waybill too.
	ErrNotAlone = errors.New("the waybill isn't the tenant's alone")
)

// Erasure is a row of the table: the erasing of a waybill's personal data.
type Erasure struct {
	Waybill track.Waybill
	Request time.Time
	// Asked is when its trace was last asked to be erased, and Traced when that was
	// first seen in the projection; zero for not yet.
	Asked, Traced time.Time
	// Clean is until when what was under way may bring a body of before back.
	Clean time.Time
	Done  time.Time // zero while it is worked on
}

const erasureColumns = `carrier_code, waybill_number, request_time, ask_time, trace_time, clean_time, done_time`

func scanErasure(row pgx.CollectableRow) (Erasure, error) {
	var e Erasure
	var asked, traced, clean, done *time.Time
	err := row.Scan(&e.Waybill.Carrier, &e.Waybill.Number, &e.Request, &asked, &traced, &clean, &done)
	for to, from := range map[*time.Time]*time.Time{&e.Asked: asked, &e.Traced: traced, &e.Clean: clean, &e.Done: done} {
		if from != nil {
			*to = *from
		}
	}
	return e, err
}

// Erasures erases personal data in PostgreSQL, and remembers of which waybills.
type Erasures struct{ pool *pgxpool.Pool }

// NewErasures uses a pool.
func NewErasures(pool *pgxpool.Pool) *Erasures { return &Erasures{pool: pool} }

// subscriptionsTo finds all subscriptions to a waybill, ended ones too, by one
// look for each tenant. It relies on subscription_of_number.
const subscriptionsTo = `
	SELECT s.id FROM tenant t
	CROSS JOIN LATERAL (SELECT id FROM subscription WHERE tenant_id = t.id AND waybill_number = $2 AND carrier_code = $1) s`

// Request records that a waybill's personal data is to be erased, and who asked,
// in one transaction. tenant is who asks, empty for the platform: it must have
// subscribed the waybill, and alone.
func (s *Erasures) Request(ctx context.Context, w track.Waybill, tenant string, now time.Time) (e Erasure, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if tenant != "" {
			var mine, others bool
			const who = `
				SELECT coalesce(bool_or(t.id = $3), false), coalesce(bool_or(t.id <> $3), false) FROM tenant t
				WHERE EXISTS (SELECT 1 FROM subscription s WHERE s.tenant_id = t.id AND s.waybill_number = $2 AND s.carrier_code = $1)`
			if err := tx.QueryRow(ctx, who, w.Carrier, w.Number, tenant).Scan(&mine, &others); err != nil {
				return err
			}
			switch {
			case !mine:
				return ErrNotSubscribed
			case others:
				return ErrNotAlone
			}
		}
		// Once more, it is looked again for what came back.
		const insert = `
			INSERT INTO erasure AS e (carrier_code, waybill_number, request_time) VALUES ($1, $2, $3)
			ON CONFLICT (carrier_code, waybill_number) DO UPDATE SET state = 1, ask_time = NULL, trace_time = NULL, clean_time = NULL, done_time = NULL
			RETURNING ` + erasureColumns
		rows, err := tx.Query(ctx, insert, w.Carrier, w.Number, now)
		if err != nil {
			return err
		}
		if e, err = pgx.CollectExactlyOneRow(rows, scanErasure); err != nil {
			return err
		}
		return Audit(ctx, tx, AuditEvent{Action: action(ctx, "EraseWaybill"), Resource: "waybills/" + string(w.Carrier) + "/" + string(w.Number), TenantID: tenant})
	})
	if err != nil {
		return Erasure{}, fmt.Errorf("ask for a waybill to be erased: %w", err)
	}
	return e, nil
}

// Get reads one erasure, or returns [ErrNoErasure].
func (s *Erasures) Get(ctx context.Context, w track.Waybill) (Erasure, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+erasureColumns+` FROM erasure WHERE carrier_code = $1 AND waybill_number = $2`, w.Carrier, w.Number)
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanErasure)
	if errors.Is(err, pgx.ErrNoRows) {
		return Erasure{}, ErrNoErasure
	}
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	return e, nil
}

// Subscribed says whether a tenant has, or had, a subscription to a waybill.
func (s *Erasures) Subscribed(ctx context.Context, tenant string, w track.Waybill) (found bool, err error) {
	// Relies on subscription_of_number.
	const query = `SELECT EXISTS (SELECT 1 FROM subscription WHERE tenant_id = $1 AND waybill_number = $2 AND carrier_code = $3)`
	if err := s.pool.QueryRow(ctx, query, tenant, w.Number, w.Carrier).Scan(&found); err != nil {
		return false, fmt.Errorf("look up a tenant's subscriptions to a waybill: %w", err)
	}
	return found, nil
}

// Running lists erasures that aren't done, the longest asked for first.
func (s *Erasures) Running(ctx context.Context, limit int) ([]Erasure, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+erasureColumns+` FROM erasure WHERE state = 1 ORDER BY request_time LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanErasure)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	return list, nil
}

// Save keeps how far an erasure is.
func (s *Erasures) Save(ctx context.Context, e *Erasure) error {
	null := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	// One that was asked for anew meanwhile begins anew.
	const query = `
		UPDATE erasure SET ask_time = $3, trace_time = $4, clean_time = $5, done_time = $6, state = CASE WHEN $6::timestamptz IS NULL THEN 1 ELSE 2 END
		WHERE carrier_code = $1 AND waybill_number = $2 AND state = 1`
	_, err := s.pool.Exec(ctx, query, e.Waybill.Carrier, e.Waybill.Number, null(e.Asked), null(e.Traced), null(e.Clean), null(e.Done))
	if err != nil {
		return fmt.Errorf("keep how far an erasure is: %w", err)
	}
	return nil
}

// Projected is a waybill's projected state; nil when there is none.
func (s *Erasures) Projected(ctx context.Context, w track.Waybill) (*trackingv1.Waybill, error) {
	var body []byte
	err := s.pool.QueryRow(ctx, `SELECT state FROM waybill WHERE carrier_code = $1 AND waybill_number = $2`, w.Carrier, w.Number).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	state := &trackingv1.Waybill{}
	if err == nil {
		err = proto.Unmarshal(body, state)
	}
	if err != nil {
		return nil, fmt.Errorf("read a projected waybill: %w", err)
	}
	return state, nil
}

// Swept is what [Erasures.Sweep] found.
type Swept struct {
	Owed   int64 // pushes that wait or are parked
	Bodies int64 // of these, those whose body said what is erased
}

// Sweep erases, of a waybill whose trace is erased in a revision, what is in other
// tables: bodies of pushes that wait or are parked, which are rendered anew from
// the trace; what endpoints answered; digits of phone numbers that carriers ask
// for. What is owed stays owed.
func (s *Erasures) Sweep(ctx context.Context, w track.Waybill, revision track.Revision) (found Swept, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, subscriptionsTo, w.Carrier, w.Number)
		if err != nil {
			return err
		}
		subs, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM owed_push WHERE subscription_id = ANY($1)`, subs).Scan(&found.Owed); err != nil {
			return err
		}
		const bodies = `
			UPDATE owed_push SET attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL
			WHERE subscription_id = ANY($1) AND body IS NOT NULL AND attempt_revision < $2`
		tag, err := tx.Exec(ctx, bodies, subs, int64(revision))
		if err != nil {
			return err
		}
		found.Bodies = tag.RowsAffected()
		for _, query := range []string{
			`UPDATE attempt SET response_excerpt = '', error = '' WHERE subscription_id = ANY($1) AND (response_excerpt <> '' OR error <> '')`,
			`UPDATE refused_outcome SET detail = '' WHERE subscription_id = ANY($1) AND detail <> ''`,
			`UPDATE subscription SET terms = terms - '{phone,customer_name,from,to}'::text[] WHERE id = ANY($1) AND terms ?| '{phone,customer_name,from,to}'::text[]`,
		} {
			if _, err := tx.Exec(ctx, query, subs); err != nil {
				return err
			}
		}
		for _, query := range []string{
			`UPDATE poll SET phone = '' WHERE carrier_code = $1 AND waybill_number = $2 AND phone <> ''`,
			`UPDATE waybill SET erase_time = now() WHERE carrier_code = $1 AND waybill_number = $2 AND erase_time IS NULL`,
		} {
			if _, err := tx.Exec(ctx, query, w.Carrier, w.Number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Swept{}, fmt.Errorf("erase what is kept of a waybill's pushes: %w", err)
	}
	return found, nil
}
