package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// A bit of a stored message flips while the server is stopped. The server hands out
// the others without a word; the audit names the one that is lost, and no other.
func TestAudit_NamesWhatAFlippedBitLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serve := func() (jetstream.JetStream, func()) {
		n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir, MaxStore: 2 << 30})
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(testkit.Connect(t, n))
		if err != nil {
			t.Fatal(err)
		}
		testkit.Streams(t, js)
		return js, func() {
			js.Conn().Close()
			if err := n.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	// audited audits until all that is stored up to a sequence is acknowledged.
	audited := func(js jetstream.JetStream, until uint64) (gaps []stream.Gap) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- stream.Audit(ctx, js, stream.AuditOptions{
				Stream: stream.Raw, Durable: "audit", Consumers: []string{"worker"}, Interval: 5 * time.Millisecond,
				Gap: func(_ context.Context, g stream.Gap) { gaps = append(gaps, g) },
			})
		}()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if a, err := js.Consumer(ctx, stream.Raw, "audit"); err == nil && a.CachedInfo().AckFloor.Stream >= until {
				break
			}
			select {
			case <-tick.C:
			case err := <-done:
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		return gaps
	}
	body := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "message %03d ", i), 50) }
	publish := func(js jetstream.JetStream, from, to int) {
		p := stream.NewPublisher(js, stream.Raw, stream.PublisherOptions{})
		defer p.Close()
		for i := from; i <= to; i++ {
			if err := p.Publish(t.Context(), stream.Message{Subject: subject.Raw("test", "sf", strconv.Itoa(i)), Data: body(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	work := func(js jetstream.JetStream, n int) {
		c, err := stream.NewConsumer(t.Context(), js, stream.ConsumerOptions{Stream: stream.Raw, Durable: "worker"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop()
		for n > 0 {
			batch, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range batch {
				if err := m.Ack(); err != nil {
					t.Fatal(err)
				}
			}
			n -= len(batch)
		}
	}

	js, stop := serve()
	publish(js, 1, 10)
	work(js, 10)
	if gaps := audited(js, 10); len(gaps) > 0 {
		t.Errorf("of a whole stream it says %v", gaps)
	}
	publish(js, 11, 200)
	stop()

	flip(t, dir, body(150))
	js, stop = serve()
	defer stop()
	publish(js, 201, 201) // what all consumers have acknowledged, the audit may
	work(js, 201-10-1)
	gaps := audited(js, 201)
	if len(gaps) != 1 || gaps[0] != (stream.Gap{From: 150, To: 150}) {
		t.Errorf("it says %+v, want that 150 is lost", gaps)
	}
}

// flip flips a bit in the middle of a stored message.
func flip(t *testing.T, dir string, message []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", stream.Raw, "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, message); at >= 0 {
			data[at+len(message)/2] ^= 1
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the message is in none of %v", files)
}
