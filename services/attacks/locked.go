package attacks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
)

// locked is a product that asks who calls, with the tenants a and b.
type locked struct {
	*product

	admin   string
	keys    map[string]string // by "tenant/role"
	tenants tenantv1.TenantServiceClient
	keyring tenantv1.KeyServiceClient
	audit   tenantv1.AuditServiceClient
}

const tenantA, tenantB = "tenants/aaa", "tenants/bbb"

var keyRoles = map[string]tenantv1.Role{
	"owner": tenantv1.Role_ROLE_OWNER, "writer": tenantv1.Role_ROLE_WRITER, "reader": tenantv1.Role_ROLE_READER, "reporter": tenantv1.Role_ROLE_REPORTER,
}

// locked is the one product that asks who calls.
func (w *World) locked(ctx context.Context) (*locked, error) {
	if w.asking != nil {
		return w.asking, nil
	}
	const name = "locked"
	p, err := w.start(ctx, name, "--egress-policy=lab", "--auth=required")
	if err != nil {
		return nil, err
	}
	w.closing = append(w.closing, p)
	key, err := os.ReadFile(filepath.Join(w.dir, name, "admin.key"))
	if err != nil {
		return nil, fmt.Errorf("read the first key: %w", err)
	}
	l := &locked{
		product: p, admin: strings.TrimSpace(string(key)), keys: map[string]string{},
		tenants: tenantv1.NewTenantServiceClient(p.conn), keyring: tenantv1.NewKeyServiceClient(p.conn), audit: tenantv1.NewAuditServiceClient(p.conn),
	}
	w.own = append(w.own, l.admin)
	for _, parent := range []string{tenantA, tenantB} {
		id := strings.TrimPrefix(parent, "tenants/")
		if _, err := l.tenants.CreateTenant(as(ctx, l.admin), &tenantv1.CreateTenantRequest{TenantId: id}); err != nil {
			return nil, fmt.Errorf("make the tenant %s: %w", id, err)
		}
		for role, number := range keyRoles {
			k, err := l.keyring.CreateKey(as(ctx, l.admin), &tenantv1.CreateKeyRequest{Parent: parent, Key: &tenantv1.Key{Roles: []tenantv1.Role{number}}})
			if err != nil {
				return nil, fmt.Errorf("make a key: %w", err)
			}
			l.keys[parent+"/"+role] = k.GetSecret()
			w.own = append(w.own, k.GetSecret())
		}
	}
	w.asking = l
	return l, nil
}

// as calls with a key.
func as(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

// newKey makes a key of tenant a, which expires.
func (l *locked) newKey(ctx context.Context, w *World, expire time.Time) (*tenantv1.CreateKeyResponse, error) {
	k := &tenantv1.Key{Roles: []tenantv1.Role{tenantv1.Role_ROLE_READER}}
	if !expire.IsZero() {
		k.ExpireTime = timestamppb.New(expire)
	}
	made, err := l.keyring.CreateKey(as(ctx, l.admin), &tenantv1.CreateKeyRequest{Parent: tenantA, Key: k})
	w.own = append(w.own, made.GetSecret())
	return made, err
}
