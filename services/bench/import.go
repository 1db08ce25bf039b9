package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

// ImportConfig says what to measure.
type ImportConfig struct {
	Program       string // the posthaste binary
	Subscriptions int
	Data          string // data folder; empty makes one and removes it
}

// ImportResult is the line that the benchmark prints.
type ImportResult struct {
	Bench         string  `json:"bench"`
	Subscriptions int     `json:"subscriptions"`
	PerSecond     float64 `json:"per_s"`
	RSS           float64 `json:"rss_mb"` // of posthaste and its PostgreSQL
}

// Import measures how fast one stream makes subscriptions, from the first row sent
// to the last result.
func Import(ctx context.Context, cfg ImportConfig) (ImportResult, error) {
	res := ImportResult{Bench: "import", Subscriptions: cfg.Subscriptions}
	prog, err := startProgram(ctx, cfg.Program, cfg.Data, nil)
	if err != nil {
		return res, err
	}
	defer prog.stop()
	const parent, page, endpoints = "tenants/bench", 1000, 4
	fleet := &fleet{prefix: "SFIMP", waybills: 0}
	names, err := fleet.subscribe(ctx, prog.conn, "https://127.0.0.1:40999/nobody", endpoints)
	if err != nil {
		return res, err
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	stream, err := subscriptionv1.NewSubscriptionServiceClient(prog.conn).ImportSubscriptions(ctx)
	if err != nil {
		return res, fmt.Errorf("begin the import: %w", err)
	}
	group.Go(func() error {
		for from := 0; from < cfg.Subscriptions; from += page {
			req := &subscriptionv1.ImportSubscriptionsRequest{Parent: parent, ImportId: "bench"}
			for n := from; n < min(from+page, cfg.Subscriptions); n++ {
				req.Rows = append(req.Rows, &subscriptionv1.CreateSubscriptionRequest{Subscription: &subscriptionv1.Subscription{
					Endpoint: names[n%endpoints], CarrierCode: "sf-express", WaybillNumber: fmt.Sprintf("SFIMP%09d", n),
					Metadata: map[string]string{"order_id": fmt.Sprintf("ORDER-%09d", n)},
				}})
			}
			if err := stream.Send(req); err != nil {
				return nil //nolint:nilerr // receiving tells why
			}
		}
		return stream.CloseSend()
	})
	made := int64(0)
	group.Go(func() error {
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			if made = resp.GetSubscribedCount(); resp.GetRefusedCount() > 0 {
				return fmt.Errorf("%d rows were refused", resp.GetRefusedCount())
			}
		}
	})
	if err := group.Wait(); err != nil {
		return res, err
	}
	if made != int64(cfg.Subscriptions) {
		return res, fmt.Errorf("%d subscriptions were made of %d", made, cfg.Subscriptions)
	}
	res.PerSecond = float64(cfg.Subscriptions) / time.Since(began).Seconds()
	used, err := usageOf(prog.pid)
	if err != nil {
		return res, err
	}
	res.RSS = float64(used.rss) / (1 << 20)
	return res, nil
}
