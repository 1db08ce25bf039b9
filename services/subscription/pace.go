package subscription

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// setPace checks a tier and takes it over.
func setPace(v *violations, field string, r *pace.Rule, m *subscriptionv1.Pace) {
	r.Tier, r.Interval = pace.Tier(m.GetTier()), 0
	if t := m.GetTier(); t < 0 || t > subscriptionv1.Tier_TIER_DIGEST {
		v.add(field+".tier", "is not a known tier")
		return
	}
	switch interval := m.GetDigestInterval(); {
	case r.Tier == pace.Digest && interval == nil:
		v.add(field+".digest_interval", "is required for a digest")
	case r.Tier == pace.Digest:
		r.Interval = checkDuration(v, field+".digest_interval", interval, pace.MinInterval, pace.MaxInterval).Truncate(1000)
	case interval != nil:
		v.add(field+".digest_interval", "is for a digest alone")
	}
}

func paceMessage(r pace.Rule) *subscriptionv1.Pace {
	if r.Tier == 0 {
		return nil
	}
	m := &subscriptionv1.Pace{Tier: subscriptionv1.Tier(r.Tier)}
	if r.Tier == pace.Digest {
		m.DigestInterval = durationpb.New(r.Interval)
	}
	return m
}

// setFilter checks a filter and takes it over, sorted and without repeats.
func setFilter(v *violations, field string, r *pace.Rule, m *subscriptionv1.EventFilter) {
	r.Filter = nil
	for i, s := range m.GetStatuses() {
		if s <= 0 || !status.Status(min(s, 255)).Valid() {
			v.add(fmt.Sprintf("%s.statuses[%d]", field, i), "is not a known status")
			return
		}
		r.Filter = append(r.Filter, pace.CodeOf(status.Status(s), 0))
	}
	for i, s := range m.GetSubStatuses() {
		if s <= 0 || s > 9999 || !status.Sub(s).Valid() {
			v.add(fmt.Sprintf("%s.sub_statuses[%d]", field, i), "is not a known sub-status")
			return
		}
		r.Filter = append(r.Filter, pace.Code(s))
	}
	slices.Sort(r.Filter)
	r.Filter = slices.Compact(r.Filter)
}

func filterMessage(r pace.Rule) *subscriptionv1.EventFilter {
	if len(r.Filter) == 0 {
		return nil
	}
	m := &subscriptionv1.EventFilter{}
	for _, c := range r.Filter {
		if c%100 == 0 {
			m.Statuses = append(m.Statuses, trackingv1.Status(c/100))
		} else {
			m.SubStatuses = append(m.SubStatuses, trackingv1.SubStatus(c))
		}
	}
	return m
}

// subscriptionETag changes with what an owner sets.
func subscriptionETag(s *pg.Subscription) string {
	m := subscriptionMessage(s)
	m.Etag, m.PushedRevision, m.AcknowledgedRevision, m.HeldRevision, m.DueTime, m.CompleteTime = "", 0, 0, 0, nil, nil
	return etag(m)
}

func endpointETag(m *subscriptionv1.Endpoint) string {
	m, _ = proto.Clone(m).(*subscriptionv1.Endpoint)
	// A key that expires isn't a change.
	m.Etag, m.Secret, m.PublicKeys, m.OldSecretExpireTime = "", "", nil, nil
	return etag(m)
}

func etag(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return ""
	}
	const enough = 10
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:enough]))
}

// checkETag refuses an update of another version than its caller read.
func checkETag(name, given, present string) error {
	if given != "" && given != present {
		return rpc.Conflict(name, "it was changed meanwhile: read it and try again")
	}
	return nil
}
