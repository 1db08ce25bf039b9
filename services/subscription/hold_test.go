package subscription_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/subscription"
)

func paced(endpoint, number string, tier subscriptionv1.Tier, interval time.Duration) *subscriptionv1.Subscription {
	w := wish(endpoint, number)
	w.Pace = &subscriptionv1.Pace{Tier: tier}
	if interval > 0 {
		w.Pace.DigestInterval = durationpb.New(interval)
	}
	return w
}

// at gives a trace a state, and the newest event with it.
func at(s status.Status, sub status.Sub) func(*track.Trace) {
	return func(t *track.Trace) {
		t.State = track.State{Status: s, Sub: sub, Terminal: status.Terminal(s, sub)}
		e := &t.Events[len(t.Events)-1]
		e.Status, e.Sub = s, sub
	}
}

// held waits until a subscription's revision was held back.
func (b *bundle) held(s *subscriptionv1.Subscription, revision uint64) *subscriptionv1.Subscription {
	b.t.Helper()
	return b.await(s.GetName(), "held", func(s *subscriptionv1.Subscription) bool { return s.GetHeldRevision() == revision })
}

const milestone, digest = subscriptionv1.Tier_TIER_MILESTONE, subscriptionv1.Tier_TIER_DIGEST

func TestTier_MilestoneHoldsStationsBackAndLosesNone(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	e := b.endpoint(func(e *subscriptionv1.Endpoint) { e.Pace = &subscriptionv1.Pace{Tier: milestone} }).GetName()
	sub := b.subscribe(wish(e, "SFMILE1"))
	every := b.subscribe(paced(b.endpoint().GetName(), "SFMILE1", subscriptionv1.Tier_TIER_REALTIME, 0))
	stop := b.match(young)
	b.change(traceAt("SFMILE1", 1))
	for range 2 {
		if o := b.next(); o.GetRevision() != 1 {
			t.Fatalf("the first push is of revision %d", o.GetRevision())
		}
	}
	b.change(traceAt("SFMILE1", 2))
	b.want(every, 1, 2)
	b.held(sub, 2)
	b.change(traceAt("SFMILE1", 3))
	b.want(every, 2, 3)
	b.held(sub, 3)
	// Neither the level check nor a new owner of the shard takes it for lost.
	stop()
	b.exec(`INSERT INTO acknowledged SELECT id, pushed_revision, now() FROM subscription`)
	testkit.Project(t, b.pool, wire.TraceUpdate(traceAt("SFMILE1", 3)))
	b.match(young)
	b.settle(b.endpoint().GetName())
	b.change(traceAt("SFMILE1", 4, at(status.OutForDelivery, status.OutForDeliveryOnVehicle)))
	for range 2 {
		o := b.next()
		if name := o.GetSubscriptionId(); sub.GetName() == tenant+"/subscriptions/"+name && (o.GetAfterRevision() != 1 || o.GetRevision() != 4) {
			t.Errorf("the milestone's push covers (%d, %d], want (1, 4]", o.GetAfterRevision(), o.GetRevision())
		}
	}
	b.recorded(sub, 4)
}

// What was pushed and got lost isn't mistaken for what is held back.
func TestTier_MilestoneIsPushedAgainWhenTheBusLostIt(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(paced(b.endpoint().GetName(), "SFMILE2", milestone, 0))
	stop := b.match(young)
	b.change(traceAt("SFMILE2", 1))
	b.want(sub, 0, 1)
	b.recorded(sub, 1)
	b.exec(`INSERT INTO acknowledged SELECT id, 1, now() FROM subscription`)
	b.change(traceAt("SFMILE2", 2, at(status.Customs, status.CustomsHeld)))
	b.want(sub, 1, 2)
	b.recorded(sub, 2)
	b.change(traceAt("SFMILE2", 3, at(status.Customs, status.CustomsHeld)))
	b.held(sub, 3)
	stop()
	b.loseAll()
	b.match(young)
	b.want(sub, 1, 3)
}

func TestTier_DigestPushesTheNewestOnceInAnInterval(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(paced(b.endpoint().GetName(), "SFDIGEST", digest, time.Hour))
	stop := b.match()
	b.change(traceAt("SFDIGEST", 1))
	b.want(sub, 0, 1)
	b.change(traceAt("SFDIGEST", 2))
	b.change(traceAt("SFDIGEST", 3, at(status.Delivered, status.DeliveredRecipient)))
	due := b.held(sub, 3).GetDueTime().AsTime()
	if left := time.Until(due); left > time.Hour || left < 50*time.Minute {
		t.Errorf("it is due in %s", left)
	}
	b.settle(b.endpoint().GetName())
	// It survives a stop, and is due when nothing changes.
	stop()
	b.clock.advance(2 * time.Hour)
	b.match()
	if p := b.want(sub, 1, 3); len(p.Events) != 2 {
		t.Errorf("the digest has %d events, want 2", len(p.Events))
	}
	b.recorded(sub, 3)
	if s := b.get(sub.GetName()); s.GetDueTime() != nil {
		t.Errorf("it is due again at %s", s.GetDueTime().AsTime())
	}
}

