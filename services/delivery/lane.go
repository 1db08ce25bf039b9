package delivery

import (
	"slices"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	// maxWaiting pushes of one endpoint are in memory; more are held in rows.
	maxWaiting = 512
	// maxWaitingCrowded is maxWaiting when the shard as a whole has much in memory:
	// many slow endpoints together must not use up what others need.
	maxWaitingCrowded = 16
	crowded           = 4000
	// maxOwed subscriptions of an open lane are known to be owed something.
	maxOwed = 1000
	// maxDue rows are read at once.
	maxDue = 256
	// maxFresh subscriptions of a draining lane go before its other rows.
	maxFresh = 256
	// maxCovered revisions are remembered of a lane.
	maxCovered = 10_000
)

// item is one push in memory.
type item struct {
	sub, tenant     string
	waybill         track.Waybill
	after, revision track.Revision
	body            []byte
	receive         time.Time
	header          map[string][]string // its trace context
	msg             *stream.Received    // nil when it came from a row
	attempts        int                 // before
	first           time.Time           // when the first of them began
	owed            track.Revision      // of its row: what is owed beyond revision
	clear           bool                // its subscription has no row
	straggler       bool                // see [shard.straggles]
}

// queue is what of one subscription is in memory.
type queue struct {
	waiting  []*item
	inFlight bool
	current  *item // in flight
	// clear says that a subscription of a draining lane has no row.
	clear bool
	// uncommitted counts changes of its row that are not committed yet.
	uncommitted int
}

// newest is the newest revision that is on its way; 0 for none.
func (q *queue) newest() (newest track.Revision) {
	if q == nil {
		return 0
	}
	if q.current != nil {
		newest = q.current.revision
	}
	for _, it := range q.waiting {
		newest = max(newest, it.revision)
	}
	return newest
}

func (q *queue) idle() bool { return len(q.waiting) == 0 && !q.inFlight && q.uncommitted == 0 }

// lane is one endpoint. It belongs to its shard's goroutine.
type lane struct {
	id       string
	settings settings

	queues map[string]*queue
	// ready are subscriptions whose first waiting push may begin, rows those of
	// which that came from a row.
	ready, rows []string
	turn        int // of ready and rows
	waiting     int
	inFlight    int
	limit       int // of attempts in flight: grows after a recovery

	// open: what isn't owed goes straight to the endpoint. draining: it does too,
	// and there are more rows than are known here, so that PostgreSQL is asked which
	// subscriptions have one. Neither: all goes to rows.
	open, draining bool
	// fresh are subscriptions of a lane that isn't open whose rows came last.
	fresh []string
	// owed are the subscriptions of an open lane that have, or may have, a row.
	owed map[string]bool
	// covered are revisions that a row's push brought and whose own message is
	// still to come.
	covered map[string]track.Revision

	breaker breaker
	nextDue time.Time // when rows are to be read; zero for never
	heaped  int       // in the shard's dues; -1 for not there
	idle    time.Time // since when nothing was in memory, as far as was looked
	// gone says that the endpoint said so, and that isn't committed yet;
	// goneCommit is the commit with which it was.
	gone       bool
	goneCommit uint64
	reading    bool
	again      bool            // rows are due, and are to be read when that is possible
	touched    map[string]bool // subscriptions that changed since the read began
}

func newLane(id string, open bool) *lane {
	return &lane{id: id, queues: map[string]*queue{}, owed: map[string]bool{}, covered: map[string]track.Revision{}, open: open, limit: 1, heaped: -1}
}

func (l *lane) queue(sub string) *queue {
	q := l.queues[sub]
	if q == nil {
		q = &queue{}
		l.queues[sub] = q
	}
	return q
}

// release forgets a subscription of which nothing is in memory.
func (l *lane) release(sub string) {
	if q := l.queues[sub]; q != nil && q.idle() {
		delete(l.queues, sub)
	}
}

// touch notes that what was read of a subscription's row may be old.
func (l *lane) touch(sub string) {
	if l.reading {
		l.touched[sub] = true
	}
}

// direct says whether a push of the subscription may go to the endpoint without
// a row.
func (l *lane) direct(sub string) bool {
	if l.draining {
		q := l.queues[sub]
		return q != nil && q.clear
	}
	return l.open && (!l.owed[sub] || fault.OutOfOrder)
}

