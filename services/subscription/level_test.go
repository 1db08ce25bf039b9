package subscription_test

import (
	"testing"
	"time"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/subscription"
)

// young lets the level check call lost what is a moment old.
func young(c *subscription.MatcherConfig) { c.LevelAge = time.Nanosecond }

// loseAll empties the stream of pushes, as if it had been lost.
func (b *bundle) loseAll() {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream.Push)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Purge(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) exec(query string) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), query); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) recorded(s *subscriptionv1.Subscription, revision uint64) {
	b.t.Helper()
	b.await(s.GetName(), "recorded", func(s *subscriptionv1.Subscription) bool { return s.GetPushedRevision() == revision })
}

// What was handed to delivery, and is neither acknowledged nor owed once it has
// left the stream, got lost there: it is pushed again, under the same id.
func TestMatcher_PushesAgainWhatTheBusLost(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	lost, kept, owed := b.subscribe(wish(endpoint, "SFLOST1")), b.subscribe(wish(endpoint, "SFLOST2")), b.subscribe(wish(endpoint, "SFLOST3"))
	stop := b.match(young)
	b.change(traceAt("SFLOST1", 1))
	id := b.want(lost, 0, 1).PushID
	b.change(traceAt("SFLOST2", 1))
	b.want(kept, 0, 1)
	b.change(traceAt("SFLOST3", 1))
	b.want(owed, 0, 1)
	for _, s := range []*subscriptionv1.Subscription{lost, kept, owed} {
		b.recorded(s, 1)
	}
	stop()
	b.exec(`INSERT INTO acknowledged SELECT id, 1, now() FROM subscription WHERE waybill_number = 'SFLOST2'`)
	b.exec(`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
		SELECT id, endpoint_id, 0, tenant_id, carrier_code, waybill_number, 0, 1, now(), now() FROM subscription WHERE waybill_number = 'SFLOST3'`)

	// While it is in the stream, nothing is lost.
	stop = b.match(young)
	b.settle(endpoint)
	stop()

	b.loseAll()
	b.exec(`INSERT INTO acknowledged SELECT id, 1, now() FROM subscription WHERE waybill_number LIKE 'SETTLE%'`)
	b.match(young)
	if again := b.want(lost, 0, 1).PushID; again != id {
		t.Errorf("the push came again as %s, was %s", again, id)
	}
	b.recorded(lost, 1)
	// Nothing else comes again.
	b.settle(endpoint)
}

// A change that was projected and never matched is announced: the consumer's
// place in TRACE was wrong, or its block can't be read.
func TestMatcher_PushesAChangeThatItNeverSaw(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFUNSEEN"))
	stop := b.match(young)
	b.change(traceAt("SFUNSEEN", 1))
	b.want(sub, 0, 1)
	b.recorded(sub, 1)
	stop()
	b.exec(`INSERT INTO acknowledged SELECT id, 1, now() FROM subscription`)
	testkit.Project(t, b.pool, wire.TraceUpdate(traceAt("SFUNSEEN", 2)))
	if err := b.js.DeleteStream(t.Context(), stream.Trace); err != nil {
		t.Fatal(err)
	}
	testkit.Streams(t, b.js)
	b.match(young)
	b.want(sub, 1, 2)
}
