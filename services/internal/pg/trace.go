package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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
func Project(ctx context.Context, pool *pgxpool.Pool, traces []*wire.Split) error {
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
		stored, err := projectedRevisions(ctx, tx, traces)
		if err != nil {
			return err
		}
		var fresh []string
		var states stateColumns
		var events eventColumns
		for _, t := range traces {
			w := t.Waybill
			// What is stored of a trace up to a revision came in one transaction
			// with it.
			have := stored[track.Waybill{Carrier: track.Carrier(w.GetCarrierCode()), Number: track.Number(w.GetWaybillNumber())}]
			if track.Revision(w.GetRevision()) <= have {
				continue
			}
			if have == 0 {
				fresh = append(fresh, w.GetWaybillNumber())
			}
			states.add(t)
			for i := range t.Events {
				if t.Events[i].Revision > have {
					events.add(w, &t.Events[i])
				}
			}
		}
		b := &pgx.Batch{}
		states.queue(b)
		events.queue(b)
		if len(fresh) > 0 {
			// In this transaction, so that a carrier isn't passed over.
			b.Queue(`UPDATE carrier_check SET check_time = now() WHERE waybill_number = ANY($1)`, fresh)
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("project %d traces: %w", len(traces), err)
	}
	return nil
}

func projectedRevisions(ctx context.Context, tx pgx.Tx, traces []*wire.Split) (map[track.Waybill]track.Revision, error) {
	carriers, numbers := make([]string, len(traces)), make([]string, len(traces))
	for i, t := range traces {
		carriers[i], numbers[i] = t.Waybill.GetCarrierCode(), t.Waybill.GetWaybillNumber()
	}
	const query = `
		SELECT w.carrier_code, w.waybill_number, w.revision
		FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
		JOIN waybill w USING (carrier_code, waybill_number)`
	rows, err := tx.Query(ctx, query, carriers, numbers)
	if err != nil {
		return nil, err
	}
	found := make(map[track.Waybill]track.Revision, len(traces))
	var w track.Waybill
	var revision int64
	_, err = pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number, &revision}, func() error {
		found[w] = track.Revision(revision)
		return nil
	})
	return found, err
}

// stateColumns are rows of waybill, by column.
type stateColumns struct {
	carriers, numbers    []string
	revisions            []int64
	statuses, subs       []int16
	terminal             []bool
	eventCounts          []int32
	createTimes, updates []time.Time
	states               [][]byte
}

func (c *stateColumns) add(t *wire.Split) {
	w := t.Waybill
	c.carriers, c.numbers = append(c.carriers, w.GetCarrierCode()), append(c.numbers, w.GetWaybillNumber())
	c.revisions = append(c.revisions, int64(w.GetRevision()))
	c.statuses, c.subs = append(c.statuses, int16(w.GetStatus())), append(c.subs, int16(w.GetSubStatus()))
	c.terminal, c.eventCounts = append(c.terminal, w.GetTerminal()), append(c.eventCounts, w.GetEventCount())
	c.createTimes, c.updates = append(c.createTimes, w.GetCreateTime().AsTime()), append(c.updates, w.GetUpdateTime().AsTime())
	c.states = append(c.states, t.State)
}

func (c *stateColumns) queue(b *pgx.Batch) {
	if len(c.numbers) == 0 {
		return
	}
	const query = `
		INSERT INTO waybill AS w (carrier_code, waybill_number, revision, status, sub_status, terminal, event_count, create_time, update_time, state)
		SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::smallint[], $6::boolean[], $7::integer[], $8::timestamptz[], $9::timestamptz[], $10::bytea[])
		ON CONFLICT (carrier_code, waybill_number) DO UPDATE SET
			revision = excluded.revision, status = excluded.status, sub_status = excluded.sub_status, terminal = excluded.terminal,
			event_count = excluded.event_count, update_time = excluded.update_time, state = excluded.state
		WHERE w.revision < excluded.revision`
	b.Queue(query, c.carriers, c.numbers, c.revisions, c.statuses, c.subs, c.terminal, c.eventCounts, c.createTimes, c.updates, c.states)
}

// eventColumns are rows of trace_event, by column.
type eventColumns struct {
	carriers, numbers, ids []string
	revisions              []int64
	bodies                 [][]byte
}

func (c *eventColumns) add(w *trackingv1.Waybill, e *wire.EncodedEvent) {
	c.carriers, c.numbers = append(c.carriers, w.GetCarrierCode()), append(c.numbers, w.GetWaybillNumber())
	c.ids, c.revisions, c.bodies = append(c.ids, e.ID), append(c.revisions, int64(e.Revision)), append(c.bodies, e.Data)
}

func (c *eventColumns) queue(b *pgx.Batch) {
	if len(c.ids) == 0 {
		return
	}
	const query = `
		INSERT INTO trace_event AS e (carrier_code, waybill_number, event_id, revision, body)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])
		ON CONFLICT (carrier_code, waybill_number, event_id) DO UPDATE SET revision = excluded.revision, body = excluded.body
		WHERE e.revision < excluded.revision`
	b.Queue(query, c.carriers, c.numbers, c.ids, c.revisions, c.bodies)
}

// History is [Traces] for whoever continues a waybill's chain: of a waybill of
// which a live subscription was told a later revision than is projected, it gives
// that revision, so that no revision is used twice. It happens only when TRACE
// lost what wasn't projected yet.
func History(ctx context.Context, pool *pgxpool.Pool, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	found, err := Traces(ctx, pool, waybills)
	if err != nil {
		return nil, err
	}
	carriers, numbers := columns(waybills)
	// Relies on subscription_live_once.
	const query = `
		SELECT s.carrier_code, s.waybill_number, max(s.pushed_revision)
		FROM unnest($1::text[], $2::text[]) AS k (carrier_code, waybill_number)
		JOIN subscription s USING (carrier_code, waybill_number)
		WHERE s.state IN (1, 2) AND s.pushed_revision > 0
		GROUP BY 1, 2`
	rows, err := pool.Query(ctx, query, carriers, numbers)
	if err != nil {
		return nil, fmt.Errorf("read what was pushed of %d waybills: %w", len(waybills), err)
	}
	var w track.Waybill
	var pushed int64
	_, err = pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number, &pushed}, func() error {
		u := found[w]
		if u == nil {
			now := timestamppb.Now()
			u = &trackingv1.TraceUpdate{Waybill: &trackingv1.Waybill{CarrierCode: string(w.Carrier), WaybillNumber: string(w.Number), CreateTime: now, UpdateTime: now}}
			found[w] = u
		}
		u.Waybill.Revision = max(u.GetWaybill().GetRevision(), uint64(pushed))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was pushed of %d waybills: %w", len(waybills), err)
	}
	return found, nil
}
