package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Limits and defaults of a key's rotation.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

// Keys is the gRPC service that manages API keys.
type Keys struct {
	tenantv1.UnimplementedKeyServiceServer
	cfg Config
}

// NewKeys makes the service.
func NewKeys(cfg Config) *Keys { return &Keys{cfg: cfg} }

// CreateKey makes a key and shows its secret.
func (s *Keys) CreateKey(ctx context.Context, req *tenantv1.CreateKeyRequest) (*tenantv1.CreateKeyResponse, error) {
	tenant, err := owner(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	m := req.GetKey()
	if m == nil {
		return nil, rpc.Invalid("key", "is required")
	}
	now := s.cfg.now()
	k := pg.Key{ID: auth.NewKeyID(now), TenantID: tenant, DisplayName: m.GetDisplayName(), TenantState: pg.TenantEnabled, CreateTime: now}
	var v rpc.Violations
	v.CheckText("key.display_name", k.DisplayName, maxDisplayName)
	k.Roles = checkRoles(&v, tenant, m.GetRoles())
	if t := m.GetExpireTime(); t != nil {
		if at := t.AsTime().Truncate(time.Microsecond); t.CheckValid() != nil || !at.After(now) {
			v.Add("key.expire_time", "must be in the future")
		} else {
			k.ExpireTime = &at
		}
	}
	if err := v.Result(); err != nil {
		return nil, err
	}
	if err := mayGrant(ctx, k.Roles); err != nil {
		return nil, err
	}
	secret := auth.NewKey(k.ID)
	hash := auth.HashOf(secret)
	k.Hash = hash[:]
	audit := pg.AuditEvent{
		Action: "CreateKey", Resource: rpc.KeyName(tenant, k.ID), TenantID: tenant, Details: map[string]string{"roles": roleNames(k.Roles)},
	}
	if err := s.cfg.Keys.Create(ctx, k, audit); err != nil {
		return nil, s.cfg.fail(ctx, req.GetParent(), err)
	}
	return &tenantv1.CreateKeyResponse{Key: keyMessage(&k, now), Secret: secret}, nil
}

// checkRoles returns the roles, each once.
func checkRoles(v *rpc.Violations, tenant string, roles []tenantv1.Role) []int16 {
	if len(roles) == 0 {
		v.Add("key.roles", "must have at least one role")
	}
	var out []int16
	for i, r := range roles {
		field := fmt.Sprintf("key.roles[%d]", i)
		role := auth.Role(r)
		switch {
		case role.String() == "":
			v.Add(field, "is not a known role")
		case role == auth.Admin && tenant != "":
			v.Add(field, "ADMIN is for keys of the platform")
		case !slices.Contains(out, int16(role)):
			out = append(out, int16(role))
		}
	}
	slices.Sort(out)
	return out
}

func mayGrant(ctx context.Context, roles []int16) error {
	p := auth.CallOf(ctx).Principal
	for _, r := range roles {
		if !p.MayGrant(auth.Role(r)) {
			return rpc.Forbidden("the role " + strings.ToUpper(auth.Role(r).String()) + " can't be given by a key that may do less")
		}
	}
	return nil
}

func roleNames(roles []int16) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = auth.Role(r).String()
	}
	return strings.Join(names, ",")
}

// key reads a key's name.
func key(ctx context.Context, name string) (tenant, id string, err error) {
	tenant, id, err = rpc.ParseKeyName(name)
	if err != nil {
		return "", "", rpc.Invalid("name", err.Error())
	}
	return tenant, id, seen(ctx, tenant, name)
}

// GetKey returns one key.
func (s *Keys) GetKey(ctx context.Context, req *tenantv1.GetKeyRequest) (*tenantv1.GetKeyResponse, error) {
	tenant, id, err := key(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	k, err := s.cfg.Keys.Get(ctx, tenant, id)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetName(), err)
	}
	return &tenantv1.GetKeyResponse{Key: keyMessage(&k, s.cfg.now())}, nil
}

