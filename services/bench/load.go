package bench

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pause"
)

// fleet is a set of waybills, each with one subscription.
type fleet struct {
	tenant   string // "bench" if empty
	prefix   string
	waybills int
	sent     atomic.Int64 // events so far; event n is of waybill n mod waybills
}

func (f *fleet) number(n int64) string { return fmt.Sprintf("%s%08d", f.prefix, n%int64(f.waybills)) }

func (f *fleet) parent() string { return "tenants/" + cmp.Or(f.tenant, "bench") }

// subscribe makes the endpoints and one subscription for each waybill.
func (f *fleet) subscribe(ctx context.Context, conn *grpc.ClientConn, url string, endpoints int) (names []string, err error) {
	eps := subscriptionv1.NewEndpointServiceClient(conn)
	names = make([]string, endpoints)
	for i := range names {
		resp, err := eps.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{
			Parent:   f.parent(),
			Endpoint: &subscriptionv1.Endpoint{Url: url, MaxInFlight: int32(max(8, 64/endpoints))},
		})
		if err != nil {
			return nil, fmt.Errorf("create an endpoint: %w", err)
		}
		names[i] = resp.GetEndpoint().GetName()
	}
	subs := subscriptionv1.NewSubscriptionServiceClient(conn)
	for from := 0; from < f.waybills; from += 1000 {
		req := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: f.parent()}
		for n := from; n < min(from+1000, f.waybills); n++ {
			req.Requests = append(req.Requests, &subscriptionv1.CreateSubscriptionRequest{
				Subscription: &subscriptionv1.Subscription{
					Endpoint:      names[n%endpoints],
					CarrierCode:   "sf-express",
					WaybillNumber: f.number(int64(n)),
					Metadata:      map[string]string{"order_id": fmt.Sprintf("ORDER-%08d", n)},
				},
			})
		}
		resp, err := subs.BatchCreateSubscriptions(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("subscribe %d waybills: %w", len(req.GetRequests()), err)
		}
		for _, r := range resp.GetResults() {
			if e := r.GetError(); e != nil {
				return nil, fmt.Errorf("subscribe: %s: %s", e.GetReason(), e.GetMessage())
			}
		}
	}
	return names, nil
}

var filler = strings.Repeat("快件已从分拨中心发出，正在运往下一站，请耐心等待。", 5)

// event is the next event of the fleet: about 600 bytes, each different.
func (f *fleet) event(n int64) *ingestv1.ReportedEvent {
	round := n / int64(f.waybills)
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(round) * 17 * time.Minute)
	return &ingestv1.ReportedEvent{
		CarrierCode:   "sf-express",
		WaybillNumber: f.number(n),
		EventTime:     at.Format("2006-01-02T15:04:05") + "+08:00",
		Status:        trackingv1.Status_STATUS_IN_TRANSIT,
		SubStatus:     trackingv1.SubStatus_SUB_STATUS_IN_TRANSIT_DEPARTED,
		Text:          fmt.Sprintf("【深圳市】第%d站 %s", round, filler),
		Language:      "zh",
		RawCode:       "30",
		Location: &trackingv1.Location{
			City: "深圳市", Region: "广东省", Country: "CN",
			FacilityCode: fmt.Sprintf("755W%03d", round), FacilityName: "深圳福田分拨中心",
		},
		Attributes: map[string]string{"batch": strconv.FormatInt(round, 10)},
	}
}

// chunk is how many events go in one message of a stream.
const chunk = 250

// stream sends events over parallel client streams until ctx ends or the
// total is reached, never more than window ahead of what the receiver has got.
// It returns how many were accepted, and in what time.
func (f *fleet) stream(ctx context.Context, conn *grpc.ClientConn, streams int, total, window int64, got *atomic.Int64) (int64, time.Duration, error) {
	client := ingestv1.NewIngestServiceClient(conn)
	base := f.sent.Load()
	var accepted atomic.Int64
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range streams {
		group.Go(func() error {
			s, err := client.StreamEvents(ctx)
			if err != nil {
				return fmt.Errorf("open a stream of events: %w", err)
			}
			for {
				from := f.sent.Add(chunk) - chunk
				if from-base >= total {
					break
				}
				for from-base-got.Load() > window && ctx.Err() == nil {
					_ = pause.For(ctx, time.Millisecond)
				}
				req := &ingestv1.StreamEventsRequest{Events: make([]*ingestv1.ReportedEvent, 0, chunk)}
				for n := from; n < from+chunk; n++ {
					req.Events = append(req.Events, f.event(n))
				}
				if err := s.Send(req); err != nil {
					_, err = s.CloseAndRecv()
					return fmt.Errorf("send events: %w", err)
				}
			}
			resp, err := s.CloseAndRecv()
			if err != nil {
				return fmt.Errorf("close a stream of events: %w", err)
			}
			if resp.GetRejectedCount() > 0 {
				return fmt.Errorf("%d events were rejected, the first for %v", resp.GetRejectedCount(), resp.GetRejectedEvents()[0])
			}
			accepted.Add(resp.GetAcceptedCount())
			return nil
		})
	}
	err := group.Wait()
	return accepted.Load(), time.Since(start), err
}

// pace sends events at a steady rate for a time: open loop, so that a stall is
// seen as latency.
func (f *fleet) pace(ctx context.Context, conn *grpc.ClientConn, perSecond float64, length time.Duration) (int64, error) {
	s, err := ingestv1.NewIngestServiceClient(conn).StreamEvents(ctx)
	if err != nil {
		return 0, fmt.Errorf("open a stream of events: %w", err)
	}
	const tick = 5 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start := time.Now()
	var sent int64
	for time.Since(start) < length {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
		due := int64(time.Since(start).Seconds()*perSecond) - sent
		for due > 0 {
			n := min(due, chunk)
			req := &ingestv1.StreamEventsRequest{}
			from := f.sent.Add(n) - n
			for e := from; e < from+n; e++ {
				req.Events = append(req.Events, f.event(e))
			}
			if err := s.Send(req); err != nil {
				_, err = s.CloseAndRecv()
				return sent, fmt.Errorf("send events: %w", err)
			}
			sent, due = sent+n, due-n
		}
	}
	if _, err := s.CloseAndRecv(); err != nil {
		return sent, fmt.Errorf("close a stream of events: %w", err)
	}
	return sent, nil
}
