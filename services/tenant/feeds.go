package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// authority makes accounts and users of NATS; see feeds.Authority.
type authority interface {
	Publish(ctx context.Context, tenant string, enabled bool, revoked map[string]time.Time) error
	NewUser(tenant, name string, expire time.Time) (public string, credentials []byte, err error)
}

// FeedConfig is what the feeds need.
type FeedConfig struct {
	Feeds *pg.Feeds
	// Authority is nil where Posthaste has no feeds.
	Authority authority
	Log       *slog.Logger
	Now       func() time.Time
}

const (
	// publishTimeout bounds a call of NATS.
	publishTimeout = 5 * time.Second
	// feedInterval is how soon NATS knows of a change that another instance made, or
	// that another service did, such as that a tenant is disabled.
	feedInterval = 5 * time.Second
	// feedRefresh is how often NATS is told what it should know: it may have lost it.
	feedRefresh = 10 * time.Minute
)

// Feeds is the gRPC service that manages who reads tenants' feeds.
type Feeds struct {
	tenantv1.UnimplementedFeedServiceServer
	cfg    Config
	feeds  *pg.Feeds
	nats   authority
	mu     sync.Mutex
	told   map[string]pg.FeedAccount // what this process told NATS, by tenant
	toldAt time.Time                 // all of it
}

// NewFeeds makes the service.
func NewFeeds(cfg FeedConfig) *Feeds {
	return &Feeds{cfg: Config{Log: cfg.Log, Now: cfg.Now}, feeds: cfg.Feeds, nats: cfg.Authority, told: map[string]pg.FeedAccount{}}
}

func noFeeds(name string) error {
	return rpc.Precondition(name, "this Posthaste has no feeds on NATS: its operator turns them on, see docs/nats.md")
}

