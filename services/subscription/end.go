package subscription

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
)

// endPage is how many subscriptions are ended in one transaction.
const endPage = 1000

// end completes and expires subscriptions whose time has come.
func (w *worker) end(ctx context.Context) error {
	now, err := w.horizon(ctx)
	if err != nil {
		return err
	}
	n, err := w.cfg.Matching.Remind(ctx, w.lease, w.slots, w.cfg.Now(), now, endPage)
	if err != nil {
		return err
	}
	if n > 0 {
		w.wake()
	}
	if now.IsZero() {
		return nil
	}
	if err := w.endAll(ctx, "completed", now, w.cfg.Matching.Complete); err != nil {
		return err
	}
	return w.endAll(ctx, "expired", now, w.cfg.Matching.Expire)
}

// horizon is the time up to which all changes are matched. While the matcher is
// behind, time stands still for its subscriptions: none ends before it has
// seen what was stored in its life. Zero says that it isn't known.
func (w *worker) horizon(ctx context.Context) (time.Time, error) {
	now := w.cfg.Now()
	lag, err := w.consumer.Lag(ctx)
	if err != nil {
		return time.Time{}, err
	}
	pending := lag.Pending + uint64(max(lag.AckPending, 0))
	w.meters.pending.Record(ctx, int64(pending), metric.WithAttributes(attribute.Int("shard", w.index)))
	if pending == 0 || now.Before(w.seen) {
		return now, nil
	}
	return w.seen, nil
}

type ending func(ctx context.Context, lease pg.Lease, slots []subject.Slot, now time.Time, limit int) (int, error)

func (w *worker) endAll(ctx context.Context, as string, now time.Time, end ending) error {
	for {
		n, err := end(ctx, w.lease, w.slots, now, endPage)
		if err != nil {
			return err
		}
		w.meters.ended.Add(ctx, int64(n), metric.WithAttributes(attribute.String("as", as)))
		if n < endPage {
			return nil
		}
	}
}
