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
	// Share divides the leases of a group among instances; nil takes what is free.
	Share *Share
	// Loose keeps working while PostgreSQL can't say whose the lease is, and without
	// a lease when it was away for the lease's time: for work in which two can do no
	// harm. The lease's epoch is 0 then.
	Loose bool
	Log   *slog.Logger
}

// Hold works whenever it holds the lease, over and over until ctx ends. What work
// does, it does under owned, which ends when the lease may pass on; ctx asks it to
// finish.
func Hold(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	defer opts.Share.join(ctx, pool)()
	pause := time.NewTicker(opts.Pause)
	defer pause.Stop()
	answered := time.Now() // when PostgreSQL did last
	for {
		if opts.Share.take(ctx, pool, opts.Name) {
			l, ok, err := opts.acquire(ctx, pool)
			away := err != nil && time.Since(answered) >= opts.TTL
			switch {
			case ok:
				err = own(ctx, pool, opts, l, work)
			case away && opts.Loose:
				err = unleased(ctx, pool, opts, work)
			}
			if ok || away || err == nil {
				answered = time.Now()
			}
			opts.Share.letGo(ctx, pool, opts.Name, ok && err != nil && ctx.Err() == nil)
			if ctx.Err() == nil && err != nil {
				opts.Log.WarnContext(ctx, "a lease was let go; it is taken up again", "lease", opts.Name, "error", err)
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// acquire is [Acquire] that doesn't wait for long.
func (o LeaseOptions) acquire(ctx context.Context, pool *pgxpool.Pool) (Lease, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.TTL/renewals)
	defer cancel()
	return Acquire(ctx, pool, o.Name, o.Owner, o.TTL)
}

// unleased works until PostgreSQL says again whose the lease is.
func unleased(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, work func(ctx, owned context.Context, l Lease) error) error {
	opts.Log.WarnContext(ctx, "PostgreSQL is away; work goes on without a lease", "lease", opts.Name)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() {
		ticks := time.NewTicker(opts.Pause)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
			if _, _, err := opts.acquire(ctx, pool); err == nil {
				cancel()
				return
			}
		}
	})
	err := work(ctx, context.WithoutCancel(ctx), Lease{Name: opts.Name, Owner: opts.Owner})
	ended := ctx.Err() != nil
	cancel()
	asking.Wait()
	if ended {
		return nil // PostgreSQL is there again, or all ends
	}
	return err
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
	working, give := context.WithCancel(ctx)
	defer give()
	var renewing sync.WaitGroup
	renewing.Go(func() { renew(owned, pool, opts, lose, give) })
	err := work(working, owned, l)
	if working.Err() != nil && ctx.Err() == nil {
		opts.Log.InfoContext(ctx, "a lease is left to another instance", "lease", opts.Name)
		err = nil
	}
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

// renewals are tried in a lease's time.
const renewals = 3

// renew keeps the lease. When it could not for most of the lease's time, the
// work ends, unless it is loose: somebody else may begin soon. It asks the work to
// finish when the lease is another instance's share.
func renew(ctx context.Context, pool *pgxpool.Pool, opts LeaseOptions, lose context.CancelCauseFunc, give func()) {
	ticks := time.NewTicker(opts.TTL / renewals)
	defer ticks.Stop()
	left := opts.TTL * (renewals - 1) / renewals
	deadline := time.AfterFunc(left, func() {
		if !opts.Loose {
			lose(ErrLeaseLost)
		}
	})
	defer deadline.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		_, ok, err := opts.acquire(ctx, pool)
		switch {
		case err != nil && ctx.Err() == nil:
			opts.Log.WarnContext(ctx, "a lease could not be renewed", "lease", opts.Name, "error", err)
		case err != nil:
		case !ok:
			lose(ErrLeaseLost)
		default:
			deadline.Reset(left)
			if opts.Share.excess(ctx, pool, opts.Name) {
				give()
			}
		}
	}
}
