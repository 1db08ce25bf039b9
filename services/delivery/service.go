package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// The interfaces are what the service needs of its neighbours.
type (
	store interface {
		Hold(ctx context.Context, opts pg.LeaseOptions, work func(ctx, owned context.Context, l pg.Lease) error) error
		Commit(ctx context.Context, l pg.Lease, o *pg.Outcomes, now time.Time, again bool) error
		Salvage(ctx context.Context, l pg.Lease, o *pg.Outcomes, now time.Time, event func(pg.Refusal) (*pg.OpsEvent, error)) ([]pg.Refusal, error)
		Due(ctx context.Context, endpoint string, now time.Time, first []string, limit, most int) (pg.DueOwed, error)
		OwedAmong(ctx context.Context, subscriptions []string) (map[string]bool, error)
		MatchEpochs(ctx context.Context) (map[uint32]uint64, error)
		OwedEndpoints(ctx context.Context, slots []subject.Slot) ([]string, error)
		Acknowledgements(ctx context.Context, subscriptions []string) (map[string]track.Revision, error)
		CancelledSince(ctx context.Context, since time.Time) ([]string, error)
		EndpointsResentSince(ctx context.Context, since time.Time) ([]string, error)
		Endpoints(ctx context.Context, ids []string) (map[string]pg.Endpoint, error)
		Health(ctx context.Context, endpoints []string) (map[string]pg.Health, error)
		Listen(ctx context.Context, begun func(), endpoint, cancelled func(id string)) error
		TellParked(ctx context.Context, l pg.Lease, slots []subject.Slot, interval time.Duration, event func(pg.Parked) (*pg.OpsEvent, error)) (time.Duration, error)
		OpsEvents(ctx context.Context, slots []subject.Slot, limit int) ([]pg.OpsEvent, error)
		ToldOpsEvents(ctx context.Context, list []pg.OpsEvent) error
		OperationsEndpoints(ctx context.Context, tenant string) ([]pg.Endpoint, error)
		StatOwed(ctx context.Context, slots []subject.Slot) (pg.OwedStats, error)
		Traces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error)
		KeepPartitions(ctx context.Context, now time.Time, ahead int, retention time.Duration) error
		DropOldSecrets(ctx context.Context, now time.Time) error
		DropEnded(ctx context.Context, limit int) error
	}
	publisher interface {
		Publish(ctx context.Context, msgs ...stream.Message) error
	}
	poster interface {
		Post(ctx context.Context, r callback.Request) callback.Result
	}
	consumer interface {
		TakeOver(ctx context.Context) (uint64, error)
		Lag(ctx context.Context) (stream.Lag, error)
		Next(ctx context.Context) ([]*stream.Received, error)
		Stop()
	}
)

// Config is what the service needs.
type Config struct {
	Store store
	Post  poster
	// Ops takes operational events, to the stream of them.
	Ops publisher
	// Consume makes a consumer of the PUSH stream.
	Consume func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error)
	// Last reads the newest TRACE message of each subject.
	Last func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// Trim removes from PUSH what all these consumers have acknowledged.
	Trim func(ctx context.Context, durables []string) error
	// Mask says whether a tenant's pushes hide personal data; nil hides none.
	Mask func(tenant string) bool
	// Shards is how many parts delivery is divided into, 1 to 64; all instances
	// must agree. 0 means 1.
	Shards int
	// Lease is how long a shard stays with an instance that says nothing; 0 means
	// 15 s.
	Lease time.Duration
	// Refresh is how often settings of endpoints and cancellations are read although
	// nothing was heard of a change; 0 means a minute.
	Refresh time.Duration
	// RetryScale multiplies the times of retry policies, so that tests run through
	// days in minutes; 0 means 1.
	RetryScale float64
	// Retention of the attempt log; 0 means 30 days.
	Retention time.Duration
	Log       *slog.Logger
	Meter     metric.MeterProvider
	Messaging obs.Messaging
	Now       func() time.Time
	// Random is from 0 to 1, for jitter.
	Random func() float64
}

const (
	day = 24 * time.Hour
	// partitionsAhead of the attempt log.
	partitionsAhead = 3
	trimInterval    = 5 * time.Second
	keepInterval    = time.Hour
	// maxEnded rows of cancelled subscriptions are removed at once.
	maxEnded   = 10000
	retryPause = 500 * time.Millisecond
	// maxUnacknowledged messages of a shard are handed out at once.
	maxUnacknowledged = 20_000
	// prefetch bounds memory: each may be a bundle.
	prefetch = 400
)

// Service delivers.
type Service struct {
	cfg    Config
	owner  string
	share  *pg.Share
	meters meters

	mu     sync.Mutex
	shards map[*shard]bool // that are at work here
}

// New makes a service; [Service.Run] works.
func New(cfg Config) (*Service, error) {
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	if cfg.Lease == 0 {
		cfg.Lease = 15 * time.Second
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = time.Minute
	}
	if cfg.Retention == 0 {
		cfg.Retention = 30 * day
	}
	if cfg.RetryScale == 0 {
		cfg.RetryScale = 1
	}
	s := &Service{cfg: cfg, owner: rand.Text(), shards: map[*shard]bool{}}
	s.share = pg.NewShare("delivery", s.owner, cfg.Shards, cfg.Lease)
	var err error
	s.meters, err = newMeters(cfg.Meter, s)
	return s, err
}

// Run delivers until the context ends.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var durables []string
	for i := range s.cfg.Shards {
		durable := fmt.Sprint("delivery-push-", i)
		durables = append(durables, durable)
		group.Go(func() error { return s.runShard(ctx, i, durable) })
	}
	group.Go(func() error { return s.listen(ctx) })
	group.Go(func() error { return s.runWebhooks(ctx) })
	group.Go(func() error {
		return s.every(ctx, trimInterval, func(ctx context.Context) error { return s.cfg.Trim(ctx, durables) })
	})
	group.Go(func() error {
		return s.every(ctx, keepInterval, func(ctx context.Context) error {
			now := s.cfg.Now()
			return errors.Join(
				s.cfg.Store.KeepPartitions(ctx, now, partitionsAhead, s.cfg.Retention),
				s.cfg.Store.DropOldSecrets(ctx, now),
				s.cfg.Store.DropEnded(ctx, maxEnded),
			)
		})
	})
	return group.Wait()
}

func (s *Service) runShard(ctx context.Context, index int, durable string) error {
	slots := subject.ShardSlots(index, s.cfg.Shards)
	opts := pg.LeaseOptions{Name: fmt.Sprint("delivery-", index), Owner: s.owner, TTL: s.cfg.Lease, Pause: retryPause, Share: s.share, Log: s.cfg.Log}
	return s.cfg.Store.Hold(ctx, opts, func(ctx, owned context.Context, l pg.Lease) error {
		c, err := s.cfg.Consume(ctx, stream.ConsumerOptions{
			Stream: stream.Push, Durable: durable, Kind: "push", Slots: slots,
			// What is in a lane is worked on for as long as it takes; after a crash the
			// next owner resets the consumer and needn't wait for this.
			AckWait: time.Hour, MaxAckPending: maxUnacknowledged, Prefetch: prefetch,
		})
		if err != nil {
			return err
		}
		defer c.Stop()
		return newShard(owned, s, durable, slots, l).run(ctx, c)
	})
}

// every does housekeeping at once and then at an interval. What fails is done
// the next time.
func (s *Service) every(ctx context.Context, interval time.Duration, work func(context.Context) error) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "housekeeping of delivery failed; it is tried again", obs.KeyError, err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
