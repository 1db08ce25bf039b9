package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Memory remembers, apart from NATS, which streams were made: a stream that is
// missing although it was made held something.
type Memory interface {
	// Streams are the streams that were made, and when, by NATS's clock.
	Streams(ctx context.Context) (map[string]time.Time, error)
	// RememberStream notes that a stream was made.
	RememberStream(ctx context.Context, name string, made time.Time) error
}

// LostError says which streams were made once and aren't there.
type LostError struct{ Streams []string }

// Error says what to do.
func (e *LostError) Error() string {
	return fmt.Sprintf("NATS lost %s, or this is another NATS than before: what they held is gone. If it is the right one and nothing can be restored from a backup, "+
		"make them again and rebuild what can be with: posthaste streams recover (or start with --stream-recover)", strings.Join(e.Streams, ", "))
}

// Ensured is what [Ensure] found.
type Ensured struct {
	// Lost are streams that were made before and are empty or made anew since.
	Lost []string
}

// Ensure makes the streams that are missing and checks those that exist. It
// refuses a stream that is weaker than it must be: other storage, other discard
// policy, fewer replicas, no atomic publishing, no limit; the size of limits may
// differ. One that was made before and is missing is a [LostError], unless again
// says to make it anew; one that somebody else made anew is reported as lost. A
// nil memory remembers nothing.
func Ensure(ctx context.Context, js jetstream.JetStream, cfg Config, memory Memory, again bool) (found Ensured, err error) {
	made := map[string]time.Time{}
	if memory != nil {
		if made, err = memory.Streams(ctx); err != nil {
			return Ensured{}, err
		}
	}
	var missing []jetstream.StreamConfig
	for _, want := range cfg.streams() {
		s, err := js.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if _, known := made[want.Name]; known {
				found.Lost = append(found.Lost, want.Name)
			}
			missing = append(missing, want)
			continue
		case err != nil:
			return Ensured{}, fmt.Errorf("look up stream %s: %w", want.Name, err)
		}
		if err := verify(s.CachedInfo().Config, want); err != nil {
			return Ensured{}, fmt.Errorf("stream %s: %w; change it with the nats command line and start again", want.Name, err)
		}
		if before, known := made[want.Name]; known && !before.Equal(stored(s.CachedInfo().Created)) {
			found.Lost = append(found.Lost, want.Name)
		}
		if err := remember(ctx, memory, s, made); err != nil {
			return Ensured{}, err
		}
	}
	if len(found.Lost) > 0 && len(missing) > 0 && !again {
		// Not one is made: beside the others a new one would look as if it had
		// always been there.
		return Ensured{}, &LostError{Streams: found.Lost}
	}
	for _, want := range missing {
		s, err := js.CreateStream(ctx, want)
		if err != nil {
			return Ensured{}, fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		if err := remember(ctx, memory, s, made); err != nil {
			return Ensured{}, err
		}
	}
	return found, nil
}

// stored is a time as PostgreSQL keeps it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func remember(ctx context.Context, memory Memory, s jetstream.Stream, made map[string]time.Time) error {
	info := s.CachedInfo()
	at := stored(info.Created)
	if memory == nil || made[info.Config.Name].Equal(at) {
		return nil
	}
	return memory.RememberStream(ctx, info.Config.Name, at)
}

// Verify is [Ensure] without the making: a stream that is missing is an error.
func Verify(ctx context.Context, js jetstream.JetStream, cfg Config) error {
	for _, want := range cfg.streams() {
		s, err := js.Stream(ctx, want.Name)
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", want.Name, err)
		}
		if err := verify(s.CachedInfo().Config, want); err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
	return nil
}

func verify(have, want jetstream.StreamConfig) error {
	switch {
	case have.Storage != want.Storage:
		return fmt.Errorf("storage is %s and must be %s", have.Storage, want.Storage)
	case have.Retention != want.Retention:
		return fmt.Errorf("retention is %s and must be %s", have.Retention, want.Retention)
	case have.Discard != want.Discard:
		return fmt.Errorf("discard policy is %s and must be %s", have.Discard, want.Discard)
	case have.MaxMsgsPerSubject != want.MaxMsgsPerSubject:
		return fmt.Errorf("max messages per subject is %d and must be %d", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	case have.MaxBytes <= 0:
		return errors.New("it has no limit of bytes: it would fill the disk, and a full disk stops every stream")
	case have.Replicas < want.Replicas:
		return fmt.Errorf("it has %d replicas and needs %d", have.Replicas, want.Replicas)
	case !have.AllowAtomicPublish:
		return errors.New("atomic publishing is off")
	case !have.AllowDirect:
		return errors.New("direct get is off")
	case have.PersistMode != want.PersistMode:
		return errors.New("it persists asynchronously")
	case want.MaxAge == 0 && have.MaxAge != 0:
		return fmt.Errorf("it drops messages after %s and must not", have.MaxAge)
	}
	return nil
}

// Rewind lets every durable consumer of a stream whose name begins with prefix
// begin again with what was stored since a time; the zero time is the beginning.
// What they have done already they find done.
func Rewind(ctx context.Context, js jetstream.JetStream, stream, prefix string, since time.Time) (durables int, err error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("rewind %s: %w", stream, err)
	}
	from, err := sequenceAt(ctx, s, since)
	if err != nil {
		return 0, fmt.Errorf("rewind %s: %w", stream, err)
	}
	names := s.ConsumerNames(ctx)
	for name := range names.Name() {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if _, err := s.ResetConsumerToSequence(ctx, name, from); err != nil {
			return durables, fmt.Errorf("rewind %s of %s: %w", name, stream, err)
		}
		durables++
	}
	if err := names.Err(); err != nil {
		return durables, fmt.Errorf("rewind %s: list its consumers: %w", stream, err)
	}
	return durables, nil
}

// sequenceAt is the sequence of the first message since a time.
func sequenceAt(ctx context.Context, s jetstream.Stream, since time.Time) (uint64, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return 0, err
	}
	first := max(info.State.FirstSeq, 1)
	if since.IsZero() || !since.After(info.State.FirstTime) {
		return first, nil
	}
	// The server counts what follows a time; nothing is handed out.
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since, AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: tailInactive,
	})
	if err != nil {
		return 0, err
	}
	pending := c.CachedInfo().NumPending
	err = s.DeleteConsumer(ctx, c.CachedInfo().Name)
	return max(info.State.LastSeq+1-min(pending, info.State.LastSeq), first), err
}
