package feeds_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/feeds"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a real server with an operator, and the two sides of feeds.
type world struct {
	t         *testing.T
	server    *embedded.NATS
	authority *feeds.Authority
	poster    *feeds.Poster
}

func newWorld(t *testing.T, dir string, limits feeds.Limits) *world {
	t.Helper()
	server, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir, Listen: "127.0.0.1:0", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	system, err := server.ConnectSystem()
	if err != nil {
		t.Fatal(err)
	}
	operator, err := feeds.LoadOperator(server.OperatorKey())
	if err != nil {
		t.Fatal(err)
	}
	root, err := feeds.LoadRoot(server.FeedsKey())
	if err != nil {
		t.Fatal(err)
	}
	limits.Bytes = max(limits.Bytes, 1<<20)
	w := &world{
		t: t, server: server, authority: feeds.NewAuthority(root, operator, system, limits, time.Now),
		poster: feeds.NewPoster(root, server.ConnectAs, limits, slog.New(slog.DiscardHandler), time.Now),
	}
	t.Cleanup(func() {
		w.poster.Close()
		system.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) account(tenant string, revoked map[string]time.Time) {
	w.t.Helper()
	w.must(w.authority.Publish(w.t.Context(), tenant, true, revoked))
}

// user makes one and connects as a team would, over TCP with a file.
func (w *world) user(tenant string) (public string, nc *nats.Conn, file string) {
	w.t.Helper()
	public, creds, err := w.authority.NewUser(tenant, "reader", time.Time{})
	w.must(err)
	file = filepath.Join(w.t.TempDir(), "team.creds")
	w.must(os.WriteFile(file, creds, 0o600))
	nc, err = nats.Connect(w.server.Addr(), nats.UserCredentials(file), nats.NoReconnect())
	w.must(err)
	w.t.Cleanup(nc.Close)
	return public, nc, file
}

func (w *world) post(tenant string, revision uint64) callback.Result {
	w.t.Helper()
	return w.poster.Post(w.t.Context(), request(tenant, revision, "{}"))
}

func request(tenant string, revision uint64, body string) callback.Request {
	return callback.Request{
		URL: feeds.Scheme, Tenant: tenant, PushID: fmt.Sprintf("psh_%s_%d", tenant, revision), Body: []byte(body), Timeout: time.Minute,
		EndpointID: "ep_1", SubscriptionID: "sub_" + tenant, Waybill: track.Waybill{Carrier: "sf", Number: "SF 1"}, After: track.Revision(revision - 1), Revision: track.Revision(revision),
	}
}

// What was acknowledged is in the team's stream, in order and once, though it was
// published twice and at the same time as others; and is there after a restart.
func TestPoster_PublishesOnceToTheTeamsOwnStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), feeds.Limits{})
	if res := w.post("acme", 1); res.Status != 0 || res.Class != "feed_unavailable" {
		t.Fatalf("without an account: %+v", res)
	}
	w.account("acme", nil)
	w.account("acme", nil) // harmless
	const revisions = 40
	for range 2 { // each push, and its repeat
		var wg sync.WaitGroup
		for r := uint64(1); r <= revisions; r++ {
			wg.Go(func() {
				if res := w.post("acme", r); push.JSON.Judge(res.Status, res.Excerpt) != push.Acknowledged || res.Class != "" || res.Took <= 0 {
					t.Errorf("%+v", res)
				}
			})
		}
		wg.Wait()
	}
	_, nc, _ := w.user("acme")
	js, err := jetstream.New(nc)
	w.must(err)
	c, err := js.CreateOrUpdateConsumer(t.Context(), feeds.Stream, jetstream.ConsumerConfig{Durable: "billing", FilterSubject: "posthaste.v1.feed.ep_1.sf.>", AckPolicy: jetstream.AckExplicitPolicy})
	w.must(err)
	if n := c.CachedInfo().NumPending; n != revisions {
		t.Errorf("%d messages are there, want %d", n, revisions)
	}
	seen := map[string]bool{}
	for range revisions {
		m, err := c.Next(jetstream.FetchMaxWait(time.Minute))
		w.must(err)
		w.must(m.DoubleAck(t.Context()))
		h := m.Headers()
		seen[h.Get(feeds.HeaderPushID)] = true
		if m.Subject() != "posthaste.v1.feed.ep_1.sf.SF=201" || h.Get("Content-Type") != "application/json" || h.Get(feeds.HeaderSchema) == "" ||
			h.Get(feeds.HeaderPushID) != "psh_acme_"+h.Get(feeds.HeaderRevision) || h.Get(feeds.HeaderSubscription) != "sub_acme" || string(m.Data()) != "{}" {
			t.Fatalf("%s %v %s", m.Subject(), h, m.Data())
		}
	}
	if len(seen) != revisions {
		t.Errorf("%d pushes were seen, want %d", len(seen), revisions)
	}
}

