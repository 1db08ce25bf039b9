package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Errors about jobs.
var (
	// ErrNoJob says that the tenant has no such job.
	ErrNoJob = errors.New("there is no such job")
	// ErrEndpointDisabled says that nothing can be pushed to the endpoint.
	ErrEndpointDisabled = errors.New("the endpoint is disabled")
	// ErrNotReplayable says that the subscription is cancelled or paused.
	ErrNotReplayable = errors.New("the subscription is cancelled or paused")
	// ErrTooManyJobs says that the tenant has too many at work.
	ErrTooManyJobs = errors.New("too many jobs are running")
	// ErrTooManyRequests says that the tenant made too many a moment ago.
	ErrTooManyRequests = errors.New("too many jobs were made")
)

// The kinds and states of a job.
const (
	JobResend = 1
	JobReplay = 2

	JobRunning   = 1
	JobDone      = 2
	JobCancelled = 3
)

// PushJob puts pushes on their way again.
type PushJob struct {
	ID       string
	TenantID string
	Kind     int16
	State    int16
	// Filter says which parked pushes a resend is about. A replay is about the
	// filter's subscription, waybill or endpoint.
	Filter ParkedFilter
	// After is the revision that a replay begins after.
	After      track.Revision
	cursor     string
	Matched    int64
	Sent       int64
	Skipped    int64
	Caller     string
	RequestID  string
	CreateTime time.Time
	workTime   time.Time
	EndTime    *time.Time
}

const jobColumns = `id, tenant_id, kind, state, covers_revision, subscription_id, endpoint_id, carrier_code, waybill_number, reasons, parked_from, parked_until, after_revision,
	cursor, matched, sent, skipped, caller, coalesce(request_id, ''), create_time, work_time, end_time`

func scanJob(row pgx.CollectableRow) (PushJob, error) {
	var j PushJob
	f := &j.Filter
	err := row.Scan(&j.ID, &j.TenantID, &j.Kind, &j.State, &f.Covers, &f.SubscriptionID, &f.EndpointID, &f.Waybill.Carrier, &f.Waybill.Number, &f.Reasons, &f.From, &f.Until,
		&j.After, &j.cursor, &j.Matched, &j.Sent, &j.Skipped, &j.Caller, &j.RequestID, &j.CreateTime, &j.workTime, &j.EndTime)
	return j, err
}

// JobLimits bound what a tenant may ask for.
type JobLimits struct {
	Running   int // at work at once
	PerMinute int // made
}

// CreateJob stores a job and does its first batch, in one transaction. A request
// that was answered before gives the job of then, or [ErrRequestReused].
func (r *Resending) CreateJob(ctx context.Context, j PushJob, req Request, limits JobLimits, batch int) (PushJob, error) {
	err := InTx(ctx, r.pool, func(tx pgx.Tx) error {
		// One after the other for each tenant, so that limits are exact.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('push_job/' || $1, 0))`, j.TenantID); err != nil {
			return err
		}
		if req.ID != "" {
			made, err := jobOfRequest(ctx, tx, j.TenantID, req)
			if made.ID != "" || err != nil {
				j = made
				return err
			}
		}
		if err := checkLimits(ctx, tx, &j, limits); err != nil {
			return err
		}
		if err := j.checkTarget(ctx, tx); err != nil {
			return err
		}
		if err := j.match(ctx, tx); err != nil {
			return err
		}
		if err := j.insert(ctx, tx, req); err != nil {
			return err
		}
		return j.work(ctx, tx, batch, j.CreateTime)
	})
	if err != nil {
		return PushJob{}, fmt.Errorf("make a job: %w", err)
	}
	return j, nil
}

func jobOfRequest(ctx context.Context, tx pgx.Tx, tenant string, req Request) (PushJob, error) {
	var hash []byte
	err := tx.QueryRow(ctx, `SELECT request_hash FROM push_job WHERE tenant_id = $1 AND request_id = $2`, tenant, req.ID).Scan(&hash)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return PushJob{}, nil
	case err != nil:
		return PushJob{}, err
	case !bytes.Equal(hash, req.Hash):
		return PushJob{}, ErrRequestReused
	}
	rows, err := tx.Query(ctx, `SELECT `+jobColumns+` FROM push_job WHERE tenant_id = $1 AND request_id = $2`, tenant, req.ID)
	if err != nil {
		return PushJob{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanJob)
}

