package app_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// locked is an all-in-one that asks who calls, with the tenants acme, which has
// things, and other, which tries to get at them.
type locked struct {
	t     *testing.T
	conn  *grpc.ClientConn
	admin string
	// httpAddr is where HTTP/JSON is.
	httpAddr string
	// acme's.
	endpoint, subscription, waybill string
	// Keys by "tenant/role".
	keys map[string]string
	// names of what is acme's.
	names []string
}

func newLocked(t *testing.T) *locked {
	t.Helper()
	data := t.TempDir()
	cfg := config(t, data)
	cfg.Auth.Mode = app.AuthRequired
	a := start(t, app.AllInOne, cfg)
	conn, err := grpc.NewClient("passthrough:///"+a.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	file := filepath.Join(data, "admin.key")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the admin's key is open to others: %v, %v", info.Mode(), err)
	}
	l := &locked{t: t, conn: conn, httpAddr: a.Addresses().HTTP, admin: strings.TrimSpace(string(b)), keys: make(map[string]string)}
	l.populate()
	return l
}

func (l *locked) as(key string) context.Context {
	return metadata.AppendToOutgoingContext(l.t.Context(), "authorization", "Bearer "+key)
}

func (l *locked) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

var roles = map[string]tenantv1.Role{
	"owner": tenantv1.Role_ROLE_OWNER, "writer": tenantv1.Role_ROLE_WRITER, "reader": tenantv1.Role_ROLE_READER, "reporter": tenantv1.Role_ROLE_REPORTER,
}

func (l *locked) populate() {
	l.t.Helper()
	admin := l.as(l.admin)
	tenants, keys := tenantv1.NewTenantServiceClient(l.conn), tenantv1.NewKeyServiceClient(l.conn)
	for _, id := range []string{"acme", "other"} {
		_, err := tenants.CreateTenant(admin, &tenantv1.CreateTenantRequest{TenantId: id})
		l.must(err)
		for name, role := range roles {
			k, err := keys.CreateKey(admin, &tenantv1.CreateKeyRequest{Parent: "tenants/" + id, Key: &tenantv1.Key{Roles: []tenantv1.Role{role}}})
			l.must(err)
			l.keys[id+"/"+name] = k.GetSecret()
			if id == "acme" {
				l.names = append(l.names, k.GetKey().GetName())
			}
		}
	}
	acme := l.as(l.keys["acme/writer"])
	e, err := subscriptionv1.NewEndpointServiceClient(l.conn).CreateEndpoint(acme, &subscriptionv1.CreateEndpointRequest{
		Parent: "tenants/acme", Endpoint: &subscriptionv1.Endpoint{Url: "https://callback.example/parcels"},
	})
	l.must(err)
	s, err := subscriptionv1.NewSubscriptionServiceClient(l.conn).CreateSubscription(acme, &subscriptionv1.CreateSubscriptionRequest{
		Parent: "tenants/acme", Subscription: &subscriptionv1.Subscription{Endpoint: e.GetEndpoint().GetName(), CarrierCode: "sf", WaybillNumber: "SF1234567890"},
	})
	l.must(err)
	l.endpoint, l.subscription, l.waybill = e.GetEndpoint().GetName(), s.GetSubscription().GetName(), rpc.WaybillName("sf", "SF1234567890")
	report, err := ingestv1.NewIngestServiceClient(l.conn).ReportEvents(l.as(l.keys["acme/reporter"]), &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: "sf", WaybillNumber: "SF1234567890", Status: trackingv1.Status_STATUS_IN_TRANSIT, EventTime: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), Text: "on its way",
	}}})
	l.must(err)
	if len(report.GetRejectedEvents()) > 0 {
		l.t.Fatal(report.GetRejectedEvents())
	}
	l.names = append(l.names, "tenants/acme", l.endpoint, l.subscription, l.waybill, "tenants/acme/pushJobs/job_1", "platform", "platform/keys/"+strings.Repeat("0", 16))
	l.await()
}

