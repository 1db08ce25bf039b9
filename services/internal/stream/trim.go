package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Trim removes the messages up to and including floor. On a single server that
// syncs always, this is far cheaper than a work queue, where each acknowledged
// message is a synced removal of its own.
func Trim(ctx context.Context, js jetstream.JetStream, stream string, floor uint64) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	if floor < s.CachedInfo().State.FirstSeq {
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(floor+1)); err != nil {
		return fmt.Errorf("trim %s to %d: %w", stream, floor, err)
	}
	return nil
}
