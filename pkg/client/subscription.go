package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// SubscriptionState says how a subscription stands.
type SubscriptionState string

// The states. Others may be added.
const (
	// SubscriptionActive: changes are pushed.
	SubscriptionActive SubscriptionState = "active"
	// SubscriptionPaused: changes are held back.
	SubscriptionPaused SubscriptionState = "paused"
	// SubscriptionCompleted: the journey ended and the tail has passed.
	SubscriptionCompleted SubscriptionState = "completed"
	// SubscriptionCancelled: its owner ended it.
	SubscriptionCancelled SubscriptionState = "cancelled"
	// SubscriptionExpired: its time passed before the journey ended.
	SubscriptionExpired SubscriptionState = "expired"
)

var subscriptionStates = map[subscriptionv1.SubscriptionState]SubscriptionState{
	subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_ACTIVE:    SubscriptionActive,
	subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_PAUSED:    SubscriptionPaused,
	subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_COMPLETED: SubscriptionCompleted,
	subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_CANCELLED: SubscriptionCancelled,
	subscriptionv1.SubscriptionState_SUBSCRIPTION_STATE_EXPIRED:   SubscriptionExpired,
}

// Subscription is a tenant's wish to hear of one waybill at one endpoint.
type Subscription struct {
	Name string
	// Endpoint is its name.
	Endpoint string
	Waybill  trace.ID
	Metadata map[string]string
	Tail     time.Duration
	State    SubscriptionState
	// PushedRevision is the newest handed to delivery, and AcknowledgedRevision
	// the newest that the endpoint acknowledged.
	PushedRevision       uint64
	AcknowledgedRevision uint64
	CreateTime           time.Time
	UpdateTime           time.Time
	ExpireTime           time.Time
	// CompleteTime is zero while the journey goes on.
	CompleteTime time.Time
}

// ID is the last part of the name: "sub_…".
func (s Subscription) ID() string { return idOf(s.Name) }

// NewSubscription is what [Client.CreateSubscription] makes. Endpoint and
// Waybill are required.
type NewSubscription struct {
	// Endpoint is its name or id.
	Endpoint string
	Waybill  trace.ID
	// Metadata comes with every push: at most 32 entries, keys to 64 and values
	// to 512 characters.
	Metadata map[string]string
	// Tail is how long after the journey's end changes are still pushed, at most
	// 90 days; 0 means 72 h. To have none, say a nanosecond.
	Tail time.Duration
	// ExpireTime is when it ends if the journey has not; zero means 90 days from
	// now.
	ExpireTime time.Time
	// RequestID makes a repeat of the call return the first answer, also by
	// another process; at most 64 characters. Empty lets the client make one, for
	// its own retries.
	RequestID string
}

// SubscriptionUpdate says what to change; nil leaves a field as it is.
type SubscriptionUpdate struct {
	// Metadata replaces all of it; an empty map removes it.
	Metadata   map[string]string
	Tail       *time.Duration
	ExpireTime *time.Time
}

// SubscriptionFilter says which subscriptions to list; its zero value means all.
type SubscriptionFilter struct {
	States []SubscriptionState
	// Endpoint is a name or an id.
	Endpoint      string
	CarrierCode   string
	WaybillNumber string
}

// SubscriptionResult is what became of one of several: Err says why it was
// refused, nil if it was made.
type SubscriptionResult struct {
	Subscription Subscription
	Err          error
}

// maxBatch is the most the server takes in one call.
const maxBatch = 1000

// CreateSubscription subscribes a waybill. What is known of it already is
// pushed at once. [ErrAlreadyExists] when the endpoint has a live subscription
// to it.
func (c *Client) CreateSubscription(ctx context.Context, n NewSubscription) (Subscription, error) {
	resp, err := c.subscriptions.CreateSubscription(ctx, c.toCreate(n))
	return fromSubscription(resp.GetSubscription()), fail("subscribe "+n.Waybill.String(), err)
}

// CreateSubscriptions subscribes any number of waybills, in batches. The
// results are in the order asked. If a batch as a whole fails, its error is
// returned with the results of those before it.
func (c *Client) CreateSubscriptions(ctx context.Context, ns []NewSubscription) ([]SubscriptionResult, error) {
	results := make([]SubscriptionResult, 0, len(ns))
	for len(ns) > 0 {
		n := min(len(ns), maxBatch)
		req := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: c.parent()}
		for _, s := range ns[:n] {
			req.Requests = append(req.Requests, c.toCreate(s))
		}
		resp, err := c.subscriptions.BatchCreateSubscriptions(ctx, req)
		if err != nil {
			return results, fail("subscribe several", err)
		}
		if len(resp.GetResults()) != n {
			return results, newError("subscribe several", codes.Internal, "the answer has not as many results as the request has waybills")
		}
		for i, r := range resp.GetResults() {
			results = append(results, SubscriptionResult{
				Subscription: fromSubscription(r.GetSubscription()), Err: fromResultError("subscribe "+ns[i].Waybill.String(), r.GetError()),
			})
		}
		ns = ns[n:]
	}
	return results, nil
}

// GetSubscription returns one subscription.
func (c *Client) GetSubscription(ctx context.Context, name string) (Subscription, error) {
	name = c.subscriptionName(name)
	resp, err := c.subscriptions.GetSubscription(ctx, &subscriptionv1.GetSubscriptionRequest{Name: name})
	return fromSubscription(resp.GetSubscription()), fail("get "+name, err)
}