// await asks until acme sees its waybill: there is no signal for it.
func (l *locked) await() {
	l.t.Helper()
	w := trackingv1.NewWaybillServiceClient(l.conn)
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for {
		_, err := w.GetWaybill(l.as(l.keys["acme/reader"]), &trackingv1.GetWaybillRequest{Name: l.waybill})
		if err == nil {
			return
		}
		select {
		case <-ticks.C:
		case <-l.t.Context().Done():
			l.t.Fatalf("the test ended before acme saw its waybill: %v", err)
		}
	}
}

// call makes any call, with one message there and one back.
func (l *locked) call(ctx context.Context, m protoreflect.MethodDescriptor, req proto.Message) (proto.Message, error) { //nolint:unparam // alike with its neighbours
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	desc := &grpc.StreamDesc{ServerStreams: m.IsStreamingServer(), ClientStreams: m.IsStreamingClient()}
	s, err := l.conn.NewStream(ctx, desc, "/"+methodName(m))
	if err != nil {
		return nil, err
	}
	if err := s.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	resp := dynamicpb.NewMessage(m.Output())
	return resp, s.RecvMsg(resp)
}

func methodName(m protoreflect.MethodDescriptor) string {
	return string(m.Parent().FullName()) + "/" + string(m.Name())
}

// methods are all RPCs that the server offers.
func (l *locked) methods() []protoreflect.MethodDescriptor {
	t := l.t
	t.Helper()
	var out []protoreflect.MethodDescriptor
	unserved := make(map[string]bool)
	for _, name := range rpc.Methods() {
		service, method, _ := strings.Cut(name, "/")
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		s, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			t.Fatalf("%s is no service", service)
		}
		m := s.Methods().ByName(protoreflect.Name(method))
		if !unserved[service] {
			_, err := l.call(l.as(l.admin), m, dynamicpb.NewMessage(m.Input()))
			unserved[service] = status.Code(err) == codes.Unimplemented
		}
		if unserved[service] {
			t.Logf("%s is in the table, and nobody serves it", name)
			continue
		}
		out = append(out, m)
	}
	return out
}

// naming is a request with a name at a path.
func naming(m protoreflect.MethodDescriptor, path, name string) proto.Message {
	req := dynamicpb.NewMessage(m.Input())
	var at protoreflect.Message = req
	parts := strings.Split(path, ".")
	for _, part := range parts[:len(parts)-1] {
		at = at.Mutable(at.Descriptor().Fields().ByName(protoreflect.Name(part))).Message()
	}
	fd := at.Descriptor().Fields().ByName(protoreflect.Name(parts[len(parts)-1]))
	switch {
	case fd == nil:
	case fd.IsList():
		at.Mutable(fd).List().Append(protoreflect.ValueOfString(name))
	default:
		at.Set(fd, protoreflect.ValueOfString(name))
	}
	return req
}

// What is acme's is asked for with other's owner's key, on every RPC, under its
// own name and below other's: it isn't there, and it stays as it was.
func TestAccess_NoRPCCrossesTenants(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	before := l.state()
	for _, m := range l.methods() {
		access, _ := rpc.AccessOf(methodName(m))
		for _, role := range []string{"owner", "reporter"} {
			ctx := l.as(l.keys["other/"+role])
			for _, name := range l.names {
				if access.Names != "" {
					_, err := l.call(ctx, m, naming(m, access.Names, name))
					mine := strings.HasPrefix(name, "waybills/")
					if code := status.Code(err); !mine && code != codes.NotFound && code != codes.PermissionDenied {
						t.Errorf("%s of %s by %s of another tenant: %v", methodName(m), name, role, err)
					}
				}
				// Below one's own tenant.
				rest, below := strings.CutPrefix(name, "tenants/acme/")
				if access.Names == "" || !below {
					continue
				}
				if _, err := l.call(ctx, m, naming(m, access.Names, "tenants/other/"+rest)); err == nil {
					t.Errorf("%s of tenants/other/%s by %s: it did it", methodName(m), rest, role)
				}
			}
		}
	}
	if after := l.state(); after != before {
		t.Errorf("what is acme's changed:\n%s\nwas\n%s", after, before)
	}
}