func TestTier_DigestHoldsWhenPushesFollowFast(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(paced(b.endpoint().GetName(), "SFFAST", digest, time.Hour))
	b.match()
	const newest = 50
	for r := 1; r <= newest; r++ {
		b.change(traceAt("SFFAST", r))
	}
	first := b.next()
	b.held(sub, newest)
	b.clock.advance(2 * time.Hour)
	b.want(sub, first.GetRevision(), newest)
}

func TestFilter_FoldsTheRestIntoTheNextPush(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	w := wish(b.endpoint().GetName(), "SFFILTER")
	w.Filter = &subscriptionv1.EventFilter{Statuses: []trackingv1.Status{trackingv1.Status_STATUS_EXCEPTION}}
	sub := b.subscribe(w)
	b.match()
	b.change(traceAt("SFFILTER", 1))
	b.held(sub, 1)
	b.change(traceAt("SFFILTER", 2, at(status.Exception, status.ExceptionDelayed)))
	b.want(sub, 0, 2)
	b.change(traceAt("SFFILTER", 3)) // it is no longer so
	b.want(sub, 2, 3)
	b.change(traceAt("SFFILTER", 4))
	b.held(sub, 4)
	b.change(traceAt("SFFILTER", 5, at(status.Delivered, status.DeliveredRecipient)))
	b.want(sub, 3, 5)
}

// A subscription ends with nothing held back: its last push brings the rest.
func TestTier_EndsWithNothingHeldBack(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	done := b.subscribe(paced(b.endpoint().GetName(), "SFEND1", milestone, 0))
	old := b.subscribe(paced(b.endpoint().GetName(), "SFEND2", milestone, 0))
	b.match()
	b.change(traceAt("SFEND1", 1, delivered(time.Now())))
	b.want(done, 0, 1)
	b.change(traceAt("SFEND1", 2, delivered(time.Now())))
	b.held(done, 2)
	b.change(traceAt("SFEND2", 1))
	b.want(old, 0, 1)
	b.change(traceAt("SFEND2", 2))
	b.held(old, 2)
	b.clock.advance(100 * time.Hour)
	b.want(done, 1, 2)
	b.await(done.GetName(), "completed", func(s *subscriptionv1.Subscription) bool {
		return s.GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_COMPLETED
	})
	b.clock.advance(100 * 24 * time.Hour)
	b.want(old, 1, 2)
	b.await(old.GetName(), "expired", func(s *subscriptionv1.Subscription) bool {
		return s.GetState() == subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_EXPIRED
	})
}

