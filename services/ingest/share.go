package ingest

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/peer"

	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/pause"
)

// shares keeps one caller from taking what the others need: everything that is
// taken in goes through the same streams in the order it came, so what one
// reports faster than it is worked on, all wait behind.
//
// A caller that is alone may report as fast as it can. While others report too,
// it may report a floor, or a multiple of what all the others do, whichever is
// more. So many callers of a kind never feel it, and a flood is slowed to what
// leaves room. It is slowed by waiting, which a stream passes on to its sender,
// and not by refusing; see docs/adr/0011.
type shares struct {
	// floor is traces a second; 0 for no limit.
	floor float64
	now   func() time.Time

	mu      sync.Mutex
	callers map[string]*share
	total   recent
	swept   time.Time
}

// share is one caller's.
type share struct {
	recent
	next time.Time // when the next portion may go
}

const (
	// dominance is how many times what all others report one caller may.
	dominance = 2
	// burst goes at once after a pause.
	burst = 200
	// portion is how much of a slowed caller goes at once. What is larger would be
	// felt by those behind it.
	portion = 40
	// traceSize is the bytes that count as one trace.
	traceSize = 4 << 10
	// longestWait is how long a call that isn't a stream is slowed before it is
	// told to come again.
	longestWait = 5 * time.Second
)

// errBusy says that a caller reports far more than its share.
var errBusy = errors.New("the caller's share is used up for some time")

func newShares(floor float64, now func() time.Time) *shares {
	return &shares{floor: floor, now: now, callers: make(map[string]*share)}
}

// each hands raw traces over, all at once or, of a caller that is slowed, in
// portions when their time comes. With bounded, what would take too long is
// refused with [errBusy] before anything is handed over. It returns how long the
// caller was made to wait.
func (s *shares) each(ctx context.Context, caller string, raws []*pipelinev1.RawTrace, bounded bool, do func([]*pipelinev1.RawTrace) error) (waited time.Duration, err error) {
	if len(raws) == 0 {
		return 0, nil
	}
	n := 0.0
	for _, r := range raws {
		n += 1 + float64(len(r.GetBody()))/traceSize
	}
	at, limit := s.reserve(caller, n, bounded)
	if limit == 0 {
		return 0, do(raws)
	}
	if at.IsZero() {
		return 0, errBusy
	}
	each := n / float64(len(raws))
	for len(raws) > 0 {
		if wait := at.Sub(s.now()); wait > 0 {
			waited += wait
			if err := pause.For(ctx, wait); err != nil {
				return waited, err
			}
		}
		k := min(len(raws), portion)
		if err := do(raws[:k]); err != nil {
			return waited, err
		}
		raws, at = raws[k:], at.Add(seconds(float64(k)*each/limit))
	}
	return waited, nil
}

// reserve books n traces. It returns when the first may go, and the caller's
// limit in traces a second, 0 for none. The time is zero when that is too long.
func (s *shares) reserve(caller string, n float64, bounded bool) (at time.Time, limit float64) {
	if s.floor == 0 {
		return at, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.sweep(now)
	c := s.callers[caller]
	if c == nil {
		c = &share{}
		s.callers[caller] = c
	}
	if others := s.total.rate(now) - c.rate(now); others > 0 {
		limit = max(s.floor, dominance*others)
		at = c.next
		if early := now.Add(-seconds(burst / limit)); at.Before(early) {
			at = early
		}
		if bounded && at.Sub(now) > longestWait {
			return time.Time{}, limit
		}
		c.next = at.Add(seconds(n / limit))
	}
	c.add(now, n)
	s.total.add(now, n)
	return at, limit
}

// sweep forgets callers that have reported nothing for a while.
func (s *shares) sweep(now time.Time) {
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for name, c := range s.callers {
		if c.rate(now) == 0 && c.next.Before(now) {
			delete(s.callers, name)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// recent counts over the last seconds.
type recent struct {
	counts [8]float64
	second int64 // of the newest count
	sum    float64
}

// rate is a second's average.
func (r *recent) rate(now time.Time) float64 {
	r.roll(now)
	return r.sum / float64(len(r.counts))
}

func (r *recent) add(now time.Time, n float64) {
	r.roll(now)
	r.counts[int(r.second)%len(r.counts)] += n
	r.sum += n
}

func (r *recent) roll(now time.Time) {
	second := now.Unix()
	if second-r.second >= int64(len(r.counts)) {
		*r = recent{second: second}
		return
	}
	for r.second < second {
		r.second++
		r.counts[int(r.second)%len(r.counts)] = 0
	}
	// Added up anew, so that nothing is left of what was rounded.
	r.sum = 0
	for _, n := range r.counts {
		r.sum += n
	}
}

// callerOf names who calls over gRPC: the connection.
func callerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
