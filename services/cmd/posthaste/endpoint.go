package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/app"
)

// endpointCmd holds the commands about where pushes go.
type endpointCmd struct {
	List         endpointListCmd   `cmd:"" help:"List endpoints, newest first."`
	Get          endpointGetCmd    `cmd:"" help:"Show an endpoint."`
	Create       endpointCreateCmd `cmd:"" help:"Make an endpoint, and show its secret this once."`
	RotateSecret rotateSecretCmd   `cmd:"" help:"Give an endpoint a new signing key; the old one stays live for a while."`
	Pause        endpointPauseCmd  `cmd:"" help:"Hold pushes back; what is owed is kept."`
	Resume       endpointResumeCmd `cmd:"" help:"Let pushes go out again, also of an endpoint that was disabled: what was parked for that is resent."`
	Delete       endpointDeleteCmd `cmd:"" help:"Remove an endpoint that no live subscription uses."`
}

type endpointListCmd struct {
	remote `embed:""`
}

// Run is called by kong.
func (c *endpointListCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("ENDPOINT", "STATE", "URL", "SIGNED BY", "NAME")
		return l.end(all(0, func(token string) ([]*subscriptionv1.Endpoint, string, error) {
			resp, err := conn.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: c.parent(), PageToken: token})
			return resp.GetEndpoints(), resp.GetNextPageToken(), err
		}, func(e *subscriptionv1.Endpoint) error {
			return l.add(e, lastPart(e.GetName()), endpointState(e), e.GetUrl()+e.GetFeedSubject(), scheme(e), e.GetDisplayName())
		}))
	})
}

func endpointState(e *subscriptionv1.Endpoint) string {
	return word(e.GetState().String(), "ENDPOINT_STATE_")
}

func scheme(e *subscriptionv1.Endpoint) string {
	return word(e.GetSignatureScheme().String(), "SIGNATURE_SCHEME_")
}

func (c *connection) showEndpoint(e *subscriptionv1.Endpoint) error {
	return c.show(e,
		"endpoint", lastPart(e.GetName()), "state", endpointState(e), "url", e.GetUrl(), "feed", e.GetFeedSubject(), "name", e.GetDisplayName(),
		"signed by", scheme(e), "secret", e.GetSecret(), "public keys", strings.Join(e.GetPublicKeys(), " "),
		"old key until", when(e.GetOldSecretExpireTime()), "in flight", strconv.Itoa(int(e.GetMaxInFlight())), "time-out", long(e.GetTimeout()),
		"created", when(e.GetCreateTime()), "changed", when(e.GetUpdateTime()))
}

// oneEndpoint names an endpoint.
type oneEndpoint struct {
	remote `embed:""`

	Endpoint string `arg:"" help:"Its id, such as ep_018f3c5e7b2a7c3d, or name."`
}

type endpointGetCmd struct {
	oneEndpoint `embed:""`
}

// Run is called by kong.
func (c *endpointGetCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.endpoints.GetEndpoint(ctx, &subscriptionv1.GetEndpointRequest{Name: c.endpoint(c.Endpoint)})
		if err != nil {
			return err
		}
		return conn.showEndpoint(resp.GetEndpoint())
	})
}

// newKey says which key is made.
type newKey struct {
	Secret  app.Secret `env:"-" help:"The key, whsec_… or whsk_…; made by the server when absent. Others on this machine can see it."`
	Ed25519 bool       `name:"ed25519" env:"-" help:"Sign by Ed25519: receivers check with a public key, and hold no secret."`
}

func (k newKey) scheme() subscriptionv1.SignatureScheme {
	if k.Ed25519 {
		return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519
	}
	return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_UNSPECIFIED
}

