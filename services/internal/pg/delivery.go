package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Delivery is what the delivery service reads and writes.
type Delivery struct{ pool *pgxpool.Pool }

// NewDelivery uses a pool.
func NewDelivery(pool *pgxpool.Pool) *Delivery { return &Delivery{pool: pool} }

// Hold is [Hold] with the store's pool.
func (d *Delivery) Hold(ctx context.Context, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	return Hold(ctx, d.pool, opts, work)
}

// Commit is [CommitOutcomes] with the store's pool.
func (d *Delivery) Commit(ctx context.Context, l Lease, o *Outcomes, now time.Time, again bool) error {
	return CommitOutcomes(ctx, d.pool, l, o, now, again)
}

// MatchEpochs is [Epochs] of the shards of matching.
func (d *Delivery) MatchEpochs(ctx context.Context) (map[uint32]uint64, error) {
	return Epochs(ctx, d.pool, "subscription-")
}

// Due is [Due] with the store's pool.
func (d *Delivery) Due(ctx context.Context, endpoint string, now time.Time, first []string, limit, most int) (DueOwed, error) {
	return Due(ctx, d.pool, endpoint, now, first, limit, most)
}

// OwedEndpoints is [OwedEndpoints] with the store's pool.
func (d *Delivery) OwedEndpoints(ctx context.Context, slots []subject.Slot) ([]string, error) {
	return OwedEndpoints(ctx, d.pool, slots)
}

// Acknowledgements is [Acknowledgements] with the store's pool.
func (d *Delivery) Acknowledgements(ctx context.Context, subscriptions []string) (map[string]track.Revision, error) {
	return Acknowledgements(ctx, d.pool, subscriptions)
}

// CancelledSince is [CancelledSince] with the store's pool.
func (d *Delivery) CancelledSince(ctx context.Context, since time.Time) ([]string, error) {
	return CancelledSince(ctx, d.pool, since)
}

// Endpoints is [EndpointsByID] with the store's pool.
func (d *Delivery) Endpoints(ctx context.Context, ids []string) (map[string]Endpoint, error) {
	return EndpointsByID(ctx, d.pool, ids)
}

// Traces is [Traces] with the store's pool.
func (d *Delivery) Traces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	return Traces(ctx, d.pool, waybills)
}

// EndpointsResentSince is [EndpointsResentSince] with the store's pool.
func (d *Delivery) EndpointsResentSince(ctx context.Context, since time.Time) ([]string, error) {
	return EndpointsResentSince(ctx, d.pool, since)
}

// DropOldSecrets is [DropOldSecrets] with the store's pool.
func (d *Delivery) DropOldSecrets(ctx context.Context, now time.Time) error {
	return DropOldSecrets(ctx, d.pool, now)
}

// DropEnded is [DropEnded] with the store's pool.
func (d *Delivery) DropEnded(ctx context.Context, limit int) error {
	return DropEnded(ctx, d.pool, limit)
}

// KeepPartitions is [KeepAttemptPartitions] with the store's pool.
func (d *Delivery) KeepPartitions(ctx context.Context, now time.Time, ahead int, retention time.Duration) error {
	return KeepAttemptPartitions(ctx, d.pool, now, ahead, retention)
}

// Health is [HealthOf] with the store's pool.
func (d *Delivery) Health(ctx context.Context, endpoints []string) (map[string]Health, error) {
	return HealthOf(ctx, d.pool, endpoints)
}

// TellParked is [TellParked] with the store's pool.
func (d *Delivery) TellParked(ctx context.Context, l Lease, slots []subject.Slot, interval time.Duration, event func(Parked) (*OpsEvent, error)) (time.Duration, error) {
	return TellParked(ctx, d.pool, l, slots, interval, event)
}

// OpsEvents is [OpsEvents] with the store's pool.
func (d *Delivery) OpsEvents(ctx context.Context, slots []subject.Slot, limit int) ([]OpsEvent, error) {
	return OpsEvents(ctx, d.pool, slots, limit)
}

// ToldOpsEvents is [ToldOpsEvents] with the store's pool.
func (d *Delivery) ToldOpsEvents(ctx context.Context, list []OpsEvent) error {
	return ToldOpsEvents(ctx, d.pool, list)
}

// OperationsEndpoints is [OperationsEndpoints] with the store's pool.
func (d *Delivery) OperationsEndpoints(ctx context.Context, tenant string) ([]Endpoint, error) {
	return OperationsEndpoints(ctx, d.pool, tenant)
}

// StatOwed is [StatOwed] with the store's pool.
func (d *Delivery) StatOwed(ctx context.Context, slots []subject.Slot) (OwedStats, error) {
	return StatOwed(ctx, d.pool, slots)
}

// Listen is [ListenForDelivery] with the store's pool.
func (d *Delivery) Listen(ctx context.Context, begun func(), endpoint, cancelled func(id string)) error {
	return ListenForDelivery(ctx, d.pool, begun, endpoint, cancelled)
}

// Salvage is [SalvageOutcomes] with the store's pool.
func (d *Delivery) Salvage(ctx context.Context, l Lease, o *Outcomes, now time.Time, event func(Refusal) (*OpsEvent, error)) ([]Refusal, error) {
	return SalvageOutcomes(ctx, d.pool, l, o, now, event)
}

// OwedAmong is [OwedAmong] with the store's pool.
func (d *Delivery) OwedAmong(ctx context.Context, subscriptions []string) (map[string]bool, error) {
	return OwedAmong(ctx, d.pool, subscriptions)
}
