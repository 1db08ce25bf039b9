package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// pushCmd holds the commands about pushes.
type pushCmd struct {
	List     pushListCmd     `cmd:"" help:"List the pushes of a waybill or a subscription, newest first."`
	Attempts pushAttemptsCmd `cmd:"" help:"Search the log of attempts, newest first."`
	Parked   pushParkedCmd   `cmd:"" help:"List or count what is parked, the longest parked first."`
	Resend   pushResendCmd   `cmd:"" help:"Send parked pushes again."`
	Replay   pushReplayCmd   `cmd:"" help:"Push what came after a revision once more."`
	Jobs     pushJobsCmd     `cmd:"" help:"List the jobs that resent and replayed, newest first."`
	Cancel   pushCancelCmd   `cmd:"" help:"End a job early."`
	Stats    pushStatsCmd    `cmd:"" help:"Count revisions by how they stand."`
}

type pushListCmd struct {
	remote `embed:""`

	Of    string `arg:"" help:"CARRIER/NUMBER of a waybill, or the id of a subscription."`
	Limit int    `env:"-" default:"100" help:"At most this many; 0 for all."`
}

// owner reads CARRIER/NUMBER, the id of a subscription or of an endpoint, a name,
// or nothing for the tenant.
func (r *remote) owner(text string) (string, error) {
	switch {
	case text == "":
		return r.parent(), nil
	case strings.HasPrefix(text, "tenants/"):
		return text, nil
	case strings.HasPrefix(text, "ep_"):
		return r.endpoint(text), nil
	case strings.Contains(text, "/"):
		return waybillName(text)
	}
	return r.subscription(text), nil
}

// Run is called by kong.
func (c *pushListCmd) Run() error {
	parent, err := c.owner(c.Of)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("PUSH", "RANGE", "STATE", "ATTEMPTS", "LAST", "NEXT", "WHY")
		return l.end(all(c.Limit, func(token string) ([]*deliveryv1.Push, string, error) {
			resp, err := conn.waybills.ListPushes(ctx, &trackingv1.ListPushesRequest{Parent: parent, PageToken: token})
			return resp.GetPushes(), resp.GetNextPageToken(), err
		}, func(p *deliveryv1.Push) error {
			return l.add(p, p.GetId(), pushRange(p), word(p.GetState().String(), "PUSH_STATE_"), number(p.GetAttemptCount()),
				when(p.GetLastAttemptTime()), when(p.GetNextAttemptTime()), p.GetParkReason())
		}))
	})
}

func pushRange(p interface {
	GetAfterRevision() uint64
	GetRevision() uint64
},
) string {
	return fmt.Sprintf("(%d,%d]", p.GetAfterRevision(), p.GetRevision())
}

type pushAttemptsCmd struct {
	remote  `embed:""`
	between `embed:""`

	Of      string   `arg:"" optional:"" help:"CARRIER/NUMBER of a waybill, or the id of a subscription or an endpoint; all when absent."`
	Push    string   `env:"-" placeholder:"ID" help:"Only those of this push."`
	Outcome []string `env:"-" enum:"acknowledged,retry,parked" placeholder:"OUTCOME" help:"Only those that ended so: acknowledged, retry or parked."`
	Class   string   `env:"-" help:"Only those with this error class, such as timeout or http_503."`
	Status  int32    `env:"-" default:"0" placeholder:"CODE" help:"Only those with this HTTP status."`
	Limit   int      `env:"-" default:"100" help:"At most this many; 0 for all."`
}

// Run is called by kong.
func (c *pushAttemptsCmd) Run() error {
	parent, err := c.owner(c.Of)
	if err != nil {
		return err
	}
	req := &trackingv1.ListAttemptsRequest{Parent: parent, PushId: c.Push, ErrorClass: c.Class, HttpStatus: c.Status}
	for _, o := range c.Outcome {
		req.Outcomes = append(req.Outcomes, deliveryv1.AttemptOutcome(deliveryv1.AttemptOutcome_value["ATTEMPT_OUTCOME_"+strings.ToUpper(o)]))
	}
	if req.StartTime, req.EndTime, err = c.read(); err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("TIME", "PUSH", "NUMBER", "OUTCOME", "STATUS", "TOOK", "DNS", "CONNECT", "TLS", "FIRST BYTE", "CLASS", "NEXT")
		return l.end(all(c.Limit, func(token string) ([]*deliveryv1.Attempt, string, error) {
			req.PageToken = token
			resp, err := conn.waybills.ListAttempts(ctx, req)
			return resp.GetAttempts(), resp.GetNextPageToken(), err
		}, func(a *deliveryv1.Attempt) error {
			p := a.GetPhases()
			connect := long(p.GetConnect())
			if p.GetReusedConnection() {
				connect = "reused"
			}
			return l.add(a, when(a.GetAttemptTime()), a.GetPushId(), number(a.GetNumber()), word(a.GetOutcome().String(), "ATTEMPT_OUTCOME_"),
				number(a.GetHttpStatus()), long(a.GetDuration()), long(p.GetDns()), connect, long(p.GetTls()), long(p.GetFirstByte()),
				a.GetErrorClass(), when(a.GetNextAttemptTime()))
		}))
	})
}

