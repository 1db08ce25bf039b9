package canonical_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestEvent_ReadsItsTime(t *testing.T) {
	t.Parallel()
	wall := func(hour, minute, second, nano int) time.Time {
		return time.Date(2025, 3, 1, hour, minute, second, nano, time.UTC)
	}
	none := func(wall time.Time, p track.Precision) track.Time { return track.Time{Wall: wall, Precision: p} }
	given := func(wall time.Time, offset time.Duration, p track.Precision) track.Time {
		return track.Time{Wall: wall, Offset: offset, OffsetSource: track.OffsetGiven, Precision: p}
	}
	const second, minute, date = track.PrecisionSecond, track.PrecisionMinute, track.PrecisionDate
	for s, want := range map[string]track.Time{
		"2025-03-01T10:02:11+08:00":            given(wall(10, 2, 11, 0), 8*time.Hour, second),
		"2025-03-01 10:02:11+08:00":            given(wall(10, 2, 11, 0), 8*time.Hour, second),
		"2025-03-01t10:02:11z":                 given(wall(10, 2, 11, 0), 0, second),
		"2025-03-01T10:02:11Z":                 given(wall(10, 2, 11, 0), 0, second),
		"2025-03-01T10:02:11+00:00":            given(wall(10, 2, 11, 0), 0, second),
		"2025-03-01T10:02:11-00:00":            given(wall(10, 2, 11, 0), 0, second),
		"2025-03-01T10:02:11-09:30":            given(wall(10, 2, 11, 0), -9*time.Hour-30*time.Minute, second),
		"2025-03-01T10:02:11+14:00":            given(wall(10, 2, 11, 0), 14*time.Hour, second),
		"2025-03-01T10:02+05:45":               given(wall(10, 2, 0, 0), 5*time.Hour+45*time.Minute, minute),
		"2025-03-01T10:02:11":                  none(wall(10, 2, 11, 0), second),
		"2025-03-01 10:02:11":                  none(wall(10, 2, 11, 0), second),
		"2025-03-01T10:02":                     none(wall(10, 2, 0, 0), minute),
		"2025-03-01 10:02":                     none(wall(10, 2, 0, 0), minute),
		"2025-03-01":                           none(wall(0, 0, 0, 0), date),
		"2025-03-01T00:00:00":                  none(wall(0, 0, 0, 0), second),
		"2025-03-01T23:59:59.999999999":        none(wall(23, 59, 59, 999_999_999), second),
		"2025-03-01T10:02:11.5":                none(wall(10, 2, 11, 500_000_000), second),
		"2025-03-01T10:02:11.000000001Z":       given(wall(10, 2, 11, 1), 0, second),
		"2025-03-01T10:02:11.1234567899+08:00": given(wall(10, 2, 11, 123_456_789), 8*time.Hour, second),
		"2024-02-29":                           none(time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), date),
		"1990-01-01":                           none(time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), date),
		"2200-12-31T23:59:59Z":                 given(time.Date(2200, 12, 31, 23, 59, 59, 0, time.UTC), 0, second),
	} {
		got := mapped(t, minimal(func(e *ingestv1.ReportedEvent) { e.EventTime, e.EstimateTime = s, s }))
		if diff := cmp.Diff(want, got.Time); diff != "" {
			t.Errorf("%q (-want +got):\n%s", s, diff)
		}
		if diff := cmp.Diff(want, got.Estimate); diff != "" {
			t.Errorf("%q as an estimate (-want +got):\n%s", s, diff)
		}
	}
}

// What isn't in a form is refused, not guessed.
func TestEvent_RefusesOtherTimes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		" ", "x", "2025", "2025-03", "2025-3-1", "25-03-01", "2025/03/01", "20250301", "2025-03-01T", "2025-03-01 ", " 2025-03-01",
		"2025-03-01T10", "2025-03-01T10:", "2025-03-01T10:2", "2025-03-01T1:02", "2025-03-01T10:02:", "2025-03-01T10:02:1", "2025-03-01T10:02:11.",
		"2025-03-01T10:02:11.Z", "2025-03-01T10:02:11,5", "2025-03-01T10:02:11 ", "2025-03-01T10:02:11 +08:00", "2025-03-01T10:02:11+0800",
		"2025-03-01T10:02:11+08", "2025-03-01T10:02:11+8:00", "2025-03-01T10:02:11+08:60", "2025-03-01T10:02:11+19:00", "2025-03-01T10:02:11+18:01", "2025-03-01T10:02:11-18:01",
		"2025-03-01T10:02:11ZZ", "2025-03-01T10:02:11Z ", "2025-03-01Z", "2025-03-01+08:00", "2025-03-01  10:02", "2025-03-01X10:02",
		"2025-00-01", "2025-13-01", "2025-01-00", "2025-01-32", "2025-02-29", "2025-04-31", "2025-03-01T24:00:00", "2025-03-01T10:60:00", "2025-03-01T10:02:60",
		"1989-12-31", "2201-01-01", "0000-00-00", "0001-01-01T00:00:00Z", "9999-12-31", "-2025-03-01", "+2025-03-01", "２０２５-03-01", "2025-03-01T10:02:11\x00",
		"1740794531", "2025-03-01T10:02:11+-8:00", "2025-03-01T10:02:-1", "2025-03-01T10:02:11[Asia/Shanghai]",
	} {
		for field, change := range map[string]change{
			"event_time":    func(e *ingestv1.ReportedEvent) { e.EventTime = s },
			"estimate_time": func(e *ingestv1.ReportedEvent) { e.EstimateTime = s },
		} {
			_, _, bad := canonical.Event(minimal(change), received)
			if bad == nil {
				t.Errorf("%s %q is taken", field, s)
			} else if bad.Field != field {
				t.Errorf("%s %q gives %v", field, s, bad)
			}
		}
	}
}
