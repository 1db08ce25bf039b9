package delivery

import (
	"time"
)

// breaker watches one endpoint. Closed, pushes go out. It opens after several
// failures in a row, or when most of the last minutes' attempts failed; then one
// probe at a time goes out, on the schedule of the endpoint's retry policy, and
// the first that is acknowledged closes it.
type breaker struct {
	failures int // in a row
	recent   tally
	opened   time.Time // zero when it is closed
	probes   int       // that failed since
	// until is when the next attempt may begin; while it is closed, because the
	// endpoint asked for time.
	until time.Time
	class string // of the last failure
	code  int    // HTTP
}

const (
	// rateWindow is how far back the rate of failures is looked at, rateLeast how
	// many attempts there must be to judge by it, and rateOpens what opens.
	rateWindow = 5 * time.Minute
	rateLeast  = 20
	rateOpens  = 0.7
	// maxProbeDelay lies between probes at most: an endpoint that was away for a
	// day is seen to be back soon. minProbeDelay bounds what a short policy costs,
	// in attempts and in events.
	maxProbeDelay = 10 * time.Minute
	minProbeDelay = 100 * time.Millisecond
)

func (b *breaker) open() bool { return !b.opened.IsZero() }

// halfOpen says that a probe may go, or is under way.
func (b *breaker) halfOpen(now time.Time) bool { return b.open() && !now.Before(b.until) }

// fail notes a failure of an attempt that began at a time. It says whether the
// breaker opened by it, or else whether it was a probe.
func (b *breaker) fail(began, now time.Time, threshold int, class string, code int) (opens, probe bool) {
	b.failures++
	b.recent.add(now, true)
	b.class, b.code = class, code
	if b.open() {
		// What was under way when it opened was no probe.
		if probe = !began.Before(b.opened); probe {
			b.probes++
		}
		return false, probe
	}
	if b.failures >= threshold || b.recent.mostFail(now) {
		b.opened, b.probes = now, 0
		return true, false
	}
	return false, false
}

// succeed notes that an attempt that began at a time was acknowledged, and says
// whether that closed the breaker.
func (b *breaker) succeed(began, now time.Time) (closes bool) {
	b.recent.add(now, false)
	if b.open() && began.Before(b.opened) {
		// It went out with those that failed: another of them is no sign of recovery.
		return false
	}
	closes = b.open()
	if closes {
		b.recent = tally{}
	}
	b.failures, b.opened, b.until = 0, time.Time{}, time.Time{}
	return closes
}

// tally counts attempts and failures over the rate's window.
type tally struct {
	all, failed [tallyParts]uint32
	part        int64 // of the window, since the epoch
}

const tallyParts = 10

func (t *tally) roll(now time.Time) {
	part := now.UnixNano() / int64(rateWindow/tallyParts)
	if part-t.part >= tallyParts {
		*t = tally{part: part}
	}
	for t.part < part {
		t.part++
		t.all[t.part%tallyParts], t.failed[t.part%tallyParts] = 0, 0
	}
}

func (t *tally) add(now time.Time, failed bool) {
	t.roll(now)
	i := t.part % tallyParts
	t.all[i]++
	if failed {
		t.failed[i]++
	}
}

func (t *tally) mostFail(now time.Time) bool {
	t.roll(now)
	var all, failed uint32
	for i := range t.all {
		all, failed = all+t.all[i], failed+t.failed[i]
	}
	return all >= rateLeast && float64(failed) >= rateOpens*float64(all)
}
