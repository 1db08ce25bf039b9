package client

import (
	"context"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// PushState says how a push stands. There is no fourth state.
type PushState string

// The states.
const (
	// PushPending: on its way, or waiting for its next attempt.
	PushPending PushState = "pending"
	// PushAcknowledged: the endpoint acknowledged it.
	PushAcknowledged PushState = "acknowledged"
	// PushParked: its tries are spent or its endpoint is gone; kept.
	PushParked PushState = "parked"
)

var pushStates = map[deliveryv1.PushState]PushState{
	deliveryv1.PushState_PUSH_STATE_PENDING:      PushPending,
	deliveryv1.PushState_PUSH_STATE_ACKNOWLEDGED: PushAcknowledged,
	deliveryv1.PushState_PUSH_STATE_PARKED:       PushParked,
}

// AttemptOutcome says how an attempt ended.
type AttemptOutcome string

// The outcomes.
const (
	// AttemptAcknowledged: the endpoint acknowledged.
	AttemptAcknowledged AttemptOutcome = "acknowledged"
	// AttemptRetry: it didn't, and another attempt follows.
	AttemptRetry AttemptOutcome = "retry"
	// AttemptParked: it didn't, and no attempt follows by itself.
	AttemptParked AttemptOutcome = "parked"
)

var attemptOutcomes = map[deliveryv1.AttemptOutcome]AttemptOutcome{
	deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_ACKNOWLEDGED: AttemptAcknowledged,
	deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_RETRY:        AttemptRetry,
	deliveryv1.AttemptOutcome_ATTEMPT_OUTCOME_PARKED:       AttemptParked,
}

// Push is the revisions (AfterRevision, Revision] of one waybill, owed to one
// subscription.
type Push struct {
	// ID is the webhook-id of every attempt.
	ID string
	// Subscription and Endpoint are names.
	Subscription  string
	Endpoint      string
	Waybill       trace.ID
	AfterRevision uint64
	Revision      uint64
	State         PushState
	AttemptCount  int
	// LastAttemptTime is zero before the first, NextAttemptTime unless one is
	// planned.
	LastAttemptTime time.Time
	NextAttemptTime time.Time
	// ParkReason is empty unless it is parked.
	ParkReason string
}

// Attempt is one HTTP try of one push.
type Attempt struct {
	ID            string
	PushID        string
	Subscription  string
	Endpoint      string
	Waybill       trace.ID
	AfterRevision uint64
	Revision      uint64
	// Number counts the push's attempts from 1.
	Number   int
	Time     time.Time
	Duration time.Duration
	Outcome  AttemptOutcome
	// HTTPStatus is 0 when there was no answer.
	HTTPStatus int
	// ErrorClass is a short code such as "timeout", Error the same in words.
	ErrorClass string
	Error      string
	// ResponseExcerpt is the beginning of the answer's body, at most 4 KiB.
	ResponseExcerpt string
	// NextAttemptTime is zero when none follows.
	NextAttemptTime time.Time
	// Phases are how long its parts took; what didn't happen is 0.
	Phases AttemptPhases
}

// AttemptPhases are the parts of an attempt.
type AttemptPhases struct {
	// DNS, Connect and TLS are 0 when the connection was there already.
	DNS, Connect, TLS time.Duration
	// FirstByte is from the request's end to the answer's first byte.
	FirstByte time.Duration
	// Reused says that the connection was there already.
	Reused bool
}

// AttemptFilter says which attempts. Its parts are joined by and; the zero value
// means all.
type AttemptFilter struct {
	PushID   string
	Outcomes []AttemptOutcome
	// ErrorClass is such as "timeout".
	ErrorClass string
	HTTPStatus int
	// From and Until bound when it began: [From, Until).
	From, Until time.Time
}

// Pushes returns the pushes of a waybill or a subscription, newest first. Its
// parent is a waybill's name, as trace.ID.Name makes it, or a subscription's
// name or id. An error is the last thing it gives.
func (c *Client) Pushes(ctx context.Context, parent string) iter.Seq2[Push, error] {
	parent = c.subscriptionName(parent)
	return pages("list pushes of "+parent, func(token string) ([]*deliveryv1.Push, string, error) {
		resp, err := c.waybills.ListPushes(ctx, &trackingv1.ListPushesRequest{Parent: parent, PageToken: token})
		return resp.GetPushes(), resp.GetNextPageToken(), err
	}, fromPush)
}

// Attempts returns the attempts of a waybill, a subscription or an endpoint, or of
// all the tenant's when parent is empty, newest first. Its parent is a waybill's
// name, as trace.ID.Name makes it, or a subscription's or an endpoint's name or id.
// An error is the last thing it gives.
func (c *Client) Attempts(ctx context.Context, parent string, f AttemptFilter) iter.Seq2[Attempt, error] {
	parent = c.ownerName(parent)
	req := &trackingv1.ListAttemptsRequest{
		Parent: parent, PushId: f.PushID, ErrorClass: f.ErrorClass, HttpStatus: toInt32(f.HTTPStatus), StartTime: toTimestamp(f.From), EndTime: toTimestamp(f.Until),
	}
	for _, o := range f.Outcomes {
		req.Outcomes = append(req.Outcomes, toState(attemptOutcomes, o))
	}
	return pages("list attempts of "+parent, func(token string) ([]*deliveryv1.Attempt, string, error) {
		req := proto.CloneOf(req) // the sequence may be walked several times
		req.PageToken = token
		resp, err := c.waybills.ListAttempts(ctx, req)
		return resp.GetAttempts(), resp.GetNextPageToken(), err
	}, fromAttempt)
}

func fromPush(m *deliveryv1.Push) Push {
	return Push{
		ID: m.GetId(), Subscription: m.GetSubscription(), Endpoint: m.GetEndpoint(), Waybill: waybillOf(m.GetWaybill()),
		AfterRevision: m.GetAfterRevision(), Revision: m.GetRevision(), State: pushStates[m.GetState()], AttemptCount: int(m.GetAttemptCount()),
		LastAttemptTime: fromTimestamp(m.GetLastAttemptTime()), NextAttemptTime: fromTimestamp(m.GetNextAttemptTime()), ParkReason: m.GetParkReason(),
	}
}

func fromAttempt(m *deliveryv1.Attempt) Attempt {
	p := m.GetPhases()
	return Attempt{
		ID: m.GetId(), PushID: m.GetPushId(), Subscription: m.GetSubscription(), Endpoint: m.GetEndpoint(), Waybill: waybillOf(m.GetWaybill()),
		AfterRevision: m.GetAfterRevision(), Revision: m.GetRevision(), Number: int(m.GetNumber()), Time: fromTimestamp(m.GetAttemptTime()),
		Duration: m.GetDuration().AsDuration(), Outcome: attemptOutcomes[m.GetOutcome()], HTTPStatus: int(m.GetHttpStatus()),
		ErrorClass: m.GetErrorClass(), Error: m.GetError(), ResponseExcerpt: m.GetResponseExcerpt(), NextAttemptTime: fromTimestamp(m.GetNextAttemptTime()),
		Phases: AttemptPhases{
			DNS: p.GetDns().AsDuration(), Connect: p.GetConnect().AsDuration(), TLS: p.GetTls().AsDuration(), FirstByte: p.GetFirstByte().AsDuration(),
			Reused: p.GetReusedConnection(),
		},
	}
}

// waybillOf reads a waybill's name; one of a form it doesn't know is kept as
// the number, so that it is seen.
func waybillOf(name string) trace.ID {
	id, err := trace.ParseName(name)
	if err != nil {
		return trace.ID{WaybillNumber: strings.TrimPrefix(name, "waybills/")}
	}
	return id
}
