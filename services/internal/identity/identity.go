package identity

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Config says who is known.
type Config struct {
	// Find reads a key, or returns [pg.ErrNoKey]. Nil knows no keys but Admin.
	Find func(ctx context.Context, id string) (pg.Key, error)
	// Used notes when keys were last used; nil doesn't.
	Used func(ctx context.Context, last map[string]time.Time) error
	// Admin is the hash of the platform's first key, which is in a file and not in
	// the database; nil if there is none.
	Admin *auth.Hash
	// Tokens verifies tokens; nil takes none.
	Tokens *Tokens
	// Certificates are the principals of the identities in client certificates:
	// a SPIFFE id or other URI, a DNS name, or a common name.
	Certificates map[string]auth.Principal
	Log          *slog.Logger
	Now          func() time.Time
}

// Identifier knows callers.
type Identifier struct {
	cfg  Config
	keys *keys
}

// New makes an identifier. [Identifier.Run] keeps note of when keys are used.
func New(cfg Config) (*Identifier, error) {
	k, err := newKeys(&cfg)
	if err != nil {
		return nil, err
	}
	return &Identifier{cfg: cfg, keys: k}, nil
}

// unknown is the one answer to whatever is wrong with a credential: which of
// these it was would help those who guess.
const unknown = "the API key or token is not known, wrong, expired or revoked"

// Identify says who calls.
func (i *Identifier) Identify(ctx context.Context, c rpc.Credentials) (auth.Principal, error) {
	switch {
	case strings.HasPrefix(c.Token, "pk_"):
		return i.keys.identify(ctx, c.Token)
	case c.Token != "" && i.cfg.Tokens != nil:
		return i.cfg.Tokens.identify(ctx, c.Token)
	case c.Token != "":
		return auth.Principal{}, rpc.Unauthenticated(unknown)
	case c.Certificate != nil:
		return i.certificate(c)
	}
	return auth.Principal{}, rpc.Unauthenticated("an API key is required: send it as \"authorization: Bearer pk_…\" or \"x-api-key: pk_…\"")
}

// certificate is who a verified client certificate is of.
func (i *Identifier) certificate(c rpc.Credentials) (auth.Principal, error) {
	var names []string
	for _, u := range c.Certificate.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.Certificate.DNSNames...)
	if n := c.Certificate.Subject.CommonName; n != "" {
		names = append(names, n)
	}
	for _, n := range names {
		if p, ok := i.cfg.Certificates[n]; ok {
			p.Name = "services/" + n
			return p, nil
		}
	}
	return auth.Principal{}, rpc.Forbidden("the certificate is valid, and nobody who may call is named in it")
}

// Run notes now and then when keys were last used, until the context ends.
func (i *Identifier) Run(ctx context.Context) error { return i.keys.note(ctx) }
