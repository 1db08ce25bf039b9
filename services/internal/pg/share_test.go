package pg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// sharer is an instance that shares the leases of a group.
type sharer struct {
	stop func()

	mu   sync.Mutex
	held map[int]bool
}

func (s *sharer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// share runs an instance; work ends the lease's work with an error when fail says so.
func share(t *testing.T, pool *pgxpool.Pool, owner string, leases int, owners *sync.Map, fail func() bool) *sharer {
	t.Helper()
	const ttl = 1500 * time.Millisecond
	sh := pg.NewShare("work", owner, leases, ttl)
	s := &sharer{held: map[int]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range leases {
		opts := pg.LeaseOptions{Name: fmt.Sprint("work-", i), Owner: owner, TTL: ttl, Pause: 20 * time.Millisecond, Share: sh, Log: slog.New(slog.DiscardHandler)}
		running.Go(func() {
			_ = pg.Hold(ctx, pool, opts, func(ctx, owned context.Context, l pg.Lease) error {
				if fail() {
					return errors.New("it can't be done here")
				}
				// Whoever begins has a newer epoch than whoever began before.
				if before, ok := owners.Swap(i, l.Epoch); ok && before.(int64) >= l.Epoch { //nolint:forcetypeassert,errcheck // it is what was stored
					t.Errorf("lease %d passed from epoch %d to %d", i, before, l.Epoch)
				}
				s.mu.Lock()
				s.held[i] = true
				s.mu.Unlock()
				defer func() {
					s.mu.Lock()
					delete(s.held, i)
					s.mu.Unlock()
				}()
				select {
				case <-ctx.Done():
				case <-owned.Done():
				}
				return ctx.Err()
			})
		})
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(s.stop)
	return s
}

// await waits until instances hold so many leases each.
func await(t *testing.T, instances []*sharer, want ...int) {
	t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for {
		got := make([]int, len(instances))
		same := true
		for i, s := range instances {
			got[i] = s.count()
			same = same && got[i] == want[i]
		}
		if same {
			return
		}
		select {
		case <-ticks.C:
		case <-t.Context().Done():
			t.Fatalf("the leases are held as %v, want %v", got, want)
		}
	}
}

func never() bool { return false }

// TestShare_DividesTheLeasesAmongThoseThatAreThere: whoever comes gets its part,
// whoever goes leaves it to the others, and no lease is ever without a newer epoch.
func TestShare_DividesTheLeasesAmongThoseThatAreThere(t *testing.T) {
	t.Parallel()
	pool := testkit.PostgreSQL(t)
	var owners sync.Map
	a := share(t, pool, "a", 5, &owners, never)
	await(t, []*sharer{a}, 5)
	b := share(t, pool, "b", 5, &owners, never)
	await(t, []*sharer{a, b}, 3, 2)
	c := share(t, pool, "c", 5, &owners, never)
	await(t, []*sharer{a, b, c}, 2, 2, 1)
	a.stop()
	await(t, []*sharer{a, b, c}, 0, 3, 2)
	b.stop()
	await(t, []*sharer{b, c}, 0, 5)
}

// TestShare_LeavesToOthersWhatFailsHere: an instance that can't work doesn't keep
// its part from one that can.
func TestShare_LeavesToOthersWhatFailsHere(t *testing.T) {
	t.Parallel()
	pool := testkit.PostgreSQL(t)
	var owners sync.Map
	broken := share(t, pool, "a", 4, &owners, func() bool { return true })
	good := share(t, pool, "b", 4, &owners, never)
	await(t, []*sharer{broken, good}, 0, 4)
}
