package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// tailInactive is after what time the server forgets a tail that is gone
	// without a word.
	tailInactive = time.Minute
	// tailGoodbye bounds the word.
	tailGoodbye = 2 * time.Second
)

// Tail gives the newest message of a subject, and each that follows, until the
// context ends. Of what comes while the reader is busy only the newest is given:
// it is for subjects whose newest message covers the older ones. The channel is
// never closed. Stop it with the returned function.
func Tail(ctx context.Context, js jetstream.JetStream, stream, subject string) (newest <-chan Stored, stop func(), err error) {
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: tailInactive,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("follow %s of %s: %w", subject, stream, err)
	}
	out := make(chan Stored, 1)
	cc, err := c.Consume(func(m jetstream.Msg) {
		s := Stored{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
		if md, err := m.Metadata(); err == nil {
			s.Seq = md.Sequence.Stream
		}
		// One writer: what is taken out here is older than what goes in.
		select {
		case <-out:
		default:
		}
		out <- s
	})
	if err != nil {
		return nil, nil, fmt.Errorf("follow %s of %s: %w", subject, stream, err)
	}
	//nolint:contextcheck // it is said when ctx may have ended
	return out, func() {
		cc.Stop()
		<-cc.Closed()
		info := c.CachedInfo()
		if info == nil || js.Conn().IsClosed() {
			return
		}
		goodbye, cancel := context.WithTimeout(context.Background(), tailGoodbye)
		defer cancel()
		// Unheard, it costs the server a little memory for a little longer.
		_ = js.DeleteConsumer(goodbye, stream, info.Name)
	}, nil
}