// state is what acme sees of its own.
func (l *locked) state() string {
	l.t.Helper()
	ctx := l.as(l.keys["acme/owner"])
	e, err := subscriptionv1.NewEndpointServiceClient(l.conn).GetEndpoint(ctx, &subscriptionv1.GetEndpointRequest{Name: l.endpoint})
	l.must(err)
	s, err := subscriptionv1.NewSubscriptionServiceClient(l.conn).GetSubscription(ctx, &subscriptionv1.GetSubscriptionRequest{Name: l.subscription})
	l.must(err)
	k, err := tenantv1.NewKeyServiceClient(l.conn).ListKeys(ctx, &tenantv1.ListKeysRequest{Parent: "tenants/acme"})
	l.must(err)
	a, err := tenantv1.NewAuditServiceClient(l.conn).ListAuditEvents(ctx, &tenantv1.ListAuditEventsRequest{Parent: "tenants/acme"})
	l.must(err)
	for _, key := range k.GetKeys() {
		key.LastUseTime = nil
	}
	s.Subscription.PushedRevision = 0 // the matcher's
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	l.must(err)
	return e.String() + string(text) + k.String() + a.String()
}

// A waybill's number is no permission: only who subscribed it sees it.
func TestAccess_AWaybillIsSeenByItsSubscribers(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	w := trackingv1.NewWaybillServiceClient(l.conn)
	theirs, ours := l.as(l.keys["other/owner"]), l.as(l.keys["acme/reader"])
	unknown := rpc.WaybillName("sf", "SF0000000000")
	_, err := w.GetWaybill(theirs, &trackingv1.GetWaybillRequest{Name: l.waybill})
	_, none := w.GetWaybill(theirs, &trackingv1.GetWaybillRequest{Name: unknown})
	if status.Code(err) != codes.NotFound || strings.ReplaceAll(err.Error(), l.waybill, unknown) != none.Error() {
		t.Errorf("another's waybill is answered with %v, one that doesn't exist with %v", err, none)
	}
	if _, err := w.ListTraceEvents(theirs, &trackingv1.ListTraceEventsRequest{Parent: l.waybill}); status.Code(err) != codes.NotFound {
		t.Errorf("its events: %v", err)
	}
	batch, err := w.BatchGetWaybills(theirs, &trackingv1.BatchGetWaybillsRequest{Names: []string{l.waybill}})
	if err != nil || len(batch.GetWaybills()) != 0 || len(batch.GetUnknownNames()) != 1 {
		t.Errorf("in a batch: %v, %v", batch, err)
	}
	pushes, err := w.ListPushes(theirs, &trackingv1.ListPushesRequest{Parent: l.waybill})
	if err != nil || len(pushes.GetPushes()) != 0 {
		t.Errorf("its pushes: %v, %v", pushes, err)
	}
	attempts, err := w.ListAttempts(theirs, &trackingv1.ListAttemptsRequest{Parent: l.waybill})
	if err != nil || len(attempts.GetAttempts()) != 0 {
		t.Errorf("its attempts: %v, %v", attempts, err)
	}
	watch, err := w.WatchWaybill(theirs, &trackingv1.WatchWaybillRequest{Name: l.waybill})
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.NotFound {
		t.Errorf("watched: %v", err)
	}
	for _, ctx := range []context.Context{ours, l.as(l.admin)} {
		got, err := w.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: l.waybill})
		if err != nil || got.GetWaybill().GetRevision() == 0 {
			t.Errorf("a subscriber is told %v, %v", got, err)
		}
	}
}