func (l *lane) slot() int16 { return int16(subject.EndpointSlot(l.id)) }

func (l *lane) place() pg.Place {
	return pg.Place{EndpointID: l.id, TenantID: l.settings.tenant, Slot: l.slot()}
}

// freshen notes that a subscription's row got something new.
func (l *lane) freshen(sub string) {
	if !l.open && len(l.fresh) < maxFresh && !slices.Contains(l.fresh, sub) {
		l.fresh = append(l.fresh, sub)
	}
}

// busy says that more rows couldn't be worked on now.
func (l *lane) busy() bool { return l.inFlight >= l.limit || l.waiting > maxDue }

// forgettable says that a lane holds nothing that isn't read again when it is
// made anew.
func (l *lane) forgettable() bool {
	return l.open && len(l.queues) == 0 && len(l.owed) == 0 && len(l.covered) == 0 && l.inFlight == 0 && !l.reading && !l.gone && l.heaped < 0 &&
		l.breaker.failures == 0 && l.breaker.until.IsZero()
}

// settings are what an endpoint's owner says of it.
type settings struct {
	tenant       string
	threshold    int // of failures in a row
	state        int16
	url          string
	keys         keys
	includeTrace bool
	format       push.Format
	account      push.Account // of a platform's format
	timeout      time.Duration
	max          int
	retry        push.RetryPolicy
	reason       string    // why it can't be pushed to, for what is parked
	resent       time.Time // when its owner last made something due at it
}

// keys are what pushes are signed with: one key, and the one before it until
// that expires.
type keys struct {
	secret, oldSecret string // as they were read, to see whether they changed
	signer, both      webhook.Signer
	oldUntil          time.Time
}

// signer signs a push that is sent now.
func (s settings) signer(now time.Time) webhook.Signer {
	if now.Before(s.keys.oldUntil) {
		return s.keys.both
	}
	return s.keys.signer
}

func (k keys) of(e pg.Endpoint, now time.Time) (keys, error) {
	old, until, live := e.LiveOldSecret(now)
	if k.secret == e.Secret && k.oldSecret == old && k.oldUntil.Equal(until) {
		return k, nil // a private key is dear to read
	}
	k = keys{secret: e.Secret, oldSecret: old, oldUntil: until}
	var err error
	if k.signer, err = webhook.ParseSigner(e.Secret); err != nil || !live {
		return k, err
	}
	before, err := webhook.ParseSigner(old)
	k.both = webhook.Signers{k.signer, before}
	return k, err
}

func (s settings) enabled() bool { return s.state == pg.EndpointEnabled }

// The reasons for which pushes are parked.
const (
	reasonGone    = "endpoint_gone"
	reasonDeleted = "endpoint_deleted"
	reasonSpent   = "retries_spent"
	reasonSecret  = "endpoint_secret_unreadable"
	reasonTrace   = "trace_missing"
)

// settingsOf are the settings of an endpoint that had others before. Scale
// multiplies the times of its retry policy.
func settingsOf(e pg.Endpoint, found bool, before settings, now time.Time, scale float64) settings {
	if !found {
		return settings{state: pg.EndpointDisabled, reason: reasonDeleted}
	}
	s := settings{
		tenant: e.TenantID, threshold: max(int(e.FailureThreshold), 1),
		state: e.State, url: e.URL, includeTrace: e.IncludeTrace, format: push.Format(e.Format), timeout: e.Timeout, max: int(e.MaxInFlight), reason: reasonGone,
	}
	if a := e.Account; a != nil {
		s.account = push.Account{ID: a.ID, Key: a.Key, Salt: a.Salt, JSONBody: a.JSONBody, LowerSign: a.LowerCaseSign}
	}
	if e.Retry != nil {
		s.retry = push.RetryPolicy{Delays: e.Retry.Delays, Horizon: e.Retry.Horizon, MaxAttempts: int(e.Retry.MaxAttempts)}
		if preset, ok := push.Preset(e.Retry.Preset); ok {
			s.retry = preset
		}
	}
	s.retry = s.retry.Scaled(scale)
	if e.Resent != nil {
		s.resent = *e.Resent
	}
	var err error
	if s.keys, err = before.keys.of(e, now); err != nil {
		s.state, s.reason = pg.EndpointDisabled, reasonSecret
	}
	return s
}