// A team gets at nothing of another's, nor of the pipeline's, nor can it publish.
func TestFeeds_ATeamSeesItsOwnAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), feeds.Limits{})
	inside, err := w.server.Connect()
	w.must(err)
	t.Cleanup(inside.Close)
	pipeline, err := jetstream.New(inside)
	w.must(err)
	_, err = pipeline.CreateStream(t.Context(), jetstream.StreamConfig{Name: "POSTHASTE_TRACE", Subjects: []string{"posthaste.v1.trace.>", "posthaste.v1.raw.>"}, MaxBytes: 1 << 20})
	w.must(err)
	for _, tenant := range []string{"acme", "other"} {
		w.account(tenant, nil)
		if res := w.post(tenant, 1); res.Status == 0 {
			t.Fatal(res)
		}
	}
	_, theirs, _ := w.user("acme")
	_, nc, _ := w.user("other")
	acme, err := jetstream.New(theirs)
	w.must(err)
	_, err = acme.CreateConsumer(t.Context(), feeds.Stream, jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
	w.must(err)
	js, err := jetstream.New(nc)
	w.must(err)

	// It hears nothing of what is published to others.
	sub, err := nc.SubscribeSync("posthaste.v1.feed.>")
	w.must(err)
	w.must(nc.Flush())
	w.post("acme", 2)
	_, err = pipeline.Publish(t.Context(), "posthaste.v1.trace.00.sf.1", nil)
	w.must(err)
	w.post("other", 2)
	m, err := sub.NextMsg(time.Minute)
	w.must(err)
	if m.Header.Get(feeds.HeaderPushID) != "psh_other_2" {
		t.Errorf("it heard %v", m.Header)
	}
	// Its streams and consumers are its own.
	for name := range js.StreamNames(t.Context()).Name() {
		if name != feeds.Stream {
			t.Errorf("it sees the stream %s", name)
		}
	}
	if _, err := js.Consumer(t.Context(), feeds.Stream, "billing"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("another's consumer: %v", err)
	}
	own, err := js.OrderedConsumer(t.Context(), feeds.Stream, jetstream.OrderedConsumerConfig{})
	w.must(err)
	for range 2 {
		m, err := own.Next(jetstream.FetchMaxWait(time.Minute))
		w.must(err)
		if !strings.HasPrefix(m.Headers().Get(feeds.HeaderPushID), "psh_other_") {
			t.Errorf("it read %v", m.Headers())
		}
	}
	// What it may not publish the server drops, and says so.
	violations := make(chan error, 100)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err })
	for _, subject := range []string{
		"posthaste.v1.feed.ep_1.sf.1", "posthaste.v1.raw.00.sf", "$JS.API.STREAM.PURGE." + feeds.Stream, "$JS.API.STREAM.DELETE." + feeds.Stream,
		"$JS.API.STREAM.UPDATE." + feeds.Stream, "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.MSG.DELETE." + feeds.Stream, "$JS.API.STREAM.INFO.POSTHASTE_TRACE",
		"$JS.API.CONSUMER.CREATE.POSTHASTE_TRACE.x", "$JS.API.DIRECT.GET.POSTHASTE_TRACE", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING",
	} {
		w.must(nc.Publish(subject, []byte("{}")))
		w.must(nc.Flush())
		if err := <-violations; !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, subject := range []string{"$SYS.>", "$JS.>", ">", "posthaste.v1.>"} {
		_, err := nc.SubscribeSync(subject)
		w.must(err)
		w.must(nc.Flush())
		if err := <-violations; !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("%s: %v", subject, err)
		}
	}
	// Permissions don't hold for the server itself, which sends an answer to any
	// subject of the account. So the account is what keeps teams apart.
	w.must(nc.PublishRequest("$JS.API.INFO", "posthaste.v1.raw.00.sf", nil))
	w.must(nc.PublishRequest("$JS.API.INFO", "$JS.API.STREAM.PURGE.POSTHASTE_TRACE", nil))
	w.must(nc.Flush())
	info, err := js.AccountInfo(t.Context()) // after those, on the same connection
	w.must(err)
	if info.Streams != 1 {
		t.Errorf("it has %d streams", info.Streams)
	}
	trace, err := pipeline.Stream(t.Context(), "POSTHASTE_TRACE")
	w.must(err)
	if n := trace.CachedInfo().State; n.Msgs != 1 || n.LastSeq != 1 {
		t.Errorf("the pipeline's stream is %+v", n)
	}
	stream, err := acme.Stream(t.Context(), feeds.Stream)
	w.must(err)
	if n := stream.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("acme's stream has %d messages", n)
	}
}

