package stream_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func publisher(t *testing.T) (jetstream.JetStream, *stream.Publisher) {
	t.Helper()
	js := testkit.JetStream(t)
	p := stream.NewPublisher(js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(p.Close)
	return js, p
}

// messages are on subjects that must be empty.
func messages(n int) []stream.Message {
	msgs := make([]stream.Message, n)
	var expect uint64
	for i := range msgs {
		msgs[i] = stream.Message{Subject: subject.Trace("sf", fmt.Sprint("SF", i)), Data: fmt.Append(nil, i), Expect: &expect}
	}
	return msgs
}

// What is returned as stored is there, at the sequence that is returned, whether
// few messages go one by one or many in a batch.
func TestStore_SaysWhereEachMessageIs(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 12, 13, 300} {
		js, p := publisher(t)
		s, err := js.Stream(t.Context(), stream.Trace)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range p.Store(t.Context(), messages(n)) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			m, err := s.GetMsg(t.Context(), o.Seq)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Data) != strconv.Itoa(i) {
				t.Errorf("of %d, message %d is said to be at %d, where %q is", n, i, o.Seq, m.Data)
			}
		}
	}
}

// A message whose expectation fails is not stored and called stale; others that
// are called stale with it aren't stored either.
func TestStore_StoresNothingStale(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 12, 13, 300} {
		js, p := publisher(t)
		before := p.Store(t.Context(), messages(1))[0]
		stale := 0
		for i, o := range p.Store(t.Context(), messages(n)) {
			if o.Err != nil && !errors.Is(o.Err, stream.ErrStale) {
				t.Fatal(o.Err)
			}
			if o.Err != nil {
				stale++
			} else if i == 0 {
				t.Error("a stale message was stored")
			}
		}
		s, err := js.Stream(t.Context(), stream.Trace)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := int(s.CachedInfo().State.Msgs), 1+n-stale; got != want {
			t.Errorf("of %d, %d messages are there and %d are said to be", n, got, want)
		}
		if m, err := s.GetLastMsgForSubject(t.Context(), subject.Trace("sf", "SF0")); err != nil || m.Sequence != before.Seq {
			t.Errorf("what was there first was replaced: %v, %v", m, err)
		}
	}
}

// Callers that publish at the same time share what goes to the server, and one's
// bad message is its own.
func TestPublish_KeepsCallersApart(t *testing.T) {
	t.Parallel()
	js, p := publisher(t)
	const callers, each = 20, 7
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			var msgs []stream.Message
			for i := range each {
				msgs = append(msgs, stream.Message{Subject: subject.Trace("sf", fmt.Sprint("SF", c, "X", i)), Data: []byte("x")})
			}
			if c == 3 {
				msgs[0].Subject = "elsewhere"
			}
			err := p.Publish(t.Context(), msgs...)
			if (err != nil) != (c == 3) {
				t.Errorf("caller %d: %v", c, err)
			}
		})
	}
	wg.Wait()
	s, err := js.Stream(t.Context(), stream.Trace)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n < (callers-1)*each {
		t.Errorf("%d messages are there", n)
	}
}

func TestPublish_SplitsWhatIsTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	js, p := publisher(t)
	msgs := messages(2*stream.MaxBatch + 1)
	for i := range msgs {
		msgs[i].Expect = nil
	}
	if err := p.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream.Trace)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != uint64(len(msgs)) {
		t.Errorf("%d messages are there", n)
	}
	p.Close()
	if err := p.Publish(t.Context(), msgs[0]); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
}
