package subscription

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Limits and defaults of an endpoint.
const (
	maxDisplayName     = 200
	defaultMaxInFlight = 16
	maxMaxInFlight     = 256
	minTimeout         = time.Second
	defaultTimeout     = 15 * time.Second
	maxTimeout         = 30 * time.Second
	maxDelays          = 50
	defaultThreshold   = 3
	maxThreshold       = 100
	maxRetry           = 90 * 24 * time.Hour // of one delay, and of the horizon
)

// endpointFields are those that their owner sets.
var endpointFields = []string{
	"url", "secret", "signature_scheme", "format", "include_trace", "max_in_flight", "timeout", "retry_policy", "state", "display_name", "failure_threshold", "operations", "pace",
}

func refuseEndpointField(field string) string {
	switch field {
	case "name", "create_time", "update_time", "public_keys", "old_secret_expire_time", "etag", "feed_subject":
		return field + " is output only"
	case "platform_account", "kind":
		return field + " can't be changed"
	}
	return fmt.Sprintf("%q is not a field of an endpoint", field)
}

// endpointFieldSet says whether a field differs from its zero value.
func endpointFieldSet(m *subscriptionv1.Endpoint, field string) bool {
	switch field {
	case "url":
		return m.GetUrl() != ""
	case "secret":
		return m.GetSecret() != ""
	case "signature_scheme":
		return m.GetSignatureScheme() != 0
	case "format":
		return m.GetFormat() != 0
	case "include_trace":
		return m.GetIncludeTrace()
	case "max_in_flight":
		return m.GetMaxInFlight() != 0
	case "timeout":
		return m.GetTimeout() != nil
	case "retry_policy":
		return m.GetRetryPolicy() != nil
	case "state":
		return m.GetState() != 0
	case "display_name":
		return m.GetDisplayName() != ""
	case "failure_threshold":
		return m.GetFailureThreshold() != 0
	case "operations":
		return m.GetOperations()
	case "pace":
		return m.GetPace() != nil
	}
	return false
}

// setEndpointField checks one field and takes it over.
func setEndpointField(v *violations, e *pg.Endpoint, m *subscriptionv1.Endpoint, field string) {
	name := "endpoint." + field
	switch field {
	case "url":
		e.URL = m.GetUrl() // checked and in normal form, see normalURL
	case "secret":
		setSecret(v, name, e, m.GetSecret())
	case "signature_scheme":
		checkScheme(v, name, e.Secret, m.GetSignatureScheme())
	case "format":
		switch m.GetFormat() {
		case subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_UNSPECIFIED, subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_JSON:
			e.Format = int16(subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_JSON)
		case subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KDNIAO, subscriptionv1.PayloadFormat_PAYLOAD_FORMAT_KUAIDI100:
			e.Format = int16(m.GetFormat())
		default:
			v.add(name, "is not a known format")
		}
	case "include_trace":
		e.IncludeTrace = m.GetIncludeTrace()
	case "max_in_flight":
		if e.MaxInFlight = m.GetMaxInFlight(); e.MaxInFlight == 0 {
			e.MaxInFlight = defaultMaxInFlight
		}
		if e.MaxInFlight < 1 || e.MaxInFlight > maxMaxInFlight {
			v.add(name, fmt.Sprintf("must be from 1 to %d", maxMaxInFlight))
		}
	case "timeout":
		e.Timeout = defaultTimeout
		if m.GetTimeout() != nil {
			e.Timeout = checkDuration(v, name, m.GetTimeout(), minTimeout, maxTimeout)
		}
	case "retry_policy":
		e.Retry = checkRetry(v, name, m.GetRetryPolicy())
	case "state":
		switch s := m.GetState(); s {
		case subscriptionv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED, subscriptionv1.EndpointState_ENDPOINT_STATE_ENABLED:
			e.State = pg.EndpointEnabled
		case subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED:
			e.State = pg.EndpointPaused
		default:
			v.add(name, "can be set to ENABLED or PAUSED")
		}
	case "failure_threshold":
		if e.FailureThreshold = m.GetFailureThreshold(); e.FailureThreshold == 0 {
			e.FailureThreshold = defaultThreshold
		}
		if e.FailureThreshold < 1 || e.FailureThreshold > maxThreshold {
			v.add(name, fmt.Sprintf("must be from 1 to %d", maxThreshold))
		}
	case "pace":
		setPace(v, name, &e.Pace, m.GetPace())
		e.Pace.Tier = max(e.Pace.Tier, pace.Realtime)
	case "operations":
		e.Operations = m.GetOperations()
	case "display_name":
		e.DisplayName = m.GetDisplayName()
		v.checkText(name, e.DisplayName, maxDisplayName, fmt.Sprintf("must have at most %d characters", maxDisplayName))
	}
}

