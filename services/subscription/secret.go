package subscription

import (
	"cmp"
	"context"
	"time"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// How long an old key stays live after a rotation.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// RotateSecret gives an endpoint a new signing key, beside which the old one stays
// live for a while.
func (s *Endpoints) RotateSecret(ctx context.Context, req *subscriptionv1.RotateSecretRequest) (*subscriptionv1.RotateSecretResponse, error) {
	tenant, id, err := rpc.ParseEndpointName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	r, err := request(req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	var v violations
	overlap := defaultOverlap
	if req.GetOverlap() != nil {
		overlap = checkDuration(&v, "overlap", req.GetOverlap(), 0, maxOverlap)
	}
	if req.GetSecret() != "" {
		if _, err := webhook.ParseSigner(req.GetSecret()); err != nil {
			v.add("secret", err.Error())
		}
	}
	checkScheme(&v, "signature_scheme", req.GetSecret(), req.GetSignatureScheme())
	if err := v.result(); err != nil {
		return nil, err
	}
	now := s.cfg.now()
	e, err := s.cfg.Endpoints.Rotate(ctx, tenant, id, r, now, func(e *pg.Endpoint) error {
		_, until, live := e.LiveOldSecret(now)
		if live && overlap > 0 {
			return rpc.Precondition(req.GetName(), "the key before the last rotation is live until "+until.Format(time.RFC3339)+
				": rotate again after that, or with an overlap of 0, which drops it and the present one")
		}
		secret := req.GetSecret()
		if secret == "" {
			secret = newSecret(cmp.Or(req.GetSignatureScheme(), schemeOf(e.Secret)))
		}
		if secret == e.Secret {
			return rpc.Invalid("secret", "is the endpoint's present key")
		}
		old, expires := e.Secret, now.Add(overlap)
		e.OldSecret, e.OldSecretExpires = nil, nil
		if overlap > 0 {
			e.OldSecret, e.OldSecretExpires = &old, &expires
		}
		e.Secret = secret
		return nil
	})
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &subscriptionv1.RotateSecretResponse{Endpoint: withSecret(endpointMessage(&e, now), e.Secret)}, nil
}

// setSecret takes a given signing key over, in the place of all live ones. An
// empty one asks for nothing.
func setSecret(v *violations, field string, e *pg.Endpoint, secret string) {
	if secret == "" {
		return
	}
	if _, err := webhook.ParseSigner(secret); err != nil {
		v.add(field, err.Error())
	}
	e.Secret, e.OldSecret, e.OldSecretExpires = secret, nil, nil
}

// checkScheme refuses a scheme that isn't that of the key. Without a key yet, any
// known one will do.
func checkScheme(v *violations, field, secret string, scheme subscriptionv1.SignatureScheme) {
	switch scheme {
	case subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_UNSPECIFIED:
		return
	case subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256, subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519:
	default:
		v.add(field, "is not a known scheme")
		return
	}
	if secret != "" && schemeOf(secret) != scheme {
		v.add(field, "is not that of the key: RotateSecret changes both")
	}
}

// schemeOf is the scheme of a key, by its form.
func schemeOf(secret string) subscriptionv1.SignatureScheme {
	signer, _ := webhook.ParseSigner(secret)
	switch signer.(type) {
	case webhook.Secret:
		return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256
	case webhook.PrivateKey:
		return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519
	default:
		return subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_UNSPECIFIED
	}
}

// newSecret makes a key of a scheme.
func newSecret(scheme subscriptionv1.SignatureScheme) string {
	if scheme == subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519 {
		return webhook.NewPrivateKey()
	}
	return webhook.NewSecret()
}

// withSecret adds the secret that its owner is shown once. A private key is shown
// to nobody.
func withSecret(m *subscriptionv1.Endpoint, secret string) *subscriptionv1.Endpoint {
	if m.GetSignatureScheme() == subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256 {
		m.Secret = secret
	}
	return m
}

func addPublicKey(m *subscriptionv1.Endpoint, secret string) {
	if k, err := webhook.ParsePrivateKey(secret); err == nil {
		m.PublicKeys = append(m.PublicKeys, k.Public().String())
	}
}
