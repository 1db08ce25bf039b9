package subscription

import (
	"context"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// recording is what is recorded of batches whose pushes are stored, while more
// batches are matched: the disk of PostgreSQL and that of NATS needn't wait for
// each other.
type recording struct {
	done  []pg.Pushed
	batch []*stream.Received // acknowledged afterwards
	ended chan struct{}
	err   error // once it has ended
}

// recordInterval lies between the beginnings of recordings, so that there is one
// sync for what is matched in that time.
const recordInterval = 50 * time.Millisecond

// maxUnrecorded changes are matched and not recorded yet.
const maxUnrecorded = 5000

// record notes what was pushed of a batch. It is recorded when what was noted
// before has been, and then the batch is acknowledged.
func (w *worker) record(ctx, owned context.Context, done []pg.Pushed, batch []*stream.Received) error {
	for _, d := range done {
		if d.Revision > 0 {
			d.Time = w.cfg.Now()
			w.pushed[d.ID] = d
		}
	}
	w.noted.done, w.noted.batch = append(w.noted.done, done...), append(w.noted.batch, batch...)
	if len(w.noted.batch) > maxUnrecorded {
		return w.settle(ctx, owned)
	}
	w.recordNoted(ctx, owned)
	return nil
}

// recordNoted records what is noted, unless something is being recorded.
func (w *worker) recordNoted(ctx, owned context.Context) {
	if w.recording != nil || len(w.noted.batch) == 0 {
		return
	}
	r := &recording{done: w.noted.done, batch: w.noted.batch, ended: make(chan struct{})}
	w.recording, w.noted = r, recording{}
	go func() {
		defer close(r.ended)
		began := w.cfg.Now()
		if r.done = newest(r.done); len(r.done) > 0 {
			r.err = w.persist(ctx, "record pushes", func() error { return w.cfg.Matching.Done(owned, w.lease, r.done, false) })
			if r.err != nil {
				return
			}
		}
		fault.Crash("match.recorded")
		for _, m := range r.batch {
			if err := m.Ack(); err != nil {
				// It comes again, and changes nothing then.
				w.cfg.Log.WarnContext(owned, "a change was worked on and can't be acknowledged", obs.KeyStream, stream.Trace, obs.KeyError, err)
				return
			}
		}
		fault.Crash("match.acked")
		_ = pause.For(ctx, recordInterval-w.cfg.Now().Sub(began)) // a stop needn't wait
	}()
}

// newest keeps of each subscription what was noted last: what was handed over,
// and what was held back since.
func newest(done []pg.Pushed) []pg.Pushed {
	at := make(map[string]int, len(done))
	kept := done[:0:0]
	for _, d := range done {
		if i, ok := at[d.ID]; ok {
			if d.Revision == 0 {
				d.Revision, d.State = kept[i].Revision, kept[i].State
			}
			kept[i] = d
			continue
		}
		at[d.ID] = len(kept)
		kept = append(kept, d)
	}
	return kept
}

// recorded is closed when what is being recorded has been.
func (w *worker) recorded() <-chan struct{} {
	if w.recording == nil {
		return nil
	}
	return w.recording.ended
}

// next ends what has been recorded and begins with what was noted meanwhile. An
// error is for good: the shard is lost, or the context has ended.
func (w *worker) next(ctx, owned context.Context) error {
	r := w.recording
	<-r.ended
	w.recording = nil
	if r.err != nil {
		return r.err
	}
	for _, d := range r.done {
		if w.pushed[d.ID].Revision == d.Revision {
			delete(w.pushed, d.ID)
		}
	}
	w.recordNoted(ctx, owned)
	return nil
}

// settle waits until all is recorded.
func (w *worker) settle(ctx, owned context.Context) error {
	for w.recordNoted(ctx, owned); w.recording != nil; {
		if err := w.next(ctx, owned); err != nil {
			return err
		}
	}
	return nil
}

// overlay tells matches of what isn't recorded yet.
func (w *worker) overlay(matches []pg.Match) {
	for i := range matches {
		m := &matches[i]
		if p := w.pushed[m.ID]; p.Revision > m.Pushed {
			m.Pushed, m.State, m.PushTime = p.Revision, p.State, p.Time
		}
	}
}
