package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/posthaste/posthaste/services/internal/stream"
)

const (
	// lagWait bounds the asking of NATS when metrics are collected.
	lagWait = 2 * time.Second
	// lagAge is how old what was asked may be.
	lagAge = 5 * time.Second
)

// ownConsumers begin the names of our own durables: those of direct subscribers are
// as many as there are subscribers, and their own business.
var ownConsumers = []string{"normalizer-", "subscription-", "query-", "delivery-"}

// startLag makes metrics of what each stream holds and each of our consumers lacks.
// Every instance that has this part tells the same of all.
func startLag(_ context.Context, env *Env) (func(context.Context) error, error) {
	m := env.Telemetry.Meter.Meter("github.com/posthaste/posthaste/services/internal/app")
	var errs []error
	gauge := func(name, text string, opts ...metric.Int64ObservableGaugeOption) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge("posthaste_stream_"+name, append(opts, metric.WithDescription(text))...)
		errs = append(errs, err)
		return g
	}
	stored := gauge("messages", "Messages that a stream holds.")
	size := gauge("size", "Bytes that a stream holds.", metric.WithUnit("By"))
	most := gauge("limit", "Bytes that a stream may hold.", metric.WithUnit("By"))
	pending := gauge("pending", "Messages that a consumer of ours was never handed, by stream and consumer.")
	unacknowledged := gauge("unacknowledged", "Messages that a consumer of ours was handed and hasn't acknowledged, by stream and consumer.")
	l := &lags{js: env.JetStream}
	r, err := m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, lagWait)
		defer cancel()
		found, err := l.get(ctx)
		for i := range found {
			s := &found[i]
			by := metric.WithAttributes(attribute.String("stream", s.info.Config.Name))
			o.ObserveInt64(stored, int64(s.info.State.Msgs), by)
			o.ObserveInt64(size, int64(s.info.State.Bytes), by)
			o.ObserveInt64(most, s.info.Config.MaxBytes, by)
			for _, c := range s.consumers {
				by := metric.WithAttributes(attribute.String("stream", s.info.Config.Name), attribute.String("consumer", c.Name))
				o.ObserveInt64(pending, int64(c.NumPending), by)
				o.ObserveInt64(unacknowledged, int64(c.NumAckPending), by)
			}
		}
		return err
	}, stored, size, most, pending, unacknowledged)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("make the instruments of streams: %w", err)
	}
	return func(context.Context) error { return r.Unregister() }, nil
}

// lags keeps what was asked last.
type lags struct {
	js jetstream.JetStream

	mu    sync.Mutex
	asked time.Time
	found []streamLag
}

type streamLag struct {
	info      *jetstream.StreamInfo
	consumers []*jetstream.ConsumerInfo
}

func (l *lags) get(ctx context.Context) ([]streamLag, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.asked) < lagAge {
		return l.found, nil
	}
	var found []streamLag
	for _, name := range []string{stream.Raw, stream.Trace, stream.Push, stream.Rejected, stream.Ops} {
		s, err := l.js.Stream(ctx, name)
		if err != nil {
			return found, fmt.Errorf("ask for stream %s: %w", name, err)
		}
		lag := streamLag{info: s.CachedInfo()}
		list := s.ListConsumers(ctx)
		for c := range list.Info() {
			if own(c.Name) {
				lag.consumers = append(lag.consumers, c)
			}
		}
		if err := list.Err(); err != nil {
			return found, fmt.Errorf("ask for the consumers of %s: %w", name, err)
		}
		found = append(found, lag)
	}
	l.asked, l.found = time.Now(), found
	return found, nil
}

func own(consumer string) bool {
	for _, begin := range ownConsumers {
		if len(consumer) > len(begin) && consumer[:len(begin)] == begin {
			return true
		}
	}
	return false
}