func checkLimits(ctx context.Context, tx pgx.Tx, j *PushJob, limits JobLimits) error {
	// Relies on push_job_running and push_job_of_tenant: ids sort by time.
	const query = `
		SELECT (SELECT count(*) FROM push_job WHERE tenant_id = $1 AND state = 1),
			(SELECT count(*) FROM (SELECT create_time FROM push_job WHERE tenant_id = $1 ORDER BY id DESC LIMIT $3) n WHERE create_time > $2)`
	var running, made int
	if err := tx.QueryRow(ctx, query, j.TenantID, j.CreateTime.Add(-time.Minute), limits.PerMinute).Scan(&running, &made); err != nil {
		return err
	}
	switch {
	case running >= limits.Running:
		return ErrTooManyJobs
	case made >= limits.PerMinute:
		return ErrTooManyRequests
	}
	return nil
}

// checkTarget refuses what can't be pushed to or of.
func (j *PushJob) checkTarget(ctx context.Context, tx pgx.Tx) error {
	var endpointState, state int16
	if id := j.Filter.EndpointID; id != "" {
		err := tx.QueryRow(ctx, `SELECT state FROM endpoint WHERE tenant_id = $1 AND id = $2 AND delete_time IS NULL`, j.TenantID, id).Scan(&endpointState)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoEndpoint
		}
		if err != nil {
			return err
		}
	}
	if id := j.Filter.SubscriptionID; id != "" {
		const query = `SELECT s.state, e.state FROM subscription s JOIN endpoint e ON e.id = s.endpoint_id WHERE s.tenant_id = $1 AND s.id = $2`
		err := tx.QueryRow(ctx, query, j.TenantID, id).Scan(&state, &endpointState)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoSubscription
		}
		if err != nil {
			return err
		}
	}
	switch {
	case state == SubscriptionCancelled, j.Kind == JobReplay && state == SubscriptionPaused:
		return ErrNotReplayable
	case endpointState == EndpointDisabled:
		return ErrEndpointDisabled
	}
	return nil
}

// match counts what a job is about.
func (j *PushJob) match(ctx context.Context, tx pgx.Tx) error {
	if j.Kind == JobReplay {
		from, args := j.replayed()
		return tx.QueryRow(ctx, `SELECT count(*)`+from, args...).Scan(&j.Matched)
	}
	w := j.Filter.parked(j.TenantID)
	query := `SELECT count(*), count(*) FILTER (WHERE e.state = 3)` + fromParked + `JOIN endpoint e ON e.id = o.endpoint_id WHERE ` + w.String()
	return tx.QueryRow(ctx, query, w.args...).Scan(&j.Matched, &j.Skipped)
}

func (j *PushJob) insert(ctx context.Context, tx pgx.Tx, req Request) error {
	j.State, j.Caller, j.RequestID = JobRunning, auth.CallOf(ctx).Principal.Name, req.ID
	id, hash := req.columns()
	f := &j.Filter
	reasons := f.Reasons
	if reasons == nil {
		reasons = []string{}
	}
	const query = `
		INSERT INTO push_job (id, tenant_id, kind, covers_revision, subscription_id, endpoint_id, carrier_code, waybill_number, reasons, parked_from, parked_until, after_revision,
			matched, skipped, caller, request_id, request_hash, create_time, work_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)`
	_, err := tx.Exec(ctx, query, j.ID, j.TenantID, j.Kind, int64(f.Covers), f.SubscriptionID, f.EndpointID, string(f.Waybill.Carrier), string(f.Waybill.Number), reasons, f.From, f.Until,
		int64(j.After), j.Matched, j.Skipped, j.Caller, id, hash, j.CreateTime)
	if err != nil {
		return err
	}
	action := "ResendPushes"
	if j.Kind == JobReplay {
		action = "ReplayPushes"
	}
	return Audit(ctx, tx, AuditEvent{
		Action: action, Resource: "tenants/" + j.TenantID + "/pushJobs/" + j.ID, TenantID: j.TenantID, Details: map[string]string{"matched": strconv.FormatInt(j.Matched, 10)},
	})
}

// work does one batch of a job, and notes how far it is.
func (j *PushJob) work(ctx context.Context, tx pgx.Tx, batch int, now time.Time) error {
	do := j.resend
	if j.Kind == JobReplay {
		do = j.replay
	}
	endpoints, done, err := do(ctx, tx, batch, now)
	if err != nil {
		return err
	}
	if done {
		j.State, j.EndTime = JobDone, &now
	}
	j.workTime = now
	const query = `UPDATE push_job SET state = $2, cursor = $3, sent = $4, skipped = $5, work_time = $6, end_time = $7 WHERE id = $1`
	if _, err := tx.Exec(ctx, query, j.ID, j.State, j.cursor, j.Sent, j.Skipped, j.workTime, j.EndTime); err != nil {
		return err
	}
	return wake(ctx, tx, endpoints, now)
}

