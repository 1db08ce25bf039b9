package feed

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
)

// Stream is where trace updates are.
const Stream = "POSTHASTE_TRACE"

// Options say what to follow, and how. Durable is required.
type Options struct {
	// Durable names the follower to the server, which keeps its place under it.
	// Every process with the same name shares the work; give each use a name of
	// its own: "billing-notices". Letters, digits, '-' and '_'.
	Durable string
	// Carriers are the codes of the carriers to follow; none means all. A carrier
	// added later is followed from then on, not from its beginning.
	Carriers []string
	// FromNow skips what is there when the follower is first made. Otherwise it
	// begins with the present state of every waybill. Without effect later.
	FromNow bool
	// Existing says that the operator made the durable: nothing but taking from it
	// is allowed, and Carriers and FromNow don't apply.
	Existing bool
	// Workers is how many handlers run at once, for different waybills; 0 means 1.
	Workers int
	// AckWait is how long after a process died its updates go to another; 0 means
	// a minute. A handler may take longer: while it runs, the server is told.
	AckWait time.Duration
	// RetryDelay is how long an update waits after the handler's first error; it
	// doubles with each, to a minute. 0 means a second.
	RetryDelay time.Duration
	// MaxAckPending is the most updates handed out and not acknowledged, waiting
	// after errors included; 0 means 1,000. When as many fail, the rest waits.
	MaxAckPending int
	// Log gets what may heal by itself, handlers' errors among it; nil means
	// slog.Default.
	Log *slog.Logger
}

// HandleFunc takes an update. It returns nil when what it made of it is stored:
// then the update is acknowledged. On an error the update comes again, or a
// newer one of the waybill in its place. The context ends when following does.
type HandleFunc func(ctx context.Context, u Update) error

const (
	// queue is how many updates wait for each worker: enough to hide the way to
	// the server.
	queue = 32
	// maxPull bounds what is on the way.
	maxPull = 500
	// maxRetryDelay bounds the doubling.
	maxRetryDelay = time.Minute
	// giveBackWait bounds an end without a connection: what can't be given back
	// then comes again after AckWait.
	giveBackWait = time.Second
)

var errNoRevision = errors.New("it has no revision")

// Follow hands trace updates to a handler until the context ends; then it waits
// for handlers in progress, gives back what they left, and returns nil. It
// returns an error when following can't begin or can't go on, as when the
// durable was deleted. Broken connections heal by themselves.
func Follow(ctx context.Context, js jetstream.JetStream, opts Options, handle HandleFunc) error {
	err := follow(ctx, js, opts, handle)
	// Asked to end while it began, it had nothing to end.
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return fmt.Errorf("follow as %q: %w", opts.Durable, err)
}

func follow(ctx context.Context, js jetstream.JetStream, opts Options, handle HandleFunc) error {
	consumer, err := opts.consumer(ctx, js)
	if err != nil {
		return err
	}
	f := newFollower(opts, consumer.CachedInfo().Config.AckWait, handle)
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(min(queue*f.workers, maxPull)))
	if err != nil {
		return err
	}
	return f.run(ctx, consumer, msgs)
}

// consumer finds or makes the durable.
func (o *Options) consumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	if o.Durable == "" {
		return nil, errors.New("a durable name is required")
	}
	consumer, err := js.Consumer(ctx, Stream, o.Durable)
	switch {
	case err == nil && o.Existing:
		return consumer, nil
	case err == nil:
		return o.adapt(ctx, js, consumer)
	case o.Existing || !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, err
	}
	return js.CreateOrUpdateConsumer(ctx, Stream, o.config())
}

func (o *Options) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       o.Durable,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       orDefault(o.AckWait, time.Minute),
		MaxDeliver:    -1, // an update that fails for long is still owed
		MaxAckPending: orDefault(o.MaxAckPending, 1000),
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
	if o.FromNow {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	for _, c := range o.Carriers {
		cfg.FilterSubjects = append(cfg.FilterSubjects, subject.CarrierTraces(c))
	}
	return cfg
}

// adapt brings an existing durable in line with the options. Its place, and
// where it began, stay.
func (o *Options) adapt(ctx context.Context, js jetstream.JetStream, consumer jetstream.Consumer) (jetstream.Consumer, error) {
	have, want := consumer.CachedInfo().Config, o.config()
	filters := have.FilterSubjects
	if have.FilterSubject != "" {
		filters = []string{have.FilterSubject}
	}
	if slices.Equal(filters, want.FilterSubjects) && have.AckWait == want.AckWait && have.MaxAckPending == want.MaxAckPending {
		return consumer, nil
	}
	have.FilterSubject, have.FilterSubjects = "", want.FilterSubjects
	have.AckWait, have.MaxAckPending = want.AckWait, want.MaxAckPending
	return js.UpdateConsumer(ctx, Stream, have)
}

