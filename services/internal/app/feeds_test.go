package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/services/internal/app"
)

// A subscription of an endpoint of the kind FEED is pushed to its team's feed: a
// user that was made by the API reads it over TCP, and is cut off when revoked.
func TestFeeds_APushGoesToTheTeamsFeed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := config(t, t.TempDir())
	cfg.NATS.Feeds, cfg.NATS.FeedMaxBytes, cfg.NATS.FeedMaxAge = true, 1<<20, time.Hour
	cfg.Embedded.NATSListen = "127.0.0.1:0"
	a := start(t, app.AllInOne, cfg)
	conn, err := grpc.NewClient("passthrough:///"+a.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const parent = "tenants/default"
	endpoints := subscriptionv1.NewEndpointServiceClient(conn)
	for field, bad := range map[string]*subscriptionv1.Endpoint{
		"url": {Url: "https://shop.example.com"}, "operations": {Operations: true}, "format": {Format: subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO},
	} {
		bad.Kind = subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED
		if _, err := endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: parent, Endpoint: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of a feed: %v", field, err)
		}
	}
	if _, err := endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: parent, Endpoint: &subscriptionv1.Endpoint{Url: "feed:"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a feed by its URL: %v", err)
	}
	made, err := endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: parent, Endpoint: &subscriptionv1.Endpoint{Kind: subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED}})
	must(err)
	e := made.GetEndpoint()
	if e.GetFeedSubject() == "" || e.GetUrl() != "" || e.GetSecret() != "" || e.GetKind() != subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED {
		t.Errorf("the endpoint is %v", e)
	}
	users := tenantv1.NewFeedServiceClient(conn)
	user, err := users.CreateFeedUser(ctx, &tenantv1.CreateFeedUserRequest{Parent: parent, FeedUser: &tenantv1.FeedUser{DisplayName: "billing"}})
	must(err)
	sub, err := subscriptionv1.NewSubscriptionServiceClient(conn).CreateSubscription(ctx, &subscriptionv1.CreateSubscriptionRequest{
		Parent: parent, Subscription: &subscriptionv1.Subscription{Endpoint: e.GetName(), CarrierCode: "sf", WaybillNumber: "SF1234567890"},
	})
	must(err)
	_, err = ingestv1.NewIngestServiceClient(conn).ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: "sf", WaybillNumber: "SF1234567890", Status: trackingv1.Status_STATUS_IN_TRANSIT, EventTime: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), Text: "on its way",
	}}})
	must(err)

	file := filepath.Join(t.TempDir(), "team.creds")
	must(os.WriteFile(file, []byte(user.GetCredentials()), 0o600))
	gone := make(chan struct{})
	nc, err := nats.Connect(a.Addresses().NATS, nats.UserCredentials(file), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(gone) }))
	must(err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(err)
	var c jetstream.Consumer
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		// The stream is made by the first push.
		if c, err = js.CreateOrUpdateConsumer(ctx, "POSTHASTE_FEED", jetstream.ConsumerConfig{Durable: "billing", FilterSubject: e.GetFeedSubject(), AckPolicy: jetstream.AckExplicitPolicy}); err == nil {
			break
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
	m, err := c.Next(jetstream.FetchMaxWait(time.Minute))
	must(err)
	var p payload.Push
	must(json.Unmarshal(m.Data(), &p))
	must(m.DoubleAck(ctx))
	if "tenants/default/subscriptions/"+p.SubscriptionID != sub.GetSubscription().GetName() || p.Waybill.WaybillNumber != "SF1234567890" || m.Headers().Get("Posthaste-Push-Id") != p.PushID || len(p.Events) == 0 {
		t.Errorf("the push is %+v with %v", p, m.Headers())
	}
	// It is acknowledged, as a webhook's is.
	for {
		st, err := deliveryv1.NewPushServiceClient(conn).GetPushStatistics(ctx, &deliveryv1.GetPushStatisticsRequest{Parent: e.GetName()})
		must(err)
		if s := st.GetStatistics(); s.GetAcceptedCount() > 0 && s.GetAcknowledgedCount() == s.GetAcceptedCount() {
			break
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal("the push was never acknowledged")
		}
	}
	rotated, err := users.RotateFeedUser(ctx, &tenantv1.RotateFeedUserRequest{Name: user.GetFeedUser().GetName()})
	must(err)
	select {
	case <-gone:
	case <-ctx.Done():
		t.Fatal("the connection with the old key stayed")
	}
	must(os.WriteFile(file, []byte(rotated.GetCredentials()), 0o600))
	again, err := nats.Connect(a.Addresses().NATS, nats.UserCredentials(file), nats.NoReconnect())
	must(err)
	t.Cleanup(again.Close)
	for range 2 { // twice is once
		_, err = users.RevokeFeedUser(ctx, &tenantv1.RevokeFeedUserRequest{Name: user.GetFeedUser().GetName()})
		must(err)
	}
	if late, err := nats.Connect(a.Addresses().NATS, nats.UserCredentials(file), nats.NoReconnect()); err == nil {
		late.Close()
		t.Error("a revoked user connects")
	}
	if _, err := users.RotateFeedUser(ctx, &tenantv1.RotateFeedUserRequest{Name: user.GetFeedUser().GetName()}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a revoked user is rotated: %v", err)
	}
	list, err := users.ListFeedUsers(ctx, &tenantv1.ListFeedUsersRequest{Parent: parent})
	must(err)
	if len(list.GetFeedUsers()) != 1 || list.GetFeedUsers()[0].GetRevokeTime() == nil {
		t.Errorf("the users are %v", list)
	}
}
