package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// TrimAcknowledged removes the messages of a stream that all of some durable
// consumers have acknowledged. While one of them doesn't exist yet, nothing is
// removed: what it will want isn't known.
func TrimAcknowledged(ctx context.Context, js jetstream.JetStream, stream string, durables []string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	// Asked before the consumers: one with nothing left has then seen all up to
	// it.
	floor := s.CachedInfo().State.LastSeq
	for _, d := range durables {
		c, err := s.Consumer(ctx, d)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("trim %s: consumer %s: %w", stream, d, err)
		}
		if info := c.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
			floor = min(floor, info.AckFloor.Stream)
		}
	}
	return Trim(ctx, js, stream, floor)
}

// Oldest is when the oldest message of a stream was stored; false when there is
// none.
func Oldest(ctx context.Context, js jetstream.JetStream, stream string) (time.Time, bool, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("oldest message of %s: %w", stream, err)
	}
	state := s.CachedInfo().State
	return state.FirstTime, state.Msgs > 0, nil
}
