package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
)

// In these examples c is a client of a Posthaste in memory. Yours is made by
//
//	c, err := client.Dial("dns:///posthaste:9090", client.WithTenant("shop"))

// Subscribe a waybill: its changes are pushed to the endpoint from now on.
func Example() {
	c, stop := start(&fake{}, client.WithTenant("shop"))
	defer stop()
	ctx := context.Background()

	endpoint, err := c.CreateEndpoint(ctx, client.NewEndpoint{URL: "https://shop.example.com/parcels"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(endpoint.ID(), endpoint.State, "secret", endpoint.Secret) // string(endpoint.Secret) reveals it

	s, err := c.CreateSubscription(ctx, client.NewSubscription{
		Endpoint: endpoint.ID(),
		Waybill:  trace.ID{CarrierCode: "sf", WaybillNumber: "SF1234567890123"},
		Metadata: map[string]string{"order_id": "A-1001"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.ID(), s.State, s.Waybill)
	// Output:
	// ep_1 enabled secret whsec_***
	// sub_1 active sf/SF1234567890123
}

func ExampleClient_CreateSubscriptions() {
	c, stop := start(&fake{})
	defer stop()

	results, err := c.CreateSubscriptions(context.Background(), []client.NewSubscription{
		{Endpoint: "ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF1234567890123"}},
		{Endpoint: "ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "?"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		if e, ok := errors.AsType[*client.Error](r.Err); ok && errors.Is(r.Err, client.ErrInvalid) {
			fmt.Println("refused:", e.Fields[0].Field, e.Fields[0].Description)
			continue
		}
		fmt.Println(r.Subscription.ID(), r.Subscription.Waybill)
	}
	// Output:
	// sub_1 sf/SF1234567890123
	// refused: subscription.waybill_number it has 4 to 64 characters
}

func ExampleClient_Subscriptions() {
	c, stop := start(&fake{})
	defer stop()
	ctx := context.Background()
	for i := range 3 {
		n := client.NewSubscription{Endpoint: "ep_1", Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: fmt.Sprint("SF10", i)}}
		if _, err := c.CreateSubscription(ctx, n); err != nil {
			fmt.Println(err)
			return
		}
	}

	active := client.SubscriptionFilter{States: []client.SubscriptionState{client.SubscriptionActive}}
	for s, err := range c.Subscriptions(ctx, active) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(s.ID(), s.Waybill)
	}
	// Output:
	// sub_1 sf/SF100
	// sub_2 sf/SF101
	// sub_3 sf/SF102
}

func ExampleClient_ReportEvents() {
	c, stop := start(&fake{})
	defer stop()

	report, err := c.ReportEvents(context.Background(), []client.ReportedEvent{{
		Waybill: trace.ID{CarrierCode: "ownfleet", WaybillNumber: "OF-20250301-7"},
		EventID: "scan-991",
		Time:    time.Date(2025, 3, 1, 10, 2, 11, 0, time.FixedZone("", 8*3600)),
		Status:  status.PickedUp, SubStatus: status.PickedUpCollected,
		Text: "已揽收", Language: "zh",
	}, {
		Waybill: trace.ID{CarrierCode: "ownfleet", WaybillNumber: "OF-20250301-8"},
		Text:    "no time",
	}})
	if err != nil {
		fmt.Println(err) // report all again: repeats change nothing
		return
	}
	fmt.Println(report.Accepted, "accepted")
	for _, r := range report.Rejections {
		fmt.Printf("event %d: %s: %s\n", r.Index, r.Field, r.Description)
	}
	// Output:
	// 1 accepted
	// event 1: event_time: it is required
}

func ExampleClient_NewReporter() {
	c, stop := start(&fake{})
	defer stop()

	r, err := c.NewReporter(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for hour := range 3 {
		err := r.Report(client.ReportedEvent{
			Waybill:   trace.ID{CarrierCode: "ownfleet", WaybillNumber: "OF-20250301-7"},
			LocalTime: fmt.Sprintf("2025-03-01 %02d:00", 10+hour),
			Status:    status.InTransit,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	report, err := r.Close() // what is accepted is on disk now
	fmt.Println(report.Accepted, report.Rejected, err)
	// Output: 3 0 <nil>
}

func ExampleClient_GetWaybill() {
	c, stop := start(known("SF100", 2))
	defer stop()

	w, err := c.GetWaybill(context.Background(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"})
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("nothing was ever reported")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(w.ID, w.Revision, w.Status, w.Status.Chinese(), w.SubStatus)
	}
	// Output: sf/SF100 2 in_transit 运输中 in_transit.departed
}

func ExampleClient_TraceEvents() {
	c, stop := start(known("SF100", 3))
	defer stop()

	// What changed after revision 1.
	for e, err := range c.TraceEvents(context.Background(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, 1) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Revision, e.Time.Instant.Format(time.RFC3339), e.Text)
	}
	// Output:
	// 2 2025-03-01T11:00:00+08:00 scan 2
	// 3 2025-03-01T12:00:00+08:00 scan 3
}

func ExampleClient_Watch() {
	f := known("SF100", 2)
	f.watch = func(req *trackingv1.WatchWaybillRequest, stream grpc.ServerStreamingServer[trackingv1.WatchWaybillResponse]) error {
		// One change a stream; the client comes back for the next.
		u := update("SF100", req.GetAfterRevision()+1)
		return stream.Send(&trackingv1.WatchWaybillResponse{
			Waybill: u.GetWaybill(), Events: u.GetEvents()[req.GetAfterRevision():], AfterRevision: req.GetAfterRevision(),
		})
	}
	c, stop := start(f)
	defer stop()

	for u, err := range c.Watch(context.Background(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("revision", u.Waybill.Revision, u.Events[0].Text)
		if u.Waybill.Revision == 3 {
			break
		}
	}
	// Output:
	// revision 1 scan 1
	// revision 2 scan 2
	// revision 3 scan 3
}

// A receiver that sees a gap has what it lacks pushed once more.
func ExampleClient_ReplayPushes() {
	c, stop := start(&fake{}, client.WithTenant("shop"))
	defer stop()

	const have, after = 4, 6 // the newest revision that is stored, and where the push that came begins
	if after > have {
		j, err := c.ReplayPushes(context.Background(), client.ReplayTarget{Subscription: "sub_1"}, have, "gap-sub_1-4")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(j.ID(), j.Kind, "after", j.AfterRevision, j.State)
	}
	// Output: job_1 replay after 4 running
}

// An endpoint was down for days; now that it answers, what was given up is sent.
func ExampleClient_ResendPushes() {
	c, stop := start(&fake{}, client.WithTenant("shop"))
	defer stop()
	ctx := context.Background()

	spent := client.ParkedFilter{Endpoint: "ep_1", Reasons: []string{"retries_spent"}}
	n, err := c.CountParkedPushes(ctx, spent)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.Count, "parked since", n.Groups[0].Oldest.Format(time.DateOnly))
	j, err := c.ResendPushes(ctx, spent, "")
	if err == nil {
		j, err = c.AwaitPushJob(ctx, j.Name)
	}
	fmt.Println(j.Sent, "of", j.Matched, "sent", err)
	// Output:
	// 3 parked since 2025-03-01
	// 3 of 3 sent <nil>
}

func ExampleClient_RotateSecret() {
	c, stop := start(&fake{}, client.WithTenant("shop"))
	defer stop()
	ctx := context.Background()
	e, err := c.CreateEndpoint(ctx, client.NewEndpoint{URL: "https://shop.example.com/parcels"})
	if err != nil {
		fmt.Println(err)
		return
	}

	e, err = c.RotateSecret(ctx, e.ID(), client.Rotation{Overlap: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Put the new secret beside the old one in the receiver's webhook.Verifier; after
	// that time the old one can go.
	fmt.Println(e.Secret, e.OldSecretExpireTime.Format(time.RFC3339))
	// Output: whsec_*** 2025-03-01T03:00:00Z
}
