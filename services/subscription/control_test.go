package subscription_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

func TestEndpoint_HasDefaultsAndShowsItsSecretOnce(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made := c.endpoint()
	if _, err := webhook.ParseSecret(made.GetSecret()); err != nil {
		t.Errorf("the secret made for it: %v", err)
	}
	want := &subscriptionv1.Endpoint{
		Url: "https://callback.example/parcels", Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_JSON, MaxInFlight: 16, FailureThreshold: 3,
		Timeout: durationpb.New(15 * time.Second), State: subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED,
		SignatureScheme: subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256,
	}
	want.Kind, want.Pace = subscriptionv1.EndpointKind_ENDPOINT_KIND_WEBHOOK, &subscriptionv1.Pace{Tier: subscriptionv1.Tier_TIER_REALTIME}
	ignore := protocmp.IgnoreFields(&subscriptionv1.Endpoint{}, "name", "secret", "create_time", "update_time", "etag")
	if diff := cmp.Diff(want, made, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("endpoint (-want +got):\n%s", diff)
	}
	got, err := c.endpoints.GetEndpoint(t.Context(), &subscriptionv1.GetEndpointRequest{Name: made.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	hidden := proto.CloneOf(made)
	hidden.Secret = ""
	if diff := cmp.Diff(hidden, got.GetEndpoint(), protocmp.Transform()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestEndpoint_RefusesWhatIsWrongAndNamesTheField(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	set := func(f func(*subscriptionv1.Endpoint)) *subscriptionv1.Endpoint {
		e := &subscriptionv1.Endpoint{Url: "https://callback.example/"}
		f(e)
		return e
	}
	address := func(u string) *subscriptionv1.Endpoint {
		return set(func(e *subscriptionv1.Endpoint) { e.Url = u })
	}
	for name, tt := range map[string]struct {
		endpoint *subscriptionv1.Endpoint
		fields   []string
	}{
		"no url":       {address(""), []string{"endpoint.url"}},
		"relative":     {address("/parcels"), []string{"endpoint.url"}},
		"other scheme": {address("ftp://callback.example/"), []string{"endpoint.url"}},
		"no host":      {address("https:///parcels"), []string{"endpoint.url"}},
		"opaque":       {address("https:callback.example"), []string{"endpoint.url"}},
		"password":     {address("https://user:word@callback.example/"), []string{"endpoint.url"}},
		"this machine": {address("https://localhost/"), []string{"endpoint.url"}},
		"blank":        {address("https://callback.example/a b"), []string{"endpoint.url"}},
		"long":         {address("https://callback.example/" + strings.Repeat("a", 2048)), []string{"endpoint.url"}},
		"bad secret":   {set(func(e *subscriptionv1.Endpoint) { e.Secret = "whsec_short" }), []string{"endpoint.secret"}},
		"format":       {set(func(e *subscriptionv1.Endpoint) { e.Format = 9 }), []string{"endpoint.format"}},
		"in flight":    {set(func(e *subscriptionv1.Endpoint) { e.MaxInFlight = 257 }), []string{"endpoint.max_in_flight"}},
		"timeout":      {set(func(e *subscriptionv1.Endpoint) { e.Timeout = durationpb.New(31 * time.Second) }), []string{"endpoint.timeout"}},
		"disabled":     {set(func(e *subscriptionv1.Endpoint) { e.State = 3 }), []string{"endpoint.state"}},
		"name":         {set(func(e *subscriptionv1.Endpoint) { e.DisplayName = strings.Repeat("名", 201) }), []string{"endpoint.display_name"}},
		"retries": {set(func(e *subscriptionv1.Endpoint) {
			e.RetryPolicy = &subscriptionv1.RetryPolicy{Delays: []*durationpb.Duration{durationpb.New(time.Second), durationpb.New(0)}, MaxAttempts: -1}
		}), []string{"endpoint.retry_policy.delays[1]", "endpoint.retry_policy.max_attempts"}},
		"none":    {nil, []string{"endpoint"}},
		"several": {set(func(e *subscriptionv1.Endpoint) { e.Url, e.MaxInFlight = "", -1 }), []string{"endpoint.url", "endpoint.max_in_flight"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.endpoints.CreateEndpoint(t.Context(), &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: tt.endpoint})
			if diff := cmp.Diff(tt.fields, fieldsOf(t, err)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
	_, err := c.endpoints.CreateEndpoint(t.Context(), &subscriptionv1.CreateEndpointRequest{Parent: "tenants/UPPER", Endpoint: address("https://callback.example/")})
	if diff := cmp.Diff([]string{"parent"}, fieldsOf(t, err)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestEndpoint_ARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	req := &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: &subscriptionv1.Endpoint{Url: "https://callback.example/"}, RequestId: "once"}
	first, err := c.endpoints.CreateEndpoint(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.endpoints.CreateEndpoint(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" {
		t.Errorf("answers (-first +again):\n%s", diff)
	}
	req.Endpoint.Url = "https://elsewhere.example/"
	if _, err := c.endpoints.CreateEndpoint(t.Context(), req); reasonOf(err) != rpc.ReasonRequestIDReused {
		t.Errorf("another request with the id: %v", err)
	}
	// Another tenant's ids are its own.
	req.Parent = "tenants/other"
	if _, err := c.endpoints.CreateEndpoint(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestEndpoint_ChangesWhatTheMaskNames(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint(func(e *subscriptionv1.Endpoint) {
		e.DisplayName, e.MaxInFlight = "first", 4
		e.RetryPolicy = &subscriptionv1.RetryPolicy{Delays: []*durationpb.Duration{durationpb.New(time.Second)}, Horizon: durationpb.New(time.Hour), MaxAttempts: 3}
	})
	update := func(change *subscriptionv1.Endpoint, paths ...string) (*subscriptionv1.Endpoint, error) {
		change.Name = e.GetName()
		resp, err := c.endpoints.UpdateEndpoint(t.Context(), &subscriptionv1.UpdateEndpointRequest{Endpoint: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return resp.GetEndpoint(), err
	}
	got, err := update(&subscriptionv1.Endpoint{Url: "https://new.example/", DisplayName: "ignored", State: subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED}, "url", "state")
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(e)
	want.Url, want.State, want.Secret = "https://new.example/", subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED, ""
	ignore := protocmp.IgnoreFields(&subscriptionv1.Endpoint{}, "update_time", "etag")
	if diff := cmp.Diff(want, got, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	// Without a mask what is set is changed.
	if got, err = update(&subscriptionv1.Endpoint{DisplayName: "second"}); err != nil {
		t.Fatal(err)
	}
	want.DisplayName = "second"
	if diff := cmp.Diff(want, got, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("changed without a mask (-want +got):\n%s", diff)
	}
	// Named and not set, a field gets its default.
	if got, err = update(&subscriptionv1.Endpoint{}, "retry_policy", "max_in_flight"); err != nil || got.GetRetryPolicy() != nil || got.GetMaxInFlight() != 16 {
		t.Errorf("reset: %v, %v", got, err)
	}
	if _, err = update(&subscriptionv1.Endpoint{}, "create_time", "colour"); fmt.Sprint(fieldsOf(t, err)) != "[update_mask update_mask]" {
		t.Errorf("unknown paths: %v", err)
	}
	if _, err = update(&subscriptionv1.Endpoint{Url: "nowhere"}, "url"); fmt.Sprint(fieldsOf(t, err)) != "[endpoint.url]" {
		t.Errorf("a wrong value: %v", err)
	}
}

func TestEndpoint_ListsInPages(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	var want []string
	for range 5 {
		want = append([]string{c.endpoint().GetName()}, want...)
		c.clock.advance(time.Millisecond) // ids sort by the millisecond
	}
	var got []string
	req := &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 2}
	for {
		resp, err := c.endpoints.ListEndpoints(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEndpoints() {
			if e.GetSecret() != "" {
				t.Error("a list shows a secret")
			}
			got = append(got, e.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	first, err := c.endpoints.ListEndpoints(t.Context(), &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	other := &subscriptionv1.ListEndpointsRequest{Parent: "tenants/other", PageToken: first.GetNextPageToken()}
	if _, err := c.endpoints.ListEndpoints(t.Context(), other); reasonOf(err) != rpc.ReasonPageTokenInvalid {
		t.Errorf("a token of another tenant: %v", err)
	}
}

func TestEndpoint_IsDeletedWhenNobodyUsesIt(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint()
	sub := c.subscribe(wish(e.GetName(), "SFDEL1"))
	remove := func() error {
		_, err := c.endpoints.DeleteEndpoint(t.Context(), &subscriptionv1.DeleteEndpointRequest{Name: e.GetName()})
		return err
	}
	if err := remove(); reasonOf(err) != rpc.ReasonPrecondition {
		t.Errorf("in use: %v", err)
	}
	if _, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: sub.GetName()}); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if err := remove(); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := c.endpoints.GetEndpoint(t.Context(), &subscriptionv1.GetEndpointRequest{Name: e.GetName()}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("read: %v", err)
	}
	_, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(e.GetName(), "SFDEL2")})
	if reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("subscribed to: %v", err)
	}
	list, err := c.endpoints.ListEndpoints(t.Context(), &subscriptionv1.ListEndpointsRequest{Parent: tenant})
	if err != nil || len(list.GetEndpoints()) != 0 {
		t.Errorf("the list holds %d, %v", len(list.GetEndpoints()), err)
	}
	// What it was used for is still told.
	if got := c.get(sub.GetName()); got.GetEndpoint() != e.GetName() {
		t.Errorf("its subscription names %s", got.GetEndpoint())
	}
}

func TestSubscription_HasDefaultsAndNormalForm(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint()
	got := c.subscribe(&subscriptionv1.Subscription{
		Endpoint: e.GetName(), CarrierCode: " SF", WaybillNumber: "sf 123 456", Metadata: map[string]string{"order": "1", "备注": "<\"\\>"},
	})
	want := &subscriptionv1.Subscription{
		Endpoint: e.GetName(), CarrierCode: "sf", WaybillNumber: "SF123456", Metadata: map[string]string{"order": "1", "备注": "<\"\\>"},
		Tail: durationpb.New(72 * time.Hour), State: subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE,
		ExpireTime: timestamppb.New(got.GetCreateTime().AsTime().Add(90 * 24 * time.Hour)),
	}
	ignore := protocmp.IgnoreFields(&subscriptionv1.Subscription{}, "name", "create_time", "update_time", "etag")
	if diff := cmp.Diff(want, got, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("subscription (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, c.get(got.GetName()), protocmp.Transform()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if _, err := c.pool.Exec(t.Context(), `INSERT INTO acknowledged VALUES ($1, 7, now())`, strings.TrimPrefix(got.GetName(), tenant+"/subscriptions/")); err != nil {
		t.Fatal(err)
	}
	if r := c.get(got.GetName()).GetAcknowledgedRevision(); r != 7 {
		t.Errorf("acknowledged revision is %d, want 7", r)
	}
	if _, err := c.subs.GetSubscription(t.Context(), &subscriptionv1.GetSubscriptionRequest{Name: strings.Replace(got.GetName(), "acme", "other", 1)}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("another tenant reads it: %v", err)
	}
}

func TestSubscription_RefusesWhatIsWrongAndNamesTheField(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	set := func(f func(*subscriptionv1.Subscription)) *subscriptionv1.Subscription {
		s := wish(e, "SFWRONG1")
		f(s)
		return s
	}
	many := make(map[string]string)
	for i := range 33 {
		many[strconv.Itoa(i)] = ""
	}
	for name, tt := range map[string]struct {
		subscription *subscriptionv1.Subscription
		fields       []string
	}{
		"none":          {nil, []string{"subscription"}},
		"endpoint":      {set(func(s *subscriptionv1.Subscription) { s.Endpoint = "ep_1" }), []string{"subscription.endpoint"}},
		"other tenant":  {set(func(s *subscriptionv1.Subscription) { s.Endpoint = "tenants/other/endpoints/ep_1" }), []string{"subscription.endpoint"}},
		"carrier":       {set(func(s *subscriptionv1.Subscription) { s.CarrierCode = "顺丰" }), []string{"subscription.carrier_code"}},
		"number":        {set(func(s *subscriptionv1.Subscription) { s.WaybillNumber = "1" }), []string{"subscription.waybill_number"}},
		"many":          {set(func(s *subscriptionv1.Subscription) { s.Metadata = many }), []string{"subscription.metadata"}},
		"long key":      {set(func(s *subscriptionv1.Subscription) { s.Metadata = map[string]string{strings.Repeat("k", 65): ""} }), []string{"subscription.metadata"}},
		"long value":    {set(func(s *subscriptionv1.Subscription) { s.Metadata = map[string]string{"k": strings.Repeat("v", 513)} }), []string{"subscription.metadata"}},
		"nul":           {set(func(s *subscriptionv1.Subscription) { s.Metadata = map[string]string{"k": "\x00"} }), []string{"subscription.metadata"}},
		"tail":          {set(func(s *subscriptionv1.Subscription) { s.Tail = durationpb.New(91 * 24 * time.Hour) }), []string{"subscription.tail"}},
		"expired":       {set(func(s *subscriptionv1.Subscription) { s.ExpireTime = timestamppb.New(epoch) }), []string{"subscription.expire_time"}},
		"carrier, tail": {set(func(s *subscriptionv1.Subscription) { s.CarrierCode, s.Tail = "!", durationpb.New(-1) }), []string{"subscription.carrier_code", "subscription.tail"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: tt.subscription})
			if diff := cmp.Diff(tt.fields, fieldsOf(t, err)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
	_, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(tenant+"/endpoints/ep_none", "SFWRONG1")})
	if reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("an endpoint that isn't there: %v", err)
	}
	_, err = c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(e, "SFWRONG1"), RequestId: strings.Repeat("r", 65)})
	if diff := cmp.Diff([]string{"request_id"}, fieldsOf(t, err)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestSubscription_ARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	req := &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(e, "SFREPEAT1"), RequestId: "once"}
	// At once, too.
	var group errgroup.Group
	var answers [8]*subscriptionv1.CreateSubscriptionResponse
	for i := range answers {
		group.Go(func() (err error) {
			answers[i], err = c.subs.CreateSubscription(t.Context(), req)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, a := range answers[1:] {
		if diff := cmp.Diff(answers[0], a, protocmp.Transform()); diff != "" {
			t.Errorf("answers (-first +again):\n%s", diff)
		}
	}
	other := proto.CloneOf(req)
	other.Subscription.WaybillNumber = "SFREPEAT2"
	if _, err := c.subs.CreateSubscription(t.Context(), other); reasonOf(err) != rpc.ReasonRequestIDReused {
		t.Errorf("another request with the id: %v", err)
	}
	other.Subscription, other.RequestId = req.GetSubscription(), "twice"
	_, err := c.subs.CreateSubscription(t.Context(), other)
	if reasonOf(err) != rpc.ReasonExists || !strings.HasPrefix(err.Error(), answers[0].GetSubscription().GetName()) {
		t.Errorf("the same waybill again: %v", err)
	}
	// Ended, it makes room for another.
	if _, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: answers[0].GetSubscription().GetName()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.subs.CreateSubscription(t.Context(), other); err != nil {
		t.Error(err)
	}
}

func TestSubscription_ChangesWhatTheMaskNames(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	w := wish(c.endpoint().GetName(), "SFCHANGE1")
	w.Metadata = map[string]string{"a": "1"}
	sub := c.subscribe(w)
	update := func(change *subscriptionv1.Subscription, paths ...string) (*subscriptionv1.Subscription, error) {
		change.Name = sub.GetName()
		resp, err := c.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{Subscription: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return resp.GetSubscription(), err
	}
	want := proto.CloneOf(sub)
	want.Metadata, want.Tail = nil, durationpb.New(0)
	got, err := update(&subscriptionv1.Subscription{Tail: durationpb.New(0), ExpireTime: timestamppb.New(epoch)}, "metadata", "tail")
	if err != nil {
		t.Fatal(err)
	}
	ignore := protocmp.IgnoreFields(&subscriptionv1.Subscription{}, "update_time", "etag")
	if diff := cmp.Diff(want, got, protocmp.Transform(), ignore, protocmp.IgnoreEmptyMessages()); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, c.get(sub.GetName()), protocmp.Transform()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if _, err := update(&subscriptionv1.Subscription{}, "endpoint", "state"); fmt.Sprint(fieldsOf(t, err)) != "[update_mask update_mask]" {
		t.Errorf("what can't be changed: %v", err)
	}
	if _, err := update(&subscriptionv1.Subscription{ExpireTime: timestamppb.New(epoch)}); fmt.Sprint(fieldsOf(t, err)) != "[subscription.expire_time]" {
		t.Errorf("an end in the past: %v", err)
	}
}

func TestSubscription_StatesFollowTheRules(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	name := c.subscribe(wish(c.endpoint().GetName(), "SFSTATE1")).GetName()
	pause := func() (*subscriptionv1.Subscription, error) {
		r, err := c.subs.PauseSubscription(t.Context(), &subscriptionv1.PauseSubscriptionRequest{Name: name})
		return r.GetSubscription(), err
	}
	resume := func() (*subscriptionv1.Subscription, error) {
		r, err := c.subs.ResumeSubscription(t.Context(), &subscriptionv1.ResumeSubscriptionRequest{Name: name})
		return r.GetSubscription(), err
	}
	cancel := func() (*subscriptionv1.Subscription, error) {
		r, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: name})
		return r.GetSubscription(), err
	}
	update := func() (*subscriptionv1.Subscription, error) {
		r, err := c.subs.UpdateSubscription(t.Context(), &subscriptionv1.UpdateSubscriptionRequest{Subscription: &subscriptionv1.Subscription{Name: name, Tail: durationpb.New(1)}})
		return r.GetSubscription(), err
	}
	for i, step := range []struct {
		do     func() (*subscriptionv1.Subscription, error)
		state  subscriptionv1.SubscriptionState
		reason string
	}{
		{resume, 1, ""},
		{pause, 2, ""},
		{pause, 2, ""},
		{update, 2, ""},
		{resume, 1, ""},
		{pause, 2, ""},
		{cancel, 4, ""},
		{cancel, 4, ""},
		{pause, 4, rpc.ReasonPrecondition},
		{resume, 4, rpc.ReasonPrecondition},
		{update, 4, rpc.ReasonPrecondition},
	} {
		got, err := step.do()
		switch {
		case step.reason == "" && (err != nil || got.GetState() != step.state):
			t.Errorf("step %d: %v, %v", i, got, err)
		case step.reason != "" && reasonOf(err) != step.reason:
			t.Errorf("step %d: %v", i, err)
		}
		if s := c.get(name).GetState(); s != step.state {
			t.Errorf("after step %d it is %s, want %s", i, s, step.state)
		}
	}
	name = tenant + "/subscriptions/sub_none"
	if _, err := pause(); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("one that isn't there: %v", err)
	}
}

func TestSubscription_ListsByFilterInPages(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	one, two := c.endpoint().GetName(), c.endpoint().GetName()
	var made []*subscriptionv1.Subscription
	for i := range 12 {
		w := wish([]string{one, two}[i%2], fmt.Sprint("SFLIST", i/2))
		if i%3 == 0 {
			w.CarrierCode = "dhl"
		}
		made = append(made, c.subscribe(w))
		c.clock.advance(time.Millisecond)
	}
	for i := range 4 {
		if _, err := c.subs.PauseSubscription(t.Context(), &subscriptionv1.PauseSubscriptionRequest{Name: made[i].GetName()}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		req  *subscriptionv1.ListSubscriptionsRequest
		want func(i int) bool
	}{
		"all":      {&subscriptionv1.ListSubscriptionsRequest{}, func(int) bool { return true }},
		"endpoint": {&subscriptionv1.ListSubscriptionsRequest{Endpoint: two}, func(i int) bool { return i%2 == 1 }},
		"carrier":  {&subscriptionv1.ListSubscriptionsRequest{CarrierCode: "DHL"}, func(i int) bool { return i%3 == 0 }},
		"number":   {&subscriptionv1.ListSubscriptionsRequest{WaybillNumber: "sflist 2"}, func(i int) bool { return i/2 == 2 }},
		"paused":   {&subscriptionv1.ListSubscriptionsRequest{States: []subscriptionv1.SubscriptionState{2}}, func(i int) bool { return i < 4 }},
		"two states, endpoint": {
			&subscriptionv1.ListSubscriptionsRequest{States: []subscriptionv1.SubscriptionState{4, 1}, Endpoint: one},
			func(i int) bool { return i >= 4 && i%2 == 0 },
		},
		"nobody": {&subscriptionv1.ListSubscriptionsRequest{WaybillNumber: "SFLIST99"}, func(int) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want, got []string
			for i, s := range slices.Backward(made) {
				if tt.want(i) {
					want = append(want, s.GetName())
				}
			}
			tt.req.Parent, tt.req.PageSize = tenant, 2
			for {
				resp, err := c.subs.ListSubscriptions(t.Context(), tt.req)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range resp.GetSubscriptions() {
					got = append(got, s.GetName())
				}
				if tt.req.PageToken = resp.GetNextPageToken(); tt.req.GetPageToken() == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
	first, err := c.subs.ListSubscriptions(t.Context(), &subscriptionv1.ListSubscriptionsRequest{Parent: tenant, PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*subscriptionv1.ListSubscriptionsRequest{
		"another filter": {Parent: tenant, PageToken: first.GetNextPageToken(), Endpoint: one},
		"no token":       {Parent: tenant, PageToken: "x"},
	} {
		if _, err := c.subs.ListSubscriptions(t.Context(), req); reasonOf(err) != rpc.ReasonPageTokenInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = c.subs.ListSubscriptions(t.Context(), &subscriptionv1.ListSubscriptionsRequest{
		Parent: tenant, Endpoint: "tenants/other/endpoints/ep_1", CarrierCode: "!", WaybillNumber: "1", States: []subscriptionv1.SubscriptionState{9},
	})
	if diff := cmp.Diff([]string{"states[0]", "endpoint", "carrier_code", "waybill_number"}, fieldsOf(t, err)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestBatchCreate_GivesEachRequestAResultOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	there := c.subscribe(wish(e, "SFTHERE1"))
	req := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: tenant}
	for i := range 1000 {
		req.Requests = append(req.Requests, &subscriptionv1.CreateSubscriptionRequest{Subscription: wish(e, fmt.Sprint("SFBATCH", i)), RequestId: fmt.Sprint("r", i)})
	}
	bad := map[int]*subscriptionv1.BatchCreateSubscriptionsResponse_Error{
		3:   {Code: int32(codes.InvalidArgument), Reason: rpc.ReasonInvalid, Field: "subscription.waybill_number"},
		4:   {Code: int32(codes.AlreadyExists), Reason: rpc.ReasonExists},
		5:   {Code: int32(codes.NotFound), Reason: rpc.ReasonNotFound},
		6:   {Code: int32(codes.AlreadyExists), Reason: rpc.ReasonExists},
		7:   {Code: int32(codes.InvalidArgument), Reason: rpc.ReasonInvalid, Field: "parent"},
		9:   {Code: int32(codes.AlreadyExists), Reason: rpc.ReasonRequestIDReused},
		999: {Code: int32(codes.InvalidArgument), Reason: rpc.ReasonInvalid, Field: "subscription"},
	}
	rs := req.GetRequests()
	rs[3].Subscription.WaybillNumber = ""
	rs[4].Subscription.WaybillNumber = there.GetWaybillNumber()
	rs[5].Subscription.Endpoint = tenant + "/endpoints/ep_none"
	rs[6].Subscription.WaybillNumber = "sfbatch2" // that of rs[2]
	rs[7].Parent = "tenants/other"
	rs[8] = proto.CloneOf(rs[1]) // a repeat within
	rs[9].RequestId = "r0"
	rs[999].Subscription = nil
	rs[10].Parent = tenant
	resp, err := c.subs.BatchCreateSubscriptions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range resp.GetResults() {
		if want, refused := bad[i]; refused {
			if diff := cmp.Diff(want, r.GetError(), protocmp.Transform(), protocmp.IgnoreFields(want, "message")); diff != "" || r.GetSubscription() != nil {
				t.Errorf("result %d (-want +got):\n%s", i, diff)
			}
			continue
		}
		if r.GetError() != nil || r.GetSubscription().GetWaybillNumber() != rs[i].GetSubscription().GetWaybillNumber() {
			t.Errorf("result %d: %v", i, r)
		}
	}
	if a, b := resp.GetResults()[1].GetSubscription().GetName(), resp.GetResults()[8].GetSubscription().GetName(); a != b {
		t.Errorf("a repeat within is %s, want %s", b, a)
	}
	// The whole again has the same answers.
	again, err := c.subs.BatchCreateSubscriptions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(resp, again, protocmp.Transform()); diff != "" {
		t.Errorf("answers (-first +again):\n%s", diff)
	}
	for _, n := range []int{0, 1001} {
		req.Requests = make([]*subscriptionv1.CreateSubscriptionRequest, n)
		if _, err := c.subs.BatchCreateSubscriptions(t.Context(), req); fmt.Sprint(fieldsOf(t, err)) != "[requests]" {
			t.Errorf("%d requests: %v", n, err)
		}
	}
}

// Calls at once for the same waybills make each subscription once, and don't
// lock each other out.
func TestBatchCreate_AtOnceMakesEachOnce(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	const calls, count = 6, 200
	var group errgroup.Group
	var made [calls]int
	for i := range calls {
		group.Go(func() error {
			req := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: tenant}
			for j := range count {
				// Each in an order of its own.
				req.Requests = append(req.Requests, &subscriptionv1.CreateSubscriptionRequest{Subscription: wish(e, fmt.Sprint("SFSAME", (j*(2*i+1)+i)%count))})
			}
			resp, err := c.subs.BatchCreateSubscriptions(t.Context(), req)
			for _, r := range resp.GetResults() {
				if r.GetSubscription() != nil {
					made[i]++
				} else if r.GetError().GetReason() != rpc.ReasonExists {
					return fmt.Errorf("refused: %v", r.GetError())
				}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range made {
		total += n
	}
	if total != count {
		t.Errorf("%d were made, want %d", total, count)
	}
}

func TestCreateSubscription_TakesNoMoreThanTheQuota(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	e := c.endpoint().GetName()
	if _, err := c.pool.Exec(t.Context(), `UPDATE tenant SET active_subscriptions = 3 WHERE id = 'acme'`); err != nil {
		t.Fatal(err)
	}
	batch := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: tenant}
	for i := range 5 {
		batch.Requests = append(batch.Requests, &subscriptionv1.CreateSubscriptionRequest{Subscription: wish(e, fmt.Sprint("SF000", i))})
	}
	resp, err := c.subs.BatchCreateSubscriptions(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range resp.GetResults() {
		if refused := codes.Code(r.GetError().GetCode()) == codes.ResourceExhausted; refused != (i >= 3) {
			t.Errorf("subscription %d: %v", i, r)
		}
	}
	create := func(number string) error {
		_, err := c.subs.CreateSubscription(t.Context(), &subscriptionv1.CreateSubscriptionRequest{Parent: tenant, Subscription: wish(e, number)})
		return err
	}
	if err := create("SF0009"); reasonOf(err) != rpc.ReasonExhausted {
		t.Errorf("a fourth: %v", err)
	}
	// One that ends makes room.
	if _, err := c.subs.CancelSubscription(t.Context(), &subscriptionv1.CancelSubscriptionRequest{Name: resp.GetResults()[0].GetSubscription().GetName()}); err != nil {
		t.Fatal(err)
	}
	if err := create("SF0009"); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if err := create("SF0010"); reasonOf(err) != rpc.ReasonExhausted {
		t.Errorf("and another: %v", err)
	}
	// At the same time, none too many.
	if _, err := c.pool.Exec(t.Context(), `UPDATE tenant SET active_subscriptions = 6 WHERE id = 'acme'`); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			if create(fmt.Sprint("SF01", i, "0")) == nil {
				made.Add(1)
			}
		})
	}
	group.Wait()
	if n := made.Load(); n != 3 {
		t.Errorf("%d were made at the same time, want 3", n)
	}
}
