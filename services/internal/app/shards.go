package app

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	// shardPause is between attempts to acquire a shard.
	shardPause = 500 * time.Millisecond
	// shardLease is the default of --lease.
	shardLease = 10 * time.Second
)

// shardWork is what a part does with a shard while it is this instance's.
type shardWork func(ctx context.Context, shard int, c *stream.Consumer) error

// eachShard runs a part's work on those shards that are this instance's, each with
// the consumer of the shard, which it alone reads. The work must be such that two
// at once do no harm: while PostgreSQL is away nobody says whose a shard is, and
// everybody works on all.
func (e *Env) eachShard(part string, opts func(shard int) stream.ConsumerOptions, work shardWork) (stop func(context.Context) error) {
	shards := max(e.Config.Work.Shards, 1)
	owner := rand.Text()
	ttl := e.Config.Work.Lease
	if ttl == 0 {
		ttl = shardLease
	}
	share := pg.NewShare(part, owner, shards, ttl)
	return e.run(part, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for shard := range shards {
			lease := pg.LeaseOptions{
				Name: part + "-" + strconv.Itoa(shard), Owner: owner, TTL: ttl, Pause: shardPause, Share: share, Loose: true, Log: e.Log,
			}
			group.Go(func() error {
				return pg.Hold(ctx, e.PG, lease, func(ctx, owned context.Context, l pg.Lease) error {
					ctx, cancel := pg.Within(ctx, owned)
					defer cancel()
					o := opts(shard)
					o.Slots = subject.ShardSlots(shard, shards)
					c, err := stream.NewConsumer(ctx, e.JetStream, o)
					if err != nil {
						return err
					}
					defer c.Stop()
					if l.Epoch != 0 {
						// What whoever had it before was at comes now, and not when its time is up.
						if _, err := c.TakeOver(ctx); err != nil {
							return err
						}
					}
					return work(ctx, shard, c)
				})
			})
		}
		return group.Wait()
	})
}

// bundle lets messages for one shard go together.
func (e *Env) bundle(of string) string { return subject.Bundle(of, max(e.Config.Work.Shards, 1)) }
