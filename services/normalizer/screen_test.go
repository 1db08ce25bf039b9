package normalizer

import (
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

func TestScreen_KeepsWhatCannotBeOutOfTheStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		at   time.Time
		want track.Kind
	}{
		{now, track.KindEvent},
		{now.Add(47 * time.Hour), track.KindEvent},
		{now.Add(49 * time.Hour), track.KindInfo},
		{time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC), track.KindInfo},
		{time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), track.KindInfo},
	} {
		e := track.Event{Kind: track.KindEvent, ReceiveTime: now, Time: track.Time{Wall: tt.at}, Text: "a\x1b[2Jb\nc\x00", Attributes: map[string]string{"a": "b"}}
		screen(&e)
		if e.Kind != tt.want || e.Text != "a[2Jb c" || e.Attributes["a"] != "b" || (e.Attributes[implausible] != "") != (tt.want == track.KindInfo) {
			t.Errorf("%s: %+v", tt.at, e)
		}
	}
}
