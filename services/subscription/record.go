package subscription

import (
	"context"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// recording is a batch whose pushes are stored and are being recorded while the
// next batch is matched: the disk of PostgreSQL and that of NATS needn't wait for
// each other.
type recording struct {
	pushed map[string]track.Revision // by subscription
	ended  chan struct{}
	err    error // once it has ended
}

// record begins to record what was pushed of a batch, and then acknowledges the
// batch.
func (w *worker) record(ctx, owned context.Context, done []pg.Pushed, batch []*stream.Received) {
	r := &recording{pushed: make(map[string]track.Revision, len(done)), ended: make(chan struct{})}
	for _, d := range done {
		r.pushed[d.ID] = d.Revision
	}
	w.recording = r
	go func() {
		defer close(r.ended)
		if len(done) > 0 {
			r.err = w.persist(ctx, "record pushes", func() error { return w.cfg.Matching.Done(owned, w.lease, done, false) })
			if r.err != nil {
				return
			}
		}
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				// It comes again, and changes nothing then.
				w.cfg.Log.WarnContext(owned, "a change was worked on and can't be acknowledged", obs.KeyStream, stream.Trace, obs.KeyError, err)
				return
			}
		}
	}()
}

// settle waits until nothing is being recorded. An error is for good: the shard
// is lost, or the context has ended.
func (w *worker) settle() error {
	r := w.recording
	if r == nil {
		return nil
	}
	<-r.ended
	w.recording = nil
	return r.err
}

// recorded is closed when what is being recorded has ended.
func (w *worker) recorded() <-chan struct{} {
	if w.recording == nil {
		return nil
	}
	return w.recording.ended
}

// overlay tells of what is being recorded to matches that were read meanwhile.
func (w *worker) overlay(matches []pg.Match) {
	if w.recording == nil {
		return
	}
	for i := range matches {
		m := &matches[i]
		m.Pushed = max(m.Pushed, w.recording.pushed[m.ID])
	}
}
