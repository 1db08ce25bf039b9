package push

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRetryPolicy_FollowsItsDelaysUntilTheHorizon(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	now, attempts := start, 1
	var got []time.Duration
	for {
		next, ok := RetryPolicy{}.Next(attempts, start, now, 0, 0)
		if !ok {
			break
		}
		got = append(got, next.Sub(now))
		now, attempts = next, attempts+1
	}
	if got[0] != 5*time.Second || got[8] != 8*time.Hour || got[len(got)-1] != 8*time.Hour || now.Sub(start) > DefaultHorizon || now.Sub(start) < 60*time.Hour {
		t.Errorf("delays are %v, the last attempt %s after the first", got, now.Sub(start))
	}
}

func TestRetryPolicy_AddsJitterAndHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		attempts := rapid.IntRange(1, 8).Draw(t, "attempts")
		random := rapid.Float64Range(0, 1).Draw(t, "random")
		asked := time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "retry after"))
		plain, _ := RetryPolicy{}.Next(attempts, start, start, 0, 0)
		next, ok := RetryPolicy{}.Next(attempts, start, start, asked, random)
		low, high := plain.Sub(start), plain.Sub(start)*6/5
		if asked > time.Hour {
			asked = 0 // ignored
		}
		if got := next.Sub(start); !ok || got < max(low, asked) || got > max(high, asked) {
			t.Fatalf("delay is %s for %s, asked for %s", got, low, asked)
		}
	})
}

func TestRetryPolicy_IgnoresARetryAfterBeyondTheBound(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := RetryPolicy{Delays: []time.Duration{time.Minute}}
	for _, tt := range []struct{ asked, want time.Duration }{
		{-time.Second, time.Minute},
		{0, time.Minute},
		{time.Second, time.Minute}, // it never shortens
		{2 * time.Minute, 2 * time.Minute},
		{time.Hour, time.Hour},
		{time.Hour + 1, time.Minute},
		{1e9 * time.Second, time.Minute},
		{1<<63 - 1, time.Minute},
	} {
		next, ok := p.Next(1, start, start, tt.asked, 0)
		if got := next.Sub(start); !ok || got != tt.want {
			t.Errorf("asked for %s: the next attempt is after %s, %t; want %s", tt.asked, got, ok, tt.want)
		}
	}
}

func TestRetryPolicy_EndsAfterItsAttempts(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := RetryPolicy{Delays: []time.Duration{time.Second}, MaxAttempts: 3}
	for attempts, want := range map[int]bool{1: true, 2: true, 3: false, 4: false} {
		if _, ok := p.Next(attempts, start, start, 0, 0); ok != want {
			t.Errorf("after %d attempts another follows: %t", attempts, ok)
		}
	}
}

func TestJudge_OnlySuccessAcknowledges(t *testing.T) {
	t.Parallel()
	for code := range 600 {
		want := Again
		switch {
		case code/100 == 2:
			want = Acknowledged
		case code == 410:
			want = Gone
		}
		if got := Judge(code); got != want {
			t.Errorf("%d: got %d, want %d", code, got, want)
		}
	}
}

func TestPreset_RepeatsAsItSays(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, want := range map[string]int{PresetThreeTimes: 3, PresetFiveTimes: 5} {
		p, ok := Preset(name)
		now, repeats := start, 0
		for more := ok; more; repeats++ {
			var next time.Time
			if next, more = p.Next(repeats+1, start, now, 0, 1); !more {
				break
			}
			if d := next.Sub(now); d != 36*time.Minute { // with the most jitter
				t.Errorf("%s: repeat %d comes after %s", name, repeats+1, d)
			}
			now = next
		}
		if repeats != want {
			t.Errorf("%s repeats %d times", name, repeats)
		}
		if span := p.Span(); span != now.Sub(start) {
			t.Errorf("%s: the span is %s, and the last attempt is after %s", name, span, now.Sub(start))
		}
	}
	if p, ok := Preset(PresetStandard); !ok || p.Span() != DefaultHorizon {
		t.Errorf("standard is %+v, %t", p, ok)
	}
	if _, ok := Preset("never heard of"); ok {
		t.Error("a preset that isn't there")
	}
}

func TestRetryPolicy_ScaledIsTheSameInLessTime(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const scale = 0.001
	plain, scaled := RetryPolicy{}, RetryPolicy{}.Scaled(scale)
	now, fast := start, start
	for n := 1; ; n++ {
		next, more := plain.Next(n, start, now, 0, 0)
		soon, moreSoon := scaled.Next(n, start, fast, 0, 0)
		if more != moreSoon {
			t.Fatalf("after %d attempts another follows: %t, and scaled: %t", n, more, moreSoon)
		}
		if !more {
			break
		}
		if want := time.Duration(float64(next.Sub(now)) * scale); soon.Sub(fast) != want {
			t.Errorf("delay %d is %s, want %s", n, soon.Sub(fast), want)
		}
		now, fast = next, soon
	}
}