// normalURL judges an endpoint's URL, and returns the endpoint with its normal
// form. It looks the host's name up, so it doesn't belong in a transaction.
func (s *Endpoints) normalURL(ctx context.Context, v *violations, tenant string, m *subscriptionv1.Endpoint) (*subscriptionv1.Endpoint, []string) {
	normal, warning, err := s.cfg.checkURL(ctx, tenant, m.GetUrl())
	if err != nil {
		v.add("endpoint.url", err.Error())
		return m, nil
	}
	m, _ = proto.Clone(m).(*subscriptionv1.Endpoint)
	m.Url = normal
	if warning == "" {
		return m, nil
	}
	return m, []string{"endpoint.url: " + warning}
}

func checkDuration(v *violations, field string, m *durationpb.Duration, least, most time.Duration) time.Duration {
	if m.CheckValid() != nil || m.AsDuration() < least || m.AsDuration() > most {
		v.add(field, fmt.Sprintf("must be from %s to %s", least, most))
		return 0
	}
	return m.AsDuration()
}

// presets are the policies that have a name.
var presets = map[subscriptionv1.RetryPreset]string{
	subscriptionv1.RetryPreset_RETRY_PRESET_STANDARD:    push.PresetStandard,
	subscriptionv1.RetryPreset_RETRY_PRESET_THREE_TIMES: push.PresetThreeTimes,
	subscriptionv1.RetryPreset_RETRY_PRESET_FIVE_TIMES:  push.PresetFiveTimes,
}

func checkRetry(v *violations, field string, m *subscriptionv1.RetryPolicy) *pg.RetryPolicy {
	if m == nil {
		return nil
	}
	if preset := m.GetPreset(); preset != 0 {
		name, known := presets[preset]
		if !known {
			v.add(field+".preset", "is not a known preset")
		}
		if len(m.GetDelays()) > 0 || m.GetHorizon() != nil || m.GetMaxAttempts() != 0 {
			v.add(field+".preset", "leaves no room for other fields of the policy")
		}
		return &pg.RetryPolicy{Preset: name}
	}
	p := &pg.RetryPolicy{Delays: []time.Duration{}, MaxAttempts: m.GetMaxAttempts()}
	if len(m.GetDelays()) > maxDelays {
		v.add(field+".delays", fmt.Sprintf("must be at most %d", maxDelays))
		return nil
	}
	for i, d := range m.GetDelays() {
		// A nanosecond at least: no delay at all would spin.
		p.Delays = append(p.Delays, checkDuration(v, fmt.Sprintf("%s.delays[%d]", field, i), d, time.Nanosecond, maxRetry))
	}
	if m.GetHorizon() != nil {
		p.Horizon = checkDuration(v, field+".horizon", m.GetHorizon(), time.Nanosecond, maxRetry)
	}
	if p.MaxAttempts < 0 {
		v.add(field+".max_attempts", "must not be negative")
	}
	return p
}

// endpointMessage is an endpoint as its owner sees it, without the secret.
func endpointMessage(e *pg.Endpoint, now time.Time) *subscriptionv1.Endpoint {
	m := &subscriptionv1.Endpoint{
		Name: rpc.EndpointName(e.TenantID, e.ID), Url: e.URL, Format: subscriptionv1.PayloadFormat(e.Format), IncludeTrace: e.IncludeTrace,
		MaxInFlight: e.MaxInFlight, Timeout: durationpb.New(e.Timeout), State: subscriptionv1.EndpointState(e.State), DisplayName: e.DisplayName,
		FailureThreshold: e.FailureThreshold, Operations: e.Operations,
		CreateTime: timestamppb.New(e.CreateTime), UpdateTime: timestamppb.New(e.UpdateTime),
	}
	if p := e.Retry; p != nil {
		m.RetryPolicy = &subscriptionv1.RetryPolicy{MaxAttempts: p.MaxAttempts}
		for preset, name := range presets {
			if name == p.Preset {
				m.RetryPolicy.Preset = preset
			}
		}
		for _, d := range p.Delays {
			m.RetryPolicy.Delays = append(m.RetryPolicy.Delays, durationpb.New(d))
		}
		if p.Horizon != 0 {
			m.RetryPolicy.Horizon = durationpb.New(p.Horizon)
		}
	}
	m.Pace = paceMessage(e.Pace)
	m.Kind = subscriptionv1.EndpointKind_ENDPOINT_KIND_WEBHOOK
	if isFeed(e) {
		feedMessage(m, e)
	} else {
		signatureMessage(m, e, now)
	}
	m.Etag = endpointETag(m)
	return m
}

// signatureMessage adds how a webhook's pushes are signed.
func signatureMessage(m *subscriptionv1.Endpoint, e *pg.Endpoint, now time.Time) {
	m.SignatureScheme = schemeOf(e.Secret)
	addPublicKey(m, e.Secret)
	if old, until, live := e.LiveOldSecret(now); live {
		addPublicKey(m, old)
		m.OldSecretExpireTime = timestamppb.New(until)
	}
	if e.AccountID != nil {
		m.PlatformAccount = accountName(e.TenantID, e.Format, *e.AccountID)
	}
}
