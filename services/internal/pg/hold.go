package pg

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// LeaseOptions say which lease is held, and how.
type LeaseOptions struct {
	Name, Owner string
	// TTL is how long the lease stays with an owner that says nothing.
	TTL time.Duration
	// Pause is between attempts to acquire it, and after work that failed.
	Pause time.Duration
	Log   *slog.Logger
}

// Hold works whenever it holds the lease, over and over until ctx ends. What work
// does, it does under owned, which ends when the lease may pass on; ctx asks it to
// finish.
func Hold(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	pause := time.NewTicker(opts.Pause)
	defer pause.Stop()
	for {
		l, ok, err := Acquire(ctx, pool, opts.Name, opts.Owner, opts.TTL)
		if ok {
			err = own(ctx, pool, opts, l, work)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			opts.Log.WarnContext(ctx, "a lease was let go; it is taken up again", "lease", opts.Name, "error", err)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Within is ctx, which ends with owned too: for work of which nothing need be
// finished when it is asked to stop.
func Within(ctx, owned context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(owned, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func own(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, l Lease, work func(ctx, owned context.Context, l Lease) error) error {
	owned, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	var renewing sync.WaitGroup
	renewing.Go(func() { renew(owned, pool, opts, lose) })
	err := work(ctx, owned, l)
	if cause := context.Cause(owned); cause != nil {
		err = cause
	}
	lose(nil)
	renewing.Wait()
	if errors.Is(err, ErrLeaseLost) {
		return err
	}
	// Nothing is under way any more: the next owner need not wait.
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, l.Release(release, pool))
}

// renew keeps the lease. When it could not for most of the lease's time, the
// work ends: somebody else may begin soon.
func renew(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, lose context.CancelCauseFunc) {
	const parts = 3
	ticks := time.NewTicker(opts.TTL / parts)
	defer ticks.Stop()
	left := opts.TTL * (parts - 1) / parts
	deadline := time.AfterFunc(left, func() { lose(ErrLeaseLost) })
	defer deadline.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		_, ok, err := Acquire(ctx, pool, opts.Name, opts.Owner, opts.TTL)
		switch {
		case err != nil:
			opts.Log.WarnContext(ctx, "a lease could not be renewed", "lease", opts.Name, "error", err)
		case !ok:
			lose(ErrLeaseLost)
		default:
			deadline.Reset(left)
		}
	}
}
