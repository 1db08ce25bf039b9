package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// MaxBatch is the most messages the server takes in one atomic batch.
const MaxBatch = 1000

// Errors of publishing.
var (
	// ErrStale says that an expectation failed: somebody else published to the
	// subject. Nothing of the batch was stored.
	ErrStale = errors.New("a newer message is on the subject")
	// ErrClosed says that the publisher was closed before the message was sent.
	ErrClosed = errors.New("publisher is closed")
)

// Message is one message to publish.
type Message struct {
	Subject string
	Header  nats.Header // kept by the publisher; may be nil
	Data    []byte
	// Expect is the stream sequence that the last message on Subject must have,
	// 0 for none; nil doesn't check.
	Expect *uint64
}

// PublisherOptions tune a [Publisher]. The zero value is right.
type PublisherOptions struct {
	// MaxBatch is the most messages in one atomic batch; 0 means [MaxBatch].
	MaxBatch int
	// MaxBytes is the most payload in one atomic batch; 0 means 8 MiB.
	MaxBytes int
	// Timeout is how long the server may take for a batch; 0 means 5 s. After
	// it the outcome is unknown: the caller repeats, and repeats are harmless.
	Timeout time.Duration
}

// Publisher publishes to one stream. It is safe for concurrent use.
type Publisher struct {
	js     jetstream.JetStream
	stream string
	opts   PublisherOptions

	mu      sync.Mutex
	queue   []*request
	queued  chan struct{} // one token: the queue is not empty
	closing chan struct{}
	closed  sync.Once
	done    chan struct{}
}

type request struct {
	msgs []Message
	done chan error // buffered, one answer
}

// NewPublisher makes a publisher to a stream and starts its goroutine. Close it.
func NewPublisher(js jetstream.JetStream, stream string, opts PublisherOptions) *Publisher {
	opts.MaxBatch = min(orDefault(opts.MaxBatch, MaxBatch), MaxBatch)
	opts.MaxBytes = orDefault(opts.MaxBytes, 8<<20)
	opts.Timeout = orDefault(opts.Timeout, 5*time.Second)
	p := &Publisher{
		js: js, stream: stream, opts: opts,
		queued: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

// Publish stores the messages and returns when all are on disk. Concurrent
// callers share atomic batches, so one call with many messages may be split
// over several; after an error some may be stored. A context that ends first
// leaves the outcome unknown. Messages must not carry expectations: use
// [Publisher.PublishAtomic].
func (p *Publisher) Publish(ctx context.Context, msgs ...Message) error {
	for len(msgs) > p.opts.MaxBatch {
		if err := p.Publish(ctx, msgs[:p.opts.MaxBatch]...); err != nil {
			return err
		}
		msgs = msgs[p.opts.MaxBatch:]
	}
	if len(msgs) == 0 {
		return nil
	}
	r := &request{msgs: msgs, done: make(chan error, 1)}
	p.mu.Lock()
	p.queue = append(p.queue, r)
	p.mu.Unlock()
	select {
	case p.queued <- struct{}{}:
	default:
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w", p.stream, ctx.Err())
	case <-p.done:
		select {
		case err := <-r.done:
			return err
		default:
			return ErrClosed
		}
	}
}

// Close stops the publisher after what is queued has been sent.
func (p *Publisher) Close() {
	p.closed.Do(func() { close(p.closing) })
	<-p.done
}

// run sends one batch at a time. While it waits for the server, callers queue
// up; that is what makes the next batch large.
func (p *Publisher) run() {
	defer close(p.done)
	for {
		batch := p.take()
		if len(batch) == 0 {
			select {
			case <-p.queued:
				continue
			case <-p.closing:
				if batch = p.take(); len(batch) == 0 {
					return
				}
			}
		}
		p.send(batch)
	}
}

// take removes requests from the queue up to the limits of a batch.
func (p *Publisher) take() []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n, size, i int
	for ; i < len(p.queue); i++ {
		r := p.queue[i]
		bytes := 0
		for _, m := range r.msgs {
			bytes += len(m.Data)
		}
		if i > 0 && (n+len(r.msgs) > p.opts.MaxBatch || size+bytes > p.opts.MaxBytes) {
			break
		}
		n, size = n+len(r.msgs), size+bytes
	}
	batch := p.queue[:i:i]
	p.queue = p.queue[i:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	return batch
}

func (p *Publisher) send(batch []*request) {
	msgs := batch[0].msgs
	if len(batch) > 1 {
		msgs = nil
		for _, r := range batch {
			msgs = append(msgs, r.msgs...)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.opts.Timeout)
	defer cancel()
	_, err := p.PublishAtomic(ctx, msgs)
	if err != nil && len(batch) > 1 && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// One caller's bad message must not fail the others: each gets a batch
		// of its own.
		for _, r := range batch {
			_, err := p.PublishAtomic(ctx, r.msgs)
			r.done <- err
		}
		return
	}
	for _, r := range batch {
		r.done <- err
	}
}

// PublishAtomic stores at most [MaxBatch] messages, all or none, synced once,
// and returns the sequence of the first; the others follow it without a gap. A
// failed expectation gives [ErrStale]. No subject may occur twice in a batch
// whose messages carry expectations.
func (p *Publisher) PublishAtomic(ctx context.Context, msgs []Message) (uint64, error) {
	if len(msgs) == 0 {
		return 0, nil
	}
	if len(msgs) > MaxBatch {
		return 0, fmt.Errorf("publish to %s: %d messages in one batch, at most %d are taken", p.stream, len(msgs), MaxBatch)
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	out := make([]*nats.Msg, len(msgs))
	for i, m := range msgs {
		out[i] = m.wire()
	}
	if len(out) == 1 {
		// A batch of one costs more than a plain publish and promises no more.
		ack, err := p.js.PublishMsg(ctx, out[0], jetstream.WithExpectStream(p.stream))
		if err != nil {
			return 0, p.wrap(len(msgs), err)
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, p.js, out, jetstreamext.BatchFlowControl{AckFirst: false})
	if err != nil {
		return 0, p.wrap(len(msgs), err)
	}
	return ack.Sequence - ack.BatchSize + 1, nil
}

func (m Message) wire() *nats.Msg {
	h := m.Header
	if h == nil {
		h = make(nats.Header, 4)
	}
	if m.Expect != nil {
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(*m.Expect, 10)}
	}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

func (p *Publisher) wrap(n int, err error) error {
	var api *jetstream.APIError
	if jsErr, ok := errors.AsType[jetstream.JetStreamError](err); ok {
		api = jsErr.APIError()
	} else {
		_ = errors.As(err, &api)
	}
	if api != nil && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164) {
		return ErrStale
	}
	return fmt.Errorf("publish %d messages to %s: %w", n, p.stream, err)
}
