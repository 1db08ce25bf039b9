package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// Each service does all that it does on NATS with its own user of
// deploy/nats/users.conf, and may not do what is another's.
func TestNATSUsers_EachServiceWorksWithItsOwn(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	services := []string{"ingest", "poller", "normalizer", "subscription", "delivery"}
	conf := string(text)
	for _, name := range append(services, "team_a") {
		conf = strings.ReplaceAll(conf, "$"+strings.ToUpper(name)+"_PASSWORD", "secret-"+name)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "users.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: filepath.Join(dir, "nats"), Listen: "127.0.0.1:0", Users: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(context.WithoutCancel(t.Context())) })
	inside := testkit.Connect(t, n)
	manager, err := jetstream.New(inside)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Streams(t, manager)

	publish := func(name, subj string) func(jetstream.JetStream) error {
		return func(js jetstream.JetStream) error {
			p := stream.NewPublisher(js, name, stream.PublisherOptions{})
			defer p.Close()
			msgs := make([]stream.Message, 20) // more than go one by one
			for i := range msgs {
				msgs[i] = stream.Message{Subject: subj, Data: []byte("x")}
			}
			return p.Publish(t.Context(), msgs...)
		}
	}
	consume := func(name, kind string) func(jetstream.JetStream) error {
		return func(js jetstream.JetStream) error {
			opts := stream.ConsumerOptions{Stream: name, Durable: "test-" + strings.ToLower(name), Kind: kind, MaxAckPending: 100, Prefetch: 10}
			if kind != "" {
				opts.Slots = subject.ShardSlots(0, 1)
			}
			c, err := stream.NewConsumer(t.Context(), js, opts)
			if err != nil {
				return err
			}
			defer c.Stop()
			if _, err := c.TakeOver(t.Context()); err != nil {
				return err
			}
			list, err := c.Next(t.Context())
			if err != nil {
				return err
			}
			for _, m := range list {
				if err := m.Ack(); err != nil {
					return err
				}
			}
			_, err = c.Lag(t.Context())
			return err
		}
	}
	last := func(js jetstream.JetStream) error {
		_, err := stream.LastMessages(t.Context(), js, stream.Trace, []string{subject.Trace("sf", "1"), subject.Trace("sf", "2")})
		return err
	}
	does := map[string][]func(jetstream.JetStream) error{
		"ingest": {publish(stream.Raw, subject.Raw("s", "sf", "1")), publish(stream.Rejected, subject.Rejected("s"))},
		"poller": {publish(stream.Raw, subject.Raw("s", "sf", "1")), publish(stream.Rejected, subject.Rejected("s"))},
		"normalizer": {consume(stream.Raw, "raw"), publish(stream.Trace, subject.Trace("sf", "1")), publish(stream.Rejected, subject.Rejected("s")), last, func(js jetstream.JetStream) error {
			s, err := js.Stream(t.Context(), stream.Raw)
			if err == nil {
				_, err = s.GetMsg(t.Context(), s.CachedInfo().State.LastSeq)
			}
			return err
		}},
		"subscription": {consume(stream.Trace, "trace"), publish(stream.Push, subject.Push("ep_1")), last, func(js jetstream.JetStream) error {
			newest, stop, err := stream.Tail(t.Context(), js, stream.Trace, subject.Trace("sf", "1"))
			if err == nil {
				<-newest
				stop()
			}
			return err
		}, func(js jetstream.JetStream) error {
			_, _, err := stream.Oldest(t.Context(), js, stream.Push)
			return err
		}},
		"delivery": {consume(stream.Push, "push"), publish(stream.Ops, subject.Ops("default", "breaker_opened")), consume(stream.Ops, ""), last, func(js jetstream.JetStream) error {
			return stream.TrimAcknowledged(t.Context(), js, stream.Push, []string{"test-posthaste_push"})
		}},
	}
	own := map[string]string{
		"ingest": "raw", "poller": "raw", "normalizer": "trace", "subscription": "push", "delivery": "ops",
	}
	for _, name := range services { // each needs what the one before published
		refused := make(chan string, 100)
		nc, err := nats.Connect(n.Addr(), nats.UserInfo(name, "secret-"+name), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			refused <- err.Error()
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Verify(t.Context(), js, testkit.StreamConfig()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, do := range does[name] {
			if err := do(js); err != nil {
				t.Fatalf("%s, %d: %v; %d times refused", name, i, err, len(refused))
			}
		}
		if len(refused) > 0 {
			t.Fatalf("%s is refused %s", name, <-refused)
		}
		// What is another's is refused, and so is changing streams.
		not := []string{"$JS.API.STREAM.DELETE." + stream.Trace, "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE." + stream.Raw, "$JS.API.STREAM.PURGE." + stream.Trace}
		for kind, subj := range map[string]string{"raw": subject.Raw("s", "sf", "9"), "trace": subject.Trace("sf", "9"), "push": subject.Push("ep_9"), "ops": subject.Ops("t", "k")} {
			if own[name] != kind {
				not = append(not, subj)
			}
		}
		for _, subj := range not {
			if err := nc.Publish(subj, nil); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for range not { // in the order of publishing
			select {
			case words := <-refused:
				if !strings.Contains(words, "Permissions Violation") {
					t.Errorf("%s: %s", name, words)
				}
			case <-t.Context().Done():
				t.Fatalf("%s may do some of %v", name, not)
			}
		}
	}
}
