package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// subject, or the message shared a batch with one for which that is so.
	ErrStale = errors.New("a newer message is on the subject")
	// ErrClosed says that the publisher was closed before the message was sent.
	ErrClosed = errors.New("publisher is closed")
)

// Message is one message to publish.
type Message struct {
	Subject string
	Header  nats.Header // may be nil
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
	// Bundle gives the subject under which messages of a subject may go together as
	// one, for [Publisher.Publish]; nil keeps each by itself. One message is one to
	// store, to sync, to hand out and to acknowledge, which is most of what it costs.
	Bundle func(subject string) string
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
// callers share what goes to the server at once; after an error some may be
// stored. A context that ends first leaves the outcome unknown. Messages must
// not carry expectations: use [Publisher.Store].
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

// run sends what is queued at once, and nothing more until it is stored. While it
// waits for the server, callers queue up; that is what makes the next batch large.
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
	outcomes := p.store(context.Background(), msgs)
	for _, r := range batch {
		err := first(outcomes[:len(r.msgs)])
		outcomes = outcomes[len(r.msgs):]
		if err != nil && len(batch) > 1 && !errors.Is(err, context.DeadlineExceeded) {
			// One caller's bad message must not fail the others: each is tried by
			// itself.
			err = first(p.store(context.Background(), r.msgs))
		}
		r.done <- err
	}
}

// store is [Publisher.Store] of bundles.
func (p *Publisher) store(ctx context.Context, msgs []Message) []Outcome {
	if p.opts.Bundle == nil || len(msgs) == 1 {
		return p.Store(ctx, msgs)
	}
	packed, at, err := pack(msgs, p.opts.Bundle)
	outcomes := make([]Outcome, len(msgs))
	if err != nil {
		for i := range outcomes {
			outcomes[i].Err = fmt.Errorf("publish %d messages to %s: bundle: %w", len(msgs), p.stream, err)
		}
		return outcomes
	}
	stored := p.Store(ctx, packed)
	for i := range outcomes {
		outcomes[i] = stored[at[i]]
	}
	return outcomes
}

// Outcome is what became of a message.
type Outcome struct {
	Seq uint64 // in the stream; 0 when there was an error
	// Err is [ErrStale] when the message isn't stored; after any other error it may
	// be.
	Err error
}

func first(outcomes []Outcome) error {
	for _, o := range outcomes {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}

// fewMessages are published one by one, pipelined, each synced for itself. The
// server stages an atomic batch in files of its own, whose creation costs about
// as much as syncing a dozen messages; beyond, the one sync of a batch wins by
// far.
const fewMessages = 12

// Store publishes at most [MaxBatch] messages, in order, and returns what became
// of each when those that are stored are on disk. Those with an expectation are
// stored only where it holds. A failure may fail others of the call. No subject
// may occur twice in a call with expectations.
func (p *Publisher) Store(ctx context.Context, msgs []Message) []Outcome {
	outcomes := make([]Outcome, len(msgs))
	if len(msgs) > MaxBatch {
		for i := range outcomes {
			outcomes[i].Err = fmt.Errorf("publish to %s: %d messages at once, at most %d are taken", p.stream, len(msgs), MaxBatch)
		}
		return outcomes
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	if len(msgs) <= fewMessages {
		p.storeEach(ctx, msgs, outcomes)
	} else {
		p.storeBatch(ctx, msgs, outcomes)
	}
	return outcomes
}

func (p *Publisher) storeEach(ctx context.Context, msgs []Message, outcomes []Outcome) {
	acks := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		acks[i], outcomes[i].Err = p.js.PublishMsgAsync(m.wire(), jetstream.WithExpectStream(p.stream))
	}
	for i, ack := range acks {
		o := &outcomes[i]
		if o.Err == nil {
			select {
			case a := <-ack.Ok():
				o.Seq = a.Sequence
			case o.Err = <-ack.Err():
			case <-ctx.Done():
				o.Err = ctx.Err()
			}
		}
		if o.Err != nil {
			o.Err = p.wrap(1, o.Err)
		}
	}
}

func (p *Publisher) storeBatch(ctx context.Context, msgs []Message, outcomes []Outcome) {
	out := make([]*nats.Msg, len(msgs))
	for i, m := range msgs {
		out[i] = m.wire()
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, p.js, out, jetstreamext.BatchFlowControl{AckFirst: false})
	if err != nil {
		err = p.wrap(len(msgs), err)
		for i := range outcomes {
			outcomes[i].Err = err
		}
		return
	}
	for i := range outcomes {
		outcomes[i].Seq = ack.Sequence - ack.BatchSize + 1 + uint64(i)
	}
}

func (m Message) wire() *nats.Msg {
	// A batch's headers are added to it, and a message may be tried again without
	// one.
	h := maps.Clone(m.Header)
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
