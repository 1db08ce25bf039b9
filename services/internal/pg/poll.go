package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/track"
)

// pollChannel is notified when waybills came to the monitoring queue.
const pollChannel = "posthaste_poll"

// pollLock is shared by those who make subscriptions, and held alone while it changes
// which carriers are polled: so a subscription either sees the change, or is seen by
// whoever takes in those that there are.
const pollLock = 0x706f6c6c

// The tiers of polling.
const (
	TierEconomy = 1
	TierNormal  = 2
	TierFast    = 3
)

// maxPolledCandidates is how many carriers are asked for one number, beside the
// likeliest.
const maxPolledCandidates = 2

// Polls is the monitoring queue: which waybills are asked for, and when.
type Polls struct{ pool *pgxpool.Pool }

// NewPolls uses a pool.
func NewPolls(pool *pgxpool.Pool) *Polls { return &Polls{pool: pool} }

// enqueue takes new subscriptions' waybills into the queue, where their carrier is
// polled. It is part of making them.
func enqueue(ctx context.Context, tx pgx.Tx, made []*NewSubscription) error {
	var carriers, numbers, phones []string
	var tiers []int16
	for _, n := range made {
		for i, c := range append([]track.Carrier{n.Waybill.Carrier}, n.Candidates...) {
			if i > maxPolledCandidates {
				break
			}
			carriers, numbers = append(carriers, string(c)), append(numbers, string(n.Waybill.Number))
			phones, tiers = append(phones, n.Phone), append(tiers, max(n.PollTier, TierEconomy))
			if n.PollTier == 0 {
				tiers[len(tiers)-1] = TierNormal
			}
		}
	}
	// A number may be in a call several times. A carrier that wasn't polled when a phone
	// number was given may be later, so that row is kept for it. What ended long ago is
	// taken up again: carriers give numbers twice.
	const query = `
		INSERT INTO poll AS p (carrier_code, waybill_number, source, tier, phone, due_time)
		SELECT n.carrier_code, n.waybill_number, coalesce(s.source, ''), max(n.tier), max(n.phone), CASE WHEN s.source IS NOT NULL THEN now() END
		FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[]) AS n (carrier_code, waybill_number, phone, tier)
		LEFT JOIN poll_source s USING (carrier_code)
		WHERE s.source IS NOT NULL OR n.phone <> ''
		GROUP BY 1, 2, 3, s.source ORDER BY 1, 2
		ON CONFLICT (carrier_code, waybill_number) DO UPDATE SET
			tier = greatest(p.tier, excluded.tier),
			phone = CASE WHEN excluded.phone <> '' THEN excluded.phone ELSE p.phone END,
			due_time = CASE WHEN p.due_time IS NULL AND p.poll_time < now() - interval '30 days' THEN now()
				WHEN p.phone = '' AND excluded.phone <> '' AND p.due_time IS NOT NULL THEN now() ELSE p.due_time END`
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1)`, pollLock); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, query, carriers, numbers, phones, tiers)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	_, err = tx.Exec(ctx, `SELECT pg_notify($1, '')`, pollChannel)
	return err
}

// Want has a waybill asked for until a time, where its carrier is polled: somebody
// asks where it is and doesn't subscribe. One that was given up is asked for again
// after a day. A phone number that brought answers isn't replaced: it may be another's
// who knows it better.
func (p *Polls) Want(ctx context.Context, w track.Waybill, phone string, until time.Time) error {
	// The time is put off by the hour, so that a client that asks often writes seldom.
	const query = `
		WITH put AS (
			INSERT INTO poll AS p (carrier_code, waybill_number, source, tier, phone, due_time, wanted_until)
			SELECT $1, $2, s.source, $5, $3, now(), $4 FROM poll_source s WHERE s.carrier_code = $1
			ON CONFLICT (carrier_code, waybill_number) DO UPDATE SET
				source = excluded.source, wanted_until = greatest(p.wanted_until, excluded.wanted_until),
				phone = CASE WHEN excluded.phone <> '' AND p.change_time IS NULL THEN excluded.phone ELSE p.phone END,
				due_time = CASE
					WHEN p.due_time IS NULL AND coalesce(p.poll_time < now() - interval '1 day', true) THEN now()
					WHEN p.due_time IS NOT NULL AND p.change_time IS NULL AND excluded.phone <> '' AND excluded.phone <> p.phone THEN now()
					ELSE p.due_time END
			WHERE coalesce(p.wanted_until < excluded.wanted_until - interval '1 hour', true)
				OR p.change_time IS NULL AND excluded.phone <> '' AND excluded.phone <> p.phone
			RETURNING p.due_time <= now() AS due
		)
		SELECT pg_notify($6, '') FROM put WHERE due`
	if _, err := p.pool.Exec(ctx, query, w.Carrier, w.Number, phone, until, TierEconomy, pollChannel); err != nil {
		return fmt.Errorf("have waybill %s asked for: %w", w.Carrier, err)
	}
	return nil
}

// Configure says which carriers are polled from which source, and takes in the
// subscriptions that there are, spread over a time so that they don't all come at
// once. What is no longer polled rests.
func (p *Polls) Configure(ctx context.Context, sources map[track.Carrier]string, spread time.Duration) error {
	carriers, names := []string{}, []string{} // not nil: an array without elements
	for c, s := range sources {
		carriers, names = append(carriers, string(c)), append(names, s)
	}
	err := InTx(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, pollLock); err != nil {
			return err
		}
		for _, query := range []string{
			`DELETE FROM poll_source WHERE carrier_code <> ALL($1) AND $2::text[] IS NOT NULL`,
			`INSERT INTO poll_source AS o (carrier_code, source) SELECT * FROM unnest($1::text[], $2::text[])
			ON CONFLICT (carrier_code) DO UPDATE SET source = excluded.source, filled = false WHERE o.source <> excluded.source`,
		} {
			if _, err := tx.Exec(ctx, query, carriers, names); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("configure what is polled: %w", err)
	}
	// Apart, because it may take long, and subscriptions needn't wait for it.
	if err := p.fill(ctx, spread); err != nil {
		return fmt.Errorf("take in what is polled from now on: %w", err)
	}
	return nil
}

// fill brings the queue in line with what is configured.
func (p *Polls) fill(ctx context.Context, spread time.Duration) error {
	return InTx(ctx, p.pool, func(tx pgx.Tx) error {
		// One instance at a time: they do the same.
		if _, err := tx.Exec(ctx, `LOCK TABLE poll_source IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		const rest = `UPDATE poll p SET source = '', due_time = NULL WHERE source <> '' AND NOT EXISTS (SELECT 1 FROM poll_source s WHERE s.carrier_code = p.carrier_code)`
		if _, err := tx.Exec(ctx, rest); err != nil {
			return err
		}
		const move = `
			UPDATE poll p SET source = s.source, due_time = coalesce(p.due_time, CASE WHEN p.poll_time IS NULL THEN now() END), failure_count = 0
			FROM poll_source s WHERE s.carrier_code = p.carrier_code AND NOT s.filled AND p.source <> s.source`
		if _, err := tx.Exec(ctx, move); err != nil {
			return err
		}
		const fill = `
			INSERT INTO poll (carrier_code, waybill_number, source, due_time)
			SELECT DISTINCT ON (s.carrier_code, s.waybill_number) s.carrier_code, s.waybill_number, c.source, now() + random() * $1::interval
			FROM poll_source c JOIN subscription s USING (carrier_code)
			WHERE NOT c.filled AND s.state IN (1, 2)
			ON CONFLICT DO NOTHING`
		if _, err := tx.Exec(ctx, fill, spread); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE poll_source SET filled = true WHERE NOT filled`)
		return err
	})
}

// DuePoll is a waybill whose time has come.
type DuePoll struct {
	Waybill     track.Waybill
	Tier        int16
	Phone       string
	Failures    int
	Silent      int
	ChangeTime  time.Time // zero when nothing was ever told
	CreateTime  time.Time
	Fingerprint []byte
	// Wanted says that somebody still waits for it.
	Wanted bool
}

// Claim takes what is due of a source, the longest due first, at most limit. Until
// the lease ends nobody else gets it; an instance that dies leaves it to the next.
func (p *Polls) Claim(ctx context.Context, source string, now time.Time, lease time.Duration, limit int) ([]DuePoll, error) {
	// Relies on poll_due and subscription_live_once.
	const query = `
		WITH due AS (
			SELECT carrier_code, waybill_number FROM poll
			WHERE source = $1 AND due_time <= $2 ORDER BY due_time LIMIT $4 FOR UPDATE SKIP LOCKED
		)
		UPDATE poll p SET due_time = $2::timestamptz + $3::interval
		FROM due d WHERE p.carrier_code = d.carrier_code AND p.waybill_number = d.waybill_number
		RETURNING p.carrier_code, p.waybill_number, p.tier, p.phone, p.failure_count, p.silent_count, p.change_time, p.create_time, p.fingerprint,
			EXISTS (SELECT 1 FROM subscription s WHERE s.carrier_code = p.carrier_code AND s.waybill_number = p.waybill_number AND s.state IN (1, 2))
			OR EXISTS (SELECT 1 FROM carrier_check c WHERE c.waybill_number = p.waybill_number AND p.carrier_code = ANY(c.candidates))
			OR coalesce(p.wanted_until > $2, false)`
	rows, err := p.pool.Query(ctx, query, source, now, lease, limit)
	if err != nil {
		return nil, fmt.Errorf("claim waybills to ask %s for: %w", source, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (DuePoll, error) {
		var d DuePoll
		var changed *time.Time
		err := row.Scan(&d.Waybill.Carrier, &d.Waybill.Number, &d.Tier, &d.Phone, &d.Failures, &d.Silent, &changed, &d.CreateTime, &d.Fingerprint, &d.Wanted)
		if changed != nil {
			d.ChangeTime = *changed
		}
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim waybills to ask %s for: %w", source, err)
	}
	return list, nil
}

// Polled is what became of one that was due.
type Polled struct {
	Waybill track.Waybill
	// Next is when it is due again; zero for never.
	Next             time.Time
	Failures, Silent int
	// Time is when it was asked for, zero if it wasn't.
	Time time.Time
	// Changed says that the answer told something new, which Fingerprint stands for.
	Changed     bool
	Fingerprint []byte
	// Unwanted says that nobody waits for it any more.
	Unwanted bool
}

// Finish records what became of what was claimed.
func (p *Polls) Finish(ctx context.Context, polled []Polled) error {
	var gone struct{ carriers, numbers []string }
	var r struct {
		carriers, numbers []string
		next, times       []*time.Time
		failures, silent  []int32
		changed           []bool
		prints            [][]byte
	}
	optional := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for i := range polled {
		d := &polled[i]
		if d.Unwanted {
			gone.carriers, gone.numbers = append(gone.carriers, string(d.Waybill.Carrier)), append(gone.numbers, string(d.Waybill.Number))
			continue
		}
		r.carriers, r.numbers = append(r.carriers, string(d.Waybill.Carrier)), append(r.numbers, string(d.Waybill.Number))
		r.next, r.times = append(r.next, optional(d.Next)), append(r.times, optional(d.Time))
		r.failures, r.silent = append(r.failures, int32(d.Failures)), append(r.silent, int32(d.Silent))
		r.changed, r.prints = append(r.changed, d.Changed), append(r.prints, d.Fingerprint)
	}
	err := InTx(ctx, p.pool, func(tx pgx.Tx) error {
		const update = `
			UPDATE poll p SET due_time = n.next, failure_count = n.failures, silent_count = n.silent, poll_time = coalesce(n.time, p.poll_time),
				change_time = CASE WHEN n.changed THEN n.time ELSE p.change_time END,
				fingerprint = CASE WHEN n.changed THEN n.print ELSE p.fingerprint END
			FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::integer[], $7::boolean[], $8::bytea[])
				AS n (carrier_code, waybill_number, next, time, failures, silent, changed, print)
			WHERE p.carrier_code = n.carrier_code AND p.waybill_number = n.waybill_number`
		if _, err := tx.Exec(ctx, update, r.carriers, r.numbers, r.next, r.times, r.failures, r.silent, r.changed, r.prints); err != nil {
			return err
		}
		// Somebody may have subscribed since the claim, and made it due.
		const drop = `
			DELETE FROM poll p USING unnest($1::text[], $2::text[]) AS n (carrier_code, waybill_number)
			WHERE p.carrier_code = n.carrier_code AND p.waybill_number = n.waybill_number AND coalesce(p.wanted_until < now(), true)
				AND NOT EXISTS (SELECT 1 FROM subscription s WHERE s.carrier_code = p.carrier_code AND s.waybill_number = p.waybill_number AND s.state IN (1, 2))`
		_, err := tx.Exec(ctx, drop, gone.carriers, gone.numbers)
		return err
	})
	if err != nil {
		return fmt.Errorf("record %d polls: %w", len(polled), err)
	}
	return nil
}

// Next is when a source's first waybill is due; false when none is.
func (p *Polls) Next(ctx context.Context, source string) (time.Time, bool, error) {
	var at *time.Time
	err := p.pool.QueryRow(ctx, `SELECT min(due_time) FROM poll WHERE source = $1 AND due_time IS NOT NULL`, source).Scan(&at)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look when %s is asked next: %w", source, err)
	}
	if at == nil {
		return time.Time{}, false, nil
	}
	return *at, true, nil
}

// Forget drops what ended before a time.
func (p *Polls) Forget(ctx context.Context, before time.Time) error {
	if _, err := p.pool.Exec(ctx, `DELETE FROM poll WHERE due_time IS NULL AND poll_time < $1`, before); err != nil {
		return fmt.Errorf("forget what is no longer polled: %w", err)
	}
	return nil
}

// Hold is [Hold] with the store's pool.
func (p *Polls) Hold(ctx context.Context, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	return Hold(ctx, p.pool, opts, work)
}

// Listen calls wake whenever waybills came to the queue; see [Matching.Listen].
func (p *Polls) Listen(ctx context.Context, wake func()) error {
	return listen(ctx, p.pool, pollChannel, wake)
}
