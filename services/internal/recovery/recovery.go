// Package recovery rebuilds what the bus lost from what is left: the states of
// waybills in TRACE from their projection in PostgreSQL.
//
// It is for what should never happen: a stream that is gone, a block that can't
// be read, a backup of yesterday put back. Pushes that got lost are the matcher's
// level check's; what only RAW held, before it was normalized, can't be rebuilt.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// Projected is a waybill as far as the projection tells without reading it.
type Projected struct {
	Waybill  track.Waybill
	Revision track.Revision
}

// Config is what the rebuilding needs.
type Config struct {
	// Page reads projected waybills that changed since, above after, in order.
	Page func(ctx context.Context, after track.Waybill, since time.Time, limit int) ([]Projected, error)
	// Traces reads projected traces.
	Traces func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error)
	// Last reads the newest TRACE message of each subject.
	Last func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// Store publishes to TRACE.
	Store func(ctx context.Context, msgs []stream.Message) []stream.Outcome
	// MaxAge is how long a waybill without a change stays in TRACE.
	MaxAge time.Duration
	Log    *slog.Logger
	Now    func() time.Time
}

const (
	// pageSize bounds what is in memory: whole traces.
	pageSize = 100
	// leaving is how long before a waybill leaves TRACE it isn't missed any more.
	leaving = time.Hour
)

// Trace compares one page of the projection with TRACE, and publishes anew what
// TRACE lacks or has only older. It returns where to go on; the zero waybill after
// the last page.
func (c Config) Trace(ctx context.Context, after track.Waybill) (next track.Waybill, rebuilt int, err error) {
	page, err := c.Page(ctx, after, c.Now().Add(leaving-c.MaxAge), pageSize)
	if err != nil || len(page) == 0 {
		return track.Waybill{}, 0, err
	}
	if len(page) == pageSize {
		next = page[len(page)-1].Waybill
	}
	subjects := make([]string, len(page))
	for i, p := range page {
		subjects[i] = subject.Trace(string(p.Waybill.Carrier), string(p.Waybill.Number))
	}
	last, err := c.Last(ctx, subjects)
	if err != nil {
		return after, 0, err
	}
	var lost []track.Waybill
	behind := map[track.Waybill]uint64{} // the sequence of what is there; 0 for nothing
	for i, p := range page {
		have, ok := last[subjects[i]]
		if ok {
			if t, err := wire.SplitUpdate(have.Data); err == nil && track.Revision(t.Waybill.GetRevision()) >= p.Revision {
				continue
			}
		}
		lost, behind[p.Waybill] = append(lost, p.Waybill), have.Seq
	}
	if len(lost) == 0 {
		return next, 0, nil
	}
	rebuilt, err = c.rebuild(ctx, lost, behind)
	if err != nil {
		return after, rebuilt, err
	}
	return next, rebuilt, nil
}

func (c Config) rebuild(ctx context.Context, lost []track.Waybill, behind map[track.Waybill]uint64) (rebuilt int, err error) {
	traces, err := c.Traces(ctx, lost)
	if err != nil {
		return 0, err
	}
	var msgs []stream.Message
	for _, w := range lost {
		u := traces[w]
		if u == nil {
			continue // it was erased meanwhile
		}
		data, err := proto.Marshal(u)
		if err != nil {
			return 0, fmt.Errorf("encode the trace of a waybill: %w", err)
		}
		seq := behind[w]
		msgs = append(msgs, stream.Message{Subject: subject.Trace(string(w.Carrier), string(w.Number)), Data: data, Expect: &seq})
	}
	for _, o := range c.Store(ctx, msgs) {
		switch {
		case o.Err == nil:
			rebuilt++
		case !errors.Is(o.Err, stream.ErrStale): // else somebody wrote it meanwhile
			err = o.Err
		}
	}
	return rebuilt, err
}

// All is [Config.Trace] over the whole projection.
func (c Config) All(ctx context.Context) (rebuilt int, err error) {
	for after := (track.Waybill{}); ; {
		next, n, err := c.Trace(ctx, after)
		rebuilt += n
		if err != nil {
			return rebuilt, fmt.Errorf("rebuild the states of waybills: %w", err)
		}
		if next == (track.Waybill{}) {
			return rebuilt, nil
		}
		after = next
	}
}

// Watch compares page after page for ever, with a pause between, and says loudly
// what was lost. What fails is done the next time.
func (c Config) Watch(ctx context.Context, pause func(context.Context) error, lost func(int)) error {
	var after track.Waybill
	for pause(ctx) == nil {
		next, n, err := c.Trace(ctx, after)
		if n > 0 {
			lost(n)
			c.Log.ErrorContext(ctx, "the stream of states lacked waybills; they are rebuilt from the projection. What had not been projected is rebuilt by: posthaste streams recover",
				obs.KeyStream, stream.Trace, "waybills", n)
		}
		if err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "the stream of states can't be compared with the projection; it is tried again", obs.KeyError, err)
		}
		after = next
	}
	return ctx.Err()
}
