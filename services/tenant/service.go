package tenant

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Config is what the service needs.
type Config struct {
	Tenants *pg.Tenants
	Keys    *pg.Keys
	Audit   *pg.AuditLog
	Log     *slog.Logger
	Now     func() time.Time
}

// now is the time as PostgreSQL keeps it, so that what is answered is what is
// stored.
func (c *Config) now() time.Time { return c.Now().UTC().Truncate(time.Microsecond) }

// unavailableFor is when a caller may try again.
const unavailableFor = 2 * time.Second

// fail answers an error of a call about a resource.
func (c *Config) fail(ctx context.Context, name string, err error) error {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, pg.ErrNoTenant), errors.Is(err, pg.ErrNoKey):
		return rpc.NotFound(name)
	case errors.Is(err, pg.ErrTenantExists):
		return rpc.Exists(name)
	case errors.Is(err, pg.ErrRequestReused):
		return rpc.RequestIDReused()
	case ctx.Err() != nil:
		return ctx.Err()
	case pg.IsTransient(err):
		c.Log.ErrorContext(ctx, "the control plane's database is away; the caller is told to try again", obs.KeyError, err)
		return rpc.Unavailable(unavailableFor)
	}
	return err
}

const maxDisplayName = 200

// owner reads "tenants/{tenant}" or "platform". What is the platform's is for
// those who see all tenants.
func owner(ctx context.Context, field, name string) (tenant string, err error) {
	tenant, err = rpc.ParseOwnerName(name)
	if err != nil {
		return "", rpc.Invalid(field, err.Error())
	}
	return tenant, seen(ctx, tenant, name)
}

// seen says that a resource doesn't exist for those who mustn't know of it.
func seen(ctx context.Context, tenant, name string) error {
	p := auth.CallOf(ctx).Principal
	if !p.Sees(tenant) {
		return rpc.NotFound(name)
	}
	return nil
}