// wake lets delivery look at endpoints at which something was made due.
func wake(ctx context.Context, tx pgx.Tx, endpoints map[string]bool, now time.Time) error {
	if len(endpoints) == 0 {
		return nil
	}
	// In an order, so that two don't wait for each other.
	list := slices.Sorted(maps.Keys(endpoints))
	const query = `UPDATE endpoint SET resend_time = $2 WHERE id IN (SELECT id FROM endpoint WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)`
	if _, err := tx.Exec(ctx, query, list, now); err != nil {
		return err
	}
	return notifyEndpoints(ctx, tx, list)
}

// resend makes parked pushes due. What delivery is writing at this moment is
// passed over until the next batch: waiting for it could be a deadlock.
func (j *PushJob) resend(ctx context.Context, tx pgx.Tx, batch int, now time.Time) (endpoints map[string]bool, done bool, err error) {
	w := j.Filter.parked(j.TenantID)
	// What is parked again since isn't sent again.
	w.and("o.park_time <= ?", j.CreateTime)
	w.and("e.state <> 3")
	from := fromParked + `JOIN endpoint e ON e.id = o.endpoint_id WHERE ` + w.String()
	args := w.args
	query := `
		WITH chosen AS MATERIALIZED (
			SELECT o.subscription_id` + from + ` ORDER BY o.park_time, o.subscription_id LIMIT ` + w.arg(batch) + ` FOR UPDATE OF o SKIP LOCKED
		)
		UPDATE owed_push o SET park_time = NULL, park_reason = '', next_attempt_time = ` + w.arg(now) + `,
			attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL
		FROM chosen c WHERE o.subscription_id = c.subscription_id
		RETURNING o.endpoint_id`
	rows, err := tx.Query(ctx, query, w.args...)
	if err != nil {
		return nil, false, err
	}
	endpoints = make(map[string]bool)
	var id string
	sent, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		endpoints[id] = true
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	j.Sent += sent.RowsAffected()
	var left bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1`+from+`)`, args...).Scan(&left)
	return endpoints, !left, err
}

// replayed are the subscriptions s that a replay is about, a tenant's.
func (j *PushJob) replayed() (from string, args []any) {
	f := &j.Filter
	switch {
	case f.SubscriptionID != "":
		return ` FROM subscription s WHERE s.tenant_id = $1 AND s.id = $2 AND s.state IN (1, 3, 5)`, []any{j.TenantID, f.SubscriptionID}
	case f.EndpointID != "":
		return ` FROM subscription s WHERE s.tenant_id = $1 AND s.endpoint_id = $2 AND s.state = 1`, []any{j.TenantID, f.EndpointID}
	}
	// Of each endpoint the active one, or the newest.
	return ` FROM (
		SELECT DISTINCT ON (endpoint_id) * FROM subscription
		WHERE tenant_id = $1 AND carrier_code = $2 AND waybill_number = $3 AND state IN (1, 3, 5)
		ORDER BY endpoint_id, (state = 1) DESC, id DESC) s WHERE true`, []any{j.TenantID, string(f.Waybill.Carrier), string(f.Waybill.Number)}
}

// replay makes rows of what is to be pushed once more, or widens the rows that
// are there. A push that is on its way meanwhile doesn't settle such a row: see
// [Outcomes.Settle] and [Outcomes.Retry].
func (j *PushJob) replay(ctx context.Context, tx pgx.Tx, batch int, now time.Time) (endpoints map[string]bool, done bool, err error) {
	// Delivery writes the same rows in another order: rather than be a part of a
	// deadlock, which would cost it a second, this is tried again.
	if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '200ms'`); err != nil {
		return nil, false, err
	}
	from, args := j.replayed()
	w := conditions{args: args}
	cursor, most := w.arg(j.cursor), w.arg(batch)
	query := `
		WITH page AS (
			SELECT s.id, s.endpoint_id, s.carrier_code, s.waybill_number, s.pushed_revision` + from + ` AND s.id > ` + cursor + ` ORDER BY s.id LIMIT ` + most + `
		)
		SELECT p.id, p.endpoint_id, p.carrier_code, p.waybill_number, greatest(p.pushed_revision, coalesce(a.revision, 0)), e.state = 3
		FROM page p JOIN endpoint e ON e.id = p.endpoint_id LEFT JOIN acknowledged a ON a.subscription_id = p.id
		ORDER BY p.id`
	rows, err := tx.Query(ctx, query, w.args...)
	if err != nil {
		return nil, false, err
	}
	endpoints = make(map[string]bool)
	var subs, to, carriers, numbers []string
	var slots []int16
	var newest []int64
	read := 0
	var id, endpoint, carrier, number string
	var revision int64
	var disabled bool
	_, err = pgx.ForEachRow(rows, []any{&id, &endpoint, &carrier, &number, &revision, &disabled}, func() error {
		read++
		j.cursor = id
		if disabled || revision <= int64(j.After) {
			j.Skipped++
			return nil
		}
		subs, to, carriers, numbers = append(subs, id), append(to, endpoint), append(carriers, carrier), append(numbers, number)
		slots, newest = append(slots, int16(subject.EndpointSlot(endpoint))), append(newest, revision)
		endpoints[endpoint] = true
		return nil
	})
	if err != nil || len(subs) == 0 {
		return nil, read < batch, err
	}
	const insert = `
		INSERT INTO owed_push AS o (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
		SELECT x.sub, x.endpoint, x.slot, $1, x.carrier, x.number, $2, x.newest, $3, $3
		FROM unnest($4::text[], $5::text[], $6::smallint[], $7::text[], $8::text[], $9::bigint[]) AS x (sub, endpoint, slot, carrier, number, newest)
		ORDER BY x.sub
		ON CONFLICT (subscription_id) DO UPDATE SET
			after_revision = least(o.after_revision, excluded.after_revision), revision = greatest(o.revision, excluded.revision),
			attempt_count = 0, attempt_revision = 0, body = NULL, first_attempt_time = NULL,
			next_attempt_time = excluded.next_attempt_time, park_time = NULL, park_reason = ''`
	tag, err := tx.Exec(ctx, insert, j.TenantID, int64(j.After), now, subs, to, slots, carriers, numbers, newest)
	j.Sent += tag.RowsAffected()
	return endpoints, read < batch, err
}

