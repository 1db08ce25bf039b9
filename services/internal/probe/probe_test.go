package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/probe"
)

// posthaste pushes what it is told at once, but for what a test has it do wrong.
type posthaste struct {
	t *testing.T
	// wrong says how often a push goes out, and with which range.
	wrong func(number string, revision uint64) []payload.Push

	mu        sync.Mutex
	secret    webhook.Secret
	url       string
	subs      map[trace.ID]string
	revisions map[trace.ID]uint64
	cancelled int
	deleted   bool
}

func (f *posthaste) CreateEndpoint(_ context.Context, n client.NewEndpoint) (client.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	f.secret, err = webhook.ParseSecret(string(n.Secret))
	f.url, f.subs, f.revisions = n.URL, map[trace.ID]string{}, map[trace.ID]uint64{}
	return client.Endpoint{Name: "tenants/default/endpoints/ep_1"}, err
}

func (f *posthaste) DeleteEndpoint(context.Context, string) error {
	f.deleted = true
	return nil
}

func (f *posthaste) CreateSubscriptions(_ context.Context, ns []client.NewSubscription) ([]client.SubscriptionResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]client.SubscriptionResult, len(ns))
	for i, n := range ns {
		id := fmt.Sprint("sub_", len(f.subs))
		f.subs[n.Waybill] = id
		out[i].Subscription.Name = "tenants/default/subscriptions/" + id
	}
	return out, nil
}

func (f *posthaste) CancelSubscription(context.Context, string) (client.Subscription, error) {
	f.cancelled++
	return client.Subscription{}, client.ErrPrecondition // it has ended by itself
}

func (f *posthaste) ReportEvents(ctx context.Context, events []client.ReportedEvent) (client.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		f.revisions[e.Waybill]++
		r := f.revisions[e.Waybill]
		pushes := []payload.Push{{AfterRevision: r - 1, Revision: r}}
		if f.wrong != nil {
			pushes = f.wrong(e.Waybill.WaybillNumber, r)
		}
		for _, p := range pushes {
			p.Type, p.PushID, p.SubscriptionID = payload.TypeTraceUpdated, fmt.Sprint("psh_", f.subs[e.Waybill], "_", p.Revision), f.subs[e.Waybill]
			f.push(ctx, p)
		}
	}
	return client.Report{Accepted: len(events)}, nil
}

func (f *posthaste) push(ctx context.Context, p payload.Push) {
	body, err := json.Marshal(p)
	if err != nil {
		f.t.Error(err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return
	}
	webhook.SetHeaders(req.Header, p.PushID, time.Now(), body, f.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Error(err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		f.t.Errorf("the probe answers %s", resp.Status)
	}
}

func start(t *testing.T, f *posthaste, patience time.Duration) (*probe.Probe, *sdkmetric.ManualReader) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	p, err := probe.Start(t.Context(), probe.Config{
		Posthaste: f, Listen: "127.0.0.1:0", Waybills: 2, Events: 3, Late: time.Hour, Patience: patience,
		Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil || !f.deleted {
			t.Errorf("its endpoint is deleted: %t, %v", f.deleted, err)
		}
	})
	return p, reader
}

func TestRound_SeesThatAllComes(t *testing.T) {
	t.Parallel()
	f := &posthaste{t: t}
	p, _ := start(t, f, time.Minute)
	for range 2 {
		r, err := p.Round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Most <= 0 || r.P50 > r.P99 || r.P99 > r.Most {
			t.Errorf("it took %+v", r)
		}
		r.P50, r.P99, r.Most = 0, 0, 0
		if want := (probe.Result{Probe: "round", Waybills: 2, Events: 6}); r != want || !r.Well() {
			t.Errorf("the round is %+v", r)
		}
	}
	if f.cancelled != 4 {
		t.Errorf("%d subscriptions were ended", f.cancelled)
	}
}

func TestRound_SeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	one := func(after, revision uint64) payload.Push {
		return payload.Push{AfterRevision: after, Revision: revision}
	}
	for name, tt := range map[string]struct {
		wrong func(number string, revision uint64) []payload.Push
		want  probe.Result
		count string
		well  bool
	}{
		"the last of one waybill is lost": {
			wrong: func(number string, r uint64) []payload.Push {
				if r == 3 && strings.HasSuffix(number, "0001") {
					return nil
				}
				return []payload.Push{one(r-1, r)}
			},
			want: probe.Result{Missing: 1}, count: "posthaste_probe_missing",
		},
		"each comes twice": {
			wrong: func(_ string, r uint64) []payload.Push { return []payload.Push{one(r-1, r), one(r-1, r)} },
			want:  probe.Result{Repeated: 6}, count: "posthaste_probe_repeated", well: true,
		},
		"a revision is skipped": {
			wrong: func(number string, r uint64) []payload.Push {
				if r == 2 && strings.HasSuffix(number, "0000") {
					return nil
				}
				return []payload.Push{one(r-1, r)}
			},
			want: probe.Result{Missing: 2, Broken: 1}, count: "posthaste_probe_broken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What never comes is waited for, so patience is short here.
			p, reader := start(t, &posthaste{t: t, wrong: tt.wrong}, 100*time.Millisecond)
			r, err := p.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Missing != tt.want.Missing || r.Repeated != tt.want.Repeated || r.Broken != tt.want.Broken || r.Well() != tt.well {
				t.Errorf("the round is %+v", r)
			}
			var rm metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &rm); err != nil {
				t.Fatal(err)
			}
			var counted int64
			for _, m := range rm.ScopeMetrics[0].Metrics {
				if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == tt.count {
					counted = sum.DataPoints[0].Value
				}
			}
			if counted != int64(max(tt.want.Broken, tt.want.Repeated, min(tt.want.Missing, 1))) {
				t.Errorf("%s is %d", tt.count, counted)
			}
		})
	}
}

// The endpoint of a Posthaste that can't be reached leaves nothing behind.
func TestStart_ListensNoMoreWhenItFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, err := probe.Start(t.Context(), probe.Config{
			Posthaste: refusing{}, Listen: "127.0.0.1:0", Meter: sdkmetric.NewMeterProvider(), Log: slog.New(slog.DiscardHandler),
		})
		if err == nil || !strings.Contains(err.Error(), "make an endpoint at http://127.0.0.1:") {
			t.Errorf("it answers %v", err)
		}
		// A goroutine that still serves would keep the bubble from ending.
	})
}

type refusing struct{ probe.Posthaste }

func (refusing) CreateEndpoint(context.Context, client.NewEndpoint) (client.Endpoint, error) {
	return client.Endpoint{}, client.ErrPermissionDenied
}
