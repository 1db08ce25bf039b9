package rpc

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/posthaste/posthaste/services/internal/auth"
)

// Access says who may make a call.
type Access struct {
	// Scope is what the caller needs.
	Scope auth.Scope
	// Names is the path of the field that holds the name of what it is about, such
	// as "parent" or "endpoint.name". Who is of another tenant than that name is
	// told that there is no such thing. Empty, when no one name says whose it is.
	Names string
	// Shared says that what it is about is nobody's own: the service itself tells
	// each caller only what concerns its tenant. Neither Names nor Shared: it is for
	// the platform's own keys.
	Shared bool
	// Change says that it changes something. Such calls are in the audit log.
	Change bool
}

// accesses says of every RPC who may call it. One that isn't in it can't be
// registered.
//
//nolint:gochecknoglobals // a table
var accesses = map[string]Access{
	"posthaste.tenant.v1.TenantService/CreateTenant":  {Scope: auth.Operate, Change: true},
	"posthaste.tenant.v1.TenantService/GetTenant":     {Scope: auth.Read, Names: "name"},
	"posthaste.tenant.v1.TenantService/ListTenants":   {Scope: auth.Operate},
	"posthaste.tenant.v1.TenantService/UpdateTenant":  {Scope: auth.Operate, Names: "tenant.name", Change: true},
	"posthaste.tenant.v1.TenantService/DisableTenant": {Scope: auth.Operate, Names: "name", Change: true},
	"posthaste.tenant.v1.TenantService/EnableTenant":  {Scope: auth.Operate, Names: "name", Change: true},

	"posthaste.tenant.v1.TenantService/GetUsage": {Scope: auth.Read, Names: "name"},

	"posthaste.tenant.v1.KeyService/CreateKey": {Scope: auth.Manage, Names: "parent", Change: true},
	"posthaste.tenant.v1.KeyService/GetKey":    {Scope: auth.Manage, Names: "name"},
	"posthaste.tenant.v1.KeyService/ListKeys":  {Scope: auth.Manage, Names: "parent"},
	"posthaste.tenant.v1.KeyService/RevokeKey": {Scope: auth.Manage, Names: "name", Change: true},
	"posthaste.tenant.v1.KeyService/RotateKey": {Scope: auth.Manage, Names: "name", Change: true},

	"posthaste.tenant.v1.AuditService/ListAuditEvents": {Scope: auth.Manage, Names: "parent"},

	"posthaste.tenant.v1.PlatformAccountService/CreatePlatformAccount": {Scope: auth.Manage, Names: "parent", Change: true},
	"posthaste.tenant.v1.PlatformAccountService/ListPlatformAccounts":  {Scope: auth.Manage, Names: "parent"},
	"posthaste.tenant.v1.PlatformAccountService/UpdatePlatformAccount": {Scope: auth.Manage, Names: "platform_account.name", Change: true},
	"posthaste.tenant.v1.PlatformAccountService/DeletePlatformAccount": {Scope: auth.Manage, Names: "name", Change: true},

	"posthaste.tenant.v1.FeedService/CreateFeedUser": {Scope: auth.Manage, Names: "parent", Change: true},
	"posthaste.tenant.v1.FeedService/ListFeedUsers":  {Scope: auth.Manage, Names: "parent"},
	"posthaste.tenant.v1.FeedService/RotateFeedUser": {Scope: auth.Manage, Names: "name", Change: true},
	"posthaste.tenant.v1.FeedService/RevokeFeedUser": {Scope: auth.Manage, Names: "name", Change: true},

	"posthaste.subscription.v1.EndpointService/CreateEndpoint": {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.subscription.v1.EndpointService/GetEndpoint":    {Scope: auth.Read, Names: "name"},
	"posthaste.subscription.v1.EndpointService/ListEndpoints":  {Scope: auth.Read, Names: "parent"},
	"posthaste.subscription.v1.EndpointService/UpdateEndpoint": {Scope: auth.Write, Names: "endpoint.name", Change: true},
	"posthaste.subscription.v1.EndpointService/DeleteEndpoint": {Scope: auth.Write, Names: "name", Change: true},

	"posthaste.subscription.v1.EndpointService/RotateSecret": {Scope: auth.Write, Names: "name", Change: true},

	"posthaste.delivery.v1.PushService/ListParkedPushes":  {Scope: auth.Read, Names: "parent"},
	"posthaste.delivery.v1.PushService/CountParkedPushes": {Scope: auth.Read, Names: "parent"},
	"posthaste.delivery.v1.PushService/ResendPushes":      {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.delivery.v1.PushService/ReplayPushes":      {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.delivery.v1.PushService/GetPushJob":        {Scope: auth.Read, Names: "name"},
	"posthaste.delivery.v1.PushService/ListPushJobs":      {Scope: auth.Read, Names: "parent"},
	"posthaste.delivery.v1.PushService/CancelPushJob":     {Scope: auth.Write, Names: "name", Change: true},
	"posthaste.delivery.v1.PushService/GetPushStatistics": {Scope: auth.Read, Names: "parent"},

	"posthaste.subscription.v1.SubscriptionService/CreateSubscription":       {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.subscription.v1.SubscriptionService/BatchCreateSubscriptions": {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.subscription.v1.SubscriptionService/GetSubscription":          {Scope: auth.Read, Names: "name"},
	"posthaste.subscription.v1.SubscriptionService/ListSubscriptions":        {Scope: auth.Read, Names: "parent"},
	"posthaste.subscription.v1.SubscriptionService/UpdateSubscription":       {Scope: auth.Write, Names: "subscription.name", Change: true},
	"posthaste.subscription.v1.SubscriptionService/PauseSubscription":        {Scope: auth.Write, Names: "name", Change: true},
	"posthaste.subscription.v1.SubscriptionService/ResumeSubscription":       {Scope: auth.Write, Names: "name", Change: true},
	"posthaste.subscription.v1.SubscriptionService/CancelSubscription":       {Scope: auth.Write, Names: "name", Change: true},

	"posthaste.subscription.v1.SubscriptionService/ImportSubscriptions": {Scope: auth.Write, Names: "parent", Change: true},
	"posthaste.subscription.v1.SubscriptionService/ExportSubscriptions": {Scope: auth.Read, Names: "parent"},

	// A waybill is nobody's own: a tenant sees those that it has subscribed.
	"posthaste.tracking.v1.WaybillService/GetWaybill":       {Scope: auth.Read, Shared: true},
	"posthaste.tracking.v1.WaybillService/BatchGetWaybills": {Scope: auth.Read, Shared: true},
	"posthaste.tracking.v1.WaybillService/ListTraceEvents":  {Scope: auth.Read, Shared: true},
	"posthaste.tracking.v1.WaybillService/WatchWaybill":     {Scope: auth.Read, Shared: true},
	"posthaste.tracking.v1.WaybillService/ListPushes":       {Scope: auth.Read, Names: "parent", Shared: true},
	"posthaste.tracking.v1.WaybillService/ListAttempts":     {Scope: auth.Read, Names: "parent", Shared: true},

	// A tenant's owner may erase what is its alone: the service looks.
	"posthaste.privacy.v1.ErasureService/EraseWaybill": {Scope: auth.Manage, Shared: true, Change: true},
	"posthaste.privacy.v1.ErasureService/GetErasure":   {Scope: auth.Manage, Shared: true},

	"posthaste.recognition.v1.RecognitionService/Recognize": {Scope: auth.Read, Shared: true},

	// An event reaches whoever subscribed its waybill: the platform says who may
	// report.
	"posthaste.ingest.v1.IngestService/ReportEvents": {Scope: auth.Report, Shared: true},
	"posthaste.ingest.v1.IngestService/StreamEvents": {Scope: auth.Report, Shared: true},
}

// AccessOf says who may call a method, by its full name with or without the
// leading slash.
func AccessOf(method string) (Access, bool) {
	a, ok := accesses[strings.TrimPrefix(method, "/")]
	return a, ok
}

// open are methods of gRPC itself that anybody may call.
func open(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// admit says whether a principal may call at all; what for is [Access.check]'s
// business.
func (a *Access) admit(p *auth.Principal) error {
	if !p.May(a.Scope) || a.Names == "" && !a.Shared && p.Tenant != "" {
		return Forbidden("the role of the key or token doesn't allow this call")
	}
	return nil
}

// check refuses a request about what is another tenant's, with the answer for
// what doesn't exist. A name that says nothing is the service's to refuse.
func (a *Access) check(p *auth.Principal, request any) error {
	if a.Names == "" || p.Tenant == "" {
		return nil
	}
	m, ok := request.(proto.Message)
	if !ok {
		return Forbidden("the request can't be understood")
	}
	for _, name := range values(m.ProtoReflect(), strings.Split(a.Names, ".")) {
		tenant, mine := ownerOf(name)
		if mine && !p.Sees(tenant) {
			return NotFound(name)
		}
	}
	return nil
}

// ownerOf is the tenant in a name, empty for the platform; false for a name that
// says nothing of an owner.
func ownerOf(name string) (tenant string, owned bool) {
	parts := strings.SplitN(name, "/", 3)
	switch {
	case parts[0] == Platform:
		return "", true
	case parts[0] == "tenants" && len(parts) > 1:
		return parts[1], true
	}
	return "", false
}

// values are the texts at a path of fields; lists are gone through.
func values(m protoreflect.Message, path []string) []string {
	fd := m.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case fd == nil:
		return nil
	case len(path) > 1 && fd.IsList():
		var out []string
		for i := range m.Get(fd).List().Len() {
			out = append(out, values(m.Get(fd).List().Get(i).Message(), path[1:])...)
		}
		return out
	case len(path) > 1:
		return values(m.Get(fd).Message(), path[1:])
	case fd.IsList():
		var out []string
		for i := range m.Get(fd).List().Len() {
			out = append(out, m.Get(fd).List().Get(i).String())
		}
		return out
	}
	return []string{m.Get(fd).String()}
}

// Methods are the full names of all RPCs that the table has, sorted.
func Methods() []string {
	var out []string
	for m := range accesses {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}
