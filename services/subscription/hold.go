package subscription

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	opsv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ops/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
)

// What a subscription's tier or filter doesn't want pushed now, or its tenant's quota
// has no room for, is held back: the
// row remembers up to which revision, and when it is to be looked at again. It is
// no copy of anything. The next push's range begins after the last pushed revision,
// and so brings what was held. A subscription doesn't end before.

// holds says whether a change is held back, and until when; zero says until
// something else is pushed.
func (p *pushes) holds(t *track.Trace, m *pg.Match) (due time.Time, held bool) {
	if !m.Pace.Plain() {
		now := p.cfg.Now()
		push, due := m.Pace.Decide(t, pace.Seen{Revision: m.Pushed, State: m.State, Time: m.PushTime}, now, !now.Before(m.Ends))
		if !push {
			return due, true
		}
	}
	if p.cfg.Quota != nil {
		if until, ok := p.cfg.Quota.Take(m.TenantID); !ok {
			return until, true
		}
	}
	return time.Time{}, false
}

// prepare lets the quotas of the tenants of matches be known.
func (w *worker) prepare(ctx context.Context, matches []pg.Match) error {
	if w.cfg.Quota == nil || len(matches) == 0 {
		return nil
	}
	var tenants []string
	for i := range matches {
		if t := matches[i].TenantID; len(tenants) == 0 || tenants[len(tenants)-1] != t {
			tenants = append(tenants, t)
		}
	}
	return w.cfg.Quota.Prepare(ctx, tenants)
}

// count writes down what was pushed. What can't be stays in mind.
func (w *worker) count(ctx context.Context) {
	if w.cfg.Quota == nil {
		return
	}
	if err := w.cfg.Quota.Flush(ctx); err != nil && ctx.Err() == nil {
		w.cfg.Log.WarnContext(ctx, "pushes of tenants can't be counted yet", obs.KeyError, err)
	}
}

// QuotaSpent is the operational event that a tenant's pushes of a day are spent.
func QuotaSpent(tenant string, limit int64, until, now time.Time) (*pg.OpsEvent, error) {
	e := &opsv1.Event{
		Id: "ops_quota_" + tenant + until.Format("_20060102"), EventTime: timestamppb.New(now), TenantId: tenant, Kind: opsv1.EventKind_EVENT_KIND_QUOTA_SPENT,
		Detail: &opsv1.Event_QuotaSpent{QuotaSpent: &opsv1.QuotaSpent{Quota: "daily_pushes", Limit: limit, HeldUntil: timestamppb.New(until)}},
	}
	body, err := proto.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode an operational event: %w", err)
	}
	return &pg.OpsEvent{ID: e.GetId(), TenantID: tenant, Kind: "quota_spent", Body: body}, nil
}

// hold notes that a subscription doesn't hear of a trace yet.
func (p *pushes) hold(id string, t *track.Trace, due time.Time) {
	p.note(t, pg.Pushed{ID: id, Held: t.Revision, Due: due})
	p.held++
}
