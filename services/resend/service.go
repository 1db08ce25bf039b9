package resend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Config is what the service needs.
type Config struct {
	Store *pg.Resending
	Log   *slog.Logger
	Now   func() time.Time
	// Batch pushes of a job are made due at once, with Rest between the batches: a
	// job doesn't take all that delivery can do. 0 means 250, every 250 ms.
	Batch int
	Rest  time.Duration
	// Running and PerMinute are how many jobs a tenant may have at work at once, and
	// make in a minute. 0 means 4 and 300.
	Running, PerMinute int
	// Look is how often jobs are looked for that another instance left; 0 means
	// 10 s.
	Look time.Duration
}

// Pushes answers the PushService and works on its jobs.
type Pushes struct {
	deliveryv1.UnimplementedPushServiceServer

	cfg  Config
	more chan struct{} // a job is to be worked on
}

// New makes the service; [Pushes.Run] works on jobs.
func New(cfg Config) *Pushes {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&cfg.Batch, 250)
	set(&cfg.Running, 4)
	set(&cfg.PerMinute, 300)
	if cfg.Rest == 0 {
		cfg.Rest = 250 * time.Millisecond
	}
	if cfg.Look == 0 {
		cfg.Look = 10 * time.Second
	}
	return &Pushes{cfg: cfg, more: make(chan struct{}, 1)}
}

// now is the time as PostgreSQL keeps it.
func (p *Pushes) now() time.Time { return p.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run works on jobs until the context ends. When none is left it waits for the
// next, and looks now and then for those that others left.
func (p *Pushes) Run(ctx context.Context) error {
	look := time.NewTicker(p.cfg.Look)
	defer look.Stop()
	for {
		working, err := p.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.cfg.Log.WarnContext(ctx, "a job that resends pushes can't go on now; it is tried again", obs.KeyError, err)
		}
		if working || err != nil {
			if err := pause.For(ctx, p.cfg.Rest); err != nil {
				return err
			}
			continue
		}
		select {
		case <-p.more:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round does a batch of every job that has rested. It says whether one goes on.
func (p *Pushes) round(ctx context.Context) (working bool, err error) {
	for {
		j, err := p.cfg.Store.WorkJob(ctx, p.cfg.Batch, p.cfg.Rest, p.now())
		if err != nil || j.ID == "" {
			return working, err
		}
		switch j.State {
		case pg.JobRunning:
			working = true
		case pg.JobDone:
			p.cfg.Log.InfoContext(ctx, "a job has put its pushes on their way", "job", j.ID, obs.KeyTenant, j.TenantID, "sent", j.Sent, "skipped", j.Skipped)
		}
	}
}

// create makes a job and begins it.
func (p *Pushes) create(ctx context.Context, j pg.PushJob, r pg.Request) (*deliveryv1.PushJob, error) {
	limits := pg.JobLimits{Running: p.cfg.Running, PerMinute: p.cfg.PerMinute}
	made, err := p.cfg.Store.CreateJob(ctx, j, r, limits, p.cfg.Batch)
	if err != nil {
		return nil, p.fail(ctx, &j, err)
	}
	if made.State == pg.JobRunning {
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
	return jobMessage(&made), nil
}

const (
	// awayFor is when a caller may try again.
	awayFor = 2 * time.Second
	// busyFor is when a tenant with too many jobs may.
	busyFor = 10 * time.Second
)

// fail answers an error about a job that was asked for.
func (p *Pushes) fail(ctx context.Context, j *pg.PushJob, err error) error {
	endpoint, subscription := rpc.EndpointName(j.TenantID, j.Filter.EndpointID), rpc.SubscriptionName(j.TenantID, j.Filter.SubscriptionID)
	switch {
	case errors.Is(err, pg.ErrRequestReused):
		return rpc.RequestIDReused()
	case errors.Is(err, pg.ErrNoEndpoint):
		return rpc.NotFound(endpoint)
	case errors.Is(err, pg.ErrNoSubscription):
		return rpc.NotFound(subscription)
	case errors.Is(err, pg.ErrNotReplayable):
		return rpc.Precondition(subscription, "the subscription is cancelled, or paused: resume it, and one push covers what came meanwhile")
	case errors.Is(err, pg.ErrEndpointDisabled):
		name := endpoint
		if j.Filter.EndpointID == "" {
			name = subscription
		}
		return rpc.Precondition(name, "the endpoint is disabled: set its state to ENABLED, which resends what was parked for that, and ask again")
	case errors.Is(err, pg.ErrTooManyJobs):
		return rpc.Exhausted(busyFor, fmt.Sprintf("%d jobs are running, which is the limit: wait for one, or cancel one", p.cfg.Running))
	case errors.Is(err, pg.ErrTooManyRequests):
		return rpc.Exhausted(time.Minute, fmt.Sprintf("%d jobs were made in the last minute, which is the limit: ask for several pushes at once", p.cfg.PerMinute))
	}
	return p.fault(ctx, err)
}

// fault answers an error that is not the caller's.
func (p *Pushes) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if pg.IsTransient(err) {
		p.cfg.Log.ErrorContext(ctx, "the database of the control plane of pushes is away; the caller is told to try again", obs.KeyError, err)
		return rpc.Unavailable(awayFor)
	}
	return err
}
