package push

import "time"

// RetryPolicy says when an attempt is repeated. The zero value is the default.
type RetryPolicy struct {
	// Delays between attempts, in order; the last repeats until the horizon.
	Delays []time.Duration
	// Horizon is how long after the first attempt the last one may begin.
	Horizon time.Duration
	// MaxAttempts of 0 means no limit but the horizon.
	MaxAttempts int
}

const (
	// DefaultHorizon outlives a long weekend.
	DefaultHorizon = 72 * time.Hour
	// MaxRetryAfter is the longest wait that an endpoint may ask for. What asks for
	// more is ignored and not cut down to it: it is a mistake, or a number made up
	// to be rid of us, and the policy's own delays suit both better.
	MaxRetryAfter = time.Hour
	// jitter is the largest share of a delay that is added to it, so that what
	// failed together doesn't come back together.
	jitter = 0.2
)

func defaultDelays() []time.Duration {
	return []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
	}
}

// Next says when the attempt after so many, at least one, is due; false when
// none follows. first is when the first attempt began; retryAfter is what the
// endpoint asked for, 0 for nothing: it can lengthen a delay, up to
// [MaxRetryAfter], and never shortens one. random is from 0 to 1.
func (p RetryPolicy) Next(attempts int, first, now time.Time, retryAfter time.Duration, random float64) (time.Time, bool) {
	if p.MaxAttempts > 0 && attempts >= p.MaxAttempts {
		return time.Time{}, false
	}
	delays, horizon := p.Delays, p.Horizon
	if len(delays) == 0 {
		delays = defaultDelays()
	}
	if horizon == 0 {
		horizon = DefaultHorizon
	}
	delay := delays[min(max(attempts, 1), len(delays))-1]
	delay += time.Duration(float64(delay) * jitter * random)
	if retryAfter <= MaxRetryAfter {
		delay = max(delay, retryAfter)
	}
	next := now.Add(delay)
	if next.After(first.Add(horizon)) {
		return time.Time{}, false
	}
	return next, true
}
