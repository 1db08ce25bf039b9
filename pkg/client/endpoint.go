package client

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

// Secret is an endpoint's signing secret, in the form that webhook.ParseSecret
// reads. It prints as "whsec_***"; string(s) reveals it.
type Secret string

const hidden = "whsec_***"

// String hides the secret.
func (Secret) String() string { return hidden }

// Format hides the secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// EndpointState says whether pushes go out.
type EndpointState string

// The states. Others may be added.
const (
	// EndpointEnabled: pushes go out.
	EndpointEnabled EndpointState = "enabled"
	// EndpointPaused: held by its owner; what is owed is kept.
	EndpointPaused EndpointState = "paused"
	// EndpointDisabled: the endpoint said it is gone; what is owed is parked.
	EndpointDisabled EndpointState = "disabled"
)

var endpointStates = map[subscriptionv1.EndpointState]EndpointState{
	subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED:  EndpointEnabled,
	subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED:   EndpointPaused,
	subscriptionv1.EndpointState_ENDPOINT_STATE_DISABLED: EndpointDisabled,
}

// Endpoint is a callback URL with its limits.
type Endpoint struct {
	Name string
	URL  string
	// Secret is set in the answers of [Client.CreateEndpoint] and
	// [Client.RotateSecret] only, and never for [SchemeEd25519].
	Secret Secret
	// IncludeTrace adds the whole trace to each push.
	IncludeTrace bool
	MaxInFlight  int
	Timeout      time.Duration
	// Retry is nil when the default holds.
	Retry       *RetryPolicy
	State       EndpointState
	DisplayName string
	// FailureThreshold is how many failures in a row open the breaker and raise the
	// alarm.
	FailureThreshold int
	// Operations says that the tenant's operational events are posted here.
	Operations bool
	CreateTime time.Time
	UpdateTime time.Time
	// Scheme is how pushes are signed.
	Scheme SignatureScheme
	// PublicKeys are those of the live keys, in the form that webhook.ParsePublicKey
	// reads, the newest first; none for [SchemeHMAC].
	PublicKeys []string
	// OldSecretExpireTime is until when the key before the last rotation signs too;
	// zero when only one key is live.
	OldSecretExpireTime time.Time
}

// SignatureScheme is how pushes are signed. Receivers needn't know it:
// webhook.Verifier takes both.
type SignatureScheme string

// The schemes. Others may be added.
const (
	// SchemeHMAC is HMAC-SHA256 with a secret that both sides have.
	SchemeHMAC SignatureScheme = "hmac-sha256"
	// SchemeEd25519 is Ed25519: receivers check with a public key.
	SchemeEd25519 SignatureScheme = "ed25519"
)

var signatureSchemes = map[subscriptionv1.SignatureScheme]SignatureScheme{
	subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256: SchemeHMAC,
	subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519:     SchemeEd25519,
}

// toScheme is unspecified for an empty scheme, and refused by the server for an
// unknown one.
func toScheme(s SignatureScheme) subscriptionv1.SignatureScheme {
	if s == "" {
		return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_UNSPECIFIED
	}
	if m := toState(signatureSchemes, s); m != 0 {
		return m
	}
	return -1
}

// ID is the last part of the name: "ep_…".
func (e Endpoint) ID() string { return idOf(e.Name) }

// RetryPolicy says when an attempt is repeated.
type RetryPolicy struct {
	// Delays are those between attempts, in order; the last repeats until the
	// horizon. At most 50.
	Delays []time.Duration
	// Horizon is how long after the first attempt the last one may come; 0 means
	// 72 h.
	Horizon time.Duration
	// MaxAttempts of 0 means no limit but the horizon.
	MaxAttempts int
	// Preset is a policy by name, instead of the others; empty for none.
	Preset RetryPreset
}

// RetryPreset is a policy by name.
type RetryPreset string

// The presets. Others may be added.
const (
	// RetryStandard is the default policy.
	RetryStandard RetryPreset = "standard"
	// RetryThreeTimes and RetryFiveTimes repeat so often, 30 minutes apart.
	RetryThreeTimes RetryPreset = "three_times"
	RetryFiveTimes  RetryPreset = "five_times"
)

var retryPresets = map[subscriptionv1.RetryPreset]RetryPreset{
	subscriptionv1.RetryPreset_RETRY_PRESET_STANDARD:    RetryStandard,
	subscriptionv1.RetryPreset_RETRY_PRESET_THREE_TIMES: RetryThreeTimes,
	subscriptionv1.RetryPreset_RETRY_PRESET_FIVE_TIMES:  RetryFiveTimes,
}

