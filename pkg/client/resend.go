package client

import (
	"context"
	"iter"
	"strings"
	"time"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// ParkedFilter says which parked pushes. Its parts are joined by and; the zero
// value means all of the tenant's.
type ParkedFilter struct {
	// PushID is that of one push, "psh_…".
	PushID string
	// Subscription and Endpoint are names or ids.
	Subscription string
	Endpoint     string
	Waybill      trace.ID
	// Reasons are such as "retries_spent"; at most 20.
	Reasons []string
	// From and Until bound when it was parked: [From, Until).
	From, Until time.Time
}

// ParkedPush is a push that no attempt follows by itself.
type ParkedPush struct {
	Push

	ParkTime time.Time
}

// ParkedCount says how many pushes are parked.
type ParkedCount struct {
	Count int64
	// Groups are the largest first, at most 1,000.
	Groups []ParkedGroup
}

// ParkedGroup is the parked pushes of one endpoint with one reason.
type ParkedGroup struct {
	// Endpoint is a name.
	Endpoint string
	Reason   string
	Count    int64
	// Oldest is since when the longest parked of them is.
	Oldest time.Time
}

// JobKind says what a job does.
type JobKind string

// The kinds.
const (
	// JobResend makes parked pushes due.
	JobResend JobKind = "resend"
	// JobReplay pushes a range once more.
	JobReplay JobKind = "replay"
)

var jobKinds = map[deliveryv1.PushJobKind]JobKind{
	deliveryv1.PushJobKind_PUSH_JOB_KIND_RESEND: JobResend,
	deliveryv1.PushJobKind_PUSH_JOB_KIND_REPLAY: JobReplay,
}

// JobState says how a job stands.
type JobState string

// The states.
const (
	// JobRunning: at work, a batch at a time.
	JobRunning JobState = "running"
	// JobDone: all is on its way.
	JobDone JobState = "done"
	// JobCancelled: ended early by its owner.
	JobCancelled JobState = "cancelled"
)

var jobStates = map[deliveryv1.PushJobState]JobState{
	deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING:   JobRunning,
	deliveryv1.PushJobState_PUSH_JOB_STATE_DONE:      JobDone,
	deliveryv1.PushJobState_PUSH_JOB_STATE_CANCELLED: JobCancelled,
}

// PushJob puts pushes on their way again, and is the record of who asked for it.
type PushJob struct {
	Name  string
	Kind  JobKind
	State JobState
	// Filter is what a resend is about; of a replay, its Subscription, Waybill or
	// Endpoint.
	Filter ParkedFilter
	// AfterRevision is what a replay begins after.
	AfterRevision uint64
	// Matched pushes it was about when it was made, Sent of them are on their way so
	// far, Skipped ones it left as they were.
	Matched, Sent, Skipped int64
	// Caller is who asked, as far as the server knows.
	Caller     string
	RequestID  string
	CreateTime time.Time
	// EndTime is zero while it runs.
	EndTime time.Time
}

// ID is the last part of the name: "job_…".
func (j PushJob) ID() string { return idOf(j.Name) }

// ReplayTarget is what is pushed once more: one of the three.
type ReplayTarget struct {
	// Subscription is a name or an id.
	Subscription string
	// Waybill replays each endpoint's newest subscription to it.
	Waybill trace.ID
	// Endpoint is a name or an id; all its active subscriptions are replayed.
	Endpoint string
}

// PushStatistics counts revisions by how they stand. At every moment Accepted is
// the sum of the six after it; when all is quiet, the first three of them are 0.
type PushStatistics struct {
	Subscriptions int64
	Accepted      int64
	// Waiting to be handed to delivery, or held by a paused subscription.
	Waiting int64
	// InFlight are in the stream, in memory or in an attempt.
	InFlight int64
	// Pending wait for a next attempt or a paused endpoint.
	Pending      int64
	Acknowledged int64
	Parked       int64
	Cancelled    int64
	// PendingPushes and ParkedPushes are pushes, replays too.
	PendingPushes int64
	ParkedPushes  int64
	// OldestPending is zero when nothing is pending.
	OldestPending time.Time
}

// ParkedPushes returns parked pushes, the longest parked first. An error is the
// last thing it gives.
func (c *Client) ParkedPushes(ctx context.Context, f ParkedFilter) iter.Seq2[ParkedPush, error] {
	return pages("list parked pushes", func(token string) ([]*deliveryv1.ParkedPush, string, error) {
		resp, err := c.pushes.ListParkedPushes(ctx, &deliveryv1.ListParkedPushesRequest{Parent: c.parent(), Filter: c.toParkedFilter(f), PageToken: token})
		return resp.GetParkedPushes(), resp.GetNextPageToken(), err
	}, func(m *deliveryv1.ParkedPush) ParkedPush {
		return ParkedPush{Push: fromPush(m.GetPush()), ParkTime: fromTimestamp(m.GetParkTime())}
	})
}

// CountParkedPushes counts parked pushes.
func (c *Client) CountParkedPushes(ctx context.Context, f ParkedFilter) (ParkedCount, error) {
	resp, err := c.pushes.CountParkedPushes(ctx, &deliveryv1.CountParkedPushesRequest{Parent: c.parent(), Filter: c.toParkedFilter(f)})
	n := ParkedCount{Count: resp.GetCount()}
	for _, g := range resp.GetGroups() {
		n.Groups = append(n.Groups, ParkedGroup{Endpoint: g.GetEndpoint(), Reason: g.GetReason(), Count: g.GetCount(), Oldest: fromTimestamp(g.GetOldestParkTime())})
	}
	return n, fail("count parked pushes", err)
}

// ResendPushes makes parked pushes due again. The job it returns is done already
// when there are few; see [Client.AwaitPushJob]. With a request id that was used
// before it returns the job of then; an empty one lets the client make one, for its
// own retries.
func (c *Client) ResendPushes(ctx context.Context, f ParkedFilter, id string) (PushJob, error) {
	resp, err := c.pushes.ResendPushes(ctx, &deliveryv1.ResendPushesRequest{Parent: c.parent(), Filter: c.toParkedFilter(f), RequestId: requestID(id)})
	return fromJob(resp.GetJob()), fail("resend pushes", err)
}

// ReplayPushes pushes what came after a revision once more, in one push for each
// subscription. A receiver that sees a gap, or lost what it had, asks with the
// newest revision that it has: see webhook.Chain. The request id is as in
// [Client.ResendPushes].
func (c *Client) ReplayPushes(ctx context.Context, t ReplayTarget, after uint64, id string) (PushJob, error) {
	resp, err := c.pushes.ReplayPushes(ctx, &deliveryv1.ReplayPushesRequest{
		Parent: c.parent(), Subscription: c.subscriptionName(t.Subscription), Waybill: waybillName(t.Waybill), Endpoint: c.endpointName(t.Endpoint),
		AfterRevision: after, RequestId: requestID(id),
	})
	return fromJob(resp.GetJob()), fail("replay pushes", err)
}

// GetPushJob returns a job.
func (c *Client) GetPushJob(ctx context.Context, name string) (PushJob, error) {
	name = c.name("pushJobs", name)
	resp, err := c.pushes.GetPushJob(ctx, &deliveryv1.GetPushJobRequest{Name: name})
	return fromJob(resp.GetJob()), fail("get "+name, err)
}

// AwaitPushJob asks for a job, once a second, until it has ended.
func (c *Client) AwaitPushJob(ctx context.Context, name string) (PushJob, error) {
	for {
		j, err := c.GetPushJob(ctx, name)
		if err != nil || j.State != JobRunning {
			return j, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return j, fail("await "+j.Name, ctx.Err())
		}
	}
}

// PushJobs returns the tenant's jobs, newest first. An error is the last thing it
// gives.
func (c *Client) PushJobs(ctx context.Context) iter.Seq2[PushJob, error] {
	return pages("list jobs", func(token string) ([]*deliveryv1.PushJob, string, error) {
		resp, err := c.pushes.ListPushJobs(ctx, &deliveryv1.ListPushJobsRequest{Parent: c.parent(), PageToken: token})
		return resp.GetJobs(), resp.GetNextPageToken(), err
	}, fromJob)
}

// CancelPushJob ends a job early; what it did stays done.
func (c *Client) CancelPushJob(ctx context.Context, name string) (PushJob, error) {
	name = c.name("pushJobs", name)
	resp, err := c.pushes.CancelPushJob(ctx, &deliveryv1.CancelPushJobRequest{Name: name})
	return fromJob(resp.GetJob()), fail("cancel "+name, err)
}

// PushStatistics counts the revisions of the tenant's subscriptions, when parent is
// empty, or those of an endpoint or a subscription, by name or id.
func (c *Client) PushStatistics(ctx context.Context, parent string) (PushStatistics, error) {
	parent = c.ownerName(parent)
	resp, err := c.pushes.GetPushStatistics(ctx, &deliveryv1.GetPushStatisticsRequest{Parent: parent})
	m := resp.GetStatistics()
	return PushStatistics{
		Subscriptions: m.GetSubscriptionCount(), Accepted: m.GetAcceptedCount(), Waiting: m.GetWaitingCount(), InFlight: m.GetInFlightCount(),
		Pending: m.GetPendingCount(), Acknowledged: m.GetAcknowledgedCount(), Parked: m.GetParkedCount(), Cancelled: m.GetCancelledCount(),
		PendingPushes: m.GetPendingPushCount(), ParkedPushes: m.GetParkedPushCount(), OldestPending: fromTimestamp(m.GetOldestPendingTime()),
	}, fail("count pushes of "+parent, err)
}

// ownerName takes a name, or the id of a subscription or an endpoint, or nothing
// for the tenant.
func (c *Client) ownerName(name string) string {
	switch {
	case name == "":
		return c.parent()
	case strings.HasPrefix(name, "ep_"):
		return c.endpointName(name)
	}
	return c.subscriptionName(name)
}

func (c *Client) toParkedFilter(f ParkedFilter) *deliveryv1.ParkedFilter {
	return &deliveryv1.ParkedFilter{
		PushId: f.PushID, Subscription: c.subscriptionName(f.Subscription), Endpoint: c.endpointName(f.Endpoint), Waybill: waybillName(f.Waybill),
		Reasons: f.Reasons, StartTime: toTimestamp(f.From), EndTime: toTimestamp(f.Until),
	}
}

// waybillName is empty for no waybill.
func waybillName(id trace.ID) string {
	if id == (trace.ID{}) {
		return ""
	}
	return id.Name()
}

func fromJob(m *deliveryv1.PushJob) PushJob {
	f := m.GetFilter()
	j := PushJob{
		Name: m.GetName(), Kind: jobKinds[m.GetKind()], State: jobStates[m.GetState()], AfterRevision: m.GetAfterRevision(),
		Filter: ParkedFilter{
			PushID: f.GetPushId(), Subscription: f.GetSubscription() + m.GetSubscription(), Endpoint: f.GetEndpoint() + m.GetEndpoint(),
			Reasons: f.GetReasons(), From: fromTimestamp(f.GetStartTime()), Until: fromTimestamp(f.GetEndTime()),
		},
		Matched: m.GetMatchedCount(), Sent: m.GetSentCount(), Skipped: m.GetSkippedCount(), Caller: m.GetCaller(), RequestID: m.GetRequestId(),
		CreateTime: fromTimestamp(m.GetCreateTime()), EndTime: fromTimestamp(m.GetEndTime()),
	}
	if name := f.GetWaybill() + m.GetWaybill(); name != "" {
		j.Filter.Waybill = waybillOf(name)
	}
	return j
}

// Replay asks for all that came after a revision of a subscription, once more, and
// returns when Posthaste has promised to push it. It is an inbox.Asker.
func (c *Client) Replay(ctx context.Context, subscription string, after uint64) error {
	_, err := c.ReplayPushes(ctx, ReplayTarget{Subscription: subscription}, after, "")
	return err
}
