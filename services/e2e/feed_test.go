package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/feed"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// feedBundle is a stream of trace updates, and what a follower saw of it.
type feedBundle struct {
	js   jetstream.JetStream
	seen chan feed.Update
}

func setupFeed(t *testing.T) *feedBundle {
	t.Helper()
	if feed.Stream != stream.Trace {
		t.Fatalf("the feed follows %s, and updates are in %s", feed.Stream, stream.Trace)
	}
	return &feedBundle{js: testkit.JetStream(t), seen: make(chan feed.Update, 1000)}
}

// publish makes a waybill's newest state: an event for each revision.
func (b *feedBundle) publish(t *testing.T, carrier, number string, revision uint64) {
	t.Helper()
	u := &trackingv1.TraceUpdate{Waybill: &trackingv1.Waybill{CarrierCode: carrier, WaybillNumber: number, Revision: revision}}
	for r := range revision {
		u.Events = append(u.Events, &trackingv1.TraceEvent{Id: fmt.Sprint("e", r+1), Revision: r + 1})
	}
	data, err := proto.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	b.publishData(t, carrier, number, data)
}

func (b *feedBundle) publishData(t *testing.T, carrier, number string, data []byte) {
	t.Helper()
	msg := nats.NewMsg(subject.Trace(carrier, number))
	msg.Data = data
	msg.Header["traceparent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	if _, err := b.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// follow runs a follower until the returned function is called, which waits for
// its end and returns its error. A nil handle takes everything.
func (b *feedBundle) follow(t *testing.T, opts feed.Options, handle feed.HandleFunc) (stop func() error) {
	t.Helper()
	if opts.Durable == "" {
		opts.Durable = "test"
	}
	if opts.RetryDelay == 0 {
		opts.RetryDelay = time.Millisecond
	}
	opts.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- feed.Follow(ctx, b.js, opts, func(ctx context.Context, u feed.Update) error {
			if handle != nil {
				if err := handle(ctx, u); err != nil {
					return err
				}
			}
			b.seen <- u
			return nil
		})
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// next waits for an update that was handled.
func (b *feedBundle) next(t *testing.T) string {
	t.Helper()
	select {
	case u := <-b.seen:
		return name(u)
	case <-t.Context().Done():
		t.Fatal("the test ended before an update came")
		return ""
	}
}

func (b *feedBundle) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := b.next(t); got != w {
			t.Fatalf("update is %s, want %s", got, w)
		}
	}
}

func name(u feed.Update) string { return fmt.Sprintf("%s@%d", u.Waybill.ID, u.Waybill.Revision) }

func stopped(t *testing.T, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestFeed_TakesUpWhereItStopped(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	b.publish(t, "sf", "SF100", 1)
	b.publish(t, "zto", "ZT/100", 1)
	stop := b.follow(t, feed.Options{}, nil)
	b.expect(t, "sf/SF100@1", "zto/ZT/100@1")
	stopped(t, stop)

	// Away: one changes three times, another is new, the third stays.
	for r := range uint64(3) {
		b.publish(t, "sf", "SF100", r+2)
	}
	b.publish(t, "sf", "SF200", 1)
	stop = b.follow(t, feed.Options{}, nil)
	u := <-b.seen
	if got := name(u); got != "sf/SF100@4" {
		t.Fatalf("update is %s, want the newest revision", got)
	}
	// The revisions between are gone as messages and there as events.
	var missed []string
	for _, e := range u.Since(1) {
		missed = append(missed, e.ID)
	}
	if diff := cmp.Diff([]string{"e2", "e3", "e4"}, missed); diff != "" {
		t.Errorf("events since revision 1 (-want +got):\n%s", diff)
	}
	if u.Deliveries != 1 || u.PublishTime.IsZero() || !strings.HasPrefix(u.Traceparent, "00-0af7") {
		t.Errorf("update is %+v", u)
	}
	b.expect(t, "sf/SF200@1")
	stopped(t, stop)

	// A sentinel shows that nothing else was waiting.
	b.publish(t, "sf", "SF300", 1)
	b.follow(t, feed.Options{}, nil)
	b.expect(t, "sf/SF300@1")
}

func TestFeed_ComesAgainUntilItIsHandled(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	var mu sync.Mutex
	var tried []string
	b.follow(t, feed.Options{}, func(_ context.Context, u feed.Update) error {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, fmt.Sprintf("%s#%d", name(u), u.Deliveries))
		if u.Waybill.ID.WaybillNumber == "SF100" && u.Deliveries < 4 {
			return errors.New("the database is away")
		}
		return nil
	})
	b.publish(t, "sf", "SF100", 1)
	b.expect(t, "sf/SF100@1")
	if want := []string{"sf/SF100@1#1", "sf/SF100@1#2", "sf/SF100@1#3", "sf/SF100@1#4"}; !cmp.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}
}

func TestFeed_OneThatFailsDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	b.publishData(t, "sf", "SF000", []byte("no trace update"))
	b.publish(t, "sf", "SF100", 1)
	b.publish(t, "sf", "SF200", 1)
	b.follow(t, feed.Options{RetryDelay: time.Hour}, func(_ context.Context, u feed.Update) error {
		if u.Waybill.ID.WaybillNumber == "SF100" && u.Waybill.Revision == 1 {
			return errors.New("this one fails")
		}
		return nil
	})
	b.expect(t, "sf/SF200@1")
	// A newer state takes the place of the one that fails, without its delay.
	b.publish(t, "sf", "SF100", 2)
	b.expect(t, "sf/SF100@2")
}

