package query

import (
	"context"
	"log/slog"
	"sync"
	"time"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	defaultFlush = 30 * time.Second
	// maxPending bounds memory: what comes above it isn't learned.
	maxPending = 20_000
	// maxAnswers bounds the table; forgetAfter is how long an answer counts that
	// isn't given again.
	maxAnswers  = 200_000
	forgetAfter = 365 * 24 * time.Hour
	forgetEvery = time.Hour
)

// memory is where answers are kept.
type memory interface {
	Learn(ctx context.Context, learned []pg.Learned) error
	Forget(ctx context.Context, before time.Time, most int) error
}

// LearnerConfig is what the learner needs.
type LearnerConfig struct {
	Memory memory
	Flush  time.Duration // between writes; 0 means 30 s
	Log    *slog.Logger
	Now    func() time.Time
}

// Learner counts which carriers numbers turn out to belong to, for recognition.
// It counts in memory and writes now and then: these are statistics, of which a
// crash may lose the last half minute.
type Learner struct {
	cfg LearnerConfig

	mu      sync.Mutex
	pending map[key]int64
}

type key struct {
	shape   recognize.Shape
	carrier track.Carrier
}

// NewLearner makes a learner; [Learner.Run] writes.
func NewLearner(cfg LearnerConfig) *Learner {
	if cfg.Flush == 0 {
		cfg.Flush = defaultFlush
	}
	return &Learner{cfg: cfg, pending: make(map[key]int64)}
}

// Observe counts a waybill when it is first heard of, which is its revision 1.
// One of which that was passed over isn't counted, and one that comes again is
// counted again: neither matters.
func (l *Learner) Observe(w *trackingv1.Waybill) {
	if w.GetRevision() != 1 || w.GetStatus() == trackingv1.Status_STATUS_UNSPECIFIED || w.GetEventCount() == 0 {
		return
	}
	for _, link := range w.GetLinks() {
		if link.GetRole() == trackingv1.LinkRole_LINK_ROLE_CORRECTED {
			return // the carrier was wrong
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range recognize.Shapes(w.GetWaybillNumber()) {
		k := key{s, track.Carrier(w.GetCarrierCode())}
		if _, known := l.pending[k]; known || len(l.pending) < maxPending {
			l.pending[k]++
		}
	}
}

// Run writes what was counted until the context ends, and once more then.
func (l *Learner) Run(ctx context.Context) error {
	var forgotten time.Time
	for {
		err := pause.For(ctx, l.cfg.Flush)
		l.flush(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		if now := l.cfg.Now(); now.Sub(forgotten) >= forgetEvery {
			forgotten = now
			if err := l.cfg.Memory.Forget(ctx, now.Add(-forgetAfter), maxAnswers); err != nil {
				l.cfg.Log.WarnContext(ctx, "old answers of carriers stay", obs.KeyError, err)
			}
		}
	}
}

// flush writes what is pending. What can't be written is counted again.
func (l *Learner) flush(ctx context.Context) {
	l.mu.Lock()
	pending := l.pending
	l.pending = make(map[key]int64)
	l.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	learned := make([]pg.Learned, 0, len(pending))
	for k, n := range pending {
		learned = append(learned, pg.Learned{Shape: k.shape, Carrier: k.carrier, Count: n})
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := l.cfg.Memory.Learn(ctx, learned)
	if err == nil {
		return
	}
	l.cfg.Log.WarnContext(ctx, "what carriers answered can't be written; it is tried again", obs.KeyError, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, n := range pending {
		if _, known := l.pending[k]; known || len(l.pending) < maxPending {
			l.pending[k] += n
		}
	}
}
