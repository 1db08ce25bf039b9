package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/identity"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/tenant"
)

// rereadInterval is how often certificate files are looked at.
const rereadInterval = 10 * time.Second

// startTLS reads the servers' certificates, now and whenever they change.
func startTLS(ctx context.Context, env *Env) (func(context.Context) error, error) {
	c := env.Config.TLS
	if c.Cert == "" {
		return nil, nil
	}
	provider, err := pemfile.NewProvider(pemfile.Options{CertFile: c.Cert, KeyFile: c.Key, RootFile: c.ClientCA, RefreshDuration: rereadInterval})
	if err != nil {
		return nil, err
	}
	stop := func(context.Context) error {
		provider.Close()
		return nil
	}
	if _, err := material(ctx, provider); err != nil {
		return stop, err
	}
	env.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { //nolint:contextcheck // what it starts or ends outlives the caller
			m, err := material(hello.Context(), provider)
			if err != nil {
				return nil, err
			}
			cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: m.Certs, NextProtos: []string{"h2", "http/1.1"}}
			if c.ClientCA != "" {
				cfg.ClientCAs, cfg.ClientAuth = m.Roots, tls.VerifyClientCertIfGiven
			}
			return cfg, nil
		},
	}
	return stop, nil
}

func material(ctx context.Context, p certprovider.Provider) (*certprovider.KeyMaterial, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	m, err := p.KeyMaterial(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the servers' certificates: %w", err)
	}
	return m, nil
}

// keyConns are the connections of a program to PostgreSQL that needs it for keys
// only.
const keyConns = 2

// startAuth makes what finds out who calls. A program without PostgreSQL of its
// own opens a small pool for keys, and doesn't wait for it: reports must be taken
// in when PostgreSQL is away, from those who are known already.
func startAuth(ctx context.Context, env *Env) (func(context.Context) error, error) {
	if env.Config.authMode(env.Program) == AuthOpen {
		env.Log.WarnContext(ctx, "callers of gRPC and HTTP/JSON aren't asked who they are (--auth=open): for this machine only")
		return nil, nil
	}
	c := env.Config.Auth
	cfg := identity.Config{Log: env.Log, Now: time.Now}
	var err error
	if cfg.Admin, err = env.adminKey(ctx); err != nil {
		return nil, err
	}
	if cfg.Certificates, err = certificates(c.Certificates); err != nil {
		return nil, err
	}
	if c.Issuer != "" {
		err := env.await(ctx, "the issuer of tokens", func(ctx context.Context) (err error) {
			cfg.Tokens, err = identity.NewTokens(ctx, identity.TokensConfig{
				Issuer: c.Issuer, Audience: c.Audience, Keys: c.JWKS, TenantClaim: c.TenantClaim, RolesClaim: c.RolesClaim, Now: time.Now,
			})
			if errors.Is(err, fs.ErrNotExist) {
				return permanentError{err}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	pool, closePool := env.PG, func() {}
	if url := env.Config.Database.URL.Reveal(); pool == nil && url != "" {
		if pool, err = pg.OpenLazily(url, keyConns); err != nil { //nolint:contextcheck // what it starts or ends outlives the caller
			return nil, err
		}
		closePool = pool.Close
	}
	withKeys(&cfg, pool)
	if env.Callers, err = identity.New(cfg); err != nil {
		closePool()
		return nil, err
	}
	stops := []func(context.Context) error{env.run("auth", env.Callers.Run)}
	if pool != nil {
		env.Meter = quota.New(quota.Config{Add: pg.NewTenants(pool).AddCalls, Log: env.Log, Now: time.Now})
		stops = append(stops, env.run("quota", env.Meter.Run))
	}
	return func(ctx context.Context) error {
		defer closePool()
		var errs []error
		for _, stop := range stops {
			errs = append(errs, stop(ctx))
		}
		return errors.Join(errs...)
	}, nil
}

// withKeys takes the keys of a database, if there is one.
func withKeys(cfg *identity.Config, pool *pgxpool.Pool) {
	if pool == nil {
		return
	}
	keys := pg.NewKeys(pool)
	cfg.Find, cfg.Used = keys.Find, keys.Used
}

// adminKey is the hash of the key in a file. The all-in-one makes one.
func (e *Env) adminKey(ctx context.Context) (*auth.Hash, error) {
	path := e.Config.Auth.AdminKeyFile
	if path == "" {
		if e.Program != AllInOne {
			return nil, nil
		}
		path = filepath.Join(e.Config.Embedded.Data, "admin.key")
		if err := makeAdminKey(path); err != nil {
			return nil, err
		}
		e.Log.InfoContext(ctx, "a key that may do everything is in a file", "file", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the admin's key: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if _, err := auth.KeyID(text); err != nil {
		return nil, fmt.Errorf("read the admin's key: %s: %w; posthaste key generate makes one", path, err)
	}
	hash := auth.HashOf(text)
	return &hash, nil
}

// makeAdminKey makes a file with a key, readable by its owner only, unless it is
// there.
func makeAdminKey(path string) error {
	if err := makeDataFolder(filepath.Dir(path)); err != nil {
		return err
	}
	const ownerOnly = 0o600
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the admin's key: %w", err)
	}
	_, err = f.WriteString(auth.NewKey(auth.NewKeyID(time.Now())) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the admin's key: %w", err)
	}
	return nil
}

// certificates reads what client certificates may do: ROLE or ROLE@TENANT.
func certificates(settings map[string]string) (map[string]auth.Principal, error) {
	out := make(map[string]auth.Principal, len(settings))
	for name, text := range settings {
		role, tenant, _ := strings.Cut(text, "@")
		r, err := auth.ParseRole(role)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if tenant != "" {
			if _, err := rpc.ParseTenantName(rpc.TenantName(tenant)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if r == auth.Admin {
				return nil, fmt.Errorf("%s: admin is of the platform, not of a tenant", name)
			}
		}
		out[name] = auth.Principal{Tenant: tenant, Roles: []auth.Role{r}}
	}
	return out, nil
}

// CreateKey makes a key in a database, without a server: the first one has to
// come from somewhere.
func CreateKey(ctx context.Context, pool *pgxpool.Pool, req *tenantv1.CreateKeyRequest) (*tenantv1.CreateKeyResponse, error) {
	keys := tenant.NewKeys(tenant.Config{Keys: pg.NewKeys(pool), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx = auth.WithCall(ctx, auth.Call{Principal: auth.Principal{Name: "posthaste key create", Roles: []auth.Role{auth.Admin}}})
	return keys.CreateKey(ctx, req)
}