func TestAuthority_RevokesWithoutARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), feeds.Limits{})
	w.account("acme", nil)
	public, nc, file := w.user("acme")
	_, stays, _ := w.user("acme")
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	w.account("acme", map[string]time.Time{public: time.Now()})
	select {
	case <-closed:
	case <-t.Context().Done():
		t.Fatal("the revoked user's connection stayed")
	}
	if again, err := nats.Connect(w.server.Addr(), nats.UserCredentials(file)); err == nil {
		again.Close()
		t.Error("a revoked user connects")
	}
	w.must(stays.Flush())
	// A disabled tenant has no connections, and an enabled one has them again.
	gone := make(chan struct{})
	stays.SetClosedHandler(func(*nats.Conn) { close(gone) })
	w.must(w.authority.Publish(t.Context(), "acme", false, nil))
	select {
	case <-gone:
	case <-t.Context().Done():
		t.Fatal("a disabled tenant's connection stayed")
	}
	// One that expires does.
	_, creds, err := w.authority.NewUser("acme", "late", time.Now().Add(-time.Minute))
	w.must(err)
	late := filepath.Join(t.TempDir(), "late.creds")
	w.must(os.WriteFile(late, creds, 0o600))
	w.account("acme", nil)
	if again, err := nats.Connect(w.server.Addr(), nats.UserCredentials(late)); err == nil {
		again.Close()
		t.Error("an expired user connects")
	}
	_, back, _ := w.user("acme")
	w.must(back.Flush())
}

// A full feed refuses: nothing that wasn't taken is thrown out.
func TestPoster_AFullFeedRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir(), feeds.Limits{Bytes: 1 << 20})
	w.account("acme", nil)
	body := `{"x":"` + strings.Repeat("a", 200<<10) + `"}`
	var last callback.Result
	stored := uint64(0)
	for r := uint64(1); r <= 20; r++ {
		if last = w.poster.Post(t.Context(), request("acme", r, body)); last.Status == 0 {
			break
		}
		stored = r
	}
	if last.Class != "feed_full" || stored < 2 {
		t.Fatalf("after %d: %+v", stored, last)
	}
	_, nc, _ := w.user("acme")
	js, err := jetstream.New(nc)
	w.must(err)
	s, err := js.Stream(t.Context(), feeds.Stream)
	w.must(err)
	if st := s.CachedInfo().State; st.Msgs != stored || st.FirstSeq != 1 {
		t.Errorf("%d were acknowledged and the stream is %+v", stored, st)
	}
}

// What was stored before anybody was asked is there afterwards, and all of it is
// there after the next start.
func TestOperator_KeepsWhatWasStored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := before.Connect()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := before.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for start := range 2 { //nolint:paralleltest // one after the other
		t.Run(fmt.Sprint("start ", start+1), func(t *testing.T) {
			w := newWorld(t, dir, feeds.Limits{})
			w.account("acme", nil)
			if res := w.post("acme", 1); res.Status == 0 {
				t.Errorf("%+v", res)
			}
			inside, err := w.server.Connect()
			w.must(err)
			defer inside.Close()
			js, err := jetstream.New(inside)
			w.must(err)
			s, err := js.Stream(t.Context(), "S")
			w.must(err)
			if n := s.CachedInfo().State.Msgs; n != 1 {
				t.Errorf("%d messages are there", n)
			}
			if _, err := nats.Connect(w.server.Addr()); err == nil {
				t.Error("nobody may connect without credentials")
			}
		})
	}
}
