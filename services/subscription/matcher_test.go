package subscription_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/subscription"
)

func (b *bundle) pause(s *subscriptionv1.Subscription) {
	b.t.Helper()
	if _, err := b.subs.PauseSubscription(b.t.Context(), &subscriptionv1.PauseSubscriptionRequest{Name: s.GetName()}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) resume(s *subscriptionv1.Subscription) {
	b.t.Helper()
	if _, err := b.subs.ResumeSubscription(b.t.Context(), &subscriptionv1.ResumeSubscriptionRequest{Name: s.GetName()}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) cancel(s *subscriptionv1.Subscription) {
	b.t.Helper()
	if _, err := b.subs.CancelSubscription(b.t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: s.GetName()}); err != nil {
		b.t.Fatal(err)
	}
}

func TestMatcher_PushesEachChangeToWhoeverWantsIt(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	plain := b.endpoint()
	whole := b.endpoint(func(e *subscriptionv1.Endpoint) { e.IncludeTrace = true })
	w := wish(plain.GetName(), "SFONE1")
	w.Metadata = map[string]string{"order_id": "17", "note": "易碎"}
	one := b.subscribe(w)
	b.match()
	b.change(traceAt("SFNOBODY", 1))
	b.change(traceAt("SFONE1", 1))
	p := b.want(one, 0, 1)
	if p.Metadata["order_id"] != "17" || p.Metadata["note"] != "易碎" || p.TenantID != "acme" || len(p.Events) != 1 || p.Trace != nil {
		t.Errorf("the body is %+v", p)
	}
	b.change(traceAt("SFONE1", 2))
	b.want(one, 1, 2)

	two := b.subscribe(wish(whole.GetName(), "SFONE1"))
	if p := b.want(two, 0, 2); len(p.Trace) != 2 {
		t.Errorf("%d events in the trace, want 2", len(p.Trace))
	}
	// A trace that says nothing new pushes nothing.
	b.change(traceAt("SFONE1", 2))
	b.settle(plain.GetName())
	b.change(traceAt("SFONE1", 4))
	got := map[string]bool{}
	for range 2 {
		o := b.next()
		got[o.GetSubscriptionId()] = true
		if o.GetAfterRevision() != 2 || o.GetRevision() != 4 || !o.GetReceiveTime().AsTime().Equal(epoch.Add(4*time.Minute)) {
			t.Errorf("a push covers (%d, %d], received %s", o.GetAfterRevision(), o.GetRevision(), o.GetReceiveTime().AsTime())
		}
	}
	if len(got) != 2 {
		t.Errorf("%d subscriptions heard of it, want 2", len(got))
	}
	b.await(one.GetName(), "recorded", func(s *subscriptionv1.Subscription) bool { return s.GetPushedRevision() == 4 })
}

func TestMatcher_CarriesTheTraceContextOn(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.subscribe(wish(b.endpoint().GetName(), "SFTRACE1"))
	b.match()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	b.change(traceAt("SFTRACE1", 1), map[string][]string{"traceparent": {"00-" + id + "-00f067aa0ba902b7-00"}})
	_, header := b.nextWithHeader()
	if got := header["traceparent"]; len(got) != 1 || len(got[0]) < 35 || got[0][3:35] != id {
		t.Errorf("traceparent is %v, want trace %s", got, id)
	}
}

// Subscriptions are made, paused and resumed while changes stream in: each
// subscription's ranges chain from 0 to the end, without a gap and without an
// overlap.
func TestMatcher_NoGapAndNoDoubleWhileChangesStreamIn(t *testing.T) {
	t.Parallel()
	const waybills, revisions = 40, 25
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	b.match(func(c *subscription.MatcherConfig) { c.Shards = 3 })
	ctx := t.Context()
	var group errgroup.Group
	var made [waybills]atomic.Pointer[subscriptionv1.Subscription]
	for i := range waybills {
		number := fmt.Sprint("SFFLOW", i)
		start := make(chan struct{})
		group.Go(func() error {
			for r := 1; r <= revisions; r++ {
				if r == 1+i%revisions {
					close(start)
				}
				if err := b.publish(ctx, traceAt(number, r)); err != nil {
					return err
				}
			}
			return nil
		})
		group.Go(func() error {
			<-start
			resp, err := b.subs.CreateSubscription(ctx, &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(endpoint, number)})
			if err != nil {
				return err
			}
			name := resp.GetSubscription().GetName()
			made[i].Store(resp.GetSubscription())
			for range i % 4 {
				if _, err := b.subs.PauseSubscription(ctx, &subscriptionv1.PauseSubscriptionRequest{Name: name}); err != nil {
					return err
				}
				if _, err := b.subs.ResumeSubscription(ctx, &subscriptionv1.ResumeSubscriptionRequest{Name: name}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	at := make(map[string]uint64)
	for done := 0; done < waybills; {
		o := b.next()
		if o.GetAfterRevision() != at[o.GetSubscriptionId()] {
			t.Fatalf("push (%d, %d] of %s comes after %d", o.GetAfterRevision(), o.GetRevision(), o.GetWaybillNumber(), at[o.GetSubscriptionId()])
		}
		if at[o.GetSubscriptionId()] = o.GetRevision(); o.GetRevision() == revisions {
			done++
		}
	}
	b.settle(endpoint) // nothing stands before it
	if len(at) != waybills {
		t.Errorf("%d subscriptions were pushed, want %d", len(at), waybills)
	}
}

func TestMatcher_ResumeCoversWhatCameInOnePush(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFPAUSE1"))
	b.match()
	b.change(traceAt("SFPAUSE1", 1))
	b.want(sub, 0, 1)
	b.pause(sub)
	for r := 2; r <= 5; r++ {
		b.change(traceAt("SFPAUSE1", r))
		b.settle(endpoint)
	}
	b.resume(sub)
	if p := b.want(sub, 1, 5); len(p.Events) != 4 {
		t.Errorf("%d events, want 4", len(p.Events))
	}
	// Resumed without anything new, nothing is pushed.
	b.pause(sub)
	b.resume(sub)
	b.settle(endpoint)
	b.cancel(sub)
	b.change(traceAt("SFPAUSE1", 6))
	b.settle(endpoint)
}

func TestMatcher_CompletesAfterTheTail(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	w := wish(endpoint, "SFTAIL1")
	w.Tail = durationpb.New(2 * time.Hour)
	sub := b.subscribe(w)
	held := b.subscribe(wish(endpoint, "SFTAIL2"))
	b.match()
	end := b.clock.Now().UTC().Truncate(time.Microsecond)
	b.change(traceAt("SFTAIL1", 1, delivered(end)))
	b.want(sub, 0, 1)
	got := b.await(sub.GetName(), "given an end", func(s *subscriptionv1.Subscription) bool { return s.GetCompleteTime() != nil })
	if want := end.Add(2 * time.Hour); !got.GetCompleteTime().AsTime().Equal(want) {
		t.Errorf("completes at %s, want %s", got.GetCompleteTime().AsTime(), want)
	}
	// The tail is its owner's to change.
	resp, err := b.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{
		Subscription: &subscriptionv1.Subscription{Name: sub.GetName(), Tail: durationpb.New(time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := end.Add(time.Hour); !resp.GetSubscription().GetCompleteTime().AsTime().Equal(want) {
		t.Errorf("with the tail changed it completes at %s, want %s", resp.GetSubscription().GetCompleteTime().AsTime(), want)
	}
	// Within the tail changes are pushed; one that moves the parcel again takes
	// the end away.
	b.change(traceAt("SFTAIL1", 2))
	b.want(sub, 1, 2)
	b.await(sub.GetName(), "without an end", func(s *subscriptionv1.Subscription) bool { return s.GetCompleteTime() == nil })
	b.change(traceAt("SFTAIL1", 3, delivered(end)))
	b.want(sub, 2, 3)
	// One that is paused keeps what it is owed.
	b.change(traceAt("SFTAIL2", 1, delivered(end)))
	b.want(held, 0, 1)
	b.await(held.GetName(), "given an end", func(s *subscriptionv1.Subscription) bool { return s.GetCompleteTime() != nil })
	b.pause(held)
	b.change(traceAt("SFTAIL2", 2, delivered(end)))

	b.clock.advance(80 * time.Hour)
	b.await(sub.GetName(), "completed", func(s *subscriptionv1.Subscription) bool {
		return s.GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_COMPLETED
	})
	b.change(traceAt("SFTAIL1", 4))
	b.resume(held)
	b.want(held, 1, 2)
	b.await(held.GetName(), "completed", func(s *subscriptionv1.Subscription) bool {
		return s.GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_COMPLETED
	})
}

func TestMatcher_Expires(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	expiring := func(number string) *subscriptionv1.Subscription {
		w := wish(endpoint, number)
		w.ExpireTime = timestamppb.New(b.clock.Now().Add(time.Hour))
		return b.subscribe(w)
	}
	under, paused, ended := expiring("SFEXP1"), expiring("SFEXP2"), expiring("SFEXP3")
	staying := b.subscribe(wish(endpoint, "SFEXP4"))
	b.match()
	b.change(traceAt("SFEXP3", 1, delivered(b.clock.Now())))
	b.want(ended, 0, 1)
	b.await(ended.GetName(), "given an end", func(s *subscriptionv1.Subscription) bool { return s.GetCompleteTime() != nil })
	b.pause(paused)
	b.clock.advance(2 * time.Hour)
	for _, s := range []*subscriptionv1.Subscription{under, paused} {
		b.await(s.GetName(), "expired", func(s *subscriptionv1.Subscription) bool {
			return s.GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_EXPIRED
		})
	}
	// The journey had ended before: its tail decides.
	for _, s := range []*subscriptionv1.Subscription{ended, staying} {
		if got := b.get(s.GetName()).GetState(); got != subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE {
			t.Errorf("%s is %s", s.GetWaybillNumber(), got)
		}
	}
}

// A waybill that left the stream is announced from the projection.
func TestMatcher_AnnouncesFromTheProjection(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	b.match()
	testkit.Project(t, b.pool, wire.TraceUpdate(traceAt("SFOLD1", 7)))
	sub := b.subscribe(wish(endpoint, "SFOLD1"))
	b.want(sub, 0, 7)
	b.change(traceAt("SFOLD1", 8))
	b.want(sub, 7, 8)
}

// forgetful fails to record once.
type forgetful struct {
	*pg.Matching
	left atomic.Int32
}

func (f *forgetful) Done(ctx context.Context, l pg.Lease, done []pg.Pushed, announced bool) error {
	if f.left.Add(-1) >= 0 {
		return errors.New("the database went away")
	}
	return f.Matching.Done(ctx, l, done, announced)
}

func TestMatcher_RecordsAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFAGAIN2"))
	f := &forgetful{Matching: pg.NewMatching(b.pool)}
	b.match(func(c *subscription.MatcherConfig) { c.Matching = f })
	b.settle(endpoint)
	f.left.Store(1)
	for at := range 3 {
		b.change(traceAt("SFAGAIN2", at+1))
		b.want(sub, uint64(at), uint64(at+1))
	}
}

// lossy publishes and loses the first answer.
type lossy struct {
	*stream.Publisher
	left atomic.Int32
}

func (l *lossy) Publish(ctx context.Context, msgs ...stream.Message) error {
	if err := l.Publisher.Publish(ctx, msgs...); err != nil || l.left.Add(-1) < 0 {
		return err
	}
	return context.DeadlineExceeded
}

func TestMatcher_RepeatsUnderTheSameIDAfterAFailure(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFAGAIN1"))
	l := &lossy{Publisher: stream.NewPublisher(b.js, stream.Push, stream.PublisherOptions{})}
	t.Cleanup(l.Close)
	b.match(func(c *subscription.MatcherConfig) { c.Push = l })
	b.settle(endpoint)
	l.left.Store(1)
	b.change(traceAt("SFAGAIN1", 1))
	first, again := b.next(), b.next()
	if first.GetPushId() != again.GetPushId() || string(first.GetBody()) != string(again.GetBody()) {
		t.Errorf("a repeat of %s is %s", first.GetPushId(), again.GetPushId())
	}
	b.change(traceAt("SFAGAIN1", 2))
	b.want(sub, 1, 2)
}

// Two instances share a shard's work by turns: the second goes on where the first
// stopped, and nothing is pushed twice.
func TestMatcher_TakesOverWhereAnotherStopped(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(wish(b.endpoint().GetName(), "SFOVER1"))
	at := 0
	for range 3 {
		stop := b.match()
		for range 3 {
			at++
			b.change(traceAt("SFOVER1", at))
			b.want(sub, uint64(at-1), uint64(at))
		}
		stop()
		at++
		b.change(traceAt("SFOVER1", at)) // while nobody matches
		again := b.match()
		b.want(sub, uint64(at-1), uint64(at))
		again()
	}
}

// Who lost the lease can't record, and lets the shard go.
func TestMatcher_YieldsAShardThatItLost(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(wish(b.endpoint().GetName(), "SFLOST1"))
	// A sweep would notice first.
	b.match(func(c *subscription.MatcherConfig) { c.Sweep = time.Hour })
	b.change(traceAt("SFLOST1", 1))
	b.want(sub, 0, 1)
	b.await(sub.GetName(), "recorded", func(s *subscriptionv1.Subscription) bool { return s.GetPushedRevision() == 1 })
	if _, err := b.pool.Exec(t.Context(), `UPDATE lease SET owner = 'another', epoch = epoch + 1, expire_time = now() + interval '1 hour' WHERE name = 'subscription-0'`); err != nil {
		t.Fatal(err)
	}
	b.change(traceAt("SFLOST1", 2))
	b.want(sub, 1, 2) // published, and not recorded
	if _, err := b.pool.Exec(t.Context(), `UPDATE lease SET expire_time = '-infinity' WHERE name = 'subscription-0'`); err != nil {
		t.Fatal(err)
	}
	b.await(sub.GetName(), "recorded by the next owner", func(s *subscriptionv1.Subscription) bool { return s.GetPushedRevision() == 2 })
	b.want(sub, 1, 2) // the same push again
}

// What can't be read holds nothing up.
func TestMatcher_PassesOverWhatItCannotRead(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFBAD1"))
	b.match()
	if err := b.trace.Publish(t.Context(), stream.Message{Subject: subject.Trace("sf", "SFBAD1"), Data: []byte("\xff\xff")}); err != nil {
		t.Fatal(err)
	}
	b.settle(endpoint)
	b.change(traceAt("SFBAD1", 2))
	b.want(sub, 0, 2)
}

// A reading that is behind what was matched is put off, and not taken for the
// present.
func TestMatcher_PutsOffALateReading(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	endpoint := b.endpoint().GetName()
	sub := b.subscribe(wish(endpoint, "SFREP1"))
	var late atomic.Bool
	asked := make(chan struct{}, 1)
	var old map[string]stream.Stored
	b.match(func(c *subscription.MatcherConfig) {
		last := c.Last
		c.Sweep = time.Hour // what is remembered ages with sweeps
		c.Last = func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			if late.Load() {
				select {
				case asked <- struct{}{}:
				default:
				}
				return old, nil
			}
			return last(ctx, subjects)
		}
	})
	b.change(traceAt("SFREP1", 1))
	b.want(sub, 0, 1)
	b.pause(sub)
	var err error
	if old, err = stream.LastMessages(t.Context(), b.js, stream.Trace, []string{subject.Trace("sf", "SFREP1")}); err != nil {
		t.Fatal(err)
	}
	b.change(traceAt("SFREP1", 2))
	b.settle(endpoint)
	late.Store(true)
	b.resume(sub)
	<-asked
	late.Store(false)
	b.subscribe(wish(endpoint, "SFREP2")) // has it looked again
	b.want(sub, 1, 2)
}
