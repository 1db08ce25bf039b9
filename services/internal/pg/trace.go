package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// Traces reads the projected traces of waybills. A waybill that was never
// projected is absent. It may be behind the TRACE stream by a moment.
func Traces(ctx context.Context, pool *pgxpool.Pool, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	carriers, numbers := columns(waybills)
	found := make(map[track.Waybill]*trackingv1.TraceUpdate)
	// One snapshot for both: a state with other events would break the chain.
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, pool, opts, func(tx pgx.Tx) error {
		const states = `
			SELECT w.carrier_code, w.waybill_number, w.state
			FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
			JOIN waybill w USING (carrier_code, waybill_number)`
		err := each(ctx, tx, states, carriers, numbers, func(w track.Waybill, body []byte) error {
			u := &trackingv1.TraceUpdate{Waybill: &trackingv1.Waybill{}}
			found[w] = u
			return proto.Unmarshal(body, u.GetWaybill())
		})
		if err != nil || len(found) == 0 {
			return err
		}
		const events = `
			SELECT e.carrier_code, e.waybill_number, e.body
			FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
			JOIN trace_event e USING (carrier_code, waybill_number)
			`
		err = each(ctx, tx, events, carriers, numbers, func(w track.Waybill, body []byte) error {
			u := found[w]
			if u == nil {
				return nil
			}
			e := &trackingv1.TraceEvent{}
			u.Events = append(u.Events, e)
			return proto.Unmarshal(body, e)
		})
		for _, u := range found {
			err = errors.Join(err, wire.Sort(u.GetEvents()))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %d projected traces: %w", len(waybills), err)
	}
	return found, nil
}

func each(ctx context.Context, tx pgx.Tx, query string, carriers, numbers []string, f func(track.Waybill, []byte) error) error {
	rows, err := tx.Query(ctx, query, carriers, numbers)
	if err != nil {
		return err
	}
	var w track.Waybill
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number, &body}, func() error { return f(w, body) })
	return err
}

func columns(waybills []track.Waybill) (carriers, numbers []string) {
	for _, w := range waybills {
		carriers, numbers = append(carriers, string(w.Carrier)), append(numbers, string(w.Number))
	}
	return carriers, numbers
}

// Project writes the newest traces of waybills, each waybill at most once. A
// trace that is older than what is there changes nothing, so repeats and
// disorder are harmless.
func Project(ctx context.Context, pool *pgxpool.Pool, updates []*trackingv1.TraceUpdate) error {
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		for _, u := range updates {
			if err := project(b, u); err != nil {
				return err
			}
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("project %d traces: %w", len(updates), err)
	}
	return nil
}

// project queues one trace. Only events that changed since the revision that
// is stored are written.
func project(b *pgx.Batch, u *trackingv1.TraceUpdate) error {
	w := u.GetWaybill()
	state, err := proto.Marshal(w)
	if err != nil {
		return err
	}
	n := len(u.GetEvents())
	ids, revisions, bodies := make([]string, n), make([]int64, n), make([][]byte, n)
	for i, e := range u.GetEvents() {
		if bodies[i], err = proto.Marshal(e); err != nil {
			return err
		}
		ids[i], revisions[i] = e.GetId(), int64(e.GetRevision())
	}
	const query = `
		WITH stored AS (
			SELECT revision FROM waybill WHERE carrier_code = $1 AND waybill_number = $2
		), newer AS (
			INSERT INTO waybill AS w (carrier_code, waybill_number, revision, status, sub_status, terminal, event_count, create_time, update_time, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (carrier_code, waybill_number) DO UPDATE SET
				revision = excluded.revision, status = excluded.status, sub_status = excluded.sub_status, terminal = excluded.terminal,
				event_count = excluded.event_count, update_time = excluded.update_time, state = excluded.state
			WHERE w.revision < excluded.revision
			RETURNING carrier_code, waybill_number
		)
		INSERT INTO trace_event AS e (carrier_code, waybill_number, event_id, revision, body)
		SELECT newer.carrier_code, newer.waybill_number, x.event_id, x.revision, x.body
		FROM newer, unnest($11::text[], $12::bigint[], $13::bytea[]) AS x (event_id, revision, body)
		WHERE x.revision > coalesce((SELECT revision FROM stored), 0)
		ON CONFLICT (carrier_code, waybill_number, event_id) DO UPDATE SET revision = excluded.revision, body = excluded.body
		WHERE e.revision < excluded.revision`
	b.Queue(query, w.GetCarrierCode(), w.GetWaybillNumber(), int64(w.GetRevision()), int16(w.GetStatus()), int16(w.GetSubStatus()), w.GetTerminal(),
		w.GetEventCount(), w.GetCreateTime().AsTime(), w.GetUpdateTime().AsTime(), state, ids, revisions, bodies)
	return nil
}
