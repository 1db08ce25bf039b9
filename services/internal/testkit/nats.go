package testkit

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// stopTimeout bounds the stop of a server after a test.
const stopTimeout = 30 * time.Second

// NATS starts a nats-server for this test and returns a connection to it. It
// syncs before it acknowledges, as in production, opens no port, and is gone
// after the test.
func NATS(t testing.TB) *nats.Conn {
	t.Helper()
	return Connect(t, NATSServer(t))
}

// NATSServer starts a nats-server for this test.
func NATSServer(t testing.TB) *embedded.NATS {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Connect connects to a server, for as long as the test runs.
func Connect(t testing.TB, n *embedded.NATS) *nats.Conn {
	t.Helper()
	nc, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A close returns before the connection's goroutines have ended.
		closed := make(chan struct{})
		nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
		if !nc.IsClosed() {
			nc.Close()
			<-closed
		}
	})
	return nc
}

// JetStream is [NATS] with Posthaste's streams made.
func JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	Streams(t, js)
	return js
}

// StreamConfig is for several servers on one disk: a stream's limit is reserved
// from its free space, whatever it holds.
func StreamConfig() stream.Config {
	const share = 256 << 20
	return stream.Config{RawMaxBytes: share, TraceMaxBytes: share, PushMaxBytes: share, RejectedMaxBytes: share}
}

// Streams makes those of Posthaste's streams that are missing.
func Streams(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	if _, err := stream.Ensure(t.Context(), js, StreamConfig(), nil, false); err != nil {
		t.Fatal(err)
	}
}