// Each role may call what the table says, and nothing else; a message with
// nothing in it never does harm.
func TestAccess_RolesDoWhatTheTableSays(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	may := map[string]map[string]bool{ // by scope's role, spelled out against the table
		"owner": {}, "writer": {}, "reader": {}, "reporter": {},
	}
	for _, m := range l.methods() {
		name := string(m.Name())
		platform := map[string]bool{"CreateTenant": true, "ListTenants": true, "UpdateTenant": true, "DisableTenant": true, "EnableTenant": true}[name]
		keys := strings.HasSuffix(string(m.Parent().Name()), "KeyService") || m.Parent().Name() == "PlatformAccountService" || m.Parent().Name() == "FeedService" || m.Parent().Name() == "ErasureService" || name == "ListAuditEvents"
		report := m.Parent().Name() == "IngestService"
		read := strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "BatchGet") ||
			strings.HasPrefix(name, "Watch") || strings.HasPrefix(name, "Count") || strings.HasPrefix(name, "Recognize") || strings.HasPrefix(name, "Export")
		full := methodName(m)
		may["reporter"][full] = report
		may["reader"][full] = read && !platform && !keys && !report
		may["writer"][full] = !platform && !keys && !report
		may["owner"][full] = !platform && !report
	}
	for _, m := range l.methods() {
		empty := dynamicpb.NewMessage(m.Input())
		for role := range roles {
			_, err := l.call(l.as(l.keys["acme/"+role]), m, empty)
			if denied := status.Code(err) == codes.PermissionDenied; denied == may[role][methodName(m)] {
				t.Errorf("%s by a %s: %v", methodName(m), role, err)
			}
		}
		_, err := l.call(l.as(l.admin), m, empty)
		if code := status.Code(err); code != codes.OK && code != codes.InvalidArgument {
			t.Errorf("%s of nothing by an admin: %v", methodName(m), err)
		}
		if _, err := l.call(t.Context(), m, empty); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s by nobody: %v", methodName(m), err)
		}
	}
}

// What isn't a key in force is refused, all in the same words, and soon after it
// ceased to be.
func TestAccess_RefusesWhatIsNoKeyInForce(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	tenants, keys := tenantv1.NewTenantServiceClient(l.conn), tenantv1.NewKeyServiceClient(l.conn)
	get := func(ctx context.Context) error {
		_, err := tenants.GetTenant(ctx, &tenantv1.GetTenantRequest{Name: "tenants/acme"})
		return err
	}
	good := l.keys["acme/reader"]
	for name, ctx := range map[string]context.Context{
		"nothing":         t.Context(),
		"no key":          l.as("nonsense"),
		"a wrong secret":  l.as(good[:len(good)-1] + "!"),
		"two":             metadata.AppendToOutgoingContext(l.as(good), "authorization", "Bearer "+good),
		"two kinds":       metadata.AppendToOutgoingContext(l.as(good), "x-api-key", good),
		"another scheme":  metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic "+good),
		"without a word":  metadata.AppendToOutgoingContext(t.Context(), "authorization", good),
		"an empty bearer": metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "),
	} {
		if err := get(ctx); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := get(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", good)); err != nil {
		t.Errorf("in x-api-key: %v", err)
	}
	// The tenant is disabled: its keys are refused, and taken again afterwards.
	_, err := tenants.DisableTenant(l.as(l.admin), &tenantv1.DisableTenantRequest{Name: "tenants/acme"})
	l.must(err)
	l.until(func() bool { return status.Code(get(l.as(good))) == codes.PermissionDenied })
	_, err = tenants.EnableTenant(l.as(l.admin), &tenantv1.EnableTenantRequest{Name: "tenants/acme"})
	l.must(err)
	l.until(func() bool { return get(l.as(good)) == nil })
	// Rotated: both are taken. Revoked: neither.
	name := ""
	for _, n := range l.names {
		if i := strings.LastIndex(n, "/"); strings.Contains(good, n[i+1:]) && strings.Contains(n, "/keys/") {
			name = n
		}
	}
	rotated, err := keys.RotateKey(l.as(l.admin), &tenantv1.RotateKeyRequest{Name: name})
	l.must(err)
	l.until(func() bool { return get(l.as(rotated.GetSecret())) == nil })
	l.must(get(l.as(good)))
	_, err = keys.RevokeKey(l.as(l.admin), &tenantv1.RevokeKeyRequest{Name: name})
	l.must(err)
	began := time.Now()
	l.until(func() bool { return status.Code(get(l.as(good))) == codes.Unauthenticated })
	l.until(func() bool { return status.Code(get(l.as(rotated.GetSecret()))) == codes.Unauthenticated })
	t.Logf("revoked after %v", time.Since(began))
}

// until asks until it is so: there is no signal for it.
func (l *locked) until(is func() bool) {
	l.t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for !is() {
		select {
		case <-ticks.C:
		case <-l.t.Context().Done():
			l.t.Fatal("the test ended before it was so")
		}
	}
}
