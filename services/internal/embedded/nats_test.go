package embedded_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

func startNATS(t *testing.T, cfg embedded.NATSConfig) *embedded.NATS {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(stopContext(t)); err != nil {
			t.Error(err)
		}
	})
	return n
}

func connect(t *testing.T, n *embedded.NATS) jetstream.JetStream {
	t.Helper()
	nc, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

var fileStream = jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: jetstream.FileStorage}

func TestNATS_KeepsStreamsOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	js := connect(t, first)
	if _, err := js.CreateStream(t.Context(), fileStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s.one", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // stopping twice is one stop
		if err := first.Stop(stopContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	second := startNATS(t, embedded.NATSConfig{Dir: dir})
	wantMessage(t, connect(t, second))
}

func wantMessage(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "s.one")
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != "kept" {
		t.Errorf("message is %q, want %q", m.Data, "kept")
	}
}

func TestNATS_IsNeverStartedTwiceOnAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := startNATS(t, embedded.NATSConfig{Dir: dir})
	if _, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir}); !errors.Is(err, embedded.ErrInUse) {
		t.Fatalf("second start: %v, want ErrInUse", err)
	}
	if err := n.Stop(stopContext(t)); err != nil {
		t.Fatal(err)
	}
	startNATS(t, embedded.NATSConfig{Dir: dir})
}

func TestNATS_OpensAPortOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	closed := startNATS(t, embedded.NATSConfig{Dir: t.TempDir()})
	if a := closed.Addr(); a != "" {
		t.Errorf("it listens on %s and must not", a)
	}
	open := startNATS(t, embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect("nats://" + open.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != embedded.MaxPayload {
		t.Errorf("max payload is %d, want %d", got, embedded.MaxPayload)
	}
	_, err = embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Listen: open.Addr()})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("start on a taken port: %v, want an error that says so", err)
	}
}

func TestNATS_RefusesBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg  embedded.NATSConfig
		want string
	}{
		"no folder":         {embedded.NATSConfig{}, "no data folder"},
		"no port":           {embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1"}, "missing port"},
		"a name for a port": {embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:nats"}, "not a number"},
		"more than a disk":  {embedded.NATSConfig{Dir: t.TempDir(), MaxStore: 1 << 62}, "holds"},
		"negative store":    {embedded.NATSConfig{Dir: t.TempDir(), MaxStore: -1}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := embedded.StartNATS(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestNATS_BoundsItsStreams(t *testing.T) {
	t.Parallel()
	n := startNATS(t, embedded.NATSConfig{Dir: t.TempDir(), MaxStore: 1 << 20})
	if n.MaxStore() != 1<<20 {
		t.Errorf("max store is %d, want %d", n.MaxStore(), 1<<20)
	}
	big := fileStream
	big.MaxBytes = 2 << 20
	if _, err := connect(t, n).CreateStream(t.Context(), big); err == nil {
		t.Error("a stream larger than the store was made")
	}
	unset := startNATS(t, embedded.NATSConfig{Dir: t.TempDir()})
	if unset.MaxStore() <= 0 {
		t.Errorf("max store is %d by default, want a share of the disk", unset.MaxStore())
	}
}

func TestNATS_GivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := embedded.StartNATS(ctx, embedded.NATSConfig{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	startNATS(t, embedded.NATSConfig{Dir: dir}) // the folder is free again
}
