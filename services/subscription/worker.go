package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// worker works on a shard for as long as it is owned. It is one goroutine, beside
// which no more than one recording goes on.
type worker struct {
	*shard

	lease    pg.Lease
	consumer consumer
	recent   recent
	// recording goes on beside, nil for nothing; noted is what comes after it; pushed
	// is, by subscription, what of both isn't recorded yet.
	recording *recording
	noted     recording
	pushed    map[string]pg.Pushed
	// seen is when the newest change that was worked on was stored.
	seen  time.Time
	level level
	// announced is the last id of a page of announcements that was full; empty to
	// begin anew.
	announced string
}

// run ends when ctx does, after what is in progress, which is done under owned.
func (w *worker) run(ctx, owned context.Context, batches <-chan []*stream.Received) error {
	defer func() {
		_ = w.settle(ctx, owned)
		w.count(owned)
	}()
	sweeps := time.NewTicker(w.cfg.Sweep)
	defer sweeps.Stop()
	w.wake() // what was left by whoever owned it before
	for {
		var err error
		select {
		case b := <-batches:
			err = w.persist(ctx, "match changes", func() error { return w.match(ctx, owned, b) })
		case <-w.recorded():
			err = w.next(ctx, owned)
		case <-w.woken:
			if err = w.settle(ctx, owned); err == nil {
				err = w.persist(ctx, "announce", func() error { return w.announce(owned) })
			}
		case <-sweeps.C:
			w.recent.age()
			w.count(owned)
			w.wake()
			if err = w.settle(ctx, owned); err == nil {
				err = w.persist(ctx, "end subscriptions", func() error { return w.end(owned) })
			}
			if err == nil {
				err = w.persist(ctx, "check the level", func() error { return w.check(owned) })
			}
		case <-w.level.more():
			if err = w.settle(ctx, owned); err == nil {
				err = w.persist(ctx, "check the level", func() error { return w.check(owned) })
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// persist tries until it succeeds, so that nothing is passed over and the order
// is kept, or until the shard is lost or ctx ends.
func (w *worker) persist(ctx context.Context, doing string, do func() error) error {
	for {
		err := do()
		if err == nil || errors.Is(err, pg.ErrLeaseLost) || ctx.Err() != nil {
			return err
		}
		w.meters.failures.Add(ctx, 1)
		w.cfg.Log.ErrorContext(ctx, "matching can't go on; it is tried again", "shard", w.index, "doing", doing, obs.KeyError, err)
		if err := pause.For(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// recent remembers the sequences of changes that were worked on lately, by
// subject: a replica that answers with an older one is behind.
type recent struct{ young, old map[string]uint64 }

func (r *recent) add(subject string, seq uint64) {
	if r.young == nil {
		r.young = make(map[string]uint64)
	}
	r.young[subject] = seq
}

// age forgets what was there at the call before.
func (r *recent) age() { r.young, r.old = nil, r.young }

func (r *recent) seq(subject string) uint64 { return max(r.young[subject], r.old[subject]) }