func TestTier_PauseAndChangeOfTierLoseNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	e := b.endpoint().GetName()
	sub := b.subscribe(paced(e, "SFTURN", milestone, 0))
	b.match()
	b.change(traceAt("SFTURN", 1))
	b.want(sub, 0, 1)
	b.change(traceAt("SFTURN", 2))
	b.held(sub, 2)
	b.pause(sub)
	b.change(traceAt("SFTURN", 3))
	b.settle(e)
	b.resume(sub)
	b.held(sub, 3)
	// Whoever asks for everything gets what was held, at once.
	_, err := b.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{Subscription: &subscriptionv1.Subscription{
		Name: sub.GetName(), Pace: &subscriptionv1.Pace{Tier: subscriptionv1.Tier_TIER_REALTIME}, Etag: b.get(sub.GetName()).GetEtag(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.want(sub, 1, 3)
	// A cancelled one hears nothing more.
	b.cancel(sub)
	b.change(traceAt("SFTURN", 4))
	b.settle(e)
}

// A replay, or a row that was rendered from the newest trace, brings what is held
// back: it isn't pushed a second time.
func TestTier_WhatAnotherPushBroughtIsNotHeldAnyMore(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	sub := b.subscribe(paced(b.endpoint().GetName(), "SFREPLAY", milestone, 0))
	b.match()
	b.change(traceAt("SFREPLAY", 1))
	b.want(sub, 0, 1)
	b.change(traceAt("SFREPLAY", 2))
	b.held(sub, 2)
	b.exec(`INSERT INTO acknowledged SELECT id, 2, now() FROM subscription WHERE waybill_number = 'SFREPLAY'`)
	b.change(traceAt("SFREPLAY", 3, at(status.OutForDelivery, status.OutForDeliveryOnVehicle)))
	b.want(sub, 2, 3)
}

func TestPace_IsChecked(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	for field, w := range map[string]*subscriptionv1.Subscription{
		"subscription.pace.tier":              paced(e, "SFBAD1", 9, 0),
		"subscription.pace.digest_interval":   paced(e, "SFBAD2", digest, 0),
		"subscription.filter.statuses[0]":     {Endpoint: e, CarrierCode: "sf", WaybillNumber: "SFBAD3", Filter: &subscriptionv1.EventFilter{Statuses: []trackingv1.Status{0}}},
		"subscription.filter.sub_statuses[0]": {Endpoint: e, CarrierCode: "sf", WaybillNumber: "SFBAD4", Filter: &subscriptionv1.EventFilter{SubStatuses: []trackingv1.SubStatus{1999}}},
	} {
		_, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: w})
		if got := fieldsOf(t, err); len(got) != 1 || got[0] != field {
			t.Errorf("fields are %v, want %s", got, field)
		}
	}
	// An update of a version that somebody else has changed is refused.
	sub := c.subscribe(paced(e, "SFTAG", milestone, 0))
	update := func(etag, metadata string) error {
		_, err := c.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{
			Subscription: &subscriptionv1.Subscription{Name: sub.GetName(), Etag: etag, Metadata: map[string]string{"k": metadata}},
		})
		return err
	}
	if err := update(sub.GetEtag(), "one"); err != nil {
		t.Error(err)
	}
	if err := update(sub.GetEtag(), "two"); reasonOf(err) != "CONFLICT" {
		t.Errorf("an old etag: %v", err)
	}
	end, err := c.endpoints.GetEndpoint(context.Background(), &subscriptionv1.GetEndpointRequest{Name: e})
	if err != nil {
		t.Fatal(err)
	}
	rename := func(etag, name string) error {
		_, err := c.endpoints.UpdateEndpoint(t.Context(), &subscriptionv1.UpdateEndpointRequest{Endpoint: &subscriptionv1.Endpoint{Name: e, Etag: etag, DisplayName: name}})
		return err
	}
	if err := rename(end.GetEndpoint().GetEtag(), "one"); err != nil {
		t.Error(err)
	}
	if err := rename(end.GetEndpoint().GetEtag(), "two"); reasonOf(err) != "CONFLICT" {
		t.Errorf("an old etag: %v", err)
	}
}

// What a tenant's quota has no room for is held back and pushed on the next day.
func TestQuota_SpentPushesComeOnTheNextDay(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	e := b.endpoint().GetName()
	one, two := b.subscribe(wish(e, "SFQUOTA1")), b.subscribe(wish(e, "SFQUOTA2"))
	b.exec(`UPDATE tenant SET daily_pushes = 2`)
	matching := pg.NewMatching(b.pool)
	told := make(chan time.Time, 10)
	b.match(func(c *subscription.MatcherConfig) {
		c.Quota = quota.NewPushes(quota.PushesConfig{Add: matching.AddPushes, Now: b.clock.Now, Spent: func(ctx context.Context, tenant string, limit int64, until time.Time) error {
			event, err := subscription.QuotaSpent(tenant, limit, until, b.clock.Now())
			if err == nil {
				err = matching.Raise(ctx, event)
			}
			told <- until
			return err
		}})
	})
	b.change(traceAt("SFQUOTA1", 1))
	b.want(one, 0, 1)
	b.change(traceAt("SFQUOTA1", 2))
	b.want(one, 1, 2)
	b.change(traceAt("SFQUOTA1", 3))
	b.change(traceAt("SFQUOTA2", 1))
	b.held(two, 1)
	midnight := b.clock.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	if due := b.held(one, 3).GetDueTime().AsTime(); !due.Equal(midnight) {
		t.Errorf("it is due at %s, want midnight", due)
	}
	if until := <-told; !until.Equal(midnight) {
		t.Errorf("the event says %s", until)
	}
	var events, pushes int
	if err := b.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM ops_event WHERE kind = 'quota_spent'), (SELECT pushes FROM usage_day)`).Scan(&events, &pushes); err != nil || events != 1 || pushes != 2 {
		t.Errorf("%d events, %d pushes, %v; want 1 and 2", events, pushes, err)
	}
	b.clock.advance(25 * time.Hour)
	got := map[string]bool{}
	for range 2 {
		o := b.next()
		got[o.GetWaybillNumber()+":"+strconv.FormatUint(o.GetAfterRevision(), 10)+"-"+strconv.FormatUint(o.GetRevision(), 10)] = true
	}
	if !got["SFQUOTA1:2-3"] || !got["SFQUOTA2:0-1"] {
		t.Errorf("on the next day come %v", got)
	}
}