// parkedFilter says which parked pushes.
type parkedFilter struct {
	between `embed:""`

	Push         string   `env:"-" placeholder:"ID" help:"Only this push, such as psh_018f3c5e7b2a7c3d_7."`
	Subscription string   `env:"-" placeholder:"ID" help:"Only that of this subscription."`
	Endpoint     string   `env:"-" placeholder:"ID" help:"Only those to this endpoint."`
	Waybill      string   `env:"-" placeholder:"CARRIER/NUMBER" help:"Only those of this waybill."`
	Reason       []string `env:"-" help:"Only those parked for this reason, such as retries_spent."`
}

func (f *parkedFilter) message(r *remote) (*deliveryv1.ParkedFilter, error) {
	m := &deliveryv1.ParkedFilter{PushId: f.Push, Subscription: r.subscription(f.Subscription), Endpoint: r.endpoint(f.Endpoint), Reasons: f.Reason}
	var err error
	if m.Waybill, err = waybillName(f.Waybill); err != nil {
		return nil, err
	}
	m.StartTime, m.EndTime, err = f.read()
	return m, err
}

func (f *parkedFilter) empty() bool {
	return f.Push == "" && f.Subscription == "" && f.Endpoint == "" && f.Waybill == "" && len(f.Reason) == 0 && f.between == between{}
}

type pushParkedCmd struct {
	remote       `embed:""`
	parkedFilter `embed:""`

	Count bool `env:"-" help:"Only count them, by endpoint and reason."`
	Limit int  `env:"-" default:"100" help:"At most this many; 0 for all."`
}

// Run is called by kong.
func (c *pushParkedCmd) Run() error {
	filter, err := c.message(&c.remote)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		if c.Count {
			return c.count(ctx, conn, filter)
		}
		l := conn.list("PUSH", "RANGE", "WAYBILL", "ENDPOINT", "ATTEMPTS", "PARKED", "WHY")
		return l.end(all(c.Limit, func(token string) ([]*deliveryv1.ParkedPush, string, error) {
			resp, err := conn.pushes.ListParkedPushes(ctx, &deliveryv1.ListParkedPushesRequest{Parent: c.parent(), Filter: filter, PageToken: token})
			return resp.GetParkedPushes(), resp.GetNextPageToken(), err
		}, func(m *deliveryv1.ParkedPush) error {
			p := m.GetPush()
			return l.add(m, p.GetId(), pushRange(p), strings.TrimPrefix(p.GetWaybill(), "waybills/"), lastPart(p.GetEndpoint()), number(p.GetAttemptCount()),
				when(m.GetParkTime()), p.GetParkReason())
		}))
	})
}

func (c *pushParkedCmd) count(ctx context.Context, conn *connection, filter *deliveryv1.ParkedFilter) error {
	resp, err := conn.pushes.CountParkedPushes(ctx, &deliveryv1.CountParkedPushesRequest{Parent: c.parent(), Filter: filter})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(conn.out, resp)
	}
	l := conn.list("ENDPOINT", "WHY", "COUNT", "OLDEST")
	for _, g := range resp.GetGroups() {
		_ = l.add(g, lastPart(g.GetEndpoint()), g.GetReason(), number(g.GetCount()), when(g.GetOldestParkTime()))
	}
	_ = l.add(resp, "all", "", number(resp.GetCount()), "")
	return l.end(nil)
}

// jobFlags are those of commands that make a job.
type jobFlags struct {
	RequestID string `name:"request-id" env:"-" help:"Makes a repeat return the first one's job."`
	NoWait    bool   `env:"-" help:"Don't wait until all is on its way."`
}

type pushResendCmd struct {
	remote       `embed:""`
	parkedFilter `embed:""`
	jobFlags     `embed:""`

	All bool `env:"-" help:"All that is parked of the tenant: needed when nothing else says which."`
}

// Run is called by kong.
func (c *pushResendCmd) Run() error {
	if c.empty() != c.All {
		return errors.New("say which pushes, or --all")
	}
	filter, err := c.message(&c.remote)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.pushes.ResendPushes(ctx, &deliveryv1.ResendPushesRequest{Parent: c.parent(), Filter: filter, RequestId: c.RequestID})
		if err != nil {
			return err
		}
		return conn.follow(ctx, resp.GetJob(), c.NoWait)
	})
}

