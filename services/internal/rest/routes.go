package rest

// route is a way to call an RPC over HTTP.
type route struct {
	method string
	// path is a template as in google.api.http: {name=tenants/*} takes the part of
	// the path that it describes into the field.
	path string
	// body is the field that the body is; "*" the whole request; "" there is none.
	// What is in neither path nor body comes in the query, in camel case.
	body string
}

func get(path string) route         { return route{"GET", path, ""} }
func del(path string) route         { return route{"DELETE", path, ""} }
func post(path, body string) route  { return route{"POST", path, body} }
func patch(path, body string) route { return route{"PATCH", path, body} }

// routes are the paths of every RPC. The first of several is in the OpenAPI
// document's operation id.
//
//nolint:gochecknoglobals // a table
var routes = map[string][]route{
	"posthaste.tenant.v1.TenantService/CreateTenant":  {post("/v1/tenants", "tenant")},
	"posthaste.tenant.v1.TenantService/GetTenant":     {get("/v1/{name=tenants/*}")},
	"posthaste.tenant.v1.TenantService/ListTenants":   {get("/v1/tenants")},
	"posthaste.tenant.v1.TenantService/UpdateTenant":  {patch("/v1/{tenant.name=tenants/*}", "tenant")},
	"posthaste.tenant.v1.TenantService/DisableTenant": {post("/v1/{name=tenants/*}:disable", "*")},
	"posthaste.tenant.v1.TenantService/EnableTenant":  {post("/v1/{name=tenants/*}:enable", "*")},

	"posthaste.tenant.v1.TenantService/GetUsage": {get("/v1/{name=tenants/*}/usage")},

	"posthaste.tenant.v1.KeyService/CreateKey": {post("/v1/{parent=tenants/*}/keys", "key"), post("/v1/{parent=platform}/keys", "key")},
	"posthaste.tenant.v1.KeyService/GetKey":    {get("/v1/{name=tenants/*/keys/*}"), get("/v1/{name=platform/keys/*}")},
	"posthaste.tenant.v1.KeyService/ListKeys":  {get("/v1/{parent=tenants/*}/keys"), get("/v1/{parent=platform}/keys")},
	"posthaste.tenant.v1.KeyService/RevokeKey": {post("/v1/{name=tenants/*/keys/*}:revoke", "*"), post("/v1/{name=platform/keys/*}:revoke", "*")},
	"posthaste.tenant.v1.KeyService/RotateKey": {post("/v1/{name=tenants/*/keys/*}:rotate", "*"), post("/v1/{name=platform/keys/*}:rotate", "*")},

	"posthaste.tenant.v1.AuditService/ListAuditEvents": {get("/v1/{parent=tenants/*}/auditEvents"), get("/v1/{parent=platform}/auditEvents")},

	"posthaste.tenant.v1.PlatformAccountService/CreatePlatformAccount": {post("/v1/{parent=tenants/*}/platformAccounts", "platform_account")},
	"posthaste.tenant.v1.PlatformAccountService/ListPlatformAccounts":  {get("/v1/{parent=tenants/*}/platformAccounts")},
	"posthaste.tenant.v1.PlatformAccountService/UpdatePlatformAccount": {patch("/v1/{platform_account.name=tenants/*/platformAccounts/*}", "platform_account")},
	"posthaste.tenant.v1.PlatformAccountService/DeletePlatformAccount": {del("/v1/{name=tenants/*/platformAccounts/*}")},

	"posthaste.tenant.v1.FeedService/CreateFeedUser": {post("/v1/{parent=tenants/*}/feedUsers", "feed_user")},
	"posthaste.tenant.v1.FeedService/ListFeedUsers":  {get("/v1/{parent=tenants/*}/feedUsers")},
	"posthaste.tenant.v1.FeedService/RotateFeedUser": {post("/v1/{name=tenants/*/feedUsers/*}:rotate", "*")},
	"posthaste.tenant.v1.FeedService/RevokeFeedUser": {post("/v1/{name=tenants/*/feedUsers/*}:revoke", "*")},

	"posthaste.subscription.v1.EndpointService/CreateEndpoint": {post("/v1/{parent=tenants/*}/endpoints", "endpoint")},
	"posthaste.subscription.v1.EndpointService/GetEndpoint":    {get("/v1/{name=tenants/*/endpoints/*}")},
	"posthaste.subscription.v1.EndpointService/ListEndpoints":  {get("/v1/{parent=tenants/*}/endpoints")},
	"posthaste.subscription.v1.EndpointService/UpdateEndpoint": {patch("/v1/{endpoint.name=tenants/*/endpoints/*}", "endpoint")},
	"posthaste.subscription.v1.EndpointService/DeleteEndpoint": {del("/v1/{name=tenants/*/endpoints/*}")},
	"posthaste.subscription.v1.EndpointService/RotateSecret":   {post("/v1/{name=tenants/*/endpoints/*}:rotateSecret", "*")},

	"posthaste.subscription.v1.SubscriptionService/CreateSubscription":       {post("/v1/{parent=tenants/*}/subscriptions", "subscription")},
	"posthaste.subscription.v1.SubscriptionService/BatchCreateSubscriptions": {post("/v1/{parent=tenants/*}/subscriptions:batchCreate", "*")},
	"posthaste.subscription.v1.SubscriptionService/GetSubscription":          {get("/v1/{name=tenants/*/subscriptions/*}")},
	"posthaste.subscription.v1.SubscriptionService/ListSubscriptions":        {get("/v1/{parent=tenants/*}/subscriptions")},
	"posthaste.subscription.v1.SubscriptionService/UpdateSubscription":       {patch("/v1/{subscription.name=tenants/*/subscriptions/*}", "subscription")},
	"posthaste.subscription.v1.SubscriptionService/PauseSubscription":        {post("/v1/{name=tenants/*/subscriptions/*}:pause", "*")},
	"posthaste.subscription.v1.SubscriptionService/ResumeSubscription":       {post("/v1/{name=tenants/*/subscriptions/*}:resume", "*")},
	"posthaste.subscription.v1.SubscriptionService/CancelSubscription":       {post("/v1/{name=tenants/*/subscriptions/*}:cancel", "*")},

	"posthaste.delivery.v1.PushService/ListParkedPushes":  {get("/v1/{parent=tenants/*}/parkedPushes")},
	"posthaste.delivery.v1.PushService/CountParkedPushes": {get("/v1/{parent=tenants/*}/parkedPushes:count")},
	"posthaste.delivery.v1.PushService/ResendPushes":      {post("/v1/{parent=tenants/*}/pushes:resend", "*")},
	"posthaste.delivery.v1.PushService/ReplayPushes":      {post("/v1/{parent=tenants/*}/pushes:replay", "*")},
	"posthaste.delivery.v1.PushService/GetPushJob":        {get("/v1/{name=tenants/*/pushJobs/*}")},
	"posthaste.delivery.v1.PushService/ListPushJobs":      {get("/v1/{parent=tenants/*}/pushJobs")},
	"posthaste.delivery.v1.PushService/CancelPushJob":     {post("/v1/{name=tenants/*/pushJobs/*}:cancel", "*")},
	"posthaste.delivery.v1.PushService/GetPushStatistics": {
		get("/v1/{parent=tenants/*}/pushStatistics"), get("/v1/{parent=tenants/*/endpoints/*}/pushStatistics"),
		get("/v1/{parent=tenants/*/subscriptions/*}/pushStatistics"),
	},

	"posthaste.tracking.v1.WaybillService/GetWaybill":       {get("/v1/{name=waybills/*/*}")},
	"posthaste.tracking.v1.WaybillService/BatchGetWaybills": {get("/v1/waybills:batchGet")},
	"posthaste.tracking.v1.WaybillService/ListTraceEvents":  {get("/v1/{parent=waybills/*/*}/events")},
	"posthaste.tracking.v1.WaybillService/ListPushes":       {get("/v1/{parent=waybills/*/*}/pushes"), get("/v1/{parent=tenants/*/subscriptions/*}/pushes")},
	"posthaste.tracking.v1.WaybillService/ListAttempts": {
		get("/v1/{parent=waybills/*/*}/attempts"), get("/v1/{parent=tenants/*/subscriptions/*}/attempts"),
		get("/v1/{parent=tenants/*/endpoints/*}/attempts"), get("/v1/{parent=tenants/*}/attempts"),
	},

	"posthaste.privacy.v1.ErasureService/EraseWaybill": {post("/v1/{name=waybills/*/*}:erase", "*")},
	"posthaste.privacy.v1.ErasureService/GetErasure":   {get("/v1/{name=waybills/*/*/erasure}")},

	"posthaste.recognition.v1.RecognitionService/Recognize": {post("/v1/waybills:recognize", "*")},

	"posthaste.ingest.v1.IngestService/ReportEvents": {post("/v1/events:report", "*")},
}

// streams are RPCs that HTTP/JSON doesn't have, they need gRPC; or has as NDJSON,
// see lines.go.
//
//nolint:gochecknoglobals // a table
var streams = map[string]bool{
	"posthaste.tracking.v1.WaybillService/WatchWaybill": true,
	"posthaste.ingest.v1.IngestService/StreamEvents":    true,

	"posthaste.subscription.v1.SubscriptionService/ImportSubscriptions": true,
	"posthaste.subscription.v1.SubscriptionService/ExportSubscriptions": true,
}

// Routed says whether it is said of an RPC how it is called over HTTP, or that
// it isn't.
func Routed(method string) bool { return len(routes[method]) > 0 || streams[method] }
