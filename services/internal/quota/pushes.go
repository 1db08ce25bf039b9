package quota

import (
	"context"
	"sync"
	"time"

	"github.com/posthaste/posthaste/services/internal/pg"
)

// PushesConfig is what a meter of pushes needs.
type PushesConfig struct {
	// Add adds pushes of tenants on a day and tells the sums and quotas.
	Add func(ctx context.Context, day time.Time, pushes map[string]int64) (map[string]pg.SpentPushes, error)
	// Spent is told once a day of a tenant whose pushes are spent.
	Spent func(ctx context.Context, tenant string, quota int64, until time.Time) error
	Now   func() time.Time
}

// Pushes counts the pushes of tenants. It asks nothing for each push: what is
// known is read again when it is older than a second, and pushes are written down
// then.
type Pushes struct {
	cfg PushesConfig

	mu      sync.Mutex
	day     time.Time
	read    time.Time // when the sums were read last
	tenants map[string]*pushed
}

type pushed struct {
	pg.SpentPushes // by all servers, as far as is known

	pending int64 // not written down yet
	refused bool
	told    bool
}

// NewPushes makes a meter.
func NewPushes(cfg PushesConfig) *Pushes { return &Pushes{cfg: cfg, tenants: make(map[string]*pushed)} }

// Prepare sees to it that enough is known of tenants.
func (p *Pushes) Prepare(ctx context.Context, tenants []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	fresh := p.day.Equal(today(now)) && now.Sub(p.read) < interval
	for _, t := range tenants {
		if p.tenants[t] == nil {
			p.tenants[t], fresh = &pushed{}, false
		}
	}
	if fresh {
		return nil
	}
	return p.write(ctx, now, tenants)
}

// Take counts a push, or says until when the tenant's pushes are spent.
func (p *Pushes) Take(tenant string) (until time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tenants[tenant]
	if t == nil {
		return time.Time{}, true
	}
	if t.Quota > 0 && t.Pushes >= t.Quota {
		t.refused = true
		return p.day.Add(24 * time.Hour), false
	}
	t.Pushes++
	t.pending++
	return time.Time{}, true
}

// Flush writes down what is pending, and tells who has spent all.
func (p *Pushes) Flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tenants {
		if t.pending > 0 || t.refused && !t.told {
			return p.write(ctx, p.cfg.Now(), nil)
		}
	}
	return nil
}

func (p *Pushes) write(ctx context.Context, now time.Time, also []string) error {
	if p.day.IsZero() {
		p.day = today(now)
	}
	add := make(map[string]int64, len(p.tenants))
	for name, t := range p.tenants {
		if t.pending > 0 || t.refused {
			add[name] = t.pending
		}
	}
	if day := today(now); !day.Equal(p.day) {
		if len(add) > 0 {
			if _, err := p.cfg.Add(ctx, p.day, add); err != nil {
				return err
			}
		}
		p.day, add = day, make(map[string]int64)
		p.tenants = make(map[string]*pushed)
	}
	for _, name := range also {
		add[name] += 0
		if p.tenants[name] == nil {
			p.tenants[name] = &pushed{}
		}
	}
	if len(add) == 0 {
		return nil
	}
	sums, err := p.cfg.Add(ctx, p.day, add)
	if err != nil {
		return err
	}
	p.read = now
	for name := range add {
		t := p.tenants[name]
		t.pending, t.SpentPushes = 0, sums[name]
		if t.refused && !t.told && t.Quota > 0 && t.Pushes >= t.Quota {
			if err := p.cfg.Spent(ctx, name, t.Quota, p.day.Add(24*time.Hour)); err != nil {
				return err
			}
			t.told = true
		}
		t.refused = false
	}
	return nil
}
