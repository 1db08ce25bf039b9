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
	floor, err := acknowledgedFloor(ctx, s, s.CachedInfo().State.LastSeq, durables)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	if floor == 0 {
		return nil
	}
	return Trim(ctx, js, stream, floor)
}

// acknowledgedFloor is the sequence up to which all durables have acknowledged
// everything; 0 while one of them doesn't exist yet. last is the stream's last one,
// asked before: a consumer with nothing left has then seen all up to it.
func acknowledgedFloor(ctx context.Context, s jetstream.Stream, last uint64, durables []string) (uint64, error) {
	floor := last
	for _, d := range durables {
		c, err := s.Consumer(ctx, d)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("consumer %s: %w", d, err)
		}
		if info := c.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
			floor = min(floor, info.AckFloor.Stream)
		}
	}
	return floor, nil
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
