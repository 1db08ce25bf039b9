package subscription

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
	"github.com/posthaste/posthaste/services/internal/obs"
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
	Expire(ctx context.Context, lease pg.Lease, slots []subject.Slot, now time.Time, limit int) (int, error)
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (pg.Lease, bool, error)
	Release(ctx context.Context, l pg.Lease) error
	Listen(ctx context.Context, wake func()) error
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
	// Shards is how many parts matching is divided into, 1 to 64; all instances
	// must agree. 0 means 1.
	Shards int
	// Lease is how long a shard stays with an instance that says nothing; 0 means
	// 15 s.
	Lease time.Duration
	// Sweep is how often subscriptions are looked through for what is to be
	// announced and ended; 0 means 3 s.
	Sweep     time.Duration
	Log       *slog.Logger
	Meter     metric.MeterProvider
	Messaging obs.Messaging
	Now       func() time.Time
}

// Matcher turns changes of waybills into pushes.
type Matcher struct {
	cfg    MatcherConfig
	owner  string
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
	m := &Matcher{cfg: cfg, owner: rand.Text()}
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
		if err := pause(ctx, retryAfter); err != nil {
			return err
		}
		m.cfg.Log.WarnContext(ctx, "notifications of subscriptions broke off; the sweep stands in for them", obs.KeyError, err)
	}
}

// pause waits, and returns an error only when the context ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
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
	s := &shard{Matcher: m, index: index, name: fmt.Sprint("subscription-match-", index), woken: make(chan struct{}, 1)}
	for slot := index; slot < subject.Slots; slot += m.cfg.Shards {
		s.slots = append(s.slots, subject.Slot(slot))
	}
	return s
}

func (s *shard) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// run acquires the shard and works on it, over and over.
func (s *shard) run(ctx context.Context) error {
	lease := fmt.Sprint("subscription-", s.index)
	for {
		l, ok, err := s.cfg.Matching.Acquire(ctx, lease, s.owner, s.cfg.Lease)
		if ok {
			err = s.own(ctx, l)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "a shard of matching was let go; it is taken up again", "shard", s.index, obs.KeyError, err)
		}
		if err := pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// own works on the shard until the lease is lost or the context ends. A batch in
// progress is finished then, still under the lease, so that a stop repeats
// nothing.
func (s *shard) own(ctx context.Context, l pg.Lease) error {
	owned, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	var renewing sync.WaitGroup
	renewing.Go(func() { s.renew(owned, lose) })
	err := s.work(ctx, owned, l)
	if cause := context.Cause(owned); cause != nil {
		err = cause
	}
	lose(nil)
	renewing.Wait()
	if errors.Is(err, pg.ErrLeaseLost) {
		return err
	}
	// Nothing is under way any more: the next owner need not wait.
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, s.cfg.Matching.Release(release, l))
}

// renew keeps the lease. When it could not for most of the lease's time, work
// ends: somebody else may begin soon.
func (s *shard) renew(ctx context.Context, lose context.CancelCauseFunc) {
	const parts = 3
	ticks := time.NewTicker(s.cfg.Lease / parts)
	defer ticks.Stop()
	left := s.cfg.Lease * (parts - 1) / parts
	deadline := time.AfterFunc(left, func() { lose(pg.ErrLeaseLost) })
	defer deadline.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		_, ok, err := s.cfg.Matching.Acquire(ctx, fmt.Sprint("subscription-", s.index), s.owner, s.cfg.Lease)
		switch {
		case err != nil:
			s.cfg.Log.WarnContext(ctx, "a lease could not be renewed", "shard", s.index, obs.KeyError, err)
		case !ok:
			lose(pg.ErrLeaseLost)
		default:
			deadline.Reset(left)
		}
	}
}

// work takes the consumer over and does one thing at a time, until ctx or owned
// ends. What is done is done under owned.
func (s *shard) work(ctx, owned context.Context, l pg.Lease) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(owned, cancel)()
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
		w := &worker{shard: s, lease: l, consumer: c, pushed: map[string]track.Revision{}}
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
