package poller

import (
	"sync"
	"time"
)

const (
	// maxFailures in a row are taken for a fault of the source and not of a waybill.
	maxFailures = 10
	// The pauses after refusals, after being told off, and after failures; each
	// doubles while nothing else comes.
	refusedPause, refusedMost     = 10 * time.Minute, 6 * time.Hour
	throttledPause, throttledMost = time.Minute, time.Hour
	failedPause, failedMost       = 30 * time.Second, 15 * time.Minute
)

// breaker keeps a source from being asked while that is no use.
type breaker struct {
	mu       sync.Mutex
	until    time.Time
	why      string
	verdict  Verdict
	pauses   int // in a row
	failures int // in a row
}

// open is when the source may be asked again and why not before; zero when it may.
func (b *breaker) open(now time.Time) (until time.Time, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return b.until, b.why
	}
	return time.Time{}, ""
}

// note counts an answer. It reports whether the breaker opened by it.
func (b *breaker) note(a Answer, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause, most := refusedPause, refusedMost
	switch a.Verdict {
	case Refused:
	case Throttled:
		pause, most = throttledPause, throttledMost
	case Failed:
		if b.failures++; b.failures < maxFailures {
			return false
		}
		pause, most = failedPause, failedMost
	case Told, Nothing, Unanswerable:
		b.pauses, b.failures = 0, 0
		return false
	}
	if now.Before(b.until) {
		return false // others of the same batch
	}
	if b.verdict != a.Verdict {
		b.pauses = 0
	}
	pause = min(pause<<min(b.pauses, 10), most)
	if a.After > 0 {
		pause = a.After
	}
	b.pauses++
	b.verdict, b.until, b.why = a.Verdict, now.Add(pause), a.Verdict.String()+": "+a.Reason
	return true
}
