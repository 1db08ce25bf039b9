package subscription_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/subscription"
)

// ambiguous is of several carriers: FedEx's check digit holds, and SF once gave
// such numbers.
const ambiguous = "986578788855"

func unnamedWish(endpoint, number string) *subscriptionv1.Subscription {
	w := wish(endpoint, number)
	w.CarrierCode = ""
	return w
}

// tell projects a trace of a carrier.
func (c *control) tell(carrier track.Carrier, number string) *track.Trace {
	c.t.Helper()
	tr := traceAt(number, 1)
	tr.Waybill.Carrier = carrier
	data, err := proto.Marshal(wire.TraceUpdate(tr))
	if err != nil {
		c.t.Fatal(err)
	}
	split, err := wire.SplitUpdate(data)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := pg.Project(c.t.Context(), c.pool, []*wire.Split{split}); err != nil {
		c.t.Fatal(err)
	}
	return tr
}

// check looks at the carriers that are due at a time.
func (c *control) check(now time.Time) pg.Checked {
	c.t.Helper()
	n := 0
	got, err := pg.NewCarrierChecks(c.pool).Check(c.t.Context(), now, 100, func() string { n++; return "sub_successor" + string(rune('a'+n)) })
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *control) list(number string) []*subscriptionv1.Subscription {
	c.t.Helper()
	resp, err := c.subs.ListSubscriptions(c.t.Context(), &subscriptionv1.ListSubscriptionsRequest{Parent: tenant, WaybillNumber: number})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetSubscriptions()
}

func TestSubscribe_WithoutACarrierItIsRecognised(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	endpoint := c.endpoint().GetName()
	for _, code := range []string{"", "auto", " AUTO "} {
		w := wish(endpoint, "SF123456789012"+string(rune('0'+len(code))))
		w.CarrierCode, w.Metadata = code, map[string]string{"order": "7"}
		got := c.subscribe(w)
		if got.GetCarrierCode() != "sf-express" || got.GetMetadata()[pg.MetadataCarrier] != pg.CarrierRecognized || got.GetMetadata()["order"] != "7" {
			t.Errorf("%q: got %v", code, got)
		}
	}
	if given := c.subscribe(wish(endpoint, "SF1234567890129")); given.GetCarrierCode() != "sf" || len(given.GetMetadata()) != 0 {
		t.Errorf("a carrier that is given: %v", given)
	}
	// A repeat of the call is answered alike.
	req := &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: unnamedWish(endpoint, "YT1234567890123"), RequestId: "r1"}
	first, err := c.subs.CreateSubscription(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.subs.CreateSubscription(t.Context(), req)
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("%v: %v, and before %v", err, again, first)
	}
	_, err = c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: unnamedWish(endpoint, "1Z5R89390357567128")})
	if got := fieldsOf(t, err); len(got) != 1 || got[0] != "subscription.carrier_code" {
		t.Errorf("a number of nobody: %v", err)
	}
}

func TestSubscribe_WithoutACarrierPrefersTheOneThatKnowsTheNumber(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	endpoint := c.endpoint().GetName()
	c.tell("sf-express", ambiguous)
	if got := c.subscribe(unnamedWish(endpoint, ambiguous)); got.GetCarrierCode() != "sf-express" {
		t.Errorf("got %v", got)
	}
	if got := c.check(epoch.AddDate(1, 0, 0)); got.Proven != 1 {
		t.Errorf("checked: %+v", got)
	}
}

// Another carrier tells something of the number: a subscription to its waybill is
// made, the same in everything else, and says what it stands in for.
func TestCorrector_FollowsTheCarrierThatTells(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	w := unnamedWish(c.endpoint().GetName(), ambiguous)
	w.Metadata = map[string]string{"order": "7"}
	made := c.subscribe(w)
	if made.GetCarrierCode() != "fedex" {
		t.Fatalf("made: %v", made)
	}
	// A platform's subscriber has terms, which its pushes are made by.
	if _, err := c.pool.Exec(t.Context(), `UPDATE subscription SET terms = '{"salt":"x","recognized":"fedex"}'`); err != nil {
		t.Fatal(err)
	}
	if got := c.check(time.Now().Add(time.Hour)); got.Waiting != 1 {
		t.Fatalf("nothing is known: %+v", got)
	}
	if got := c.check(time.Now().Add(time.Hour)); got.Total() != 0 {
		t.Fatalf("what waits is looked at again at once: %+v", got)
	}
	// A carrier that it can't be changes nothing.
	c.tell("somebody", ambiguous)
	if got := c.check(time.Now().Add(time.Second)); got.Waiting != 1 {
		t.Fatalf("somebody else tells: %+v", got)
	}
	c.tell("sf-express", ambiguous) // makes it due
	if got := c.check(time.Now().Add(time.Second)); got.Corrected != 1 {
		t.Fatalf("SF tells: %+v", got)
	}
	var before, after *subscriptionv1.Subscription
	for _, s := range c.list(ambiguous) {
		if s.GetCarrierCode() == "fedex" {
			before = s
		} else {
			after = s
		}
	}
	if before.GetMetadata()[pg.MetadataCorrectedCarrier] != "sf-express" || before.GetState() != subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE {
		t.Errorf("the one that was corrected: %v", before)
	}
	want := map[string]string{
		"order": "7", pg.MetadataCarrier: pg.CarrierCorrected, pg.MetadataPreviousCarrier: "fedex",
		pg.MetadataPreviousSubscription: made.GetName()[len(tenant+"/subscriptions/"):],
	}
	for key, value := range want {
		if after.GetMetadata()[key] != value {
			t.Errorf("%s is %q and should be %q", key, after.GetMetadata()[key], value)
		}
	}
	if after.GetCarrierCode() != "sf-express" || after.GetEndpoint() != made.GetEndpoint() || !proto.Equal(after.GetTail(), made.GetTail()) || !proto.Equal(after.GetExpireTime(), made.GetExpireTime()) {
		t.Errorf("the one it was corrected to: %v", after)
	}
	var same bool
	if err := c.pool.QueryRow(t.Context(), `SELECT count(DISTINCT terms) = 1 AND bool_and(terms IS NOT NULL) FROM subscription`).Scan(&same); err != nil || !same {
		t.Errorf("the terms aren't the same (%v)", err)
	}
	if got := c.check(time.Now().AddDate(1, 0, 0)); got.Total() != 0 {
		t.Errorf("it is corrected twice: %+v", got)
	}
}

