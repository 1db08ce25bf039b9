package subscription

import (
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Limits and defaults of a subscription.
const (
	maxMetadata      = 32
	maxMetadataKey   = 64
	maxMetadataValue = 512
	defaultTail      = 72 * time.Hour
	maxTail          = 90 * 24 * time.Hour
	defaultLife      = 90 * 24 * time.Hour
)

// subscriptionFields are those that their owner changes.
var subscriptionFields = []string{"metadata", "tail", "expire_time", "pace", "filter"}

func refuseSubscriptionField(field string) string {
	switch field {
	case "endpoint", "carrier_code", "waybill_number":
		return field + " can't be changed"
	case "name", "state", "pushed_revision", "acknowledged_revision", "create_time", "update_time", "complete_time", "held_revision", "due_time", "etag":
		return field + " is output only"
	}
	return fmt.Sprintf("%q is not a field of a subscription", field)
}

func subscriptionFieldSet(m *subscriptionv1.Subscription, field string) bool {
	switch field {
	case "metadata":
		return len(m.GetMetadata()) > 0
	case "tail":
		return m.GetTail() != nil
	case "expire_time":
		return m.GetExpireTime() != nil
	case "pace":
		return m.GetPace() != nil
	case "filter":
		return m.GetFilter() != nil
	}
	return false
}

// newSubscription checks one request.
func newSubscription(tenant string, req *subscriptionv1.CreateSubscriptionRequest, recognized *recognition, now time.Time) (pg.NewSubscription, error) {
	m := req.GetSubscription()
	if m == nil {
		return pg.NewSubscription{}, rpc.Invalid("subscription", "is required")
	}
	var v violations
	n := pg.NewSubscription{Subscription: pg.Subscription{ID: id.New("sub_", now), TenantID: tenant, CreateTime: now, UpdateTime: now}}
	owner, endpoint, err := rpc.ParseEndpointName(m.GetEndpoint())
	switch {
	case err != nil:
		v.add("subscription.endpoint", err.Error())
	case owner != tenant:
		v.add("subscription.endpoint", "must be of the same tenant")
	}
	n.EndpointID = endpoint
	if n.Waybill.Number, err = track.NormalNumber(m.GetWaybillNumber()); err != nil {
		v.add("subscription.waybill_number", err.Error())
	} else {
		recognized.carrier(&v, &n, req)
	}
	for _, f := range subscriptionFields {
		setSubscriptionField(&v, &n.Subscription, m, f, now)
	}
	n.PollTier, n.Phone = int16(req.GetPollTier()), phoneEnd(&v, req.GetPhone())
	if t := req.GetPollTier(); t < 0 || t > subscriptionv1.PollTier_POLL_TIER_FAST {
		v.add("poll_tier", "is not a known tier")
	}
	if err := v.result(); err != nil {
		return pg.NewSubscription{}, err
	}
	if n.How != "" {
		n.Metadata = withReserved(n.Metadata, map[string]string{pg.MetadataCarrier: n.How})
	}
	n.Request, err = request(req.GetRequestId(), m)
	return n, err
}

// setSubscriptionField checks one field and takes it over.
func setSubscriptionField(v *violations, s *pg.Subscription, m *subscriptionv1.Subscription, field string, now time.Time) {
	name := "subscription." + field
	switch field {
	case "metadata":
		checkMetadata(v, name, m.GetMetadata())
		checkReserved(v, name, m.GetMetadata(), s.Metadata)
		s.Metadata = withReserved(m.GetMetadata(), s.Metadata)
	case "tail":
		s.Tail = defaultTail
		if m.GetTail() != nil {
			// PostgreSQL keeps microseconds.
			s.Tail = checkDuration(v, name, m.GetTail(), 0, maxTail).Truncate(time.Microsecond)
		}
	case "expire_time":
		t := m.GetExpireTime()
		if t == nil {
			s.ExpireTime = s.CreateTime.Add(defaultLife)
			return
		}
		if t.CheckValid() != nil || !t.AsTime().After(now) {
			v.add(name, "must be in the future")
			return
		}
		s.ExpireTime = t.AsTime().Truncate(time.Microsecond)
	case "pace":
		setPace(v, name, &s.Pace, m.GetPace())
	case "filter":
		setFilter(v, name, &s.Pace, m.GetFilter())
	}
}

// phoneEnd is the last four digits of a phone number.
func phoneEnd(v *violations, phone string) string {
	if phone == "" {
		return ""
	}
	end, ok := track.PhoneEnd(phone)
	if !ok {
		v.add("phone", "must be a phone number of 4 to 20 digits, or its last four")
	}
	return end
}

func checkMetadata(v *violations, field string, metadata map[string]string) {
	if len(metadata) > maxMetadata {
		v.add(field, fmt.Sprintf("must have at most %d entries", maxMetadata))
		return
	}
	for key, value := range metadata {
		if n := utf8.RuneCountInString(key); n == 0 || n > maxMetadataKey {
			v.add(field, fmt.Sprintf("keys must have 1 to %d characters", maxMetadataKey))
			return
		}
		v.checkText(field, key, maxMetadataKey, "")
		v.checkText(field, value, maxMetadataValue, fmt.Sprintf("values must have at most %d characters", maxMetadataValue))
		if v.err != nil {
			return // one is enough; there may be many
		}
	}
}

// shownSubscription is a subscription as its owner sees it.
func shownSubscription(s *pg.Subscription) *subscriptionv1.Subscription {
	m := subscriptionMessage(s)
	m.Etag = subscriptionETag(s)
	return m
}

// subscriptionMessage is shownSubscription without an etag.
func subscriptionMessage(s *pg.Subscription) *subscriptionv1.Subscription {
	m := &subscriptionv1.Subscription{
		Name: rpc.SubscriptionName(s.TenantID, s.ID), Endpoint: rpc.EndpointName(s.TenantID, s.EndpointID),
		CarrierCode: string(s.Waybill.Carrier), WaybillNumber: string(s.Waybill.Number), Metadata: s.Metadata, Tail: durationpb.New(s.Tail),
		ExpireTime: timestamppb.New(s.ExpireTime), State: subscriptionv1.SubscriptionState(s.State),
		PushedRevision: uint64(s.PushedRevision), AcknowledgedRevision: uint64(s.AcknowledgedRevision),
		CreateTime: timestamppb.New(s.CreateTime), UpdateTime: timestamppb.New(s.UpdateTime),
		Pace: paceMessage(s.Pace), Filter: filterMessage(s.Pace), HeldRevision: uint64(s.Held),
	}
	if s.Due != nil {
		m.DueTime = timestamppb.New(*s.Due)
	}
	if s.CompleteTime != nil {
		m.CompleteTime = timestamppb.New(*s.CompleteTime)
	}
	return m
}
