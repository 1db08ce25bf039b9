package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

const (
	// fresh is how long a key is taken as it was read: a key that was revoked is
	// refused after that.
	fresh = 500 * time.Millisecond
	// stale is how long a key that was read goes on being taken while the database
	// is away. Nobody can revoke it there meanwhile, and reports must go on.
	stale = time.Hour
	// remembered keys, those that don't exist included.
	remembered = 20_000
	// maxFinds at once: made-up keys must not take all connections.
	maxFinds = 4
	// retryAfter is when a caller may try again.
	retryAfter = 2 * time.Second
	// noteInterval is how exactly it is known when a key was used.
	noteInterval = time.Minute
)

// keys checks API keys.
type keys struct {
	cfg    *Config
	read   *otter.Cache[string, reading]
	flight singleflight.Group
	finds  *semaphore.Weighted

	mu   sync.Mutex
	used map[string]time.Time
}

// reading is what was found of a key, nil if there is none.
type reading struct {
	key *pg.Key
	at  time.Time
}

func newKeys(cfg *Config) (*keys, error) {
	cache, err := otter.New(&otter.Options[string, reading]{MaximumSize: remembered})
	if err != nil {
		return nil, fmt.Errorf("make the cache of keys: %w", err)
	}
	return &keys{cfg: cfg, read: cache, finds: semaphore.NewWeighted(maxFinds), used: make(map[string]time.Time)}, nil
}

// nobody has the hash that keys are compared with that don't exist, so that they
// take as long.
var nobody [len(auth.Hash{})]byte

func (k *keys) identify(ctx context.Context, text string) (auth.Principal, error) {
	refused := rpc.Unauthenticated(unknown)
	id, err := auth.KeyID(text)
	if err != nil {
		return auth.Principal{}, refused
	}
	hash := auth.HashOf(text)
	if k.cfg.Admin != nil && hash.Equal(k.cfg.Admin[:]) {
		return auth.Principal{Name: rpc.KeyName("", id), Roles: []auth.Role{auth.Admin}}, nil
	}
	if k.cfg.Find == nil {
		return auth.Principal{}, refused
	}
	key, err := k.find(ctx, id)
	if err != nil {
		return auth.Principal{}, err
	}
	if key == nil {
		hash.Equal(nobody[:])
		return auth.Principal{}, refused
	}
	now := k.cfg.Now()
	right := hash.Equal(key.Hash)
	before := hash.Equal(key.PreviousHash) && key.PreviousExpireTime != nil && now.Before(*key.PreviousExpireTime)
	if !right && !before || key.RevokeTime != nil || key.ExpireTime != nil && !now.Before(*key.ExpireTime) {
		return auth.Principal{}, refused
	}
	if key.TenantState != pg.TenantEnabled {
		return auth.Principal{}, rpc.Forbidden("the tenant is disabled").WithReason(rpc.ReasonTenantDisabled)
	}
	k.mu.Lock()
	k.used[id] = now
	k.mu.Unlock()
	p := auth.Principal{Name: rpc.KeyName(key.TenantID, id), Tenant: key.TenantID}
	for _, r := range key.Roles {
		p.Roles = append(p.Roles, auth.Role(r))
	}
	return p, nil
}

// find reads a key, unless it was read just now.
func (k *keys) find(ctx context.Context, id string) (*pg.Key, error) {
	last, known := k.read.GetIfPresent(id)
	if known && k.cfg.Now().Sub(last.at) < fresh {
		return last.key, nil
	}
	// Those who ask at the same time share one reading, which none of them ends by
	// going away.
	ch := k.flight.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter)
		defer cancel()
		if err := k.finds.Acquire(ctx, 1); err != nil {
			return nil, fmt.Errorf("too many keys are looked up: %w", err)
		}
		defer k.finds.Release(1)
		at := k.cfg.Now()
		found, err := k.cfg.Find(ctx, id)
		switch {
		case err == nil:
			k.read.Set(id, reading{&found, at})
			return &found, nil
		case errors.Is(err, pg.ErrNoKey):
			k.read.Set(id, reading{nil, at})
			return (*pg.Key)(nil), nil
		}
		return nil, err
	})
	select {
	case r := <-ch:
		if r.Err == nil {
			key, _ := r.Val.(*pg.Key)
			return key, nil
		}
		k.cfg.Log.ErrorContext(ctx, "a key can't be looked up", obs.KeyError, r.Err, "remembered", known && last.key != nil)
		if known && last.key != nil && k.cfg.Now().Sub(last.at) < stale {
			return last.key, nil
		}
		return nil, rpc.Unavailable(retryAfter)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// note writes down when keys were used, until the context ends, and once more
// then.
func (k *keys) note(ctx context.Context) error {
	if k.cfg.Used == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	ticks := time.NewTicker(noteInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			k.write(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter)
			k.write(last)
			cancel()
			return ctx.Err()
		}
	}
}

func (k *keys) write(ctx context.Context) {
	k.mu.Lock()
	used := k.used
	k.used = make(map[string]time.Time)
	k.mu.Unlock()
	if len(used) == 0 {
		return
	}
	if err := k.cfg.Used(ctx, used); err != nil {
		k.cfg.Log.WarnContext(ctx, "it can't be noted when keys were used", obs.KeyError, err)
	}
}
