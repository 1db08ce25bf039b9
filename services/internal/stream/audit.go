package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/pause"
)

// AuditOptions say what is audited.
type AuditOptions struct {
	// Stream is gapless: messages leave it by age alone, from the front.
	Stream string
	// Durable is the audit's own place in it.
	Durable string
	// Consumers are the durables that work on the stream. What they have yet to
	// acknowledge is audited again when the server was started anew.
	Consumers []string
	// Interval between looks at the consumers; 0 means five seconds.
	Interval time.Duration
	// Gap is told of messages that consumers are never handed, as sequences. What
	// another replica still has is healed: it is stored again.
	Gap func(ctx context.Context, g Gap)
}

// Gap is a run of messages that were skipped.
type Gap struct {
	From, To uint64 // inclusive
	// Healed of them were read from a replica and stored again.
	Healed uint64
}

// Audit reads the headers of a stream beside its consumers, and looks whether the
// sequence is whole: of a block with a flipped bit, nats-server hands out the rest
// without a word, and counts what it left out as handed out. It returns when ctx
// ends or the stream is away.
func Audit(ctx context.Context, js jetstream.JetStream, opts AuditOptions) error {
	opts.Interval = orDefault(opts.Interval, 5*time.Second)
	_, err := js.CreateOrUpdateConsumer(ctx, opts.Stream, jetstream.ConsumerConfig{
		Durable: opts.Durable, DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckAllPolicy, AckWait: time.Hour,
		HeadersOnly: true, MaxAckPending: -1,
	})
	if err != nil {
		return fmt.Errorf("audit %s: %w", opts.Stream, err)
	}
	for {
		if err := (&audit{js: js, opts: opts}).pass(ctx); err != nil {
			return fmt.Errorf("audit %s: %w", opts.Stream, err)
		}
	}
}

// audit is one pass: from what all have acknowledged, until the server is another.
type audit struct {
	js      jetstream.JetStream
	opts    AuditOptions
	next    uint64          // the sequence that must come
	samples []jetstream.Msg // some that were read and can't be acknowledged yet
}

func (a *audit) pass(ctx context.Context) error {
	s, err := a.js.Stream(ctx, a.opts.Stream)
	if err != nil {
		return err
	}
	if _, err := s.ResetConsumer(ctx, a.opts.Durable); err != nil {
		return err
	}
	c, err := s.Consumer(ctx, a.opts.Durable)
	if err != nil {
		return err
	}
	a.next = c.CachedInfo().AckFloor.Stream + 1
	msgs := make(chan jetstream.Msg)
	stop := make(chan struct{})
	cc, err := c.Consume(func(m jetstream.Msg) {
		select {
		case msgs <- m:
		case <-stop:
		}
	})
	if err != nil {
		return err
	}
	defer func() {
		close(stop)
		cc.Stop()
		<-cc.Closed()
	}()
	server := a.js.Conn().ConnectedServerId()
	ticks := time.NewTicker(a.opts.Interval)
	defer ticks.Stop()
	var last jetstream.Msg
	for {
		select {
		case m := <-msgs:
			if err := a.see(ctx, s, m); err != nil {
				return err
			}
			last = m
		case <-ticks.C:
			if id := a.js.Conn().ConnectedServerId(); id != server {
				return nil // another server, or the same one started anew, reads from another disk
			}
			if last != nil {
				a.samples, last = append(a.samples, last), nil
			}
			if err := a.acknowledge(ctx, s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// see looks whether a message follows the one before.
func (a *audit) see(ctx context.Context, s jetstream.Stream, m jetstream.Msg) error {
	md, err := m.Metadata()
	if err != nil {
		return err
	}
	seq := md.Sequence.Stream
	if seq < a.next {
		return nil // it came again
	}
	from := a.next
	a.next = seq + 1
	if seq == from {
		return nil
	}
	// What left by its age is no gap.
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	if from = max(from, info.State.FirstSeq); from >= seq {
		return nil
	}
	g := Gap{From: from, To: seq - 1}
	for lost := from; lost < seq; lost++ {
		if a.heal(ctx, s, lost) {
			g.Healed++
		}
	}
	a.opts.Gap(ctx, g)
	return nil
}

const (
	healTries = 5
	healPause = 20 * time.Millisecond
)

// heal stores again what a replica still has: any may answer.
func (a *audit) heal(ctx context.Context, s jetstream.Stream, seq uint64) bool {
	for range healTries {
		m, err := s.GetMsg(ctx, seq)
		if err == nil {
			p := &Publisher{js: a.js, stream: a.opts.Stream, opts: PublisherOptions{Timeout: a.opts.Interval}}
			return first(p.Store(ctx, []Message{{Subject: m.Subject, Header: m.Header, Data: m.Data}})) == nil
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) || pause.For(ctx, healPause) != nil {
			return false
		}
	}
	return false
}

// acknowledge moves the audit's place up to what all consumers are done with.
func (a *audit) acknowledge(ctx context.Context, s jetstream.Stream) error {
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	floor, err := acknowledgedFloor(ctx, s, info.State.LastSeq, a.opts.Consumers)
	if err != nil {
		return err
	}
	done := -1
	for i, m := range a.samples {
		if md, err := m.Metadata(); err != nil || md.Sequence.Stream > floor {
			break
		}
		done = i
	}
	if done < 0 {
		return nil
	}
	m := a.samples[done]
	a.samples = append(a.samples[:0], a.samples[done+1:]...)
	return m.Ack()
}
