package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// OldTraces looks at the next waybills after one, in order, at most so many, and
// gives those whose trace has texts and didn't change since a time, with their
// revision. last is the last one looked at, the zero one when there are no more.
func (s *Erasures) OldTraces(ctx context.Context, after track.Waybill, before time.Time, limit int) (old map[track.Waybill]track.Revision, last track.Waybill, err error) {
	const query = `
		SELECT carrier_code, waybill_number, revision, update_time < $3 AND erase_time IS NULL FROM waybill
		WHERE (carrier_code, waybill_number) > ($1, $2) ORDER BY carrier_code, waybill_number LIMIT $4`
	rows, err := s.pool.Query(ctx, query, after.Carrier, after.Number, before, limit)
	if err != nil {
		return nil, last, fmt.Errorf("look for old traces: %w", err)
	}
	old = make(map[track.Waybill]track.Revision)
	var w track.Waybill
	var revision int64
	var due bool
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&w.Carrier, &w.Number, &revision, &due}, func() error {
		if n++; due {
			old[w] = track.Revision(revision)
		}
		return nil
	})
	if err != nil {
		return nil, last, fmt.Errorf("look for old traces: %w", err)
	}
	if n == limit {
		last = w
	}
	return old, last, nil
}

// Owes says whether a waybill's trace is still owed to an endpoint: it waits, or is
// parked.
func (s *Erasures) Owes(ctx context.Context, w track.Waybill) (owed bool, err error) {
	const query = `SELECT EXISTS (SELECT 1 FROM owed_push WHERE subscription_id IN (` + subscriptionsTo + `))`
	if err := s.pool.QueryRow(ctx, query, w.Carrier, w.Number).Scan(&owed); err != nil {
		return false, fmt.Errorf("look whether an old trace is owed: %w", err)
	}
	return owed, nil
}

// Expire takes the texts out of a projected trace, as [track.Erase] does, unless it
// has another revision by now. It makes no revision: it is for a trace that is
// nowhere but here.
func (s *Erasures) Expire(ctx context.Context, w track.Waybill, revision track.Revision, now time.Time) error {
	err := InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var body []byte
		const locked = `SELECT state FROM waybill WHERE carrier_code = $1 AND waybill_number = $2 AND revision = $3 FOR UPDATE`
		if err := tx.QueryRow(ctx, locked, w.Carrier, w.Number, int64(revision)).Scan(&body); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // it changed: it isn't old
			}
			return err
		}
		state := &trackingv1.Waybill{}
		if err := proto.Unmarshal(body, state); err != nil {
			return err
		}
		state.Signer = ""
		if state.GetEraseTime() == nil {
			state.EraseTime = timestamppb.New(now)
		}
		body, err := proto.Marshal(state)
		if err != nil {
			return err
		}
		ids, bodies, err := expiredEvents(ctx, tx, w)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`UPDATE waybill SET state = $3, erase_time = $4 WHERE carrier_code = $1 AND waybill_number = $2`, w.Carrier, w.Number, body, now)
		b.Queue(`
			UPDATE trace_event e SET body = x.body FROM unnest($3::text[], $4::bytea[]) AS x (id, body)
			WHERE e.carrier_code = $1 AND e.waybill_number = $2 AND e.event_id = x.id`, w.Carrier, w.Number, ids, bodies)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("take the texts out of an old trace: %w", err)
	}
	return nil
}

// expiredEvents are the events of a waybill that have texts, without them.
func expiredEvents(ctx context.Context, tx pgx.Tx, w track.Waybill) (ids []string, bodies [][]byte, err error) {
	rows, err := tx.Query(ctx, `SELECT event_id, body FROM trace_event WHERE carrier_code = $1 AND waybill_number = $2`, w.Carrier, w.Number)
	if err != nil {
		return nil, nil, err
	}
	var id string
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &body}, func() error {
		m := &trackingv1.TraceEvent{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		e, err := wire.TrackEvent(m)
		if err != nil || !track.Erase(&e) {
			return err
		}
		data, err := proto.Marshal(wire.Event(&e))
		ids, bodies = append(ids, id), append(bodies, data)
		return err
	})
	return ids, bodies, err
}

// ForgetBodies drops the bodies of pushes that were parked before a time, at most
// so many, and tells how many: what is owed stays owed, and is rendered anew when
// it is resent.
func (s *Erasures) ForgetBodies(ctx context.Context, before time.Time, limit int) (int64, error) {
	const query = `
		UPDATE owed_push SET attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL
		WHERE subscription_id IN (
			SELECT subscription_id FROM owed_push WHERE park_time < $1 AND body IS NOT NULL LIMIT $2 FOR UPDATE SKIP LOCKED)`
	tag, err := s.pool.Exec(ctx, query, before, limit)
	if err != nil {
		return 0, fmt.Errorf("drop the bodies of parked pushes: %w", err)
	}
	return tag.RowsAffected(), nil
}

// ForgetAudit drops entries of the audit log from before a time, at most so many,
// and tells how many. The log itself keeps 30 days.
func (s *Erasures) ForgetAudit(ctx context.Context, before time.Time, limit int) (int64, error) {
	const query = `
		DELETE FROM audit_event WHERE id IN (SELECT id FROM audit_event WHERE event_time < $1 AND event_time < now() - interval '30 days' ORDER BY id LIMIT $2)`
	tag, err := s.pool.Exec(ctx, query, before, limit)
	if err != nil {
		return 0, fmt.Errorf("drop old entries of the audit log: %w", err)
	}
	return tag.RowsAffected(), nil
}
