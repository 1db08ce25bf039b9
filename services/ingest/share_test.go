package ingest

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
)

func traces(n int) []*pipelinev1.RawTrace { return make([]*pipelinev1.RawTrace, n) }

// report hands over n traces again and again for a time and says how many went
// through.
func report(t *testing.T, s *shares, caller string, n int, pause, length time.Duration) (through int) { //nolint:thelper // it reports, and checks nothing
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(pause) { //nolint:forbidigo // the bubble's clock
		_, err := s.each(t.Context(), caller, traces(n), false, func(r []*pipelinev1.RawTrace) error {
			if time.Now().Before(end) {
				through += len(r)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	return through
}

func TestShares_AloneHasNoLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShares(1000, time.Now)
		if n := report(t, s, "a", 1000, time.Millisecond, 10*time.Second); n < 9_000_000 {
			t.Errorf("%d went through in ten seconds", n)
		}
	})
}

func TestShares_AFloodIsSlowedAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShares(1000, time.Now)
		done := make(chan int)
		go func() { done <- report(t, s, "flood", 250, 0, time.Minute) }()
		var waited time.Duration
		for range 60 * 50 { // 500 a second
			w, err := s.each(t.Context(), "well", traces(10), true, func([]*pipelinev1.RawTrace) error { return nil })
			if err != nil {
				t.Error(err)
			}
			waited += w
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		if waited > 0 {
			t.Errorf("who reports less than the floor waited %s", waited)
		}
		if n := <-done; n < 50_000 || n > 70_000 {
			t.Errorf("the flood got %d through in a minute, want about 60,000", n)
		}
	})
}

// Many that report alike aren't slowed, however much it is together, once it is
// seen what they report.
func TestShares_ManyOfAKindAreNotSlowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShares(1000, time.Now)
		for i := range 20 * 20 { // 2,000 a second, each
			for c := range 10 {
				w, err := s.each(t.Context(), strconv.Itoa(c), traces(100), true, func([]*pipelinev1.RawTrace) error { return nil })
				if err != nil || w > 0 && i > 20*8 {
					t.Fatalf("caller %d waited %s, %v", c, w, err)
				}
			}
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
	})
}

func TestShares_RefusesWhatWouldWaitForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShares(100, time.Now)
		keep := func([]*pipelinev1.RawTrace) error { return nil }
		if _, err := s.each(t.Context(), "well", traces(1), true, keep); err != nil {
			t.Fatal(err)
		}
		var refused, kept atomic.Int64
		for range 20 {
			go func() {
				_, err := s.each(t.Context(), "flood", traces(100), true, keep)
				switch {
				case errors.Is(err, errBusy):
					refused.Add(1)
				case err == nil:
					kept.Add(1)
				}
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if refused.Load() == 0 || kept.Load() < 5 {
			t.Errorf("%d were kept and %d refused", kept.Load(), refused.Load())
		}
	})
}
