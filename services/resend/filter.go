package resend

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	maxReasons = 20
	maxReason  = 100
)

// parentTenant reads whose pushes a request is about.
func parentTenant(name string) (string, error) {
	tenant, err := rpc.ParseTenantName(name)
	if err != nil {
		return "", rpc.Invalid("parent", err.Error())
	}
	return tenant, nil
}

// reader reads the fields of a request that a tenant made, and gathers what is
// wrong with them.
type reader struct {
	rpc.Violations

	tenant string
}

// own reads the name of a thing of the tenant's; empty for none.
func (r *reader) own(field, name string, parse func(string) (tenant, id string, err error)) string {
	if name == "" {
		return ""
	}
	tenant, id, err := parse(name)
	switch {
	case err != nil:
		r.Add(field, err.Error())
	case tenant != r.tenant:
		r.Add(field, "must be of the same tenant as parent")
	}
	return id
}

func (r *reader) subscription(field, name string) string {
	return r.own(field, name, rpc.ParseSubscriptionName)
}

func (r *reader) endpoint(field, name string) string {
	return r.own(field, name, rpc.ParseEndpointName)
}

func (r *reader) waybill(field, name string) track.Waybill {
	if name == "" {
		return track.Waybill{}
	}
	c, n, err := rpc.ParseWaybillName(name)
	if err != nil {
		r.Add(field, err.Error())
		return track.Waybill{}
	}
	number, err := track.NormalNumber(n)
	if err != nil {
		r.Add(field, "the waybill number "+err.Error())
	}
	return track.Waybill{Carrier: track.Carrier(c), Number: number}
}

func (r *reader) time(field string, m *timestamppb.Timestamp) *time.Time {
	if m == nil {
		return nil
	}
	if m.CheckValid() != nil {
		r.Add(field, "must be from the year 1 to 9999")
		return nil
	}
	return new(m.AsTime())
}

// filter reads which parked pushes a request is about.
func (r *reader) filter(m *deliveryv1.ParkedFilter) pg.ParkedFilter {
	f := pg.ParkedFilter{
		SubscriptionID: r.subscription("filter.subscription", m.GetSubscription()), EndpointID: r.endpoint("filter.endpoint", m.GetEndpoint()),
		Waybill: r.waybill("filter.waybill", m.GetWaybill()), Reasons: m.GetReasons(),
		From: r.time("filter.start_time", m.GetStartTime()), Until: r.time("filter.end_time", m.GetEndTime()),
	}
	if id := m.GetPushId(); id != "" {
		sub, revision, ok := push.ParseID(id)
		switch {
		case !ok || len(id) > maxReason:
			r.Add("filter.push_id", "can't be a push's")
		case f.SubscriptionID != "" && f.SubscriptionID != sub:
			r.Add("filter.push_id", "is not of filter.subscription")
		default:
			// Its form is checked as that of the subscription in it.
			f.SubscriptionID, f.Covers = r.subscription("filter.push_id", rpc.SubscriptionName(r.tenant, sub)), revision
		}
	}
	if len(f.Reasons) > maxReasons {
		r.Add("filter.reasons", fmt.Sprintf("must be at most %d", maxReasons))
	}
	for i, reason := range f.Reasons {
		r.CheckText(fmt.Sprintf("filter.reasons[%d]", i), reason, maxReason)
	}
	return f
}

// filterMessage is the filter of a resend as it was asked for.
func filterMessage(tenant string, f *pg.ParkedFilter) *deliveryv1.ParkedFilter {
	m := &deliveryv1.ParkedFilter{Reasons: f.Reasons, StartTime: timestamp(f.From), EndTime: timestamp(f.Until)}
	if f.Covers != 0 {
		m.PushId = push.ID(f.SubscriptionID, f.Covers)
	}
	m.Subscription, m.Endpoint, m.Waybill = targetNames(tenant, f)
	return m
}

// targetNames are the names of what a job is about; empty for what it isn't.
func targetNames(tenant string, f *pg.ParkedFilter) (subscription, endpoint, waybill string) {
	if f.SubscriptionID != "" {
		subscription = rpc.SubscriptionName(tenant, f.SubscriptionID)
	}
	if f.EndpointID != "" {
		endpoint = rpc.EndpointName(tenant, f.EndpointID)
	}
	if f.Waybill != (track.Waybill{}) {
		waybill = rpc.WaybillName(string(f.Waybill.Carrier), string(f.Waybill.Number))
	}
	return subscription, endpoint, waybill
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