func TestCorrector_LeavesWhatIsProvenOrEnded(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	endpoint := c.endpoint().GetName()
	proven := c.subscribe(unnamedWish(endpoint, ambiguous))
	c.tell("fedex", ambiguous)
	c.tell("sf-express", ambiguous) // another parcel's
	ended := c.subscribe(unnamedWish(endpoint, "444003079772"))
	if _, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: ended.GetName()}); err != nil {
		t.Fatal(err)
	}
	if got := c.check(time.Now().Add(time.Hour)); got.Proven != 1 || got.Ended != 1 || got.Corrected != 0 {
		t.Errorf("checked: %+v", got)
	}
	if n := len(c.list(ambiguous)); n != 1 || c.get(proven.GetName()).GetCarrierCode() != "fedex" {
		t.Errorf("there are %d subscriptions", n)
	}
}

// The endpoint may have subscribed to the right carrier already.
func TestCorrector_MakesNoSecondSubscriptionToAWaybill(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	endpoint := c.endpoint().GetName()
	c.subscribe(unnamedWish(endpoint, ambiguous))
	right := wish(endpoint, ambiguous)
	right.CarrierCode = "sf-express"
	c.subscribe(right)
	c.tell("sf-express", ambiguous)
	if got := c.check(time.Now().Add(time.Hour)); got.Corrected != 1 {
		t.Errorf("checked: %+v", got)
	}
	if n := len(c.list(ambiguous)); n != 2 {
		t.Errorf("there are %d subscriptions", n)
	}
}

// A carrier that is given is checked when that is asked for, and only then.
func TestCorrector_ChecksAGivenCarrierOnRequest(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	endpoint := c.endpoint().GetName()
	w := wish(endpoint, "SF1234567890123")
	w.CarrierCode = "zto-express"
	if _, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: w, AutoCheck: true}); err != nil {
		t.Fatal(err)
	}
	other := wish(endpoint, "SF1234567890124")
	other.CarrierCode = "zto-express"
	c.subscribe(other)
	c.tell("sf-express", "SF1234567890123")
	c.tell("sf-express", "SF1234567890124")
	if got := c.check(time.Now().Add(time.Hour)); got.Corrected != 1 || got.Total() != 1 {
		t.Errorf("checked: %+v", got)
	}
}

// The whole way: subscribed without a carrier, corrected, and the push says so.
func TestCorrector_ThePushSaysThatTheCarrierWasCorrected(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.match()
	corrector, err := subscription.NewCorrector(subscription.CorrectorConfig{
		Checks: pg.NewCarrierChecks(b.pool), Sweep: 10 * time.Millisecond, Log: discard(), Meter: metricnoop.NewMeterProvider(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- corrector.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	b.subscribe(unnamedWish(b.endpoint().GetName(), ambiguous))
	b.change(b.tell("sf-express", ambiguous))
	order := b.next()
	body := string(order.GetBody())
	if order.GetCarrierCode() != "sf-express" || order.GetAfterRevision() != 0 {
		t.Errorf("the push is %v", order)
	}
	for _, want := range []string{`"posthaste.carrier":"corrected"`, `"posthaste.previous_carrier_code":"fedex"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s isn't in %s", want, body)
		}
	}
}

func TestSubscription_KeepsWhatPosthasteSaysInItsMetadata(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made := c.subscribe(unnamedWish(c.endpoint().GetName(), "SF1234567890123"))
	update := func(metadata map[string]string) error {
		_, err := c.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{
			Subscription: &subscriptionv1.Subscription{Name: made.GetName(), Metadata: metadata}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"metadata"}},
		})
		return err
	}
	if err := update(map[string]string{"order": "8"}); err != nil {
		t.Fatal(err)
	}
	got := c.get(made.GetName()).GetMetadata()
	if got["order"] != "8" || got[pg.MetadataCarrier] != pg.CarrierRecognized {
		t.Errorf("got %v", got)
	}
	if err := update(got); err != nil { // as read
		t.Error(err)
	}
	if err := update(map[string]string{pg.MetadataCarrier: "given"}); err == nil {
		t.Error("an owner can say how the carrier was found")
	}
}
