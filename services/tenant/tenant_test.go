package tenant_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/tenant"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type bundle struct {
	pool    *pgxpool.Pool
	tenants *tenant.Tenants
	keys    *tenant.Keys
	audit   *tenant.Audit
	now     time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{pool: testkit.PostgreSQL(t), now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	cfg := tenant.Config{
		Tenants: pg.NewTenants(b.pool), Keys: pg.NewKeys(b.pool), Audit: pg.NewAuditLog(b.pool),
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now },
	}
	b.tenants, b.keys, b.audit = tenant.NewTenants(cfg), tenant.NewKeys(cfg), tenant.NewAudit(cfg)
	return b
}

func (b *bundle) tenant(t *testing.T, id string) *tenantv1.Tenant { //nolint:unparam // alike with its neighbours
	t.Helper()
	resp, err := b.tenants.CreateTenant(t.Context(), &tenantv1.CreateTenantRequest{TenantId: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetTenant()
}

func (b *bundle) key(t *testing.T, parent string, roles ...tenantv1.Role) *tenantv1.CreateKeyResponse {
	t.Helper()
	resp, err := b.keys.CreateKey(t.Context(), &tenantv1.CreateKeyRequest{Parent: parent, Key: &tenantv1.Key{Roles: roles}})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e.Code
	}
	return codes.Unknown
}

// as is a context in which somebody calls.
func as(t *testing.T, tenantID string, roles ...auth.Role) context.Context {
	t.Helper()
	return auth.WithCall(t.Context(), auth.Call{
		Principal: auth.Principal{Name: "tenants/acme/keys/caller", Tenant: tenantID, Roles: roles}, RequestID: "req-1", Source: "192.0.2.7",
	})
}

func TestTenants_LiveTheirLife(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	req := &tenantv1.CreateTenantRequest{TenantId: "acme", Tenant: &tenantv1.Tenant{DisplayName: "Acme"}, RequestId: "r1"}
	first, err := b.tenants.CreateTenant(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.tenants.CreateTenant(ctx, req)
	if err != nil || again.GetTenant().GetEtag() != first.GetTenant().GetEtag() {
		t.Fatalf("a repeat gave %v, %v", again, err)
	}
	req.Tenant.DisplayName = "Other"
	if _, err := b.tenants.CreateTenant(ctx, req); codeOf(err) != codes.AlreadyExists {
		t.Fatalf("another tenant under the same request id: %v", err)
	}
	if _, err := b.tenants.CreateTenant(ctx, &tenantv1.CreateTenantRequest{TenantId: "acme"}); codeOf(err) != codes.AlreadyExists {
		t.Fatalf("a second tenant of the id: %v", err)
	}
	for _, id := range []string{"", "-a", "A", "a/b", strings.Repeat("a", 41), "a\x00"} {
		if _, err := b.tenants.CreateTenant(ctx, &tenantv1.CreateTenantRequest{TenantId: id}); codeOf(err) != codes.InvalidArgument {
			t.Errorf("the id %q: %v", id, err)
		}
	}
	update := func(etag string) (*tenantv1.UpdateTenantResponse, error) {
		return b.tenants.UpdateTenant(ctx, &tenantv1.UpdateTenantRequest{
			Tenant: &tenantv1.Tenant{Name: "tenants/acme", DisplayName: "Acme GmbH", Etag: etag}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
		})
	}
	changed, err := update(first.GetTenant().GetEtag())
	if err != nil || changed.GetTenant().GetDisplayName() != "Acme GmbH" {
		t.Fatalf("an update gave %v, %v", changed, err)
	}
	if _, err := update(first.GetTenant().GetEtag()); codeOf(err) != codes.Aborted {
		t.Fatalf("an update of an old version: %v", err)
	}
	for range 2 {
		off, err := b.tenants.DisableTenant(ctx, &tenantv1.DisableTenantRequest{Name: "tenants/acme"})
		if err != nil || off.GetTenant().GetState() != tenantv1.TenantState_TENANT_STATE_DISABLED {
			t.Fatalf("disabled: %v, %v", off, err)
		}
	}
	on, err := b.tenants.EnableTenant(ctx, &tenantv1.EnableTenantRequest{Name: "tenants/acme"})
	if err != nil || on.GetTenant().GetState() != tenantv1.TenantState_TENANT_STATE_ENABLED {
		t.Fatalf("enabled: %v, %v", on, err)
	}
	// Each change is noted once, and what changed nothing isn't.
	log, err := b.audit.ListAuditEvents(ctx, &tenantv1.ListAuditEventsRequest{Parent: "tenants/acme"})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range log.GetEvents() {
		actions = append(actions, e.GetAction())
	}
	if want := []string{"EnableTenant", "DisableTenant", "UpdateTenant", "CreateTenant"}; !slices.Equal(actions, want) {
		t.Errorf("the audit log has %v, want %v", actions, want)
	}
}

func TestTenants_AreListedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"c", "a", "b"} {
		b.tenant(t, id)
	}
	var got []string
	token := ""
	for {
		resp, err := b.tenants.ListTenants(t.Context(), &tenantv1.ListTenantsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range resp.GetTenants() {
			got = append(got, m.GetName())
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := []string{"tenants/a", "tenants/b", "tenants/c"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestKeys_ShowTheirSecretOnceAndKeepItsHashOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant(t, "acme")
	made := b.key(t, "tenants/acme", tenantv1.Role_ROLE_WRITER, tenantv1.Role_ROLE_WRITER)
	id, err := auth.KeyID(made.GetSecret())
	if err != nil || made.GetKey().GetName() != "tenants/acme/keys/"+id || len(made.GetKey().GetRoles()) != 1 {
		t.Fatalf("made %v, %v", made.GetKey(), err)
	}
	// Nothing of what is stored, in any table, has the secret in it.
	for _, table := range []string{"api_key", "audit_event"} {
		var text string
		if err := b.pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(x::text, ' '), '') FROM "+table+" x").Scan(&text); err != nil {
			t.Fatal(err)
		}
		if secret := made.GetSecret()[len("pk_"+id+"_"):]; strings.Contains(text, secret) || strings.Contains(text, secret[:20]) {
			t.Errorf("%s holds the secret", table)
		}
	}
	rotated, err := b.keys.RotateKey(t.Context(), &tenantv1.RotateKeyRequest{Name: made.GetKey().GetName()})
	if err != nil || rotated.GetSecret() == made.GetSecret() {
		t.Fatalf("rotated: %v, %v", rotated.GetKey(), err)
	}
	k, err := pg.NewKeys(b.pool).Find(t.Context(), id)
	if err != nil || !auth.HashOf(rotated.GetSecret()).Equal(k.Hash) || !auth.HashOf(made.GetSecret()).Equal(k.PreviousHash) {
		t.Fatalf("the hashes of both secrets aren't kept: %v", err)
	}
	if want := b.now.Add(24 * time.Hour); !k.PreviousExpireTime.Equal(want) {
		t.Errorf("the old secret is taken until %v, want %v", k.PreviousExpireTime, want)
	}
	// One that leaked ends at once.
	if _, err := b.keys.RotateKey(t.Context(), &tenantv1.RotateKeyRequest{Name: made.GetKey().GetName(), Overlap: durationpb.New(0)}); err != nil {
		t.Fatal(err)
	}
	if k, err = pg.NewKeys(b.pool).Find(t.Context(), id); err != nil || k.PreviousHash != nil {
		t.Errorf("after a rotation without overlap the old secret is kept: %v", err)
	}
	for range 2 {
		gone, err := b.keys.RevokeKey(t.Context(), &tenantv1.RevokeKeyRequest{Name: made.GetKey().GetName()})
		if err != nil || gone.GetKey().GetState() != tenantv1.KeyState_KEY_STATE_REVOKED {
			t.Fatalf("revoked: %v, %v", gone, err)
		}
	}
	if _, err := b.keys.RotateKey(t.Context(), &tenantv1.RotateKeyRequest{Name: made.GetKey().GetName()}); codeOf(err) != codes.FailedPrecondition {
		t.Errorf("a revoked key was rotated: %v", err)
	}
	list, err := b.keys.ListKeys(t.Context(), &tenantv1.ListKeysRequest{Parent: "tenants/acme"})
	if err != nil || len(list.GetKeys()) != 1 {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestCreateKey_RefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant(t, "acme")
	reader := []tenantv1.Role{tenantv1.Role_ROLE_READER}
	for name, c := range map[string]struct {
		parent string
		key    *tenantv1.Key
		want   codes.Code
	}{
		"no key":                     {"tenants/acme", nil, codes.InvalidArgument},
		"no role":                    {"tenants/acme", &tenantv1.Key{}, codes.InvalidArgument},
		"unspecified role":           {"tenants/acme", &tenantv1.Key{Roles: []tenantv1.Role{0}}, codes.InvalidArgument},
		"unknown role":               {"tenants/acme", &tenantv1.Key{Roles: []tenantv1.Role{9999}}, codes.InvalidArgument},
		"admin of a tenant":          {"tenants/acme", &tenantv1.Key{Roles: []tenantv1.Role{tenantv1.Role_ROLE_ADMIN}}, codes.InvalidArgument},
		"expired":                    {"tenants/acme", &tenantv1.Key{Roles: reader, ExpireTime: timestamppb.New(b.now)}, codes.InvalidArgument},
		"no such tenant":             {"tenants/nobody", &tenantv1.Key{Roles: reader}, codes.NotFound},
		"not a parent":               {"keys", &tenantv1.Key{Roles: reader}, codes.InvalidArgument},
		"of the platform, with NUL":  {"platform", &tenantv1.Key{Roles: reader, DisplayName: "\x00"}, codes.InvalidArgument},
		"of the platform, all right": {"platform", &tenantv1.Key{Roles: reader}, codes.OK},
	} {
		if _, err := b.keys.CreateKey(t.Context(), &tenantv1.CreateKeyRequest{Parent: c.parent, Key: c.key}); codeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestKeys_LiftNobodyUpAndCrossNoTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant(t, "acme")
	b.tenant(t, "other")
	theirs := b.key(t, "tenants/other", tenantv1.Role_ROLE_READER).GetKey().GetName()
	reporter := b.key(t, "tenants/acme", tenantv1.Role_ROLE_REPORTER).GetKey().GetName()
	admin := b.key(t, "platform", tenantv1.Role_ROLE_ADMIN).GetKey().GetName()
	owner := as(t, "acme", auth.Owner)
	grant := func(parent string, r tenantv1.Role) error {
		_, err := b.keys.CreateKey(owner, &tenantv1.CreateKeyRequest{Parent: parent, Key: &tenantv1.Key{Roles: []tenantv1.Role{r}}})
		return err
	}
	if err := grant("tenants/acme", tenantv1.Role_ROLE_OWNER); err != nil {
		t.Errorf("an owner can't make an owner's key: %v", err)
	}
	if err := grant("tenants/acme", tenantv1.Role_ROLE_REPORTER); codeOf(err) != codes.PermissionDenied {
		t.Errorf("an owner made a reporter's key: %v", err)
	}
	for _, parent := range []string{"tenants/other", "tenants/nobody", "platform"} {
		if err := grant(parent, tenantv1.Role_ROLE_READER); codeOf(err) != codes.NotFound {
			t.Errorf("an owner made a key of %s: %v", parent, err)
		}
	}
	if _, err := b.keys.RotateKey(owner, &tenantv1.RotateKeyRequest{Name: reporter}); codeOf(err) != codes.PermissionDenied {
		t.Errorf("an owner got a reporter's secret: %v", err)
	}
	for _, name := range []string{theirs, admin} {
		if _, err := b.keys.GetKey(owner, &tenantv1.GetKeyRequest{Name: name}); codeOf(err) != codes.NotFound {
			t.Errorf("%s was read: %v", name, err)
		}
		if _, err := b.keys.RevokeKey(owner, &tenantv1.RevokeKeyRequest{Name: name}); codeOf(err) != codes.NotFound {
			t.Errorf("%s was revoked: %v", name, err)
		}
		if _, err := b.keys.RotateKey(owner, &tenantv1.RotateKeyRequest{Name: name}); codeOf(err) != codes.NotFound {
			t.Errorf("%s was rotated: %v", name, err)
		}
	}
	// The name of one's own tenant before another's key opens nothing.
	mixed := "tenants/acme/keys/" + theirs[strings.LastIndex(theirs, "/")+1:]
	if _, err := b.keys.RevokeKey(owner, &tenantv1.RevokeKeyRequest{Name: mixed}); codeOf(err) != codes.NotFound {
		t.Errorf("%s was revoked: %v", mixed, err)
	}
	if _, err := b.audit.ListAuditEvents(owner, &tenantv1.ListAuditEventsRequest{Parent: "platform"}); codeOf(err) != codes.NotFound {
		t.Errorf("an owner read the platform's audit log: %v", err)
	}
}

func TestAudit_NamesWhoDidItFromWhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant(t, "acme")
	made, err := b.keys.CreateKey(as(t, "acme", auth.Owner), &tenantv1.CreateKeyRequest{Parent: "tenants/acme", Key: &tenantv1.Key{Roles: []tenantv1.Role{tenantv1.Role_ROLE_READER}}})
	if err != nil {
		t.Fatal(err)
	}
	list := func(req *tenantv1.ListAuditEventsRequest) []*tenantv1.AuditEvent {
		t.Helper()
		req.Parent = "tenants/acme"
		resp, err := b.audit.ListAuditEvents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetEvents()
	}
	got := list(&tenantv1.ListAuditEventsRequest{Resource: made.GetKey().GetName()})
	if len(got) != 1 {
		t.Fatalf("%d events, want 1", len(got))
	}
	e := got[0]
	if e.GetActor() != "tenants/acme/keys/caller" || e.GetAction() != "CreateKey" || e.GetTenant() != "tenants/acme" || e.GetRequestId() != "req-1" ||
		e.GetSourceAddress() != "192.0.2.7" || e.GetDetails()["roles"] != "reader" {
		t.Errorf("the event is %v", e)
	}
	if n := len(list(&tenantv1.ListAuditEventsRequest{Actor: "tenants/acme/keys/caller"})); n != 1 {
		t.Errorf("%d events of the actor, want 1", n)
	}
	if n := len(list(&tenantv1.ListAuditEventsRequest{AfterTime: timestamppb.New(e.GetEventTime().AsTime().Add(time.Hour))})); n != 0 {
		t.Errorf("%d events of the future, want 0", n)
	}
	// A page at a time.
	first, err := b.audit.ListAuditEvents(t.Context(), &tenantv1.ListAuditEventsRequest{Parent: "tenants/acme", PageSize: 1})
	if err != nil || first.GetNextPageToken() == "" {
		t.Fatalf("the first page is %v, %v", first, err)
	}
	second, err := b.audit.ListAuditEvents(t.Context(), &tenantv1.ListAuditEventsRequest{Parent: "tenants/acme", PageSize: 1, PageToken: first.GetNextPageToken()})
	if err != nil || len(second.GetEvents()) != 1 || second.GetEvents()[0].GetAction() != "CreateTenant" || second.GetNextPageToken() != "" {
		t.Errorf("the second page is %v, %v", second, err)
	}
}
