package feeds

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// Stream is what the stream of a team's account is called.
const Stream = "POSTHASTE_FEED"

// Scheme begins the URL of an endpoint whose pushes go to its team's feed.
const Scheme = "feed:"

// IsFeed says whether an endpoint's URL is its team's feed.
func IsFeed(url string) bool { return strings.HasPrefix(url, Scheme) }

// Headers of a feed's messages, beside traceparent.
const (
	HeaderPushID        = "Posthaste-Push-Id"
	HeaderSchema        = "Posthaste-Schema"
	HeaderSubscription  = "Posthaste-Subscription-Id"
	HeaderRevision      = "Posthaste-Revision"
	HeaderAfterRevision = "Posthaste-After-Revision"
	headerContentType   = "Content-Type"
	headerMessageID     = "Nats-Msg-Id"
	schemaPush          = "posthaste.payload.Push"
	dedupeWindow        = 10 * time.Minute
	idleTime            = 10 * time.Minute
	answerAcknowledged  = 200
	classUnavailable    = "feed_unavailable"
	// ClassOff is the class of attempts where there are no feeds.
	ClassOff             = "feed_off"
	classFull            = "feed_full"
	classTimeout         = "timeout"
	classCancelled       = "cancelled"
	maxReconnectAttempts = 10
)

// Connect makes a connection to NATS, with options that say who connects.
type Connect func(opts ...nats.Option) (*nats.Conn, error)

// Poster publishes pushes to teams' feeds. It is the sibling of callback.Client:
// an attempt is a publish, and the stream's acknowledgement, which comes when the
// message is on disk, acknowledges the push. It is safe for concurrent use.
type Poster struct {
	root    Root
	connect Connect
	limits  Limits
	log     *slog.Logger
	now     func() time.Time

	mu    sync.Mutex
	teams map[string]*team
}

// team is a connection in one tenant's account.
type team struct {
	ready chan struct{} // closed when what follows is set
	err   error
	conn  *nats.Conn
	pub   *stream.Publisher

	used  time.Time // under the poster's lock
	users int
}

// NewPoster makes a poster. Close it.
func NewPoster(root Root, connect Connect, limits Limits, log *slog.Logger, now func() time.Time) *Poster {
	return &Poster{root: root, connect: connect, limits: limits.filled(), log: log, now: now, teams: map[string]*team{}}
}

// Close closes all connections.
func (p *Poster) Close() {
	p.mu.Lock()
	teams := p.teams
	p.teams = map[string]*team{}
	p.mu.Unlock()
	for _, t := range teams {
		<-t.ready
		t.close()
	}
}

// Post makes one attempt.
func (p *Poster) Post(ctx context.Context, r callback.Request) callback.Result {
	began := p.now()
	timed, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	err := p.publish(timed, r)
	res := callback.Result{Took: max(p.now().Sub(began), time.Nanosecond)}
	switch {
	case err == nil:
		// What an endpoint answers that took it in.
		res.Status, res.Excerpt = answerAcknowledged, "stored in "+Stream
	case errors.Is(ctx.Err(), context.Canceled):
		res.Class, res.Error = classCancelled, "the attempt was broken off"
	case full(err):
		res.Class, res.Error = classFull, "the feed is full: what has been in it for longest leaves with time, or ask for more room"
	case timed.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		res.Class, res.Error = classTimeout, "the feed didn't acknowledge in time"
	default:
		p.log.WarnContext(ctx, "a push can't be published to its feed; it is tried again", obs.KeyTenant, r.Tenant, obs.KeyError, err)
		res.Class, res.Error = classUnavailable, "the feed can't be reached"
	}
	return res
}

// full says that a stream refused a message for want of room.
func full(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == 10077 || api.ErrorCode == 10047)
}