// NewEndpoint is what [Client.CreateEndpoint] makes. Only URL is required.
type NewEndpoint struct {
	// URL is absolute, http or https, at most 2,048 characters.
	URL string
	// Secret is made by the server when empty.
	Secret Secret
	// Scheme is how pushes are signed; empty means [SchemeHMAC].
	Scheme       SignatureScheme
	IncludeTrace bool
	// MaxInFlight is the most attempts at once, 1 to 256; 0 means 16.
	MaxInFlight int
	// Timeout is the longest wait for an answer, 1 to 30 s; 0 means 15 s.
	Timeout time.Duration
	// Retry of nil means the default.
	Retry *RetryPolicy
	// DisplayName is for people, at most 200 characters.
	DisplayName string
	// FailureThreshold is how many failures in a row open the breaker, 1 to 100; 0
	// means 3.
	FailureThreshold int
	// Operations has the tenant's operational events posted here.
	Operations bool
	// RequestID makes a repeat of the call return the first answer, also by
	// another process; at most 64 characters. Empty lets the client make one, for
	// its own retries.
	RequestID string
}

// EndpointUpdate says what to change; nil leaves a field as it is.
type EndpointUpdate struct {
	URL          *string
	Secret       *Secret
	IncludeTrace *bool
	MaxInFlight  *int
	Timeout      *time.Duration
	// Retry of &RetryPolicy{} sets the default.
	Retry *RetryPolicy
	// State can be [EndpointEnabled] or [EndpointPaused].
	State            *EndpointState
	DisplayName      *string
	FailureThreshold *int
	Operations       *bool
}

// CreateEndpoint makes an endpoint. The answer is the only one that shows the
// secret.
func (c *Client) CreateEndpoint(ctx context.Context, n NewEndpoint) (Endpoint, error) {
	resp, err := c.endpoints.CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{
		Parent: c.parent(),
		Endpoint: &subscriptionv1.Endpoint{
			Url: n.URL, Secret: string(n.Secret), SignatureScheme: toScheme(n.Scheme), IncludeTrace: n.IncludeTrace, MaxInFlight: toInt32(n.MaxInFlight),
			Timeout: toDuration(n.Timeout), RetryPolicy: toRetryPolicy(n.Retry), DisplayName: n.DisplayName,
			FailureThreshold: toInt32(n.FailureThreshold), Operations: n.Operations,
		},
		RequestId: requestID(n.RequestID),
	})
	return fromEndpoint(resp.GetEndpoint()), fail("create endpoint", err)
}

// GetEndpoint returns one endpoint.
func (c *Client) GetEndpoint(ctx context.Context, name string) (Endpoint, error) {
	name = c.endpointName(name)
	resp, err := c.endpoints.GetEndpoint(ctx, &subscriptionv1.GetEndpointRequest{Name: name})
	return fromEndpoint(resp.GetEndpoint()), fail("get "+name, err)
}

// Endpoints returns the tenant's endpoints, newest first. An error is the last
// thing it gives.
func (c *Client) Endpoints(ctx context.Context) iter.Seq2[Endpoint, error] {
	return pages("list endpoints", func(token string) ([]*subscriptionv1.Endpoint, string, error) {
		resp, err := c.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: c.parent(), PageToken: token})
		return resp.GetEndpoints(), resp.GetNextPageToken(), err
	}, fromEndpoint)
}

// UpdateEndpoint changes an endpoint.
func (c *Client) UpdateEndpoint(ctx context.Context, name string, u EndpointUpdate) (Endpoint, error) {
	name = c.endpointName(name)
	e := &subscriptionv1.Endpoint{Name: name}
	var mask fieldmaskpb.FieldMask
	set := func(field string) { mask.Paths = append(mask.Paths, field) }
	if u.URL != nil {
		e.Url = *u.URL
		set("url")
	}
	if u.Secret != nil {
		e.Secret = string(*u.Secret)
		set("secret")
	}
	if u.IncludeTrace != nil {
		e.IncludeTrace = *u.IncludeTrace
		set("include_trace")
	}
	if u.MaxInFlight != nil {
		e.MaxInFlight = toInt32(*u.MaxInFlight)
		set("max_in_flight")
	}
	if u.Timeout != nil {
		e.Timeout = toDuration(*u.Timeout)
		set("timeout")
	}
	if u.Retry != nil {
		if len(u.Retry.Delays) > 0 || u.Retry.Horizon != 0 || u.Retry.MaxAttempts != 0 || u.Retry.Preset != "" {
			e.RetryPolicy = toRetryPolicy(u.Retry)
		}
		set("retry_policy")
	}
	if u.State != nil {
		e.State = toState(endpointStates, *u.State)
		set("state")
	}
	if u.DisplayName != nil {
		e.DisplayName = *u.DisplayName
		set("display_name")
	}
	if u.FailureThreshold != nil {
		e.FailureThreshold = toInt32(*u.FailureThreshold)
		set("failure_threshold")
	}
	if u.Operations != nil {
		e.Operations = *u.Operations
		set("operations")
	}
	if len(mask.GetPaths()) == 0 {
		return c.GetEndpoint(ctx, name) // an empty mask would mean what is set: nothing
	}
	resp, err := c.endpoints.UpdateEndpoint(ctx, &subscriptionv1.UpdateEndpointRequest{Endpoint: e, UpdateMask: &mask})
	return fromEndpoint(resp.GetEndpoint()), fail("update "+name, err)
}

