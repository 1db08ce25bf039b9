package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
)

// ConsumerOptions say what a consumer takes.
type ConsumerOptions struct {
	Stream  string
	Durable string // "<service>-<purpose>"
	// Kind and Slots restrict it to some slots of a kind ("raw", "trace",
	// "push"); no slots means all.
	Kind          string
	Slots         []subject.Slot
	MaxAckPending int // 0 means 10,000
	MaxBatch      int // most messages in one batch; 0 means 1,000
	// Prefetch is how many messages may be on their way here; 0 means twice
	// MaxBatch. A bundle is one message.
	Prefetch int
	AckWait  time.Duration // 0 means 60 s
}

// Received is one message to work on. It must be acknowledged, by
// [Received.Ack] or [Received.Nak], exactly once and only after its effects are
// durable.
type Received struct {
	Subject string
	Header  nats.Header
	Data    []byte
	Seq     uint64    // in the stream
	Time    time.Time // when it was stored
	// ConsumerSeq counts deliveries of this consumer since it was made or reset.
	ConsumerSeq uint64
	// Part is its place in the bundle that it came in, 0 when it came alone. All
	// parts have one Seq and ConsumerSeq.
	Part int
	// Redelivered says that it was handed out before: its effects may be done.
	Redelivered bool
	// Delivered is how often it was handed out, this time included.
	Delivered uint64

	msg      jetstream.Msg
	together *together // nil when it came alone
}

// Ack says that the message's effects are durable. A lost acknowledgement
// leads to a redelivery, which is harmless by construction.
func (r *Received) Ack() error { return r.end(false, 0) }

// Nak asks for the message again after a delay. Others that came in a bundle with
// it come again too.
func (r *Received) Nak(delay time.Duration) error { return r.end(true, delay) }

func (r *Received) end(nak bool, delay time.Duration) (err error) {
	last := true
	if r.together != nil {
		last, nak, delay, err = r.together.end(nak, delay)
	}
	switch {
	case err != nil || !last:
	case nak:
		err = r.msg.NakWithDelay(delay)
	default:
		err = r.msg.Ack()
	}
	if err != nil {
		return fmt.Errorf("acknowledge or hand back %s %d: %w", r.Subject, r.Seq, err)
	}
	return nil
}

// PullExpiry is how long the server remembers that a reader asked for messages. One
// that hangs gets no more after that: shorter than a lease, so that whoever takes
// over doesn't share with it.
const PullExpiry = 5 * time.Second

// Consumer hands out the messages of a durable consumer in batches. It is for
// one goroutine.
type Consumer struct {
	js       jetstream.JetStream
	opts     ConsumerOptions
	consumer jetstream.Consumer

	mu      sync.Mutex
	current *pull
}

// pull is one subscription to the durable; a reset replaces it, and what was on
// its way to the old one is dropped with it.
type pull struct {
	msgs    chan jetstream.Msg
	stop    chan struct{}
	consume jetstream.ConsumeContext
}

// NewConsumer makes the durable consumer, or takes up the existing one, and
// starts pulling. Stop it.
func NewConsumer(ctx context.Context, js jetstream.JetStream, opts ConsumerOptions) (*Consumer, error) {
	opts.MaxAckPending = orDefault(opts.MaxAckPending, 10_000)
	opts.MaxBatch = orDefault(opts.MaxBatch, 1000)
	opts.Prefetch = orDefault(opts.Prefetch, 2*opts.MaxBatch)
	opts.AckWait = orDefault(opts.AckWait, 60*time.Second)
	cfg := jetstream.ConsumerConfig{
		Durable:       opts.Durable,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       opts.AckWait,
		MaxDeliver:    -1, // never given up: poison is parked by the service
		MaxAckPending: opts.MaxAckPending,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
	if len(opts.Slots) > 0 && len(opts.Slots) < subject.Slots {
		cfg.FilterSubjects = subject.SlotsOf(opts.Kind, opts.Slots)
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, opts.Stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("make consumer %s on %s: %w", opts.Durable, opts.Stream, err)
	}
	c := &Consumer{js: js, opts: opts, consumer: consumer}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Consumer) start() error {
	p := &pull{msgs: make(chan jetstream.Msg, min(c.opts.MaxBatch, c.opts.Prefetch)), stop: make(chan struct{})}
	var err error
	p.consume, err = c.consumer.Consume(func(m jetstream.Msg) {
		select {
		case p.msgs <- m:
		case <-p.stop:
		}
	}, jetstream.PullMaxMessages(c.opts.Prefetch), jetstream.PullExpiry(PullExpiry))
	if err != nil {
		return fmt.Errorf("consume %s: %w", c.opts.Durable, err)
	}
	c.mu.Lock()
	c.current = p
	c.mu.Unlock()
	return nil
}

// Stop ends the pulling. What was handed out and not acknowledged comes again,
// to whoever consumes next.
func (c *Consumer) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return
	}
	close(c.current.stop)
	c.current.consume.Stop()
	<-c.current.consume.Closed()
	c.current = nil
}

