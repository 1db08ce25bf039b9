package subscription_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// BenchmarkMatcher measures changes matched a second, each wanted by one
// subscription, from the first message taken to the last push stored. The
// database of tests doesn't sync; the streams do.
func BenchmarkMatcher(b *testing.B) {
	const waybills, events = 5000, 5
	s := newBundle(b)
	endpoint := s.endpoint().GetName()
	for first := 0; first < waybills; first += 1000 {
		req := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: tenant}
		for i := range 1000 {
			req.Requests = append(req.Requests, &subscriptionv1.CreateSubscriptionRequest{Subscription: wish(endpoint, fmt.Sprint("SFBENCH", first+i))})
		}
		if _, err := s.subs.BatchCreateSubscriptions(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	s.match()()
	for revision := events; b.Loop(); revision++ {
		b.StopTimer()
		msgs := make([]stream.Message, waybills)
		for i := range msgs {
			tr := traceAt(fmt.Sprint("SFBENCH", i), revision)
			tr.Events = tr.Events[revision-events:]
			data, err := proto.Marshal(wire.TraceUpdate(tr))
			if err != nil {
				b.Fatal(err)
			}
			msgs[i] = stream.Message{Subject: subject.Trace("sf", string(tr.Waybill.Number)), Data: data}
		}
		if err := s.trace.Publish(b.Context(), msgs...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		stop := s.match()
		for range waybills {
			s.next()
		}
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(waybills*b.N)/b.Elapsed().Seconds(), "matches/s")
}