type pushReplayCmd struct {
	remote   `embed:""`
	jobFlags `embed:""`

	Of    string `arg:"" help:"The id of a subscription, CARRIER/NUMBER of a waybill, or the id of an endpoint for all its active subscriptions."`
	After uint64 `env:"-" default:"0" help:"The newest revision that the receiver has; 0 for everything."`
}

// Run is called by kong.
func (c *pushReplayCmd) Run() error {
	name, err := c.owner(c.Of)
	if err != nil {
		return err
	}
	req := &deliveryv1.ReplayPushesRequest{Parent: c.parent(), AfterRevision: c.After, RequestId: c.RequestID}
	switch {
	case strings.HasPrefix(name, "waybills/"):
		req.Waybill = name
	case strings.Contains(name, "/endpoints/"):
		req.Endpoint = name
	default:
		req.Subscription = name
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.pushes.ReplayPushes(ctx, req)
		if err != nil {
			return err
		}
		return conn.follow(ctx, resp.GetJob(), c.NoWait)
	})
}

// follow waits until a job has ended, and shows it.
func (c *connection) follow(ctx context.Context, j *deliveryv1.PushJob, noWait bool) error {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for !noWait && j.GetState() == deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return c.showJob(j) // it goes on without us
		}
		resp, err := c.pushes.GetPushJob(ctx, &deliveryv1.GetPushJobRequest{Name: j.GetName()})
		if err != nil {
			return err
		}
		j = resp.GetJob()
	}
	return c.showJob(j)
}

func (c *connection) showJob(j *deliveryv1.PushJob) error {
	return c.show(j, "job", lastPart(j.GetName()), "does", word(j.GetKind().String(), "PUSH_JOB_KIND_"), "state", jobState(j),
		"matched", number(j.GetMatchedCount()), "sent", number(j.GetSentCount()), "skipped", number(j.GetSkippedCount()),
		"caller", j.GetCaller(), "created", when(j.GetCreateTime()), "ended", when(j.GetEndTime()))
}

func jobState(j *deliveryv1.PushJob) string { return word(j.GetState().String(), "PUSH_JOB_STATE_") }

type pushJobsCmd struct {
	remote `embed:""`

	Limit int `env:"-" default:"100" help:"At most this many; 0 for all."`
}

// Run is called by kong.
func (c *pushJobsCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("JOB", "DOES", "STATE", "MATCHED", "SENT", "SKIPPED", "CALLER", "CREATED")
		return l.end(all(c.Limit, func(token string) ([]*deliveryv1.PushJob, string, error) {
			resp, err := conn.pushes.ListPushJobs(ctx, &deliveryv1.ListPushJobsRequest{Parent: c.parent(), PageToken: token})
			return resp.GetJobs(), resp.GetNextPageToken(), err
		}, func(j *deliveryv1.PushJob) error {
			return l.add(j, lastPart(j.GetName()), word(j.GetKind().String(), "PUSH_JOB_KIND_"), jobState(j),
				number(j.GetMatchedCount()), number(j.GetSentCount()), number(j.GetSkippedCount()), j.GetCaller(), when(j.GetCreateTime()))
		}))
	})
}

type pushCancelCmd struct {
	remote `embed:""`

	Job string `arg:"" help:"Its id, such as job_018f3c5e7b2a7c3d, or name."`
}

// Run is called by kong.
func (c *pushCancelCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.pushes.CancelPushJob(ctx, &deliveryv1.CancelPushJobRequest{Name: c.job(c.Job)})
		if err != nil {
			return err
		}
		return conn.showJob(resp.GetJob())
	})
}

type pushStatsCmd struct {
	remote `embed:""`

	Of string `arg:"" optional:"" help:"The id of an endpoint or a subscription; all of the tenant's when absent."`
}

// Run is called by kong.
func (c *pushStatsCmd) Run() error {
	parent, err := c.owner(c.Of)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.pushes.GetPushStatistics(ctx, &deliveryv1.GetPushStatisticsRequest{Parent: parent})
		if err != nil {
			return err
		}
		s := resp.GetStatistics()
		return conn.show(s, "subscriptions", number(s.GetSubscriptionCount()), "accepted", number(s.GetAcceptedCount()),
			"  waiting", number(s.GetWaitingCount()), "  in flight", number(s.GetInFlightCount()), "  pending", number(s.GetPendingCount()),
			"  acknowledged", number(s.GetAcknowledgedCount()), "  parked", number(s.GetParkedCount()), "  cancelled", number(s.GetCancelledCount()),
			"pending pushes", number(s.GetPendingPushCount()), "parked pushes", number(s.GetParkedPushCount()), "oldest pending", when(s.GetOldestPendingTime()))
	})
}