// follower shares out updates among its workers.
type follower struct {
	log        *slog.Logger
	handle     HandleFunc
	workers    int
	retryDelay time.Duration
	ackWait    time.Duration

	mu   sync.Mutex
	held map[jetstream.Msg]struct{} // handed out to us and not answered
}

func newFollower(o Options, ackWait time.Duration, handle HandleFunc) *follower {
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	return &follower{
		log:        log.With("durable", o.Durable),
		handle:     handle,
		workers:    max(o.Workers, 1),
		retryDelay: orDefault(o.RetryDelay, time.Second),
		ackWait:    orDefault(ackWait, 30*time.Second), // the server's default
		held:       make(map[jetstream.Msg]struct{}),
	}
}

// run returns when the context has ended or the consumer is gone, and all that
// it started has ended.
func (f *follower) run(ctx context.Context, consumer jetstream.Consumer, msgs jetstream.MessagesContext) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queues := make([]chan jetstream.Msg, f.workers)
	var working sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan jetstream.Msg, queue)
		working.Go(func() {
			for msg := range queues[i] {
				f.work(ctx, msg)
			}
		})
	}
	var holding sync.WaitGroup
	done := make(chan struct{})
	holding.Go(func() { f.hold(done) })

	err := f.share(ctx, consumer, msgs, queues)
	cancel()
	for _, q := range queues {
		close(q)
	}
	working.Wait()
	close(done)
	holding.Wait()
	giveBack(msgs)
	return err
}

// share gives every update to the worker of its waybill, so that those of one
// waybill are handled in order. It returns nil when the context has ended.
func (f *follower) share(ctx context.Context, consumer jetstream.Consumer, msgs jetstream.MessagesContext, queues []chan jetstream.Msg) error {
	seed := maphash.MakeSeed()
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			if err == nil {
				_ = msg.Nak()
			}
			return nil
		}
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			// The server, or the way to it, is gone for the moment; or the durable is.
			if _, err := consumer.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) {
				return jetstream.ErrConsumerDeleted
			}
			f.log.WarnContext(ctx, "the server of the feed is silent")
			continue
		}
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.held[msg] = struct{}{}
		f.mu.Unlock()
		select {
		case queues[maphash.String(seed, msg.Subject())%uint64(len(queues))] <- msg:
		case <-ctx.Done():
			f.answer(msg, msg.Nak)
			return nil
		}
	}
}

// work handles one update and answers for it, in every case.
func (f *follower) work(ctx context.Context, msg jetstream.Msg) {
	if ctx.Err() != nil {
		f.answer(msg, msg.Nak) // for whoever follows next, without waiting
		return
	}
	md, err := msg.Metadata()
	if err != nil {
		// It didn't come from the stream, and there's nobody to answer.
		f.log.ErrorContext(ctx, "an update is not from the stream", "error", err)
		f.answer(msg, nil)
		return
	}
	u, err := decode(msg, md)
	if err == nil {
		err = f.handle(ctx, u)
	}
	switch {
	case err == nil:
		f.answer(msg, msg.Ack)
	case ctx.Err() != nil:
		f.answer(msg, msg.Nak)
	default:
		f.log.WarnContext(ctx, "an update waits after an error", "subject", msg.Subject(), "deliveries", md.NumDelivered, "error", err)
		f.answer(msg, func() error { return msg.NakWithDelay(f.delay(md.NumDelivered)) })
	}
}

// delay is how long an update waits that was handed out so often.
func (f *follower) delay(deliveries uint64) time.Duration {
	d := f.retryDelay
	for ; deliveries > 1 && d < maxRetryDelay; deliveries-- {
		d *= 2
	}
	return min(d, max(maxRetryDelay, f.retryDelay))
}

func (f *follower) answer(msg jetstream.Msg, send func() error) {
	f.mu.Lock()
	delete(f.held, msg)
	f.mu.Unlock()
	if send == nil {
		return
	}
	if err := send(); err != nil {
		// The update comes again after AckWait.
		f.log.Warn("an answer to the feed is lost", "subject", msg.Subject(), "error", err)
	}
}

// hold tells the server, until done, that what is held is being worked on.
func (f *follower) hold(done <-chan struct{}) {
	tick := time.NewTicker(max(f.ackWait/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		f.mu.Lock()
		for msg := range f.held {
			// A failure is the connection's, and heals with it.
			_ = msg.InProgress()
		}
		f.mu.Unlock()
	}
}

// giveBack returns at once what was on its way, so that nobody waits for it.
func giveBack(msgs jetstream.MessagesContext) {
	msgs.Drain()
	for {
		msg, err := msgs.Next(jetstream.NextMaxWait(giveBackWait))
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
