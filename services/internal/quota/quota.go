// Package quota counts the calls of tenants and lets no more through than each
// may make: so many a day, so many a second. What is stored, and how, is the
// business of pg; the number of subscriptions is counted there too, in the
// transaction that makes them.
package quota

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

const (
	// interval is how often calls are written down, and how late a change of a
	// quota, or calls to another server, may be seen.
	interval = time.Second
	patience = 5 * time.Second
)

// Config is what a meter needs.
type Config struct {
	// Add adds calls of tenants on a day and tells the sums and quotas.
	Add func(ctx context.Context, day time.Time, calls map[string]int64) (map[string]pg.Spent, error)
	Log *slog.Logger
	Now func() time.Time
}

// Meter counts calls.
type Meter struct {
	cfg Config

	mu      sync.Mutex
	tenants map[string]*account
	pending map[time.Time]map[string]int64 // by day and tenant: not written down yet
}

// account is what is known of one tenant.
type account struct {
	day    time.Time
	calls  int64 // on the day, by all servers, as far as is known
	quota  pg.Quota
	bucket *rate.Limiter
}

// New makes a meter. [Meter.Run] writes down.
func New(cfg Config) *Meter {
	return &Meter{cfg: cfg, tenants: make(map[string]*account), pending: make(map[time.Time]map[string]int64)}
}

func today(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }

// Admit counts a call of a tenant, or refuses it: its error is for the caller.
// When it can't be known what the tenant may, it may.
func (m *Meter) Admit(ctx context.Context, tenant string) error {
	m.mu.Lock()
	_, known := m.tenants[tenant]
	m.mu.Unlock()
	if !known {
		spent, err := m.cfg.Add(ctx, today(m.cfg.Now()), map[string]int64{tenant: 0})
		if err != nil {
			m.cfg.Log.WarnContext(ctx, "a tenant's quota can't be read; its call is let through", "tenant", tenant, obs.KeyError, err)
		}
		m.learn(today(m.cfg.Now()), spent)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	day := today(now)
	a := m.tenants[tenant]
	if a == nil {
		a = &account{day: day}
		m.tenants[tenant] = a
	}
	if !a.day.Equal(day) {
		a.day, a.calls = day, 0
	}
	if q := a.quota.DailyCalls; q > 0 && a.calls >= q {
		return rpc.QuotaExhausted(rpc.TenantName(tenant), day.Add(24*time.Hour).Sub(now), fmt.Sprintf("the %d calls of the day are spent; the next day begins at 00:00 UTC", q))
	}
	if a.bucket != nil {
		r := a.bucket.ReserveN(now, 1)
		if wait := r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			return rpc.QuotaExhausted(rpc.TenantName(tenant), wait, fmt.Sprintf("more than %d calls in a second", a.quota.CallsPerSecond))
		}
	}
	a.calls++
	if m.pending[day] == nil {
		m.pending[day] = make(map[string]int64)
	}
	m.pending[day][tenant]++
	return nil
}

// learn takes over sums and quotas of a day.
func (m *Meter) learn(day time.Time, spent map[string]pg.Spent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for tenant, s := range spent {
		a := m.tenants[tenant]
		if a == nil {
			a = &account{}
			m.tenants[tenant] = a
		}
		a.day, a.calls = day, s.Calls+m.pending[day][tenant]
		if q := s.Quota.CallsPerSecond; a.bucket == nil && q > 0 || q != a.quota.CallsPerSecond {
			a.bucket = nil
			if q > 0 {
				a.bucket = rate.NewLimiter(rate.Limit(q), int(q))
			}
		}
		a.quota = s.Quota
	}
}

// Run writes calls down until the context ends, and once more then.
func (m *Meter) Run(ctx context.Context) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			m.write(ctx)
		case <-ctx.Done():
			m.write(context.WithoutCancel(ctx))
			return ctx.Err()
		}
	}
}

// write writes down what is pending. What can't be written stays pending.
func (m *Meter) write(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m.mu.Lock()
	pending := m.pending
	m.pending = make(map[time.Time]map[string]int64)
	m.mu.Unlock()
	for day, calls := range pending {
		spent, err := m.cfg.Add(ctx, day, calls)
		if err != nil {
			m.cfg.Log.WarnContext(ctx, "calls can't be counted yet", obs.KeyError, err)
			m.restore(day, calls)
			continue
		}
		if day.Equal(today(m.cfg.Now())) {
			m.learn(day, spent)
		}
	}
}

func (m *Meter) restore(day time.Time, calls map[string]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending[day] == nil {
		m.pending[day] = make(map[string]int64)
	}
	for tenant, n := range calls {
		m.pending[day][tenant] += n
	}
}
