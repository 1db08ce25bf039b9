package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Tail gives the newest message of a subject, and each that follows, until the
// context ends. Of what comes while the reader is busy only the newest is given:
// it is for subjects whose newest message covers the older ones. The channel is
// never closed. Stop it with the returned function.
func Tail(ctx context.Context, js jetstream.JetStream, stream, subject string) (newest <-chan Stored, stop func(), err error) {
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
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
	return out, func() {
		cc.Stop()
		<-cc.Closed()
	}, nil
}
