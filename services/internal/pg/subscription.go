package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Errors about subscriptions.
var (
	// ErrNoSubscription says that the tenant has no such subscription.
	ErrNoSubscription = errors.New("there is no such subscription")
	// ErrSubscribed says that the endpoint has a live subscription to the waybill.
	ErrSubscribed = errors.New("the endpoint has a live subscription to the waybill")
	// ErrChanging says that somebody else changed the same at the same time.
	ErrChanging = errors.New("somebody else changed it at the same time")
)

// The states of a subscription.
const (
	SubscriptionActive    = 1
	SubscriptionPaused    = 2
	SubscriptionCompleted = 3
	SubscriptionCancelled = 4
	SubscriptionExpired   = 5
)

// Subscription is a row of the table, with what its endpoint acknowledged.
type Subscription struct {
	ID                   string
	TenantID             string
	EndpointID           string
	Waybill              track.Waybill
	Metadata             map[string]string
	Terms                []byte // of a platform's subscriber, in JSON; nil for none
	Tail                 time.Duration
	State                int16
	PushedRevision       track.Revision
	AcknowledgedRevision track.Revision
	CreateTime           time.Time
	UpdateTime           time.Time
	ExpireTime           time.Time
	CompleteTime         *time.Time // nil while the journey goes on
	Pace                 pace.Rule  // its tier is 0 for as the endpoint says
	// Held is the newest revision that was held back, until Due; nil for until
	// something else is pushed.
	Held track.Revision
	Due  *time.Time
}

// Live says that it isn't ended.
func (s *Subscription) Live() bool {
	return s.State == SubscriptionActive || s.State == SubscriptionPaused
}

const subscriptionColumns = `s.id, s.tenant_id, s.endpoint_id, s.carrier_code, s.waybill_number, s.metadata, s.terms::text, s.tail, s.state, s.pushed_revision,
	coalesce(a.revision, 0), s.create_time, s.update_time, s.expire_time, s.complete_time,
	s.tier, coalesce(s.digest_interval, '0'), s.filter, s.held_revision, s.due_time`

const fromSubscription = ` FROM subscription s LEFT JOIN acknowledged a ON a.subscription_id = s.id `

func (s *Subscription) targets() []any {
	return []any{
		&s.ID, &s.TenantID, &s.EndpointID, &s.Waybill.Carrier, &s.Waybill.Number, &s.Metadata, &s.Terms, &s.Tail, &s.State, &s.PushedRevision,
		&s.AcknowledgedRevision, &s.CreateTime, &s.UpdateTime, &s.ExpireTime, &s.CompleteTime,
		&s.Pace.Tier, &s.Pace.Interval, &s.Pace.Filter, &s.Held, &s.Due,
	}
}

func scanSubscription(row pgx.CollectableRow) (Subscription, error) {
	var s Subscription
	err := row.Scan(s.targets()...)
	return s, err
}

// Subscriptions are the subscriptions of all tenants, as their owners manage
// them.
type Subscriptions struct{ pool *pgxpool.Pool }

// NewSubscriptions uses a pool.
func NewSubscriptions(pool *pgxpool.Pool) *Subscriptions { return &Subscriptions{pool: pool} }

// NewSubscription is one to make.
type NewSubscription struct {
	Subscription
	Request Request
	// Candidates are other carriers that it may be, the likeliest first; nil when
	// the carrier is certain and isn't to be checked.
	Candidates []track.Carrier
	// How it came by its carrier: [CarrierRecognized], or empty when it was given.
	How string
	// PollTier is one of the tiers of polling; 0 means [TierNormal]. Phone is the end of
	// a phone number, for carriers that ask for it; empty for none.
	PollTier int16
	Phone    string
}

// Created is what became of one: the subscription, or an error of this package,
// with the id of the live one for [ErrSubscribed].
type Created struct {
	Subscription Subscription
	Err          error
}

