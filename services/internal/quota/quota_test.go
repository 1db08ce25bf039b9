package quota_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// store is what PostgreSQL would keep.
type store struct {
	mu    sync.Mutex
	quota pg.Quota
	calls map[time.Time]int64
	away  bool
}

func (s *store) add(_ context.Context, day time.Time, calls map[string]int64) (map[string]pg.Spent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errors.New("away")
	}
	s.calls[day] += calls["acme"]
	return map[string]pg.Spent{"acme": {Calls: s.calls[day], Quota: s.quota}}, nil
}

func (s *store) total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, c := range s.calls {
		n += c
	}
	return n
}

func run(t *testing.T, s *store) *quota.Meter {
	t.Helper()
	s.calls = make(map[time.Time]int64)
	m := quota.New(quota.Config{Add: s.add, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

func admit(t *testing.T, m *quota.Meter, n int) (let int, last *rpc.Error) {
	t.Helper()
	for range n {
		err := m.Admit(t.Context(), "acme")
		if err == nil {
			let++
			continue
		}
		e, ok := errors.AsType[*rpc.Error](err)
		if !ok || e.Code != codes.ResourceExhausted || e.Resource != "tenants/acme" || e.RetryAfter <= 0 {
			t.Fatalf("refused with %v", err)
		}
		last = e
	}
	return let, last
}

func TestMeter_LetsADaysCallsThroughAndBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{quota: pg.Quota{DailyCalls: 10}}
		m := run(t, s)
		let, last := admit(t, m, 25)
		if let != 10 {
			t.Errorf("%d calls were let through, want 10", let)
		}
		midnight := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		if want := time.Until(midnight); last.RetryAfter != want {
			t.Errorf("told to come again after %v, want %v", last.RetryAfter, want)
		}
		time.Sleep(time.Until(midnight)) //nolint:forbidigo // the bubble's clock
		if let, _ := admit(t, m, 25); let != 10 {
			t.Errorf("%d calls were let through on the next day, want 10", let)
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		if n := s.total(); n != 20 {
			t.Errorf("%d calls are noted, want 20: refused ones aren't counted", n)
		}
	})
}

func TestMeter_SpreadsCallsOverSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{quota: pg.Quota{CallsPerSecond: 5}}
		m := run(t, s)
		let, last := admit(t, m, 20)
		if let != 5 || last.RetryAfter != 200*time.Millisecond {
			t.Errorf("%d calls at once were let through, and told to wait %v; want 5 and 200ms", let, last.RetryAfter)
		}
		time.Sleep(last.RetryAfter) //nolint:forbidigo // the bubble's clock
		if let, _ := admit(t, m, 20); let != 1 {
			t.Errorf("%d calls were let through after the wait, want 1", let)
		}
	})
}

func TestMeter_LosesNoCallWhileTheDatabaseIsAwayAndHearsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		m := run(t, s)
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		if let, _ := admit(t, m, 7); let != 7 {
			t.Errorf("%d calls were let through while the database was away, want 7", let)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's clock
		s.mu.Lock()
		s.away, s.quota.DailyCalls = false, 10
		s.mu.Unlock()
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		if n := s.total(); n != 7 {
			t.Errorf("%d calls are noted, want 7", n)
		}
		// Another server lets two through.
		if _, err := s.add(t.Context(), time.Now().UTC().Truncate(24*time.Hour), map[string]int64{"acme": 2}); err != nil {
			t.Fatal(err)
		}
		if let, _ := admit(t, m, 1); let != 1 {
			t.Errorf("the tenth call was refused")
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		if let, _ := admit(t, m, 1); let != 0 {
			t.Errorf("an eleventh call was let through")
		}
	})
}
