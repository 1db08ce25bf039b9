package subscription

import (
	"context"

	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/feeds"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// isFeed says whether an endpoint is its tenant's feed and no webhook.
func isFeed(e *pg.Endpoint) bool { return feeds.IsFeed(e.URL) }

// address gives an endpoint that is made where its pushes go, by its kind.
func (s *Endpoints) address(ctx context.Context, v *violations, tenant string, m *subscriptionv1.Endpoint) (*subscriptionv1.Endpoint, []string, error) {
	switch m.GetKind() {
	case subscriptionv1.EndpointKind_ENDPOINT_KIND_UNSPECIFIED, subscriptionv1.EndpointKind_ENDPOINT_KIND_WEBHOOK:
		m, warnings := s.normalURL(ctx, v, tenant, m)
		return m, warnings, nil
	case subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED:
	default:
		v.add("endpoint.kind", "is not a known kind")
		return m, nil, nil
	}
	for _, field := range []string{"url", "secret", "signature_scheme", "operations", "format"} {
		checkFeedField(v, m, field)
	}
	if err := v.result(); err != nil {
		return m, nil, err
	}
	if s.cfg.Feed == nil {
		return m, nil, rpc.Precondition(rpc.TenantName(tenant), "this Posthaste has no feeds on NATS: its operator turns them on, see docs/nats.md")
	}
	// Before the endpoint: one that is there works.
	if err := s.cfg.Feed(ctx, tenant); err != nil {
		return m, nil, s.fail(ctx, rpc.TenantName(tenant), err)
	}
	m, _ = proto.Clone(m).(*subscriptionv1.Endpoint)
	m.Url = feeds.Scheme
	return m, nil, nil
}

// checkFeedField refuses what a feed doesn't have.
func checkFeedField(v *violations, m *subscriptionv1.Endpoint, field string) {
	switch field {
	case "url", "secret", "signature_scheme", "operations":
		if endpointFieldSet(m, field) {
			v.add("endpoint."+field, "can't be set for a FEED")
		}
	case "format":
		if f := m.GetFormat(); f != subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_UNSPECIFIED && f != subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_JSON {
			v.add("endpoint.format", "must be JSON for a FEED")
		}
	}
}

// feedMessage says of a feed what a webhook hasn't.
func feedMessage(m *subscriptionv1.Endpoint, e *pg.Endpoint) {
	m.Kind, m.Url, m.FeedSubject = subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED, "", subject.EndpointFeed(e.ID)
}