// WorkJob does the next batch of a job that has rested for a while, whoever made
// it. It returns an empty one when there is none.
func (r *Resending) WorkJob(ctx context.Context, batch int, rest time.Duration, now time.Time) (j PushJob, err error) {
	err = InTx(ctx, r.pool, func(tx pgx.Tx) error {
		// Relies on push_job_running.
		rows, err := tx.Query(ctx, `SELECT `+jobColumns+` FROM push_job WHERE state = 1 AND work_time <= $1 ORDER BY work_time LIMIT 1 FOR UPDATE SKIP LOCKED`, now.Add(-rest))
		if err != nil {
			return err
		}
		j, err = pgx.CollectExactlyOneRow(rows, scanJob)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return j.work(ctx, tx, batch, now)
	})
	if err != nil {
		return PushJob{}, fmt.Errorf("work on job %q: %w", j.ID, err)
	}
	return j, nil
}

// GetJob reads one job, or returns [ErrNoJob].
func (r *Resending) GetJob(ctx context.Context, tenant, id string) (PushJob, error) {
	rows, err := r.pool.Query(ctx, `SELECT `+jobColumns+` FROM push_job WHERE tenant_id = $1 AND id = $2`, tenant, id)
	if err != nil {
		return PushJob{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return oneJob(rows, id)
}

func oneJob(rows pgx.Rows, id string) (PushJob, error) {
	j, err := pgx.CollectExactlyOneRow(rows, scanJob)
	if errors.Is(err, pgx.ErrNoRows) {
		return PushJob{}, ErrNoJob
	}
	if err != nil {
		return PushJob{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return j, nil
}

// ListJobs reads a tenant's jobs with ids below before, or from the newest on if
// it is empty, newest first.
func (r *Resending) ListJobs(ctx context.Context, tenant, before string, limit int) ([]PushJob, error) {
	const query = `SELECT ` + jobColumns + ` FROM push_job WHERE tenant_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`
	rows, err := r.pool.Query(ctx, query, tenant, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanJob)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return list, nil
}

// CancelJob ends a job that is running, or returns [ErrNoJob]. One that has ended
// stays as it is.
func (r *Resending) CancelJob(ctx context.Context, tenant, id string, now time.Time) (j PushJob, err error) {
	err = InTx(ctx, r.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+jobColumns+` FROM push_job WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, tenant, id)
		if err != nil {
			return err
		}
		if j, err = oneJob(rows, id); err != nil || j.State != JobRunning {
			return err
		}
		j.State, j.EndTime = JobCancelled, &now
		if _, err := tx.Exec(ctx, `UPDATE push_job SET state = 3, end_time = $2 WHERE id = $1`, id, now); err != nil {
			return err
		}
		return Audit(ctx, tx, AuditEvent{Action: "CancelPushJob", Resource: "tenants/" + tenant + "/pushJobs/" + id, TenantID: tenant})
	})
	if err != nil {
		return PushJob{}, fmt.Errorf("cancel job %s: %w", id, err)
	}
	return j, nil
}