// Create stores a tenant's new subscriptions in a few statements, however many
// there are, and wakes the matchers. The answers are in the order asked; an
// error means that none was made.
func (s *Subscriptions) Create(ctx context.Context, tenant string, news []NewSubscription) (made []Created, err error) {
	err = InTx(ctx, s.pool, func(tx pgx.Tx) error {
		c := creation{tx: tx, tenant: tenant, news: news, results: make([]Created, len(news)), done: make([]bool, len(news))}
		made = c.results
		return c.run(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("create %d subscriptions: %w", len(news), err)
	}
	return made, nil
}

// creation is the making of several subscriptions in one transaction.
type creation struct {
	tx      pgx.Tx
	tenant  string
	news    []NewSubscription
	results []Created
	done    []bool
	limited bool // by a quota
}

func (c *creation) run(ctx context.Context) error {
	if err := c.recall(ctx); err != nil {
		return err
	}
	if err := c.lockEndpoints(ctx); err != nil {
		return err
	}
	if err := c.claim(ctx); err != nil {
		return err
	}
	made, err := c.insert(ctx)
	if err != nil {
		return err
	}
	if made > 0 {
		if err := c.note(ctx, made); err != nil {
			return err
		}
		if err := c.queue(ctx); err != nil {
			return err
		}
		if _, err := c.tx.Exec(ctx, `SELECT pg_notify($1, '')`, announceChannel); err != nil {
			return err
		}
	}
	// What was not inserted stood in the way of itself, was asked for at the same
	// time, or is there already.
	if err := c.recall(ctx); err != nil {
		return err
	}
	return c.explain(ctx)
}

func (c *creation) settle(i int, r Created) {
	if !c.done[i] {
		c.done[i], c.results[i] = true, r
	}
}

// recall answers requests that were answered before.
func (c *creation) recall(ctx context.Context) error {
	var ids []string
	for i := range c.news {
		if r := c.news[i].Request; r.ID != "" && !c.done[i] {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	const query = `SELECT s.request_id, s.request_hash, ` + subscriptionColumns + fromSubscription + `WHERE s.tenant_id = $1 AND s.request_id = ANY($2)`
	rows, err := c.tx.Query(ctx, query, c.tenant, ids)
	if err != nil {
		return err
	}
	type answer struct {
		hash []byte
		sub  Subscription
	}
	answers := make(map[string]answer)
	for rows.Next() {
		var id string
		var a answer
		if err := rows.Scan(append([]any{&id, &a.hash}, a.sub.targets()...)...); err != nil {
			rows.Close()
			return err
		}
		answers[id] = a
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i := range c.news {
		a, ok := answers[c.news[i].Request.ID]
		switch {
		case !ok:
		case bytes.Equal(a.hash, c.news[i].Request.Hash):
			c.settle(i, Created{Subscription: a.sub})
		default:
			c.settle(i, Created{Err: ErrRequestReused})
		}
	}
	return nil
}

// lockEndpoints refuses what names an endpoint that isn't there, and keeps the
// others from being deleted before the commit.
func (c *creation) lockEndpoints(ctx context.Context) error {
	wanted := make(map[string]bool)
	var ids []string
	for i := range c.news {
		if id := c.news[i].EndpointID; !c.done[i] && !wanted[id] {
			wanted[id] = true
			ids = append(ids, id)
		}
	}
	rows, err := c.tx.Query(ctx, `SELECT id FROM endpoint WHERE tenant_id = $1 AND id = ANY($2) AND delete_time IS NULL ORDER BY id FOR SHARE`, c.tenant, ids)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, id := range found {
		delete(wanted, id)
	}
	for i := range c.news {
		if wanted[c.news[i].EndpointID] {
			c.settle(i, Created{Err: ErrNoEndpoint})
		}
	}
	return nil
}

// claim refuses what the tenant's quota has no room for, from the last on.
func (c *creation) claim(ctx context.Context) error {
	var left []int
	for i := range c.news {
		if !c.done[i] {
			left = append(left, i)
		}
	}
	room, limited, err := claim(ctx, c.tx, c.tenant, len(left))
	if err != nil {
		return err
	}
	c.limited = limited
	for _, i := range left[room:] {
		c.settle(i, Created{Err: ErrQuotaSubscriptions})
	}
	return nil
}

// note counts what was made, and writes one line of it in the audit log, however
// much it is.
func (c *creation) note(ctx context.Context, made int) error {
	if c.limited {
		if err := claimed(ctx, c.tx, c.tenant, made); err != nil {
			return err
		}
	}
	e := AuditEvent{Action: action(ctx, "CreateSubscription"), Resource: "tenants/" + c.tenant, TenantID: c.tenant, Details: map[string]string{"count": strconv.Itoa(made)}}
	for i := range c.news {
		if made == 1 && c.done[i] && c.results[i].Err == nil && c.results[i].Subscription.ID == c.news[i].ID {
			e.Resource = subscriptionName(c.tenant, c.news[i].ID)
		}
	}
	return Audit(ctx, c.tx, e)
}

// insert stores what isn't settled and tells how many it could. Rows go in by
// the order of the unique index, so that two calls at once don't lock each other
// out; of two for the same, the first that was asked for is made.
func (c *creation) insert(ctx context.Context) (made int, err error) {
	var r struct {
		ids, endpoints, carriers, numbers, metadata, requests []string
		terms                                                 []*string
		paces                                                 []string
		slots                                                 []int16
		tails                                                 []time.Duration
		created, expires                                      []time.Time
		hashes                                                [][]byte
	}
	places := make(map[string]int)
	for i := range c.news {
		if c.done[i] {
			continue
		}
		n := &c.news[i]
		metadata, err := encodeMetadata(n.Metadata)
		if err != nil {
			return 0, err
		}
		places[n.ID] = i
		r.ids, r.endpoints = append(r.ids, n.ID), append(r.endpoints, n.EndpointID)
		r.carriers, r.numbers = append(r.carriers, string(n.Waybill.Carrier)), append(r.numbers, string(n.Waybill.Number))
		r.metadata, r.requests, r.hashes = append(r.metadata, metadata), append(r.requests, n.Request.ID), append(r.hashes, n.Request.Hash)
		r.terms, r.paces = append(r.terms, optional(n.Terms)), append(r.paces, paceColumns(n.Pace))
		r.slots = append(r.slots, int16(subject.WaybillSlot(string(n.Waybill.Carrier), string(n.Waybill.Number))))
		r.tails = append(r.tails, n.Tail)
		r.created, r.expires = append(r.created, n.CreateTime), append(r.expires, n.ExpireTime)
	}
	if len(places) == 0 {
		return 0, nil
	}
	const query = `
		INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, slot, metadata, tail, create_time, update_time, expire_time, request_id, request_hash, terms,
			tier, digest_interval, filter)
		SELECT n.id, $1, n.endpoint_id, n.carrier_code, n.waybill_number, n.slot, n.metadata::jsonb, n.tail, n.create_time, n.create_time, n.expire_time,
			nullif(n.request_id, ''), CASE WHEN n.request_id = '' THEN NULL ELSE n.request_hash END, n.terms::jsonb,
			(n.pace::paced).*
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[], $8::interval[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::bytea[], $13::text[], $14::text[])
			WITH ORDINALITY AS n (id, endpoint_id, carrier_code, waybill_number, slot, metadata, tail, create_time, expire_time, request_id, request_hash, terms, pace, place)
		ORDER BY n.carrier_code, n.waybill_number, n.endpoint_id, n.place
		ON CONFLICT DO NOTHING
		RETURNING id, create_time, expire_time`
	rows, err := c.tx.Query(ctx, query, c.tenant, r.ids, r.endpoints, r.carriers, r.numbers, r.slots, r.metadata, r.tails, r.created, r.expires, r.requests, r.hashes, r.terms, r.paces)
	if err != nil {
		return 0, err
	}
	var id string
	var created, expires time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &created, &expires}, func() error {
		i := places[id]
		sub := c.news[i].Subscription
		sub.TenantID, sub.State, sub.CreateTime, sub.UpdateTime, sub.ExpireTime = c.tenant, SubscriptionActive, created, created, expires
		c.settle(i, Created{Subscription: sub})
		made++
		return nil
	})
	return made, err
}

// queue notes of those that were made whose carrier isn't proven, and what is to be
// asked for.
func (c *creation) queue(ctx context.Context) error {
	var made []*NewSubscription
	for i := range c.news {
		if n := &c.news[i]; c.results[i].Err == nil && c.results[i].Subscription.ID == n.ID {
			made = append(made, n)
		}
	}
	if err := insertChecks(ctx, c.tx, made); err != nil {
		return err
	}
	return enqueue(ctx, c.tx, made)
}

// explain settles what is left: a live subscription stands in its way.
func (c *creation) explain(ctx context.Context) error {
	type key struct {
		waybill  track.Waybill
		endpoint string
	}
	var carriers, numbers, endpoints []string
	for i := range c.news {
		if n := &c.news[i]; !c.done[i] {
			carriers, numbers = append(carriers, string(n.Waybill.Carrier)), append(numbers, string(n.Waybill.Number))
			endpoints = append(endpoints, n.EndpointID)
		}
	}
	if len(carriers) == 0 {
		return nil
	}
	const query = `
		SELECT ` + subscriptionColumns + fromSubscription + `
		JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (carrier_code, waybill_number, endpoint_id) USING (carrier_code, waybill_number, endpoint_id)
		WHERE s.state IN (1, 2)`
	rows, err := c.tx.Query(ctx, query, carriers, numbers, endpoints)
	if err != nil {
		return err
	}
	subs, err := pgx.CollectRows(rows, scanSubscription)
	if err != nil {
		return err
	}
	live := make(map[key]Subscription)
	for _, s := range subs {
		live[key{s.Waybill, s.EndpointID}] = s
	}
	for i := range c.news {
		if s, ok := live[key{c.news[i].Waybill, c.news[i].EndpointID}]; ok {
			c.settle(i, Created{Subscription: s, Err: ErrSubscribed})
		}
		c.settle(i, Created{Err: ErrChanging}) // it ended meanwhile
	}
	return nil
}

// Get reads one subscription, or returns [ErrNoSubscription].
func (s *Subscriptions) Get(ctx context.Context, tenant, id string) (Subscription, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+subscriptionColumns+fromSubscription+`WHERE s.tenant_id = $1 AND s.id = $2`, tenant, id)
	if err != nil {
		return Subscription{}, fmt.Errorf("read subscription %s: %w", id, err)
	}
	sub, err := oneSubscription(rows)
	if err != nil {
		return Subscription{}, fmt.Errorf("read subscription %s: %w", id, err)
	}
	return sub, nil
}

func oneSubscription(rows pgx.Rows) (Subscription, error) {
	sub, err := pgx.CollectExactlyOneRow(rows, scanSubscription)
	if errors.Is(err, pgx.ErrNoRows) {
		return Subscription{}, ErrNoSubscription
	}
	return sub, err
}

// SubscriptionFilter says which to list. Empty fields don't restrict.
type SubscriptionFilter struct {
	States     []int16
	EndpointID string
	Carrier    string
	Number     string
	Before     string // only ids below it
}

// List reads a tenant's subscriptions, newest first.
func (s *Subscriptions) List(ctx context.Context, tenant string, f SubscriptionFilter, limit int) ([]Subscription, error) {
	var where conditions
	where.and("s.tenant_id = ?", tenant)
	if len(f.States) > 0 {
		where.and("s.state = ANY(?)", f.States)
	}
	if f.EndpointID != "" {
		where.and("s.endpoint_id = ?", f.EndpointID)
	}
	if f.Carrier != "" {
		where.and("s.carrier_code = ?", f.Carrier)
	}
	if f.Number != "" {
		where.and("s.waybill_number = ?", f.Number)
	}
	if f.Before != "" {
		where.and("s.id < ?", f.Before)
	}
	most := where.arg(limit)
	query := `SELECT ` + subscriptionColumns + fromSubscription + `WHERE ` + where.String() + ` ORDER BY s.id DESC LIMIT ` + most
	rows, err := s.pool.Query(ctx, query, where.args...)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanSubscription)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	return list, nil
}

// Update changes one subscription: change gets the row, locked, and may alter
// its metadata, terms, tail, expire time, pace and state. An error of change is
// returned as it is. A change of state from paused to active, or of the pace, has
// the waybill's present state looked at; a change of the tail moves the complete
// time.
func (s *Subscriptions) Update(ctx context.Context, tenant, id string, now time.Time, change func(*Subscription) (changed bool, err error)) (Subscription, error) {
	var sub Subscription
	err := InTx(ctx, s.pool, func(tx pgx.Tx) (err error) {
		rows, err := tx.Query(ctx, `SELECT `+subscriptionColumns+fromSubscription+`WHERE s.tenant_id = $1 AND s.id = $2 FOR UPDATE OF s`, tenant, id)
		if err != nil {
			return err
		}
		if sub, err = oneSubscription(rows); err != nil {
			return err
		}
		before, paced := sub.State, sub.Pace
		changed, err := change(&sub)
		if err != nil || !changed {
			return err
		}
		metadata, err := encodeMetadata(sub.Metadata)
		if err != nil {
			return err
		}
		resumed := before == SubscriptionPaused && sub.State == SubscriptionActive || sub.State == SubscriptionActive && !sub.Pace.Equal(&paced)
		const query = `
			UPDATE subscription SET metadata = $3::text::jsonb, complete_time = complete_time - tail + $4::interval, tail = $4::interval,
				expire_time = $5, state = $6, update_time = $7, announce = announce OR $8, terms = $9::text::jsonb,
				(tier, digest_interval, filter) = (SELECT ($10::text::paced).*)
			WHERE tenant_id = $1 AND id = $2
			RETURNING update_time, expire_time, complete_time`
		err = tx.QueryRow(ctx, query, tenant, id, metadata, sub.Tail, sub.ExpireTime, sub.State, now, resumed, optional(sub.Terms), paceColumns(sub.Pace)).Scan(&sub.UpdateTime, &sub.ExpireTime, &sub.CompleteTime)
		if err != nil {
			return err
		}
		if err := Audit(ctx, tx, AuditEvent{Action: action(ctx, "UpdateSubscription"), Resource: subscriptionName(tenant, id), TenantID: tenant}); err != nil || !resumed {
			return err
		}
		_, err = tx.Exec(ctx, `SELECT pg_notify($1, '')`, announceChannel)
		return err
	})
	if err != nil {
		return Subscription{}, fmt.Errorf("update subscription %s: %w", id, err)
	}
	return sub, nil
}

// optional is a text, nil for an empty one.
func optional(b []byte) *string {
	if len(b) == 0 {
		return nil
	}
	return new(string(b))
}
