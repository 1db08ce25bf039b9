package inbox

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// Asker asks Posthaste for what came after a revision of a subscription, by id.
// It returns nil when Posthaste has promised to push it.
type Asker func(ctx context.Context, subscriptionID string, after uint64) error

// ErrGap says that revisions are missing and there is nobody to ask for them.
// The push isn't acknowledged, so that somebody sees it.
var ErrGap = errors.New("revisions between what the inbox has and the push are missing")

// Ask acts on a gap: see [Asker], which may be nil.
func Ask(ctx context.Context, ask Asker, have uint64, p *payload.Push) error {
	err := ErrGap
	if ask != nil {
		err = ask(ctx, p.SubscriptionID, have)
	}
	if err != nil {
		return fmt.Errorf("push %s begins after revision %d of %s and the inbox has %d: %w", p.PushID, p.AfterRevision, p.SubscriptionID, have, err)
	}
	return nil
}

// DefaultLimit is how many subscriptions, and ids, a [Memory] knows.
const DefaultLimit = 100_000

// MemoryOptions change a [Memory]. The zero value is right.
type MemoryOptions struct {
	// Limit is how many subscriptions, and as many ids, are known; beyond it those
	// that were quiet for longest are forgotten. 0 means [DefaultLimit].
	Limit int
	// Ask is called on a gap; nil returns [ErrGap].
	Ask Asker
}

// Memory is an inbox in this process. What it doesn't know begins with the first
// push that comes: after a restart, or once forgotten, a repeat is news, and a gap
// before is not seen. Where that matters use pginbox. It is safe for concurrent
// use.
type Memory struct {
	opts MemoryOptions

	mu     sync.Mutex
	chains store
	ids    store
}

// entry is one subscription, or id. Its lock is held while an effect runs.
type entry struct {
	key   string
	users int // under the memory's lock: who holds it or waits for it

	mu    sync.Mutex
	known bool
	chain webhook.Chain
}

// store is entries by key, and the longest quiet at the back.
type store struct {
	byKey map[string]*list.Element
	order *list.List
}

func newStore() store { return store{byKey: map[string]*list.Element{}, order: list.New()} }

// NewMemory makes an inbox.
func NewMemory(opts MemoryOptions) *Memory {
	if opts.Limit <= 0 {
		opts.Limit = DefaultLimit
	}
	return &Memory{opts: opts, chains: newStore(), ids: newStore()}
}

// Take gives a push to an effect, with the events that are news, unless it had
// them. Pushes of one subscription wait for each other. When the effect returns
// an error nothing has moved and Take returns it.
func (m *Memory) Take(ctx context.Context, p payload.Push, effect func(ctx context.Context, p payload.Push, news []payload.Event) error) (webhook.Link, error) {
	e := m.hold(&m.chains, p.SubscriptionID)
	defer m.release(&m.chains, e)
	chain := e.chain
	if !e.known {
		chain.Revision = p.AfterRevision
	}
	link := chain.Link(p)
	if link == webhook.Repeats {
		return link, nil
	}
	if link == webhook.Gap {
		return link, Ask(ctx, m.opts.Ask, chain.Revision, &p)
	}
	if err := effect(ctx, p, chain.New(p)); err != nil {
		return link, err
	}
	chain.Advance(p)
	e.chain, e.known = chain, true
	return link, nil
}

// Once runs an effect unless one with the id has succeeded, and says whether it
// ran. Two with the same id wait for each other.
func (m *Memory) Once(ctx context.Context, id string, effect func(ctx context.Context) error) (ran bool, err error) {
	if id == "" {
		return false, errNoID
	}
	e := m.hold(&m.ids, id)
	defer m.release(&m.ids, e)
	if e.known {
		return false, nil
	}
	if err := effect(ctx); err != nil {
		return true, err
	}
	e.known = true
	return true, nil
}

var errNoID = errors.New("a push without an id can't be told from its repeat: give the handler a verifier")

func (m *Memory) hold(s *store, key string) *entry {
	m.mu.Lock()
	el, ok := s.byKey[key]
	if !ok {
		el = s.order.PushFront(&entry{key: key})
		s.byKey[key] = el
	}
	s.order.MoveToFront(el)
	e, _ := el.Value.(*entry)
	e.users++
	m.mu.Unlock()
	e.mu.Lock()
	return e
}

func (m *Memory) release(s *store, e *entry) {
	known := e.known
	e.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	e.users--
	if !known && e.users == 0 {
		m.drop(s, s.byKey[e.key]) // nothing came of it
	}
	for el := s.order.Back(); el != nil && s.order.Len() > m.opts.Limit; {
		before := el.Prev()
		if old, _ := el.Value.(*entry); old.users == 0 {
			m.drop(s, el)
		}
		el = before
	}
}

func (*Memory) drop(s *store, el *list.Element) {
	e, _ := s.order.Remove(el).(*entry)
	delete(s.byKey, e.key)
}

// Len is how many subscriptions and ids are known.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.chains.order.Len() + m.ids.order.Len()
}