func (p *Poster) publish(ctx context.Context, r callback.Request) error {
	t, release, err := p.team(ctx, r.Tenant)
	if err != nil {
		return err
	}
	defer release()
	h := nats.Header{
		headerMessageID: {r.PushID}, HeaderPushID: {r.PushID}, headerContentType: {"application/json"}, HeaderSchema: {schemaPush},
		HeaderSubscription: {r.SubscriptionID}, HeaderRevision: {strconv.FormatUint(uint64(r.Revision), 10)}, HeaderAfterRevision: {strconv.FormatUint(uint64(r.After), 10)},
	}
	carrier := propagation.MapCarrier{}
	obs.Propagator().Inject(ctx, carrier)
	for k, v := range carrier {
		h[k] = []string{v}
	}
	return t.pub.Publish(ctx, stream.Message{Subject: subject.Feed(r.EndpointID, string(r.Waybill.Carrier), string(r.Waybill.Number)), Header: h, Data: r.Body})
}

// team finds or makes the connection in a tenant's account. One that failed is
// made anew by the next attempt.
func (p *Poster) team(ctx context.Context, tenant string) (*team, func(), error) {
	p.mu.Lock()
	t, ok := p.teams[tenant]
	if !ok {
		t = &team{ready: make(chan struct{})}
		p.teams[tenant] = t
	}
	t.users++
	t.used = p.now()
	idle := p.idle()
	p.mu.Unlock()
	for _, one := range idle {
		go one.close()
	}
	if !ok {
		t.err = p.open(ctx, tenant, t)
		close(t.ready)
	}
	release := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.users--
		t.used = p.now()
	}
	select {
	case <-t.ready:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if t.err != nil || t.conn.IsClosed() {
		p.mu.Lock()
		if p.teams[tenant] == t {
			delete(p.teams, tenant)
			go t.close()
		}
		p.mu.Unlock()
		release()
		if t.err == nil {
			return nil, nil, nats.ErrConnectionClosed
		}
		return nil, nil, t.err
	}
	return t, release, nil
}

// idle takes out the teams that nothing was published to for long.
func (p *Poster) idle() (list []*team) {
	for tenant, t := range p.teams {
		if t.users == 0 && p.now().Sub(t.used) > idleTime {
			delete(p.teams, tenant)
			list = append(list, t)
		}
	}
	return list
}

func (p *Poster) open(ctx context.Context, tenant string, t *team) error {
	// It stays in this process.
	_, token, seed, err := p.root.credentials(tenant, "posthaste-delivery-"+rand.Text()[:6], publisherPermissions(), time.Time{})
	if err != nil {
		return err
	}
	t.conn, err = p.connect(nats.UserJWTAndSeed(token, seed), nats.Name("posthaste-feed"), nats.MaxReconnects(maxReconnectAttempts), nats.ReconnectWait(time.Second))
	if err != nil {
		return fmt.Errorf("connect to the feed of tenant %s: %w", tenant, err)
	}
	js, err := jetstream.New(t.conn)
	if err != nil {
		return err
	}
	if err := p.ensure(ctx, js); err != nil {
		t.conn.Close()
		return fmt.Errorf("make the feed of tenant %s: %w", tenant, err)
	}
	t.pub = stream.NewPublisher(js, Stream, stream.PublisherOptions{}) //nolint:contextcheck // it outlives the attempt
	return nil
}

// ensure makes the stream if it isn't there. One that is there is left as it is:
// its operator may have changed it.
func (p *Poster) ensure(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, Stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: Stream, Subjects: []string{subject.AllFeed}, Description: "What Posthaste pushes to this team.",
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		// A full feed refuses, so that the push is repeated, and parked in the end:
		// nothing that wasn't taken is thrown out for want of room.
		Discard: jetstream.DiscardNew, MaxBytes: p.limits.Bytes, MaxAge: p.limits.Age, Replicas: p.limits.Replicas,
		Duplicates: dedupeWindow, AllowDirect: true, AllowAtomicPublish: true, DenyDelete: true, DenyPurge: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another instance's, of another version
	}
	return err
}

func (t *team) close() {
	<-t.ready
	if t.pub != nil {
		t.pub.Close()
	}
	if t.conn != nil {
		t.conn.Close()
	}
}
