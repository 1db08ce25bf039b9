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
	// Jitter is the largest share of a delay that is added to it, so that what
	// failed together doesn't come back together.
	Jitter = 0.2
)

func defaultDelays() []time.Duration {
	return []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
	}
}

// The presets: policies by name, as endpoints are configured with them.
const (
	PresetStandard = "standard"
	// PresetThreeTimes and PresetFiveTimes repeat so often, half an hour apart, as
	// older platforms promise; Kuaidi100 does the former.
	PresetThreeTimes = "three_times"
	PresetFiveTimes  = "five_times"
)

// Preset returns a policy by its name; false when there is none.
func Preset(name string) (RetryPolicy, bool) {
	const repeats = 30 * time.Minute
	switch name {
	case PresetStandard:
		return RetryPolicy{}, true
	case PresetThreeTimes:
		return RetryPolicy{Delays: []time.Duration{repeats}, MaxAttempts: 1 + 3}, true
	case PresetFiveTimes:
		return RetryPolicy{Delays: []time.Duration{repeats}, MaxAttempts: 1 + 5}, true
	}
	return RetryPolicy{}, false
}

// Scaled is the policy with all its times multiplied, so that tests run through
// days in minutes.
func (p RetryPolicy) Scaled(scale float64) RetryPolicy {
	if scale == 1 || scale <= 0 {
		return p
	}
	scaled := func(d time.Duration) time.Duration { return max(time.Duration(float64(d)*scale), 1) }
	out := RetryPolicy{Horizon: scaled(p.horizon()), MaxAttempts: p.MaxAttempts}
	for _, d := range p.delays() {
		out.Delays = append(out.Delays, scaled(d))
	}
	return out
}

// Delay is the time between so many attempts, at least one, and the next,
// without jitter.
func (p RetryPolicy) Delay(attempts int) time.Duration {
	delays := p.delays()
	return delays[min(max(attempts, 1), len(delays))-1]
}

// Span is how long after its first attempt a push can be attempted at most.
func (p RetryPolicy) Span() time.Duration {
	if p.MaxAttempts == 0 {
		return p.horizon()
	}
	var span time.Duration
	for n := 1; n < p.MaxAttempts && span < p.horizon(); n++ {
		span += p.Delay(n) + time.Duration(Jitter*float64(p.Delay(n)))
	}
	return min(span, p.horizon())
}

func (p RetryPolicy) delays() []time.Duration {
	if len(p.Delays) == 0 {
		return defaultDelays()
	}
	return p.Delays
}

func (p RetryPolicy) horizon() time.Duration {
	if p.Horizon == 0 {
		return DefaultHorizon
	}
	return p.Horizon
}

// Next says when the attempt after so many, at least one, is due; false when
// none follows. first is when the first attempt began; retryAfter is what the
// endpoint asked for, 0 for nothing: it can lengthen a delay, up to
// [MaxRetryAfter], and never shortens one. random is from 0 to 1.
func (p RetryPolicy) Next(attempts int, first, now time.Time, retryAfter time.Duration, random float64) (time.Time, bool) {
	if p.MaxAttempts > 0 && attempts >= p.MaxAttempts {
		return time.Time{}, false
	}
	delay := p.Delay(attempts)
	delay += time.Duration(float64(delay) * Jitter * random)
	if retryAfter <= MaxRetryAfter {
		delay = max(delay, retryAfter)
	}
	next := now.Add(delay)
	if next.After(first.Add(p.horizon())) {
		return time.Time{}, false
	}
	return next, true
}