type endpointCreateCmd struct {
	remote `embed:""`
	newKey `embed:""`

	URL          string          `arg:"" optional:"" name:"url" help:"Where pushes are posted."`
	Feed         bool            `env:"-" help:"Publish pushes to the tenant's feed on NATS instead of posting them, see docs/nats.md."`
	Name         string          `env:"-" help:"A name for people."`
	IncludeTrace bool            `env:"-" help:"Put the whole trace into each push."`
	MaxInFlight  int32           `env:"-" default:"0" help:"Most attempts at once, 1 to 256; 0 means 16."`
	Timeout      time.Duration   `env:"-" default:"0s" help:"Longest wait for an answer, 1s to 30s; 0s means 15s."`
	RetryDelays  []time.Duration `env:"-" placeholder:"DURATION" help:"Delays between attempts, separated by commas; the last repeats. The default is that of docs/delivery.md."`
	MaxAttempts  int32           `env:"-" default:"0" help:"Most attempts of a push; 0 means until the retry horizon of 72h."`
	RequestID    string          `name:"request-id" env:"-" help:"Makes a repeat give the first answer."`
}

// Run is called by kong.
func (c *endpointCreateCmd) Run() error {
	e := &subscriptionv1.Endpoint{
		Url: c.URL, Secret: c.Secret.Reveal(), SignatureScheme: c.scheme(), DisplayName: c.Name, IncludeTrace: c.IncludeTrace, MaxInFlight: c.MaxInFlight,
	}
	if c.Feed {
		e.Kind = subscriptionv1.EndpointKind_ENDPOINT_KIND_FEED
	}
	if c.Timeout != 0 {
		e.Timeout = durationpb.New(c.Timeout)
	}
	if len(c.RetryDelays) > 0 || c.MaxAttempts != 0 {
		e.RetryPolicy = &subscriptionv1.RetryPolicy{MaxAttempts: c.MaxAttempts}
		for _, d := range c.RetryDelays {
			e.RetryPolicy.Delays = append(e.RetryPolicy.Delays, durationpb.New(d))
		}
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: c.parent(), Endpoint: e, RequestId: c.RequestID})
		if err != nil {
			return err
		}
		return conn.showEndpoint(resp.GetEndpoint())
	})
}

type rotateSecretCmd struct {
	oneEndpoint `embed:""`
	newKey      `embed:""`

	Overlap   time.Duration `env:"-" default:"24h" help:"How long the old key stays live, to 720h. 0s drops every old key at once."`
	RequestID string        `name:"request-id" env:"-" help:"Makes a repeat give the first answer."`
}

// Run is called by kong.
func (c *rotateSecretCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.endpoints.RotateSecret(ctx, &subscriptionv1.RotateSecretRequest{
			Name: c.endpoint(c.Endpoint), Secret: c.Secret.Reveal(), SignatureScheme: c.scheme(), Overlap: durationpb.New(c.Overlap), RequestId: c.RequestID,
		})
		if err != nil {
			return err
		}
		return conn.showEndpoint(resp.GetEndpoint())
	})
}

type endpointPauseCmd struct {
	oneEndpoint `embed:""`
}

// Run is called by kong.
func (c *endpointPauseCmd) Run() error {
	return c.setState(subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED)
}

type endpointResumeCmd struct {
	oneEndpoint `embed:""`
}

// Run is called by kong.
func (c *endpointResumeCmd) Run() error {
	return c.setState(subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED)
}

func (c *oneEndpoint) setState(state subscriptionv1.EndpointState) error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.endpoints.UpdateEndpoint(ctx, &subscriptionv1.UpdateEndpointRequest{
			Endpoint: &subscriptionv1.Endpoint{Name: c.endpoint(c.Endpoint), State: state}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
		if err != nil {
			return err
		}
		return conn.showEndpoint(resp.GetEndpoint())
	})
}

type endpointDeleteCmd struct {
	oneEndpoint `embed:""`
}

// Run is called by kong.
func (c *endpointDeleteCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		_, err := conn.endpoints.DeleteEndpoint(ctx, &subscriptionv1.DeleteEndpointRequest{Name: c.endpoint(c.Endpoint)})
		return err
	})
}
