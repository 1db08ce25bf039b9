package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox"
)

// push is the push (after, revision] whose events are one of each revision.
func push(sub string, after, revision uint64) payload.Push {
	p := payload.Push{Type: payload.TypeTraceUpdated, PushID: fmt.Sprintf("psh_%s_%d", sub, revision), SubscriptionID: sub, AfterRevision: after, Revision: revision}
	for r := after + 1; r <= revision; r++ {
		p.Events = append(p.Events, payload.Event{ID: fmt.Sprint("e", r), Revision: r})
	}
	return p
}

func TestMemory_TellsNewsFromTheRest(t *testing.T) {
	t.Parallel()
	var asked []uint64
	m := inbox.NewMemory(inbox.MemoryOptions{Ask: func(_ context.Context, _ string, after uint64) error {
		asked = append(asked, after)
		return nil
	}})
	var got []uint64
	for _, step := range []struct {
		after, revision uint64
		link            webhook.Link
		news            []uint64
	}{
		{0, 1, webhook.Continues, []uint64{1}},
		{0, 1, webhook.Repeats, nil},
		{1, 3, webhook.Continues, []uint64{2, 3}},
		{1, 4, webhook.Overlaps, []uint64{4}},
		{6, 7, webhook.Gap, nil},
		{4, 7, webhook.Continues, []uint64{5, 6, 7}},
		{6, 7, webhook.Repeats, nil},
		{0, 7, webhook.Repeats, nil},
	} {
		got = nil
		link, err := m.Take(t.Context(), push("a", step.after, step.revision), func(_ context.Context, _ payload.Push, news []payload.Event) error {
			for _, e := range news {
				got = append(got, e.Revision)
			}
			return nil
		})
		if err != nil || link != step.link || !slices.Equal(got, step.news) {
			t.Errorf("(%d, %d] %s with news %v and %v, want %s with %v", step.after, step.revision, link, got, err, step.link, step.news)
		}
	}
	if !slices.Equal(asked, []uint64{4}) {
		t.Errorf("asked for what came after %v, want 4", asked)
	}
}

func TestMemory_AFailedEffectMovesNothing(t *testing.T) {
	t.Parallel()
	m := inbox.NewMemory(inbox.MemoryOptions{})
	fault := errors.New("disk full")
	for _, want := range []error{fault, nil} {
		ran := false
		_, err := m.Take(t.Context(), push("a", 0, 1), func(context.Context, payload.Push, []payload.Event) error {
			ran = true
			return want
		})
		if !ran || !errors.Is(err, want) {
			t.Errorf("the effect ran: %v, and the error is %v, want %v", ran, err, want)
		}
	}
	if _, err := m.Take(t.Context(), push("a", 5, 6), nil); !errors.Is(err, inbox.ErrGap) {
		t.Errorf("a gap with nobody to ask: %v", err)
	}
}

// However a receiver is told, repeated and at the same time, each event has its
// effect once and in order.
func TestMemory_ConcurrentRepeatsHaveOneEffect(t *testing.T) {
	t.Parallel()
	const subs, revisions, senders = 5, 40, 8
	m := inbox.NewMemory(inbox.MemoryOptions{})
	var mu sync.Mutex
	seen := map[string][]uint64{}
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for r := uint64(1); r <= revisions; r++ {
				for s := range subs {
					after := r - 1
					if rand.IntN(3) == 0 {
						after = rand.Uint64N(r)
					}
					_, err := m.Take(t.Context(), push(strconv.Itoa(s), after, r), func(_ context.Context, p payload.Push, news []payload.Event) error {
						mu.Lock()
						defer mu.Unlock()
						for _, e := range news {
							seen[p.SubscriptionID] = append(seen[p.SubscriptionID], e.Revision)
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for s, list := range seen {
		for i, r := range list {
			if r != uint64(i+1) {
				t.Fatalf("subscription %s had %v", s, list)
			}
		}
	}
	if len(seen) != subs {
		t.Errorf("%d subscriptions were seen", len(seen))
	}
}

func TestMemory_OnceByIDAndBounded(t *testing.T) {
	t.Parallel()
	const limit = 10
	m := inbox.NewMemory(inbox.MemoryOptions{Limit: limit})
	var ran atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := m.Once(t.Context(), "psh_1", func(context.Context) error { ran.Add(1); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ran.Load() != 1 {
		t.Errorf("the effect ran %d times", ran.Load())
	}
	for i := range 100 {
		if _, err := m.Once(t.Context(), strconv.Itoa(i), func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Take(t.Context(), push(strconv.Itoa(i), 0, 1), func(context.Context, payload.Push, []payload.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if m.Len() > 2*limit {
		t.Errorf("%d entries are known, at most %d may be", m.Len(), 2*limit)
	}
	if _, err := m.Once(t.Context(), "", nil); err == nil {
		t.Error("no id is taken for one")
	}
}
