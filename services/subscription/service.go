package subscription

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// ControlConfig is what the control plane needs.
type ControlConfig struct {
	Endpoints     *pg.Endpoints
	Subscriptions *pg.Subscriptions
	Accounts      *pg.PlatformAccounts
	Numbers       numbers
	// CheckURL judges a callback's URL for a tenant; see egress.Guard.Check. Nil
	// judges its form alone.
	CheckURL func(ctx context.Context, tenant, url string) (normal, warning string, err error)
	// Feed makes sure that NATS knows of a tenant's feed; nil where there are no
	// feeds.
	Feed func(ctx context.Context, tenant string) error
	Log  *slog.Logger
	Now  func() time.Time
}

func (c *ControlConfig) checkURL(ctx context.Context, tenant, url string) (normal, warning string, err error) {
	if c.CheckURL != nil {
		return c.CheckURL(ctx, tenant, url)
	}
	t, err := egress.Parse(url)
	return t.String(), "", err
}

// now is the time as PostgreSQL keeps it, so that what is answered is what is
// stored.
func (c *ControlConfig) now() time.Time { return c.Now().UTC().Truncate(time.Microsecond) }

// unavailableFor is when a caller may try again.
const unavailableFor = 2 * time.Second

// fault answers an error that is not the caller's.
func (c *ControlConfig) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if pg.IsTransient(err) {
		c.Log.ErrorContext(ctx, "the control plane's database is away; the caller is told to try again", obs.KeyError, err)
		return rpc.Unavailable(unavailableFor)
	}
	return err
}

const maxRequestID = 64

// request makes a call's request id and content comparable with a repeat's.
func request(id string, content proto.Message) (pg.Request, error) {
	if id == "" {
		return pg.Request{}, nil
	}
	var v violations
	v.checkText("request_id", id, maxRequestID, fmt.Sprintf("must have at most %d characters", maxRequestID))
	if err := v.result(); err != nil {
		return pg.Request{}, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		return pg.Request{}, fmt.Errorf("encode a request: %w", err)
	}
	sum := sha256.Sum256(b)
	return pg.Request{ID: id, Hash: sum[:]}, nil
}

func parentTenant(name string) (string, error) {
	tenant, err := rpc.ParseTenantName(name)
	if err != nil {
		return "", rpc.Invalid("parent", err.Error())
	}
	return tenant, nil
}