// Rotation says how [Client.RotateSecret] goes about it. The zero value makes a new
// key of the same scheme, beside which the old one stays live for 24 hours.
type Rotation struct {
	// Secret is the new key; made by the server when empty.
	Secret Secret
	// Scheme is that of the new key; empty keeps the endpoint's.
	Scheme SignatureScheme
	// Overlap is how long the old key stays live, at most 30 days; 0 means 24 h.
	Overlap time.Duration
	// Now drops every old key at once: for one that has leaked.
	Now bool
	// RequestID is as in [NewEndpoint].
	RequestID string
}

// RotateSecret gives an endpoint a new signing key. While the old one is live,
// pushes are signed by both: let the receiver know the new one before it ends.
// [ErrPrecondition] while a key from an earlier rotation is live.
func (c *Client) RotateSecret(ctx context.Context, name string, r Rotation) (Endpoint, error) {
	name = c.endpointName(name)
	overlap := toDuration(r.Overlap)
	if r.Now {
		overlap = durationpb.New(0)
	}
	resp, err := c.endpoints.RotateSecret(ctx, &subscriptionv1.RotateSecretRequest{
		Name: name, Secret: string(r.Secret), SignatureScheme: toScheme(r.Scheme), Overlap: overlap, RequestId: requestID(r.RequestID),
	})
	return fromEndpoint(resp.GetEndpoint()), fail("rotate the secret of "+name, err)
}

// DeleteEndpoint removes an endpoint. [ErrPrecondition] while subscriptions use
// it.
func (c *Client) DeleteEndpoint(ctx context.Context, name string) error {
	name = c.endpointName(name)
	_, err := c.endpoints.DeleteEndpoint(ctx, &subscriptionv1.DeleteEndpointRequest{Name: name})
	return fail("delete "+name, err)
}

func toRetryPolicy(r *RetryPolicy) *subscriptionv1.RetryPolicy {
	if r == nil {
		return nil
	}
	m := &subscriptionv1.RetryPolicy{Horizon: toDuration(r.Horizon), MaxAttempts: toInt32(r.MaxAttempts), Preset: toState(retryPresets, r.Preset)}
	for _, d := range r.Delays {
		m.Delays = append(m.Delays, durationpb.New(d))
	}
	return m
}

func fromEndpoint(m *subscriptionv1.Endpoint) Endpoint {
	e := Endpoint{
		Name: m.GetName(), URL: m.GetUrl(), Secret: Secret(m.GetSecret()), IncludeTrace: m.GetIncludeTrace(),
		MaxInFlight: int(m.GetMaxInFlight()), Timeout: m.GetTimeout().AsDuration(), State: endpointStates[m.GetState()],
		Scheme: signatureSchemes[m.GetSignatureScheme()], PublicKeys: m.GetPublicKeys(), OldSecretExpireTime: fromTimestamp(m.GetOldSecretExpireTime()),
		DisplayName: m.GetDisplayName(), FailureThreshold: int(m.GetFailureThreshold()), Operations: m.GetOperations(), CreateTime: fromTimestamp(m.GetCreateTime()), UpdateTime: fromTimestamp(m.GetUpdateTime()),
	}
	if r := m.GetRetryPolicy(); r != nil {
		e.Retry = &RetryPolicy{Horizon: r.GetHorizon().AsDuration(), MaxAttempts: int(r.GetMaxAttempts()), Preset: retryPresets[r.GetPreset()]}
		for _, d := range r.GetDelays() {
			e.Retry.Delays = append(e.Retry.Delays, d.AsDuration())
		}
	}
	return e
}
