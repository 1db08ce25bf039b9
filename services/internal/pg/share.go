package pg

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Share is one instance's part of a group of leases: each instance that is there
// holds as many as any other, give or take one. It only decides who asks for which
// lease; that no two own one is the lease's own doing.
//
// An instance is there while it says so, by a lease of its own name, as long as
// those that it holds. One whose work fails is not for a while, so that another
// takes what it can't do.
type Share struct {
	group, owner string
	leases       int
	ttl          time.Duration

	mu      sync.Mutex
	users   int
	here    map[string]bool // held or asked for; true for those that are being given up
	giving  int
	quota   int // as told last; all at first
	alone   bool
	asked   time.Time
	failed  time.Time // when work failed last
	present bool
}

const (
	// askEvery bounds how often PostgreSQL is asked who is there.
	askEvery = time.Second
	// standBack is how long an instance whose work failed leaves it to others.
	standBack = 3 * time.Second
)

// NewShare is owner's part of a group of so many leases.
func NewShare(group, owner string, leases int, ttl time.Duration) *Share {
	return &Share{group: group, owner: owner, leases: leases, ttl: ttl, here: map[string]bool{}, quota: leases, alone: true}
}

// join counts a user; the last one that leaves takes the instance's name out.
func (s *Share) join(ctx context.Context, pool *pgxpool.Pool) (leave func()) {
	if s == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users--; s.users == 0 {
			s.leave(ctx, pool)
		}
	}
}

// leave takes the name away, also when ctx has ended.
func (s *Share) leave(ctx context.Context, pool *pgxpool.Pool) {
	if !s.present {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// When it fails, the name expires.
	_, _ = pool.Exec(ctx, `DELETE FROM lease WHERE name = $1`, s.name())
	s.present = false
}

func (s *Share) name() string { return s.group + "@" + s.owner }

// take says whether a lease may be asked for. If so, it counts as held until
// [Share.letGo].
func (s *Share) take(ctx context.Context, pool *pgxpool.Pool, lease string) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask(ctx, pool)
	switch now := time.Now(); {
	case now.Sub(s.failed) < s.ttl && !s.alone:
		// What nobody else took meanwhile.
		if now.Sub(s.failed) < standBack {
			return false
		}
	case len(s.here)-s.giving >= s.quota:
		return false
	}
	s.here[lease] = false
	return true
}

// excess says whether a lease that is held is one too many, and is to be given up.
func (s *Share) excess(ctx context.Context, pool *pgxpool.Pool, lease string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask(ctx, pool)
	giving, held := s.here[lease]
	if !held || giving || s.asked.IsZero() || len(s.here)-s.giving <= s.quota {
		return giving
	}
	s.here[lease] = true
	s.giving++
	return true
}

// letGo says that a lease isn't held, or was not to be had; failed that its work
// failed.
func (s *Share) letGo(ctx context.Context, pool *pgxpool.Pool, lease string, failed bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here[lease] {
		s.giving--
	}
	delete(s.here, lease)
	if failed {
		s.failed = time.Now()
		s.leave(ctx, pool)
	}
}

// ask says that the instance is there and asks who else is. While PostgreSQL
// doesn't answer, what was known stays for as long as others' names would.
func (s *Share) ask(ctx context.Context, pool *pgxpool.Pool) {
	now := time.Now()
	if now.Sub(s.asked) < askEvery || now.Sub(s.failed) < s.ttl && !s.alone {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.ttl/3)
	defer cancel()
	others, before, err := present(ctx, pool, s.group, s.owner, s.ttl)
	if err != nil {
		if now.Sub(s.asked) > s.ttl {
			s.quota, s.alone = s.leases, true // nobody knows who is there
		}
		return
	}
	all := others + 1
	s.asked, s.present, s.alone = now, true, others == 0
	if s.quota = s.leases / all; before < s.leases%all {
		s.quota++
	}
}

// present notes that owner is there for ttl, and counts the others of the group
// that are, and those of them that come before it.
func present(ctx context.Context, pool *pgxpool.Pool, group, owner string, ttl time.Duration) (others, before int, err error) {
	const query = `
		WITH here AS (
			INSERT INTO lease (name, owner, epoch, expire_time) VALUES ($1 || '@' || $2, $2, 1, clock_timestamp() + $3)
			ON CONFLICT (name) DO UPDATE SET expire_time = excluded.expire_time
		), gone AS (
			DELETE FROM lease WHERE starts_with(name, $1 || '@') AND expire_time < clock_timestamp() - interval '1 hour' AND owner <> $2
		)
		SELECT count(*), count(*) FILTER (WHERE owner < $2)
		FROM lease WHERE starts_with(name, $1 || '@') AND owner <> $2 AND expire_time > clock_timestamp()`
	if err := pool.QueryRow(ctx, query, group, owner, ttl).Scan(&others, &before); err != nil {
		return 0, 0, fmt.Errorf("ask who shares %s: %w", group, err)
	}
	return others, before, nil
}