// CreateFeedUser makes a user and shows its credentials.
func (s *Feeds) CreateFeedUser(ctx context.Context, req *tenantv1.CreateFeedUserRequest) (*tenantv1.CreateFeedUserResponse, error) {
	tenant, err := s.tenant(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	m := req.GetFeedUser()
	if m == nil {
		return nil, rpc.Invalid("feed_user", "is required")
	}
	if s.nats == nil {
		return nil, noFeeds(req.GetParent())
	}
	now := s.cfg.now()
	u := pg.FeedUser{ID: id.New("fu_", now), TenantID: tenant, DisplayName: m.GetDisplayName(), CreateTime: now, RotateTime: now}
	var v rpc.Violations
	v.CheckText("feed_user.display_name", u.DisplayName, maxDisplayName)
	u.ExpireTime = checkExpire(&v, "feed_user.expire_time", m.GetExpireTime(), now)
	if err := v.Result(); err != nil {
		return nil, err
	}
	// The account first: who has credentials can use them.
	if err := s.Publish(ctx, tenant); err != nil {
		return nil, s.fail(ctx, req.GetParent(), err)
	}
	public, credentials, err := s.nats.NewUser(tenant, u.ID, orNever(u.ExpireTime))
	if err != nil {
		return nil, s.fail(ctx, req.GetParent(), err)
	}
	u.PublicKey = public
	audit := pg.AuditEvent{Action: "CreateFeedUser", Resource: rpc.FeedUserName(tenant, u.ID), TenantID: tenant}
	if err := s.feeds.Create(ctx, u, audit); err != nil {
		return nil, s.fail(ctx, req.GetParent(), err)
	}
	return &tenantv1.CreateFeedUserResponse{FeedUser: feedUserMessage(&u), Credentials: string(credentials)}, nil
}

// ListFeedUsers returns a tenant's users, newest first.
func (s *Feeds) ListFeedUsers(ctx context.Context, req *tenantv1.ListFeedUsersRequest) (*tenantv1.ListFeedUsersResponse, error) {
	tenant, err := s.tenant(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListFeedUsers", tenant)
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	var before string
	if key != nil {
		before = key[0]
	}
	list, err := s.feeds.List(ctx, tenant, before, size+1)
	if err != nil {
		return nil, s.fail(ctx, req.GetParent(), err)
	}
	resp := &tenantv1.ListFeedUsersResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	for i := range list {
		resp.FeedUsers = append(resp.FeedUsers, feedUserMessage(&list[i]))
	}
	return resp, nil
}

// RotateFeedUser gives a user new credentials, and ends the old ones.
func (s *Feeds) RotateFeedUser(ctx context.Context, req *tenantv1.RotateFeedUserRequest) (*tenantv1.RotateFeedUserResponse, error) {
	tenant, user, err := s.user(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if s.nats == nil {
		return nil, noFeeds(req.GetName())
	}
	now := s.cfg.now()
	var v rpc.Violations
	expire := checkExpire(&v, "expire_time", req.GetExpireTime(), now)
	if err := v.Result(); err != nil {
		return nil, err
	}
	var credentials []byte
	u, err := s.feeds.Rotate(ctx, tenant, user, now, pg.AuditEvent{Action: "RotateFeedUser", Resource: req.GetName(), TenantID: tenant}, func(u *pg.FeedUser) (err error) {
		if expire != nil {
			u.ExpireTime = expire
		}
		u.PublicKey, credentials, err = s.nats.NewUser(tenant, user, orNever(u.ExpireTime))
		return err
	})
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	if err := s.Publish(ctx, tenant); err != nil {
		// The new key is taken as it is, and the old one ends when NATS is told.
		s.cfg.Log.ErrorContext(ctx, "NATS isn't told yet that a key of a feed is revoked; it is tried again", obs.KeyTenant, tenant, obs.KeyError, err)
	}
	return &tenantv1.RotateFeedUserResponse{FeedUser: feedUserMessage(&u), Credentials: string(credentials)}, nil
}

// RevokeFeedUser ends a user.
func (s *Feeds) RevokeFeedUser(ctx context.Context, req *tenantv1.RevokeFeedUserRequest) (*tenantv1.RevokeFeedUserResponse, error) {
	tenant, user, err := s.user(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	u, err := s.feeds.Revoke(ctx, tenant, user, s.cfg.now(), pg.AuditEvent{Action: "RevokeFeedUser", Resource: req.GetName(), TenantID: tenant})
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	if s.nats != nil {
		// It is kept and told again until it is known. The caller is to know whether it
		// holds already.
		if err := s.Publish(ctx, tenant); err != nil {
			return nil, s.fail(ctx, req.GetName(), err)
		}
	}
	return &tenantv1.RevokeFeedUserResponse{FeedUser: feedUserMessage(&u)}, nil
}

// Publish tells NATS of a tenant's account, now.
func (s *Feeds) Publish(ctx context.Context, tenant string) error {
	a, err := s.feeds.Account(ctx, tenant)
	if err != nil {
		return err
	}
	return s.publish(ctx, a)
}

var errAway = errors.New("NATS can't be told")

func (s *Feeds) publish(ctx context.Context, a pg.FeedAccount) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// One after the other: what is told last is what holds.
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.nats.Publish(ctx, a.TenantID, a.Enabled, a.Revoked); err != nil {
		delete(s.told, a.TenantID)
		return fmt.Errorf("%w: %w", errAway, err)
	}
	s.told[a.TenantID] = a
	return nil
}

// Run tells NATS what it doesn't know, until the context ends.
func (s *Feeds) Run(ctx context.Context) error {
	ticks := time.NewTicker(feedInterval)
	defer ticks.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "NATS isn't told of all feeds; it is tried again", obs.KeyError, err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Feeds) sweep(ctx context.Context) error {
	list, err := s.feeds.Accounts(ctx)
	if err != nil {
		return err
	}
	now := s.cfg.now()
	s.mu.Lock()
	if now.Sub(s.toldAt) > feedRefresh {
		s.told, s.toldAt = map[string]pg.FeedAccount{}, now
	}
	told := maps.Clone(s.told)
	s.mu.Unlock()
	var errs []error
	for _, a := range list {
		known, ok := told[a.TenantID]
		if ok && known.Enabled == a.Enabled && maps.EqualFunc(known.Revoked, a.Revoked, time.Time.Equal) {
			continue
		}
		// Read again: what was read may be older than what was told meanwhile.
		errs = append(errs, s.Publish(ctx, a.TenantID))
	}
	return errors.Join(errs...)
}

func (s *Feeds) tenant(ctx context.Context, field, name string) (string, error) {
	tenant, err := rpc.ParseTenantName(name)
	if err != nil {
		return "", rpc.Invalid(field, err.Error())
	}
	return tenant, seen(ctx, tenant, name)
}

func (s *Feeds) user(ctx context.Context, name string) (tenant, user string, err error) {
	tenant, user, err = rpc.ParseFeedUserName(name)
	if err != nil {
		return "", "", rpc.Invalid("name", err.Error())
	}
	return tenant, user, seen(ctx, tenant, name)
}

func (s *Feeds) fail(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, pg.ErrNoFeedUser):
		return rpc.NotFound(name)
	case errors.Is(err, pg.ErrFeedUserRevoked):
		return rpc.Precondition(name, "the user is revoked: make another")
	case errors.Is(err, errAway) && ctx.Err() == nil:
		s.cfg.Log.ErrorContext(ctx, "NATS can't be told of a feed; the caller is told to try again", obs.KeyError, err)
		return rpc.Unavailable(unavailableFor)
	}
	return s.cfg.fail(ctx, name, err)
}

func checkExpire(v *rpc.Violations, field string, t *timestamppb.Timestamp, now time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime().Truncate(time.Second)
	if t.CheckValid() != nil || !at.After(now) {
		v.Add(field, "must be in the future")
		return nil
	}
	return &at
}

func orNever(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func feedUserMessage(u *pg.FeedUser) *tenantv1.FeedUser {
	m := &tenantv1.FeedUser{
		Name: rpc.FeedUserName(u.TenantID, u.ID), DisplayName: u.DisplayName, PublicKey: u.PublicKey,
		CreateTime: timestamppb.New(u.CreateTime), RotateTime: timestamppb.New(u.RotateTime),
	}
	if u.ExpireTime != nil {
		m.ExpireTime = timestamppb.New(*u.ExpireTime)
	}
	if u.RevokeTime != nil {
		m.RevokeTime = timestamppb.New(*u.RevokeTime)
	}
	return m
}