func TestFeed_KeepsToItsCarriers(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	stop := b.follow(t, feed.Options{Carriers: []string{"sf"}}, nil)
	b.publish(t, "zto", "ZT100", 1)
	b.publish(t, "sf", "SF100", 1)
	b.expect(t, "sf/SF100@1")
	stopped(t, stop)

	// Options of a durable that exists can change; its place stays.
	b.publish(t, "sf", "SF100", 2)
	b.publish(t, "zto", "ZT200", 1)
	stop = b.follow(t, feed.Options{Carriers: []string{"sf", "zto"}, AckWait: 10 * time.Second, FromNow: true}, nil)
	b.expect(t, "sf/SF100@2", "zto/ZT200@1")
	stopped(t, stop)
	b.publish(t, "ems", "EMS100", 1)
	b.follow(t, feed.Options{}, nil)
	b.expect(t, "ems/EMS100@1")
}

func TestFeed_FromNowSkipsWhatIsThere(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	b.publish(t, "sf", "SF100", 1)
	// Made before the next is published: once, without handling anything.
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan error, 1)
	go func() {
		made <- feed.Follow(ctx, b.js, feed.Options{Durable: "now", FromNow: true}, func(context.Context, feed.Update) error { return nil })
	}()
	for {
		if _, err := b.js.Consumer(t.Context(), feed.Stream, "now"); err == nil {
			break
		}
	}
	cancel()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	b.publish(t, "sf", "SF200", 1)
	b.follow(t, feed.Options{Durable: "now", FromNow: true}, nil)
	b.expect(t, "sf/SF200@1")
}

func TestFeed_OrderHoldsForAWaybill(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	newest := make(map[string]uint64)
	failed := make(map[string]bool)
	b.follow(t, feed.Options{Workers: 4}, func(_ context.Context, u feed.Update) error {
		mu.Lock()
		defer mu.Unlock()
		id := u.Waybill.ID.String()
		if u.Waybill.Revision < newest[id] {
			t.Errorf("%s comes after revision %d", name(u), newest[id])
		}
		newest[id] = u.Waybill.Revision
		if !failed[name(u)] && u.Waybill.Revision%3 == 0 {
			failed[name(u)] = true
			return errors.New("once")
		}
		return nil
	})
	revisions := make([]uint64, 10)
	for range 300 {
		i := r.IntN(len(revisions))
		revisions[i]++
		b.publish(t, "sf", fmt.Sprint("SF10", i), revisions[i])
	}
	want := make(map[string]bool)
	for i, revision := range revisions {
		if revision > 0 {
			want[fmt.Sprintf("sf/SF10%d@%d", i, revision)] = true
		}
	}
	for len(want) > 0 {
		delete(want, b.next(t))
	}
}

func TestFeed_SlowHandlersAreWaitedFor(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	// The server is told that an update is being worked on.
	told, err := b.js.Conn().SubscribeSync("$JS.ACK." + feed.Stream + ".test.>")
	if err != nil {
		t.Fatal(err)
	}
	b.publish(t, "sf", "SF100", 1)
	b.follow(t, feed.Options{AckWait: 300 * time.Millisecond}, func(ctx context.Context, _ feed.Update) error {
		for range 3 {
			msg, err := told.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			if string(msg.Data) != "+WPI" {
				t.Errorf("the server is told %q", msg.Data)
			}
		}
		return nil
	})
	b.expect(t, "sf/SF100@1")
}

func TestFeed_GivesBackWhatItDidNotHandle(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	for i := range 20 {
		b.publish(t, "sf", fmt.Sprint("SF", 100+i), 1)
	}
	begun := make(chan struct{}, 20)
	// With an hour's AckWait, only what is given back comes again in this test.
	stop := b.follow(t, feed.Options{AckWait: time.Hour}, func(ctx context.Context, _ feed.Update) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	<-begun
	stopped(t, stop)
	b.follow(t, feed.Options{AckWait: time.Hour}, nil)
	got := make(map[string]bool)
	for len(got) < 20 {
		got[b.next(t)] = true
	}
}

func TestFeed_EndsWhenTheDurableIsGone(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	opts := feed.Options{Durable: "test", Existing: true}
	if err := feed.Follow(t.Context(), b.js, opts, nil); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("error of a durable that isn't there is %v, want %v", err, jetstream.ErrConsumerNotFound)
	}
	b.publish(t, "sf", "SF100", 1)
	err := feed.Follow(t.Context(), b.js, feed.Options{Durable: "test"}, func(ctx context.Context, _ feed.Update) error {
		return b.js.DeleteConsumer(ctx, feed.Stream, "test")
	})
	if !errors.Is(err, jetstream.ErrConsumerDeleted) || !strings.Contains(err.Error(), `follow as "test"`) {
		t.Errorf("error is %v, want %v", err, jetstream.ErrConsumerDeleted)
	}
}

func TestFeed_UsesADurableMadeByTheOperator(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	if _, err := b.js.CreateConsumer(t.Context(), feed.Stream, jetstream.ConsumerConfig{
		Durable: "team-a", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: subject.CarrierTraces("sf"), MaxAckPending: 1,
	}); err != nil {
		t.Fatal(err)
	}
	b.publish(t, "zto", "ZT100", 1)
	b.publish(t, "sf", "SF100", 1)
	b.publish(t, "sf", "SF200", 1)
	b.follow(t, feed.Options{Durable: "team-a", Existing: true}, nil)
	b.expect(t, "sf/SF100@1", "sf/SF200@1")
	consumer, err := b.js.Consumer(t.Context(), feed.Stream, "team-a")
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo().Config.MaxAckPending; got != 1 {
		t.Errorf("the operator's durable was changed: max ack pending is %d", got)
	}
}

func TestFeed_NeedsAName(t *testing.T) {
	t.Parallel()
	b := setupFeed(t)
	if err := feed.Follow(t.Context(), b.js, feed.Options{}, nil); err == nil {
		t.Error("a follower without a name follows")
	}
}
