package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// TokensConfig says whose tokens are taken.
type TokensConfig struct {
	// Issuer must be the token's. Required.
	Issuer string
	// Audience must be among the token's. Required.
	Audience string
	// Keys is a file, or an https or http URL, of the issuer's JSON Web Key Set.
	// Empty asks the issuer where it is.
	Keys string
	// TenantClaim holds the tenant's id; absent or empty means the platform.
	TenantClaim string
	// RolesClaim holds the roles: a list of names, or one string of them with
	// spaces between. Others' roles are passed over.
	RolesClaim string
	Now        func() time.Time
}

// Tokens verifies JSON Web Tokens of one issuer.
type Tokens struct {
	cfg      TokensConfig
	verifier *oidc.IDTokenVerifier
}

// algorithms are those with public keys: with HMAC, whoever verifies can sign.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// NewTokens makes a verifier. Without Keys it asks the issuer first. The context
// bounds that only; keys are fetched anew, when a token names one that isn't
// known, for as long as the process lives.
func NewTokens(ctx context.Context, cfg TokensConfig) (*Tokens, error) {
	opts := &oidc.Config{ClientID: cfg.Audience, SupportedSigningAlgs: algorithms, Now: cfg.Now}
	t := &Tokens{cfg: cfg}
	lasting := context.WithoutCancel(ctx)
	switch u, err := url.Parse(cfg.Keys); {
	case cfg.Keys == "":
		p, err := oidc.NewProvider(ctx, cfg.Issuer)
		if err != nil {
			return nil, fmt.Errorf("ask the issuer of tokens for its keys: %w", err)
		}
		t.verifier = p.VerifierContext(lasting, opts)
	case err == nil && (u.Scheme == "https" || u.Scheme == "http"):
		t.verifier = oidc.NewVerifier(cfg.Issuer, oidc.NewRemoteKeySet(lasting, cfg.Keys), opts)
	default:
		set, err := readKeys(cfg.Keys)
		if err != nil {
			return nil, fmt.Errorf("read the keys of the issuer of tokens: %w", err)
		}
		t.verifier = oidc.NewVerifier(cfg.Issuer, set, opts)
	}
	return t, nil
}

func readKeys(path string) (*oidc.StaticKeySet, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("%s is no JSON Web Key Set: %w", path, err)
	}
	out := &oidc.StaticKeySet{}
	for _, k := range set.Keys {
		if k.IsPublic() {
			out.PublicKeys = append(out.PublicKeys, crypto.PublicKey(k.Key))
		}
	}
	if len(out.PublicKeys) == 0 {
		return nil, fmt.Errorf("%s holds no public key", path)
	}
	return out, nil
}

// identify says whose a token is.
func (t *Tokens) identify(ctx context.Context, text string) (auth.Principal, error) {
	token, err := t.verifier.Verify(ctx, text)
	if err != nil {
		if ctx.Err() != nil {
			return auth.Principal{}, ctx.Err()
		}
		return auth.Principal{}, rpc.Unauthenticated(unknown).CausedBy(err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return auth.Principal{}, rpc.Unauthenticated(unknown).CausedBy(err)
	}
	p := auth.Principal{Name: "users/" + token.Subject}
	if p.Tenant, _ = claims[t.cfg.TenantClaim].(string); p.Tenant != "" {
		if _, err := rpc.ParseTenantName(rpc.TenantName(p.Tenant)); err != nil {
			return auth.Principal{}, rpc.Forbidden("the token's claim " + t.cfg.TenantClaim + " can't be a tenant")
		}
	} else if _, set := claims[t.cfg.TenantClaim]; set {
		// A claim that is there and isn't text must not make somebody the platform's.
		return auth.Principal{}, rpc.Forbidden("the token's claim " + t.cfg.TenantClaim + " is not the id of a tenant")
	}
	for _, name := range texts(claims[t.cfg.RolesClaim]) {
		if r, err := auth.ParseRole(name); err == nil && (r != auth.Admin || p.Tenant == "") {
			p.Roles = append(p.Roles, r)
		}
	}
	if len(p.Roles) == 0 {
		return auth.Principal{}, rpc.Forbidden("the token's claim " + t.cfg.RolesClaim + " names no role")
	}
	return p, nil
}

func texts(claim any) []string {
	switch c := claim.(type) {
	case string:
		return strings.Fields(c)
	case []any:
		var out []string
		for _, v := range c {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