// Subscriptions returns the tenant's subscriptions, newest first. An error is
// the last thing it gives.
func (c *Client) Subscriptions(ctx context.Context, f SubscriptionFilter) iter.Seq2[Subscription, error] {
	var states []subscriptionv1.SubscriptionState
	for _, s := range f.States {
		states = append(states, toState(subscriptionStates, s))
	}
	return pages("list subscriptions", func(token string) ([]*subscriptionv1.Subscription, string, error) {
		resp, err := c.subscriptions.ListSubscriptions(ctx, &subscriptionv1.ListSubscriptionsRequest{
			Parent: c.parent(), PageToken: token, States: states,
			Endpoint: c.endpointName(f.Endpoint), CarrierCode: f.CarrierCode, WaybillNumber: f.WaybillNumber,
		})
		return resp.GetSubscriptions(), resp.GetNextPageToken(), err
	}, fromSubscription)
}

// UpdateSubscription changes a subscription.
func (c *Client) UpdateSubscription(ctx context.Context, name string, u SubscriptionUpdate) (Subscription, error) {
	name = c.subscriptionName(name)
	s := &subscriptionv1.Subscription{Name: name}
	var mask fieldmaskpb.FieldMask
	if u.Metadata != nil {
		s.Metadata = u.Metadata
		mask.Paths = append(mask.Paths, "metadata")
	}
	if u.Tail != nil {
		s.Tail = toDuration(*u.Tail)
		mask.Paths = append(mask.Paths, "tail")
	}
	if u.ExpireTime != nil {
		s.ExpireTime = toTimestamp(*u.ExpireTime)
		mask.Paths = append(mask.Paths, "expire_time")
	}
	if len(mask.GetPaths()) == 0 {
		return c.GetSubscription(ctx, name) // an empty mask would mean what is set: nothing
	}
	resp, err := c.subscriptions.UpdateSubscription(ctx, &subscriptionv1.UpdateSubscriptionRequest{Subscription: s, UpdateMask: &mask})
	return fromSubscription(resp.GetSubscription()), fail("update "+name, err)
}

// PauseSubscription holds pushes back. Nothing is lost: on resuming, one push
// covers what came meanwhile.
func (c *Client) PauseSubscription(ctx context.Context, name string) (Subscription, error) {
	name = c.subscriptionName(name)
	resp, err := c.subscriptions.PauseSubscription(ctx, &subscriptionv1.PauseSubscriptionRequest{Name: name})
	return fromSubscription(resp.GetSubscription()), fail("pause "+name, err)
}

// ResumeSubscription lets pushes go out again.
func (c *Client) ResumeSubscription(ctx context.Context, name string) (Subscription, error) {
	name = c.subscriptionName(name)
	resp, err := c.subscriptions.ResumeSubscription(ctx, &subscriptionv1.ResumeSubscriptionRequest{Name: name})
	return fromSubscription(resp.GetSubscription()), fail("resume "+name, err)
}

// CancelSubscription ends a subscription for good. No attempt starts later than
// a second after it returns; one that is under way may still arrive.
func (c *Client) CancelSubscription(ctx context.Context, name string) (Subscription, error) {
	name = c.subscriptionName(name)
	resp, err := c.subscriptions.CancelSubscription(ctx, &subscriptionv1.CancelSubscriptionRequest{Name: name})
	return fromSubscription(resp.GetSubscription()), fail("cancel "+name, err)
}

func (c *Client) toCreate(n NewSubscription) *subscriptionv1.CreateSubscriptionRequest {
	return &subscriptionv1.CreateSubscriptionRequest{
		Parent: c.parent(),
		Subscription: &subscriptionv1.Subscription{
			Endpoint: c.endpointName(n.Endpoint), CarrierCode: n.Waybill.CarrierCode, WaybillNumber: n.Waybill.WaybillNumber,
			Metadata: n.Metadata, Tail: toDuration(n.Tail), ExpireTime: toTimestamp(n.ExpireTime),
		},
		RequestId: requestID(n.RequestID),
	}
}

func fromSubscription(m *subscriptionv1.Subscription) Subscription {
	return Subscription{
		Name: m.GetName(), Endpoint: m.GetEndpoint(), Waybill: trace.ID{CarrierCode: m.GetCarrierCode(), WaybillNumber: m.GetWaybillNumber()},
		Metadata: m.GetMetadata(), Tail: m.GetTail().AsDuration(), State: subscriptionStates[m.GetState()],
		PushedRevision: m.GetPushedRevision(), AcknowledgedRevision: m.GetAcknowledgedRevision(),
		CreateTime: fromTimestamp(m.GetCreateTime()), UpdateTime: fromTimestamp(m.GetUpdateTime()),
		ExpireTime: fromTimestamp(m.GetExpireTime()), CompleteTime: fromTimestamp(m.GetCompleteTime()),
	}
}

func fromResultError(op string, m *subscriptionv1.BatchCreateSubscriptionsResponse_Error) error {
	if m == nil {
		return nil
	}
	e := newError(op, codes.Code(m.GetCode()), m.GetMessage())
	e.Reason = m.GetReason()
	if m.GetField() != "" {
		e.Fields = []FieldViolation{{Field: m.GetField(), Description: m.GetMessage()}}
	}
	return e
}
