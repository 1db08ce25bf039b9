package query

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	// linger gathers larger batches: nobody waits for a projection.
	linger     = 50 * time.Millisecond
	retryPause = time.Second
)

// ProjectorConfig is what a projector needs.
type ProjectorConfig struct {
	Trace interface {
		Next(ctx context.Context) ([]*stream.Received, error)
	}
	Store interface {
		Project(ctx context.Context, updates []*trackingv1.TraceUpdate) error
	}
	Log *slog.Logger
}

// Project copies a shard of TRACE to PostgreSQL until the context ends. What it
// was at comes again and changes nothing then.
func Project(ctx context.Context, cfg ProjectorConfig) error {
	for {
		if err := wait(ctx, linger); err != nil {
			return err
		}
		batch, err := cfg.Trace.Next(ctx)
		if err != nil {
			return err
		}
		updates := newest(ctx, cfg.Log, batch)
		for {
			err := cfg.Store.Project(ctx, updates)
			if err == nil {
				break
			}
			cfg.Log.WarnContext(ctx, "traces can't be projected; they are tried again", "traces", len(updates), obs.KeyError, err)
			if err := wait(ctx, retryPause); err != nil {
				return err
			}
		}
		var errs error
		for _, m := range batch {
			errs = errors.Join(errs, m.Ack())
		}
		if errs != nil {
			cfg.Log.WarnContext(ctx, "projected traces will come again", obs.KeyError, errs)
		}
	}
}

// newest decodes the newest update of each waybill in a batch.
func newest(ctx context.Context, log *slog.Logger, batch []*stream.Received) []*trackingv1.TraceUpdate {
	last := make(map[string]int, len(batch))
	for i, m := range batch {
		last[m.Subject] = i
	}
	updates := make([]*trackingv1.TraceUpdate, 0, len(last))
	for i, m := range batch {
		if last[m.Subject] != i {
			continue
		}
		u := &trackingv1.TraceUpdate{}
		if err := proto.Unmarshal(m.Data, u); err != nil {
			log.ErrorContext(ctx, "a trace can't be read and is not projected", "sequence", m.Seq, obs.KeyError, err)
			continue
		}
		updates = append(updates, u)
	}
	return updates
}

// wait returns an error only when the context ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
