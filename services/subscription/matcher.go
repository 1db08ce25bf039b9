package subscription

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// publisher stores messages; nil means that all are on disk.
type publisher interface {
	Publish(ctx context.Context, msgs ...stream.Message) error
}

// matching is what the matcher reads and writes in PostgreSQL.
type matching interface {
	Of(ctx context.Context, waybills []track.Waybill) ([]pg.Match, error)
	ToAnnounce(ctx context.Context, slots []subject.Slot, after string, limit int) ([]pg.Match, error)
	Done(ctx context.Context, lease pg.Lease, done []pg.Pushed, announced bool) error
	Complete(ctx context.Context, lease pg.Lease, slots []subject.Slot, now time.Time, limit int) (int, error)
	Remind(ctx context.Context, lease pg.Lease, slots []subject.Slot, now, ending time.Time, limit int) (int, error)
	Expire(ctx context.Context, lease pg.Lease, slots []subject.Slot, now time.Time, limit int) (int, error)
	Level(ctx context.Context, lease pg.Lease, page pg.LevelPage) (pg.Level, error)
	Hold(ctx context.Context, opts pg.LeaseOptions, work func(ctx, owned context.Context, l pg.Lease) error) error
	Listen(ctx context.Context, wake func()) error
}

// pushQuota is how many pushes tenants may have.
type pushQuota interface {
	Prepare(ctx context.Context, tenants []string) error
	Take(tenant string) (until time.Time, ok bool)
	Flush(ctx context.Context) error
}

// consumer hands out changes in batches.
type consumer interface {
	TakeOver(ctx context.Context) (uint64, error)
	Next(ctx context.Context) ([]*stream.Received, error)
	Lag(ctx context.Context) (stream.Lag, error)
	Stop()
}

// MatcherConfig is what the matcher needs.
type MatcherConfig struct {
	Matching matching
	Push     publisher // to the PUSH stream
	// Consume makes a consumer.
	Consume func(ctx context.Context, opts stream.ConsumerOptions) (*stream.Consumer, error)
	// Last reads the newest TRACE message of each subject.
	Last func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// Projected reads traces that are no longer in TRACE.
	Projected func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error)
	// Oldest is when the oldest push was stored that may be on its way to delivery;
	// false when none is.
	Oldest func(ctx context.Context) (time.Time, bool, error)
	// Quota counts pushes of tenants, and says when they are spent; nil for no quotas.
	Quota pushQuota
	// Mask says whether a tenant's pushes hide personal data; nil hides none.
	Mask func(tenant string) bool
	// Shards is how many parts matching is divided into, 1 to 64; all instances
	// must agree. 0 means 1.
	Shards int
	// Lease is how long a shard stays with an instance that says nothing; 0 means
	// 15 s.
	Lease time.Duration
	// Sweep is how often subscriptions are looked through for what is to be
	// announced and ended; 0 means 3 s.
	Sweep time.Duration
	// LevelAge is how old at least is what the level check calls lost, beyond what
	// the clocks of NATS and PostgreSQL differ by; 0 means one minute.
	LevelAge  time.Duration
	Log       *slog.Logger
	Meter     metric.MeterProvider
	Messaging obs.Messaging
	Now       func() time.Time
}

// Matcher turns changes of waybills into pushes.
type Matcher struct {
	cfg    MatcherConfig
	owner  string
	share  *pg.Share
	shards []*shard
	meters meters
}

// NewMatcher makes a matcher; [Matcher.Run] works.
func NewMatcher(cfg MatcherConfig) (*Matcher, error) {
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	if cfg.Lease == 0 {
		cfg.Lease = 15 * time.Second
	}
	if cfg.Sweep == 0 {
		cfg.Sweep = 3 * time.Second
	}
	if cfg.LevelAge == 0 {
		cfg.LevelAge = time.Minute
	}
	m := &Matcher{cfg: cfg, owner: rand.Text()}
	m.share = pg.NewShare("subscription", m.owner, cfg.Shards, cfg.Lease)
	var err error
	if m.meters, err = newMeters(cfg.Meter); err != nil {
		return nil, err
	}
	for i := range cfg.Shards {
		m.shards = append(m.shards, newShard(m, i))
	}
	return m, nil
}

// Run matches until the context ends.
func (m *Matcher) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.listen(ctx) })
	for _, s := range m.shards {
		group.Go(func() error { return s.run(ctx) })
	}
	return group.Wait()
}

// retryAfter is the pause before something that failed is tried again.
const retryAfter = time.Second

// listen passes notifications on to the shards.
func (m *Matcher) listen(ctx context.Context) error {
	for {
		err := m.cfg.Matching.Listen(ctx, func() {
			for _, s := range m.shards {
				s.wake()
			}
		})
		if err := pause.For(ctx, retryAfter); err != nil {
			return err
		}
		m.cfg.Log.WarnContext(ctx, "notifications of subscriptions broke off; the sweep stands in for them", obs.KeyError, err)
	}
}

// shard is one part of matching.
type shard struct {
	*Matcher

	index int
	name  string // of its durable
	slots []subject.Slot
	woken chan struct{} // one token: there may be something to announce
}

func newShard(m *Matcher, index int) *shard {
	return &shard{
		Matcher: m, index: index, name: fmt.Sprint("subscription-match-", index),
		slots: subject.ShardSlots(index, m.cfg.Shards), woken: make(chan struct{}, 1),
	}
}

func (s *shard) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// run works on the shard whenever it is owned. A batch in progress is finished
// under the lease when the context ends, so that a stop repeats nothing.
func (s *shard) run(ctx context.Context) error {
	opts := pg.LeaseOptions{Name: fmt.Sprint("subscription-", s.index), Owner: s.owner, TTL: s.cfg.Lease, Pause: retryAfter, Share: s.share, Log: s.cfg.Log}
	return s.cfg.Matching.Hold(ctx, opts, s.work)
}

// work takes the consumer over and does one thing at a time, until ctx or owned
// ends. What is done is done under owned.
func (s *shard) work(ctx, owned context.Context, l pg.Lease) error {
	ctx, cancel := pg.Within(ctx, owned)
	defer cancel()
	c, err := s.cfg.Consume(ctx, stream.ConsumerOptions{Stream: stream.Trace, Durable: s.name, Kind: "trace", Slots: s.slots})
	if err != nil {
		return err
	}
	defer c.Stop()
	if _, err := c.TakeOver(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan []*stream.Received)
	group.Go(func() error { return fetch(ctx, c, batches) })
	group.Go(func() error {
		w := &worker{shard: s, lease: l, consumer: c, pushed: map[string]pg.Pushed{}}
		return w.run(ctx, owned, batches)
	})
	return group.Wait()
}

// fetch hands batches over, so that the worker can wait for them beside other
// things.
func fetch(ctx context.Context, c consumer, batches chan<- []*stream.Received) error {
	for {
		b, err := c.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