// ListKeys returns keys, newest first.
func (s *Keys) ListKeys(ctx context.Context, req *tenantv1.ListKeysRequest) (*tenantv1.ListKeysResponse, error) {
	tenant, err := owner(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListKeys", tenant)
	token, err := rpc.DecodePageToken(req.GetPageToken(), filter, 1)
	if err != nil {
		return nil, err
	}
	var before string
	if token != nil {
		before = token[0]
	}
	list, err := s.cfg.Keys.List(ctx, tenant, before, size+1)
	if err != nil {
		return nil, s.cfg.fail(ctx, req.GetParent(), err)
	}
	resp := &tenantv1.ListKeysResponse{}
	if len(list) > size {
		list = list[:size]
		resp.NextPageToken = rpc.EncodePageToken(filter, list[size-1].ID)
	}
	now := s.cfg.now()
	for i := range list {
		resp.Keys = append(resp.Keys, keyMessage(&list[i], now))
	}
	return resp, nil
}

// RevokeKey ends a key for good.
func (s *Keys) RevokeKey(ctx context.Context, req *tenantv1.RevokeKeyRequest) (*tenantv1.RevokeKeyResponse, error) {
	now := s.cfg.now()
	k, err := s.change(ctx, req.GetName(), "RevokeKey", func(k *pg.Key) (bool, error) {
		if k.RevokeTime != nil {
			return false, nil
		}
		k.RevokeTime = &now
		return true, nil
	})
	return &tenantv1.RevokeKeyResponse{Key: k}, err
}

// RotateKey gives a key a new secret and shows it.
func (s *Keys) RotateKey(ctx context.Context, req *tenantv1.RotateKeyRequest) (*tenantv1.RotateKeyResponse, error) {
	overlap := defaultOverlap
	if d := req.GetOverlap(); d != nil {
		if overlap = d.AsDuration(); d.CheckValid() != nil || overlap < 0 || overlap > maxOverlap {
			return nil, rpc.Invalid("overlap", "must be 0 to 7 days")
		}
	}
	_, id, err := rpc.ParseKeyName(req.GetName())
	if err != nil {
		return nil, rpc.Invalid("name", err.Error())
	}
	now := s.cfg.now()
	secret := auth.NewKey(id)
	hash := auth.HashOf(secret)
	k, err := s.change(ctx, req.GetName(), "RotateKey", func(k *pg.Key) (bool, error) {
		switch {
		case k.RevokeTime != nil:
			return false, rpc.Precondition(req.GetName(), "the key is revoked: make another")
		case k.ExpireTime != nil && !k.ExpireTime.After(now):
			return false, rpc.Precondition(req.GetName(), "the key has expired: make another")
		}
		// Nobody lifts themselves up by the secret of a stronger key.
		if err := mayGrant(ctx, k.Roles); err != nil {
			return false, err
		}
		k.PreviousHash, k.PreviousExpireTime = nil, nil
		if overlap > 0 {
			until := now.Add(overlap).Truncate(time.Microsecond)
			k.PreviousHash, k.PreviousExpireTime = k.Hash, &until
		}
		k.Hash, k.RotateTime = hash[:], &now
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return &tenantv1.RotateKeyResponse{Key: k, Secret: secret}, nil
}

func (s *Keys) change(ctx context.Context, name, action string, change func(*pg.Key) (bool, error)) (*tenantv1.Key, error) {
	tenant, id, err := key(ctx, name)
	if err != nil {
		return nil, err
	}
	k, err := s.cfg.Keys.Update(ctx, tenant, id, pg.AuditEvent{Action: action, Resource: name, TenantID: tenant}, change)
	if err != nil {
		return nil, s.cfg.fail(ctx, name, err)
	}
	return keyMessage(&k, s.cfg.now()), nil
}

func keyMessage(k *pg.Key, now time.Time) *tenantv1.Key {
	m := &tenantv1.Key{
		Name: rpc.KeyName(k.TenantID, k.ID), DisplayName: k.DisplayName, State: tenantv1.KeyState_KEY_STATE_ACTIVE,
		CreateTime: timestamppb.New(k.CreateTime), ExpireTime: timestamp(k.ExpireTime), RevokeTime: timestamp(k.RevokeTime),
		RotateTime: timestamp(k.RotateTime), PreviousExpireTime: timestamp(k.PreviousExpireTime), LastUseTime: timestamp(k.LastUseTime),
	}
	for _, r := range k.Roles {
		m.Roles = append(m.Roles, tenantv1.Role(r))
	}
	switch {
	case k.RevokeTime != nil:
		m.State = tenantv1.KeyState_KEY_STATE_REVOKED
	case k.ExpireTime != nil && !k.ExpireTime.After(now):
		m.State = tenantv1.KeyState_KEY_STATE_EXPIRED
	}
	return m
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