// TakeOver makes this process the consumer's only reader, in order: deliveries
// to whoever read before are void, and everything not acknowledged comes again
// from the oldest on. It returns the stream's last sequence at that moment:
// messages up to it may have been worked on before.
func (c *Consumer) TakeOver(ctx context.Context) (uint64, error) {
	c.Stop()
	s, err := c.js.Stream(ctx, c.opts.Stream)
	if err != nil {
		return 0, fmt.Errorf("take over %s: %w", c.opts.Durable, err)
	}
	if _, err := s.ResetConsumer(ctx, c.opts.Durable); err != nil {
		return 0, fmt.Errorf("take over %s: reset: %w", c.opts.Durable, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("take over %s: %w", c.opts.Durable, err)
	}
	if err := c.start(); err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// ErrStopped says that the consumer was stopped.
var ErrStopped = errors.New("consumer is stopped")

// Next waits for one message and returns it with all that have arrived since,
// up to MaxBatch and the rest of a bundle, in stream order.
func (c *Consumer) Next(ctx context.Context) ([]*Received, error) {
	c.mu.Lock()
	p := c.current
	c.mu.Unlock()
	if p == nil {
		return nil, ErrStopped
	}
	var first jetstream.Msg
	select {
	case first = <-p.msgs:
	case <-p.stop:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	batch := make([]*Received, 0, min(len(p.msgs)+1, c.opts.MaxBatch))
	batch = unpack(batch, first)
	for len(batch) < c.opts.MaxBatch {
		select {
		case m := <-p.msgs:
			batch = unpack(batch, m)
			continue
		default:
		}
		break
	}
	return batch, nil
}

// Lag is how far behind a consumer is.
type Lag struct {
	Pending    uint64 // stored and never handed out
	AckPending int    // handed out and not acknowledged
	// Floor is the stream sequence up to which everything is acknowledged.
	Floor uint64
}

// Lag asks the server how far behind the consumer is.
func (c *Consumer) Lag(ctx context.Context) (Lag, error) {
	s, err := c.js.Stream(ctx, c.opts.Stream)
	if err != nil {
		return Lag{}, fmt.Errorf("lag of %s: %w", c.opts.Durable, err)
	}
	// The stream is asked first: a consumer with nothing left has then seen all
	// up to that sequence.
	last := s.CachedInfo().State.LastSeq
	info, err := c.consumer.Info(ctx)
	if err != nil {
		return Lag{}, fmt.Errorf("lag of %s: %w", c.opts.Durable, err)
	}
	l := Lag{Pending: info.NumPending, AckPending: info.NumAckPending, Floor: info.AckFloor.Stream}
	if l.Pending == 0 && l.AckPending == 0 {
		l.Floor = max(l.Floor, last)
	}
	return l, nil
}

func received(m jetstream.Msg) *Received {
	r := &Received{Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), msg: m}
	if md, err := m.Metadata(); err == nil {
		r.Seq, r.Time = md.Sequence.Stream, md.Timestamp
		r.ConsumerSeq, r.Redelivered, r.Delivered = md.Sequence.Consumer, md.NumDelivered > 1, md.NumDelivered
	}
	return r
}
