package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/pause"
)

// Shares of a stream's limit at which nothing more is taken in, and at which it
// is again. Between them nothing changes, so that it doesn't flap.
const (
	closeShare = 0.95
	openShare  = 0.90
)

// RoomOptions say what is watched.
type RoomOptions struct {
	// Stream is the one whose limit counts.
	Stream string
	// Disk tells how many bytes are free and how many must be; nil when the disk is
	// another machine's.
	Disk func() (free, least int64, err error)
	// Interval between looks; 0 means one second.
	Interval time.Duration
	Log      *slog.Logger
}

// Room tells, before something is published, that there will soon be no room for
// it: on a disk that is full nats-server gives no answer any more, and stays so
// until it is started anew. What doesn't fit is refused while there is still room
// for what was accepted.
type Room struct {
	js   jetstream.JetStream
	opts RoomOptions
	full atomic.Pointer[FullError]
}

// FullError says what is full.
type FullError struct{ why string }

func (e *FullError) Error() string { return e.why }

// NewRoom makes one that says there is room; [Room.Run] looks.
func NewRoom(js jetstream.JetStream, opts RoomOptions) *Room {
	opts.Interval = orDefault(opts.Interval, time.Second)
	return &Room{js: js, opts: opts}
}

// Full is nil, or a [FullError].
func (r *Room) Full() error {
	if e := r.full.Load(); e != nil {
		return e
	}
	return nil
}

// Run looks until the context ends. What can't be looked at counts as it was.
func (r *Room) Run(ctx context.Context) error {
	for {
		before := r.full.Load()
		why, err := r.look(ctx, before != nil)
		switch {
		case err != nil:
			// The stream is away: whoever publishes hears that from it.
		case why == "" && before != nil:
			r.full.Store(nil)
			r.opts.Log.InfoContext(ctx, "there is room again; reports are taken in")
		case why != "":
			r.full.Store(&FullError{why})
			if before == nil {
				r.opts.Log.ErrorContext(ctx, "no more reports are taken in, so that what was accepted has room", "why", why)
			}
		}
		if err := pause.For(ctx, r.opts.Interval); err != nil {
			return err
		}
	}
}

func (r *Room) look(ctx context.Context, closed bool) (why string, err error) {
	share, factor := closeShare, int64(1)
	if closed {
		const more = 2 // times the free space, before it counts as room again
		share, factor = openShare, more
	}
	if r.opts.Disk != nil {
		free, least, err := r.opts.Disk()
		if err != nil {
			return "", err
		}
		if free < least*factor {
			return fmt.Sprintf("the disk has %d bytes left and must keep %d", free, least), nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Interval+time.Second)
	defer cancel()
	s, err := r.js.Stream(ctx, r.opts.Stream)
	if err != nil {
		return "", err
	}
	info := s.CachedInfo()
	if most := info.Config.MaxBytes; most > 0 && float64(info.State.Bytes) >= share*float64(most) {
		return fmt.Sprintf("%s holds %d of %d bytes", r.opts.Stream, info.State.Bytes, most), nil
	}
	return "", nil
}
