package subscription

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/services/internal/pg"
)

// The level check closes what nobody thought of: whatever the bus did, a stream
// that was lost or a block that can't be read, what a subscription is owed shows
// in PostgreSQL and TRACE. It goes over all subscriptions of the shard, page by
// page between other work, without a pause when the shard is taken over.

const (
	// levelPage is how many subscriptions are looked at in one step.
	levelPage = 2000
	// levelPause lies between the beginnings of rounds.
	levelPause = time.Minute
)

// level is where the check is.
type level struct {
	after  string    // the last id that was looked at; empty between rounds
	began  time.Time // when the last round began; zero before the first
	rounds int       // that ended
}

// more can be received from while the first round goes on.
func (l *level) more() <-chan struct{} {
	if l.rounds > 0 || l.after == "" {
		return nil
	}
	now := make(chan struct{})
	close(now)
	return now
}

// check looks at a page of subscriptions. In the first round the next page
// follows at once, after whatever else is to be done; later with the next sweep.
func (w *worker) check(ctx context.Context) error {
	now := w.cfg.Now()
	if w.level.after == "" {
		if now.Sub(w.level.began) < levelPause {
			return nil
		}
		w.level.began = now
	}
	page := pg.LevelPage{Slots: w.slots, After: w.level.after, Limit: levelPage}
	var err error
	if page.HandedOver, page.Matched, err = w.settledBefore(ctx, now); err != nil {
		return err
	}
	found, err := w.cfg.Matching.Level(ctx, w.lease, page)
	if err != nil {
		return err
	}
	if w.level.after = found.Last; found.Last == "" {
		w.level.rounds++
	}
	if found.Pushes > 0 || found.Changes > 0 {
		w.meters.lost.Add(ctx, int64(found.Pushes), metric.WithAttributes(attribute.String("what", "push")))
		w.meters.lost.Add(ctx, int64(found.Changes), metric.WithAttributes(attribute.String("what", "change")))
		w.cfg.Log.ErrorContext(ctx, "something got lost on the bus; it is pushed again", "shard", w.index, "pushes", found.Pushes, "changes", found.Changes)
		w.wake()
	}
	return nil
}

// settledBefore says before when pushes have left the stream to delivery, and
// changes have been matched.
func (w *worker) settledBefore(ctx context.Context, now time.Time) (pushes, changes time.Time, err error) {
	if changes, err = w.horizon(ctx); err != nil {
		return time.Time{}, time.Time{}, err
	}
	pushes = now
	oldest, some, err := w.cfg.Oldest(ctx)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	if some && oldest.Before(pushes) {
		pushes = oldest
	}
	return pushes.Add(-w.cfg.LevelAge), changes.Add(-w.cfg.LevelAge), nil
}
