package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	opsv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ops/v1"
	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	webhooksDurable = "delivery-operations"
	// maxWebhooksPending events wait for their next try at once; each costs the
	// server a few bytes.
	maxWebhooksPending = 50_000
	// webhookTimeout is less than an endpoint's own may be: a dead one is to cost
	// little.
	webhookTimeout = 5 * time.Second
)

// webhookDelays lie between the tries of an event. After the last it is let go:
// it stays in the stream for whoever reads that.
func webhookDelays() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
}

// runWebhooks posts operational events to the tenants' endpoints for them. One
// instance does at a time. Each tenant has a queue of its own, so that one whose
// endpoint hangs delays no other.
func (s *Service) runWebhooks(ctx context.Context) error {
	opts := pg.LeaseOptions{Name: webhooksDurable, Owner: s.owner, TTL: s.cfg.Lease, Pause: retryPause, Log: s.cfg.Log}
	return s.cfg.Store.Hold(ctx, opts, func(ctx, owned context.Context, _ pg.Lease) error {
		c, err := s.cfg.Consume(ctx, stream.ConsumerOptions{
			Stream: stream.Ops, Durable: webhooksDurable, AckWait: 5 * time.Minute, MaxAckPending: maxWebhooksPending, Prefetch: prefetch,
		})
		if err != nil {
			return err
		}
		defer c.Stop()
		ctx, cancel := pg.Within(ctx, owned)
		defer cancel()
		w := &webhooks{Service: s, queues: map[string]*[]*stream.Received{}}
		defer w.running.Wait()
		for {
			batch, err := c.Next(ctx)
			if err != nil {
				return err
			}
			for _, m := range batch {
				w.add(ctx, m)
			}
		}
	})
}

// webhooks are events on their way to tenants.
type webhooks struct {
	*Service

	mu      sync.Mutex
	queues  map[string]*[]*stream.Received // by tenant; a goroutine works on each
	running sync.WaitGroup
}

func (w *webhooks) add(ctx context.Context, m *stream.Received) {
	var e opsv1.Event
	if err := proto.Unmarshal(m.Data, &e); err != nil || e.GetTenantId() == "" {
		w.meters.webhook(ctx, "unreadable")
		w.cfg.Log.ErrorContext(ctx, "an operational event can't be read and is passed over", "sequence", m.Seq, obs.KeyError, err)
		w.ack(ctx, m)
		return
	}
	tenant := e.GetTenantId()
	w.mu.Lock()
	defer w.mu.Unlock()
	if q := w.queues[tenant]; q != nil {
		*q = append(*q, m)
		return
	}
	w.queues[tenant] = &[]*stream.Received{m}
	w.running.Go(func() { w.work(ctx, tenant) })
}

// work posts a tenant's events, one after the other. When one fails, those that
// wait are not tried: they wait with it.
func (w *webhooks) work(ctx context.Context, tenant string) {
	failing := false
	for ctx.Err() == nil {
		w.mu.Lock()
		q := w.queues[tenant]
		if len(*q) == 0 {
			delete(w.queues, tenant)
			w.mu.Unlock()
			return
		}
		m := (*q)[0]
		*q = (*q)[1:]
		w.mu.Unlock()
		if !failing {
			var endpoints []pg.Endpoint
			sh := shard{Service: w.Service}
			err := sh.insist(ctx, "read endpoints for operations", func(ctx context.Context) (err error) {
				endpoints, err = w.cfg.Store.OperationsEndpoints(ctx, tenant)
				return err
			})
			if err != nil {
				return // it comes again
			}
			if w.post(ctx, m, endpoints) {
				w.ack(ctx, m)
				continue
			}
			if ctx.Err() != nil {
				return
			}
			failing = true
		}
		w.again(ctx, tenant, m)
	}
}

// post posts an event to all endpoints and says whether it is done with.
func (w *webhooks) post(ctx context.Context, m *stream.Received, endpoints []pg.Endpoint) (done bool) {
	if len(endpoints) == 0 {
		return true
	}
	id, body, err := eventJSON(m.Data)
	if err != nil {
		w.cfg.Log.ErrorContext(ctx, "an operational event can't be written as JSON", obs.KeyError, err)
		return true
	}
	done = true
	for _, e := range endpoints {
		now := w.cfg.Now()
		set := settingsOf(e, true, settings{}, now, 1)
		if !set.enabled() {
			continue // its secret can't be read; its own pushes say so
		}
		res := w.cfg.Post.Post(ctx, callback.Request{URL: set.url, Tenant: e.TenantID, Signer: set.signer(now), PushID: id, Body: body, Timeout: min(set.timeout, webhookTimeout)})
		if v := push.Judge(res.Status); v == push.Again {
			w.meters.webhook(ctx, "failed")
			done = false
			continue
		}
		w.meters.webhook(ctx, "acknowledged")
	}
	return done
}

// eventJSON is the JSON form of an encoded event. It is always the same bytes.
func eventJSON(data []byte) (id string, body []byte, err error) {
	var e opsv1.Event
	if err := proto.Unmarshal(data, &e); err != nil {
		return "", nil, err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&e)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text) // what protojson puts between varies
	return e.GetId(), b.Bytes(), err
}

// again hands an event back until its next try, or lets it go after the last.
func (w *webhooks) again(ctx context.Context, tenant string, m *stream.Received) {
	delays := webhookDelays()
	if m.Delivered > uint64(len(delays)) {
		w.meters.webhook(ctx, "dropped")
		w.cfg.Log.WarnContext(ctx, "an operational event wasn't acknowledged and is let go; it stays in the stream", obs.KeyTenant, tenant, "sequence", m.Seq)
		w.ack(ctx, m)
		return
	}
	delay := time.Duration(float64(delays[max(m.Delivered, 1)-1]) * w.cfg.RetryScale)
	if err := m.Nak(delay); err != nil {
		w.cfg.Log.WarnContext(ctx, "an operational event can't be handed back", obs.KeyError, err)
	}
}

func (w *webhooks) ack(ctx context.Context, m *stream.Received) {
	if err := m.Ack(); err != nil {
		w.cfg.Log.WarnContext(ctx, "an operational event can't be acknowledged in the stream", obs.KeyError, err)
	}
}

// webhook counts posts of operational events.
func (m meters) webhook(ctx context.Context, outcome string) {
	m.webhooks.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}
