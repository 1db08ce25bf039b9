package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// DeleteMatching overwrites and removes the messages of a stream whose payload
// matches, of those that are there when it is called, and tells how many. The stream
// must allow it.
func DeleteMatching(ctx context.Context, js jetstream.JetStream, stream string, match func(data []byte) bool) (int, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("delete messages of %s: %w", stream, err)
	}
	n := 0
	err = Each(ctx, js, stream, func(m Stored) error {
		if !match(m.Data) {
			return nil
		}
		if err := s.SecureDeleteMsg(ctx, m.Seq); err != nil {
			return fmt.Errorf("delete message %d of %s: %w", m.Seq, stream, err)
		}
		n++
		return nil
	})
	return n, err
}
