package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// A stream that is weaker than it must be is refused, with what is weak.
func TestEnsure_RefusesAWeakStream(t *testing.T) {
	t.Parallel()
	for says, weaken := range map[string]func(*jetstream.StreamConfig){
		"storage":           func(c *jetstream.StreamConfig) { c.Storage, c.MaxBytes = jetstream.MemoryStorage, 1<<20 },
		"discard policy":    func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"retention":         func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"limit of bytes":    func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"atomic publishing": func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"direct get":        func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"asynchronously": func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		},
		"drops messages": func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			js := testkit.JetStream(t)
			s, err := js.Stream(t.Context(), stream.Push)
			if err != nil {
				t.Fatal(err)
			}
			weak := s.CachedInfo().Config
			weaken(&weak)
			if err := js.DeleteStream(t.Context(), stream.Push); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), weak); err != nil {
				t.Fatal(err)
			}
			_, err = stream.Ensure(t.Context(), js, testkit.StreamConfig(), nil, false)
			if err == nil || !strings.Contains(err.Error(), stream.Push) || says != "asynchronously" && !strings.Contains(err.Error(), says) {
				t.Errorf("error is %v, want one of %s that says %q", err, stream.Push, says)
			}
			if err := stream.Verify(t.Context(), js, testkit.StreamConfig()); err == nil {
				t.Error("health finds nothing wrong with it")
			}
		})
	}
}

func TestEnsure_RefusesTooFewReplicas(t *testing.T) {
	t.Parallel()
	js := testkit.JetStream(t)
	cfg := testkit.StreamConfig()
	cfg.Replicas = 3
	if _, err := stream.Ensure(t.Context(), js, cfg, nil, false); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("error is %v, want one about replicas", err)
	}
}

// A stream that was made and is missing held something: it is never made anew
// without a word, and neither are others beside it.
func TestEnsure_MakesALostStreamAnewOnlyWhenTold(t *testing.T) {
	t.Parallel()
	js, memory := testkit.JetStream(t), pg.NewBus(testkit.PostgreSQL(t))
	ensure := func(again bool) (stream.Ensured, error) {
		return stream.Ensure(t.Context(), js, testkit.StreamConfig(), memory, again)
	}
	if found, err := ensure(false); err != nil || len(found.Lost) != 0 {
		t.Fatalf("found %v lost, error %v; want nothing at first", found.Lost, err)
	}
	if err := js.DeleteStream(t.Context(), stream.Trace); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := ensure(false)
		lost, ok := errors.AsType[*stream.LostError](err)
		if !ok || !slices.Equal(lost.Streams, []string{stream.Trace}) || !strings.Contains(err.Error(), "posthaste streams recover") {
			t.Fatalf("error is %v, want that %s is lost and what to do", err, stream.Trace)
		}
	}
	if _, err := js.Stream(t.Context(), stream.Trace); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the lost stream is there again: %v", err)
	}
	if found, err := ensure(true); err != nil || !slices.Equal(found.Lost, []string{stream.Trace}) {
		t.Errorf("made anew it reports %v, %v", found.Lost, err)
	}
	if found, err := ensure(false); err != nil || len(found.Lost) != 0 {
		t.Errorf("afterwards it reports %v, %v; want nothing", found.Lost, err)
	}
	// Somebody else makes one anew.
	s, err := js.Stream(t.Context(), stream.Push)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), stream.Push); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	if found, err := ensure(false); err != nil || !slices.Equal(found.Lost, []string{stream.Push}) {
		t.Errorf("of a stream that was replaced it reports %v, %v", found.Lost, err)
	}
}

func TestCheckServerVersion(t *testing.T) {
	t.Parallel()
	for version, good := range map[string]bool{
		"2.15.2": true, "2.15.3": true, "2.16.0": true, "3.0.0": true, "2.15.2-RC.1": true,
		"2.15.1": false, "2.14.9": false, "1.99.99": false, "": false, "2.15": false, "dev": false,
	} {
		if err := stream.CheckServerVersion(version); (err == nil) != good {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

// A server that acknowledges before it syncs is refused.
func TestCheckServerSync_RefusesWhatAcknowledgesFirst(t *testing.T) {
	t.Parallel()
	for _, always := range []bool{true, false} {
		s, err := server.NewServer(&server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
			NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 20, SyncAlways: always,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		monitor := fmt.Sprint("http://", s.MonitorAddr())
		_, weak := errors.AsType[*stream.WeakServerError](stream.CheckServerSync(t.Context(), monitor))
		if weak == always {
			t.Errorf("a server that syncs always (%t) is weak (%t)", always, weak)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := stream.CheckServerSync(ctx, "http://127.0.0.1:1")
	if _, weak := errors.AsType[*stream.WeakServerError](err); err == nil || weak {
		t.Errorf("of a server that can't be asked it says %v", err)
	}
}

// What follows a time comes again, and nothing before it.
func TestRewind_BeginsAgainAtATime(t *testing.T) {
	t.Parallel()
	js := testkit.JetStream(t)
	p := stream.NewPublisher(js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(p.Close)
	c, err := stream.NewConsumer(t.Context(), js, stream.ConsumerOptions{Stream: stream.Trace, Durable: "rewound-0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	take := func(n int) (got []*stream.Received) {
		for len(got) < n {
			batch, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range batch {
				if err := m.Ack(); err != nil {
					t.Fatal(err)
				}
			}
			got = append(got, batch...)
		}
		return got
	}
	for _, m := range messages(5) {
		if err := p.Publish(t.Context(), stream.Message{Subject: m.Subject, Data: m.Data}); err != nil {
			t.Fatal(err)
		}
	}
	first := take(5)
	for name, test := range map[string]struct {
		since time.Time
		from  uint64
	}{"everything": {time.Time{}, 1}, "a time": {first[3].Time, 4}} {
		n, err := stream.Rewind(t.Context(), js, stream.Trace, "rewound-", test.since)
		if err != nil || n != 1 {
			t.Fatalf("%s: rewound %d, error %v", name, n, err)
		}
		again := take(5 - int(test.from) + 1)
		if again[0].Seq != test.from || again[len(again)-1].Seq != 5 {
			t.Errorf("%s: came again from %d to %d, want %d to 5", name, again[0].Seq, again[len(again)-1].Seq, test.from)
		}
	}
	if n, err := stream.Rewind(t.Context(), js, stream.Trace, "nobody-", time.Time{}); err != nil || n != 0 {
		t.Errorf("rewound %d, error %v; want none", n, err)
	}
}
