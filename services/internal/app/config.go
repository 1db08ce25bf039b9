package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/egress"
)

// Config is what all programs are configured with. Every program takes all of
// it, so that one set of POSTHASTE_ variables serves them all; what a program
// doesn't use has no effect on it. Each setting is a flag and a variable, see
// docs/configuration.md, which is made from these structs.
type Config struct {
	Log      LogConfig      `embed:"" prefix:"log-" group:"log"`
	Ops      OpsConfig      `embed:"" prefix:"ops-" group:"ops"`
	Trace    TraceConfig    `embed:"" prefix:"trace-" group:"ops"`
	Stop     StopConfig     `embed:"" prefix:"stop-" group:"ops"`
	NATS     NATSConfig     `embed:"" prefix:"nats-" group:"nats"`
	Stream   StreamConfig   `embed:"" prefix:"stream-" group:"nats"`
	Database DatabaseConfig `embed:"" prefix:"database-" group:"database"`
	Embedded EmbeddedConfig `embed:"" group:"all-in-one"`
	GRPC     GRPCConfig     `embed:"" prefix:"grpc-" group:"servers"`
	HTTP     HTTPConfig     `embed:"" prefix:"http-" group:"servers"`
	TLS      TLSConfig      `embed:"" prefix:"tls-" group:"servers"`
	Auth     AuthConfig     `embed:"" group:"auth"`
	Sources  SourcesConfig  `embed:"" group:"sources"`
	Poll     PollConfig     `embed:"" prefix:"poll-" group:"poll"`
	Egress   EgressConfig   `embed:"" prefix:"egress-" group:"egress"`
	Work     WorkConfig     `embed:"" group:"work"`
	Test     TestConfig     `embed:"" prefix:"test-" group:"work"`
	Privacy  PrivacyConfig  `embed:"" group:"work"`
}

// PrivacyConfig is about personal data, see docs/privacy.md.
type PrivacyConfig struct {
	MaskPushes []string `name:"mask-pushes" placeholder:"TENANT" help:"Tenants whose pushes, and answers to whose queries, hide names, phone and identity numbers and codes for picking up, separated by commas; * for all. subscription and delivery must agree."`

	Traces time.Duration `name:"retention-traces" default:"2160h" help:"How long a trace keeps its texts after its last change; then what happened, when and in which city is all that stays. One that is still owed to an endpoint keeps them. 0 keeps them for ever."`
	Bodies time.Duration `name:"retention-parked-bodies" default:"720h" help:"How long a parked push keeps the body that was attempted. It stays parked, and is rendered anew from the trace when it is resent. 0 keeps it as long as it is parked."`
	Audit  time.Duration `name:"retention-audit" default:"8760h" help:"How long the audit log is kept, at least 720h. 0 keeps it for ever."`
	Flight time.Duration `name:"erase-flight" hidden:"" default:"90s" help:"How long an attempt may last that began before its trace was erased. Tests only."`
	Every  time.Duration `name:"retention-every" hidden:"" default:"1h" help:"How often it is looked for what is too old. Tests only."`
}

func (c *PrivacyConfig) check(bad func(format string, args ...any)) {
	for flag, d := range map[string]time.Duration{"retention-traces": c.Traces, "retention-parked-bodies": c.Bodies, "retention-audit": c.Audit} {
		if d < 0 {
			bad("--%s is %s and must not be negative", flag, d)
		}
	}
	const leastAudit = 720 * time.Hour
	if c.Audit > 0 && c.Audit < leastAudit {
		bad("--retention-audit is %s and must be at least 720h: the log keeps its last 30 days whatever is asked", c.Audit)
	}
}

// masks says whether a tenant's pushes hide personal data.
func (c PrivacyConfig) masks(tenant string) bool {
	return slices.Contains(c.MaskPushes, "*") || slices.Contains(c.MaskPushes, tenant)
}

// LogConfig says how log lines are written, always to standard error.
type LogConfig struct {
	Format string     `enum:"text,json" default:"text" help:"Form of log lines: text or json."`
	Level  slog.Level `default:"info" help:"Least level that is logged: debug (a line for every message), info, warn or error."`
}

// OpsConfig is about the server for operators.
type OpsConfig struct {
	Listen string `default:"127.0.0.1:9464" help:"Address of /metrics, /livez, /startupz, /readyz and /debug/pprof. It has no authentication."`
}

// TraceConfig is about OpenTelemetry traces. Whether and where they are exported
// is said by the standard OTEL_ variables.
type TraceConfig struct {
	Ratio float64 `default:"0.01" help:"Share of traces begun here that are recorded, 0 to 1. At 1 every parcel event costs about ten spans."`
}

// StopConfig is about ending.
type StopConfig struct {
	Delay time.Duration `default:"0s" help:"Wait between saying not ready and stopping. Behind a load balancer: longer than it takes to notice, such as 5s."`
	Grace time.Duration `default:"20s" help:"Longest time for work in progress to finish. What doesn't is done again by another instance. Shorter than the longest push time-out repeats pushes at every restart."`
}

// NATSConfig says where NATS is.
type NATSConfig struct {
	URL         SecretURL `help:"NATS servers, such as nats://host:4222, separated by commas. The all-in-one runs its own when this is empty."`
	Monitor     []string  `placeholder:"URL" help:"Monitoring addresses of the NATS servers, such as http://host:8222, separated by commas. A start is refused when one doesn't sync before it acknowledges, and waits while half of them or more are silent; without them nobody checks."`
	Credentials string    `type:"path" help:"Credentials file (.creds) for NATS."`

	Feeds             bool          `help:"Give teams feeds on the all-in-one's NATS, see docs/nats.md. Clients from outside need credentials then. Once on, leave it on: what is stored belongs to an account."`
	OperatorKey       string        `type:"path" placeholder:"FILE" help:"Seed of a signing key of the operator that other NATS servers trust, SO…, to give teams feeds there; for subscription alone."`
	SystemCredentials string        `type:"path" placeholder:"FILE" help:"Credentials file for those servers' system account; for subscription alone."`
	FeedKey           string        `type:"path" placeholder:"FILE" help:"Seed that the keys of teams' accounts there are derived from, SA…; for subscription and delivery. A change cuts all teams off."`
	FeedMaxBytes      Size          `default:"256MiB" help:"Most bytes of each team's feed. Full, its pushes wait and are parked."`
	FeedMaxAge        time.Duration `default:"720h" help:"How long a push stays in a team's feed, read or not."`
}

// StreamConfig is about the streams.
type StreamConfig struct {
	Manage           bool          `negatable:"" default:"true" help:"Make streams that never were. Off, a missing stream is an error."`
	Recover          bool          `help:"Make streams anew that NATS lost, and rebuild from PostgreSQL what can be. Off, a lost stream is an error that says what to do."`
	Replicas         int           `default:"1" help:"Replicas of each stream: 1 on a single server, 3 in a cluster."`
	RawMaxBytes      Size          `default:"0" help:"Most bytes of raw traces kept. Full, intake answers 503. 0 chooses by the disk, or 16GiB."`
	TraceMaxBytes    Size          `default:"0" help:"Most bytes of waybill states kept. Full, normalising stops. 0 chooses by the disk, or 32GiB."`
	PushMaxBytes     Size          `default:"0" help:"Most bytes of pushes on their way. Full, matching waits. 0 chooses by the disk, or 16GiB."`
	RejectedMaxBytes Size          `default:"0" help:"Most bytes of rejected reports kept; the oldest go. 0 chooses by the disk, or 1GiB."`
	RejectedMaxAge   time.Duration `default:"720h" help:"How long rejected reports are kept. They hold what sources sent, personal data too."`
	RawMaxAge        time.Duration `default:"72h" help:"How long raw traces are kept. Must exceed the longest outage of the normalizer: what is older is lost to it."`
	TraceMaxAge      time.Duration `default:"1440h" help:"How long a waybill without a change stays in the stream; later it is in PostgreSQL alone."`
}

// DatabaseConfig says where PostgreSQL is.
type DatabaseConfig struct {
	URL      SecretURL `help:"PostgreSQL, such as postgres://user:password@host/database. The all-in-one runs its own when this is empty."`
	MaxConns int32     `default:"0" help:"Most connections of this process; 0 means four, or one for each core if there are more."`
	Volatile bool      `hidden:"" help:"Accept a PostgreSQL that may lose what it has committed. Tests only."`
}

// EmbeddedConfig is about the servers that the all-in-one runs itself.
type EmbeddedConfig struct {
	Data         string `type:"path" default:".data" help:"Folder of all data of the all-in-one. Survives restarts; never deleted."`
	NATSListen   string `name:"nats-listen" default:"127.0.0.1:4222" help:"Address at which the all-in-one's NATS takes clients; empty opens no port. Without --nats-users it has no authentication."`
	NATSUsers    string `name:"nats-users" type:"path" placeholder:"FILE" help:"File in nats-server's form whose authorization block says which clients may do what, such as deploy/nats/users.conf. Empty asks nobody."`
	NATSMaxStore Size   `name:"nats-max-store" default:"0" help:"Most bytes of all streams of the all-in-one's NATS; 0 means three quarters of the disk's free space."`
	MinFree      Size   `name:"min-free" default:"0" help:"Free space of the data's disk below which no more reports are taken in, so that what was accepted has room; 0 means 512MiB, or a twentieth of what the streams may take if that is less."`
	PGBin        string `name:"pg-bin" help:"Folder of the programs initdb and postgres. Empty looks on the PATH and where systems put them."`
	PGFetched    string `name:"pg-fetched" default:".cache/postgres" help:"Folder that hack/ensure-postgres fetches PostgreSQL to; used when the system has none."`
}

// GRPCConfig is about the gRPC server.
type GRPCConfig struct {
	Listen      string        `default:"127.0.0.1:9090" help:"Address of the gRPC server."`
	Reflection  bool          `negatable:"" default:"false" help:"Let grpcurl and its like ask what the server offers. On in posthaste demo."`
	MaxDeadline time.Duration `default:"30s" help:"Longest time a unary call may take, whatever the caller asks for."`
}

// HTTPConfig is about the HTTP server that takes in what sources push.
type HTTPConfig struct {
	Listen        string         `default:"127.0.0.1:8080" help:"Address of the HTTP server for sources."`
	MaxBody       Size           `default:"10MiB" help:"Largest body of a request, after decompression."`
	HeaderTimeout time.Duration  `default:"10s" help:"Longest time for the head of a request to come."`
	ReadTimeout   time.Duration  `default:"30s" help:"Longest time for a whole request to come."`
	Proxies       []netip.Prefix `placeholder:"PREFIX" help:"Proxies whose X-Forwarded-For counts, separated by commas. Without them a request comes from whoever connects."`
}

// TLSConfig is about the certificates of the gRPC and HTTP servers. The files
// are read again when they change.
type TLSConfig struct {
	Cert     string `type:"path" help:"File of the certificate of the gRPC and HTTP servers, in PEM, with its chain. Empty: calls come in the clear."`
	Key      string `type:"path" help:"File of the certificate's private key, in PEM."`
	ClientCA string `name:"client-ca" type:"path" help:"File of the authorities whose client certificates are taken, in PEM. Empty takes none."`
}

// The ways to treat callers.
const (
	AuthAuto     = "auto"
	AuthOpen     = "open"
	AuthRequired = "required"
)

// AuthConfig says who may call.
type AuthConfig struct {
	Mode         string            `name:"auth" enum:"auto,open,required" default:"auto" help:"Whether callers of gRPC and HTTP/JSON must say who they are: required, or open, which lets everybody do everything. auto is open for the all-in-one while it listens on this machine only, and required otherwise."`
	Insecure     bool              `name:"auth-insecure" help:"Accept --auth=open although other machines can call. For tests and for networks where everybody may do everything."`
	AdminKeyFile string            `name:"auth-admin-key-file" type:"path" help:"File of a key that may do everything, made by posthaste key generate. The all-in-one makes its own, admin.key in its data folder, when keys are required and this is empty."`
	Issuer       string            `name:"auth-oidc-issuer" help:"Issuer of JSON Web Tokens that are taken beside keys, such as https://id.example.com. Empty takes none."`
	Audience     string            `name:"auth-oidc-audience" default:"posthaste" help:"Audience that a token must be for."`
	JWKS         string            `name:"auth-oidc-jwks" help:"File or URL of the issuer's JSON Web Key Set. Empty asks the issuer."`
	TenantClaim  string            `name:"auth-oidc-tenant-claim" default:"posthaste_tenant" help:"Claim of a token that holds the tenant's id. A token without it is the platform's."`
	RolesClaim   string            `name:"auth-oidc-roles-claim" default:"posthaste_roles" help:"Claim of a token that holds the roles: admin, owner, writer, reader, reporter."`
	Certificates map[string]string `name:"auth-certificates" placeholder:"IDENTITY=ROLE" help:"What client certificates may do, separated by semicolons: IDENTITY=ROLE or IDENTITY=ROLE@TENANT, where the identity is a URI, a DNS name or the common name of the certificate."`
}

// authMode is the way callers are treated by a program.
func (c *Config) authMode(program string) string {
	if c.Auth.Mode != AuthAuto && c.Auth.Mode != "" {
		return c.Auth.Mode
	}
	if program == AllInOne && !public(c.GRPC.Listen) && !public(c.HTTP.Listen) {
		return AuthOpen
	}
	return AuthRequired
}

// SourcesConfig names the accounts whose pushes are taken in.
type SourcesConfig struct {
	Kdniao    map[string]Secret `name:"kdniao" placeholder:"EBUSINESSID=APPKEY" help:"Kdniao accounts, separated by semicolons: EBusinessID=AppKey. A push of another account is refused."`
	Share     int               `name:"intake-share" default:"0" help:"Traces a second that one caller may always report while others report too; beyond, it may report twice what all the others do, and waits. A caller that is alone has no limit. 0 means 500 for each core, -1 no limit."`
	Kuaidi100 map[string]Secret `name:"kuaidi100" placeholder:"ACCOUNT=SALT" help:"Kuaidi100 accounts, separated by semicolons: a name of yours, which is part of the callback's path, and the salt of its subscriptions. An empty salt takes unsigned pushes."`
	Accounts  map[string]Secret `name:"source-account" placeholder:"SOURCE:ACCOUNT=SECRET" help:"Accounts of any source that pushes, separated by semicolons: the source's code, a name, and the secret that its pushes are verified with; docs/sources.md has them for each source. @FILE in a secret's place, here and above, is read from that file."`
	Carriers  map[string]Secret `name:"carrier" placeholder:"CODE=SECRET" help:"Carriers that push in Posthaste's own form, separated by semicolons: the carrier's code and the secret that it signs with, whsec_… as posthaste secret prints; see docs/carrier-push.md."`

	AllowFrom     map[string]Prefixes `name:"source-allow-from" placeholder:"SOURCE=PREFIXES" help:"Addresses that a source's pushes may come from: SOURCE=PREFIX,PREFIX, sources separated by semicolons. A source is the part of the path after /v1/sources/, or carriers/ and the carrier's code. One that isn't named may come from anywhere."`
	Failures      int                 `name:"source-failures" default:"30" help:"Wrong signatures of one source and address in a window of --source-window; then its requests are answered 429 until the window ends. 0 for any number."`
	FailureWindow time.Duration       `name:"source-window" default:"1m" help:"The window of --source-failures."`
	Rate          float64             `name:"source-rate" default:"0" help:"Requests a second that a source may send from one address; more are answered 429. 0 for any number."`
	Burst         int                 `name:"source-burst" default:"100" help:"Requests at once under --source-rate."`
}

// Prefixes are several, separated by commas.
type Prefixes []netip.Prefix

// UnmarshalText reads prefixes; a single address needs no length.
func (p *Prefixes) UnmarshalText(text []byte) error {
	var rules egress.Rules
	if err := rules.UnmarshalText(text); err != nil {
		return err
	}
	for _, r := range rules {
		*p = append(*p, r.Prefix)
	}
	return nil
}

// unwrap makes plain lists of them.
func unwrap(m map[string]Prefixes) map[string][]netip.Prefix {
	out := make(map[string][]netip.Prefix, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// EgressConfig says where callbacks may go, see docs/egress.md.
type EgressConfig struct {
	Policy    egress.Policy           `enum:"production,open,lab" default:"production" help:"Schemes and ports of callbacks: production (https at 443 and 8443), open (also http, and ports from 80 on without those of other protocols), lab (open, and this machine's loopback addresses: for tests)."`
	HTTP      bool                    `name:"http" help:"Take plain http, at port 80 too, under the production policy."`
	Allow     []egress.Rule           `placeholder:"RULE" help:"Addresses that callbacks may go to although they aren't public, separated by commas: 10.1.0.0/16 at the policy's ports, 10.1.0.0/16:8080 at that port. Whoever may make an endpoint can reach them through Posthaste."`
	Tenants   map[string]egress.Rules `name:"allow-tenant" placeholder:"TENANT=RULES" help:"The same for one tenant's callbacks alone: TENANT=RULE,RULE, tenants separated by semicolons."`
	Deny      []netip.Prefix          `placeholder:"PREFIX" help:"Addresses that callbacks may not go to, whatever allows them, separated by commas."`
	Proxy     SecretURL               `placeholder:"URL" help:"HTTP proxy that callbacks go through, by CONNECT to the address that was judged, such as http://user:password@proxy:3128. Proxy variables of the environment have no effect."`
	CA        string                  `name:"ca" type:"path" help:"File of PEM certificates of authorities, trusted for callbacks beside the system's."`
	Addresses []netip.Prefix          `placeholder:"PREFIX" help:"Addresses that our callbacks come from, separated by commas, as receivers see them. Published at /v1/egress for their allow-lists; it changes nothing else."`
}

// PollConfig says which carriers and aggregators are asked.
type PollConfig struct {
	Accounts     map[string]Secret `placeholder:"SOURCE=ID,SECRET" help:"Accounts to ask with, separated by semicolons, such as kdniao=EBusinessID,AppKey. A carrier is asked at its own interface before an aggregator's. See docs/polling.md."`
	URLs         map[string]string `name:"urls" placeholder:"SOURCE=URL" help:"Where sources are asked instead of at their own address, separated by semicolons: a test system, or posthaste simulate."`
	Carriers     map[string]string `placeholder:"SOURCE=CARRIERS" help:"Carriers that a source is asked about, with blanks in between; sources separated by semicolons. Without it, all that the source knows."`
	Sandbox      bool              `negatable:"" default:"true" help:"Play the reserved test numbers, such as SIM-LOCKER-1, for the carrier simulated."`
	SandboxSpeed float64           `default:"720" help:"How much faster than real the journeys of test numbers go; 720 makes a minute of 12 hours."`
}

func (c *PollConfig) check(bad func(format string, args ...any)) {
	if c.Sandbox && c.SandboxSpeed <= 0 {
		bad("--poll-sandbox-speed is %v and must be above 0", c.SandboxSpeed)
	}
	if _, err := pollSources(c); err != nil {
		bad("%w", err)
	}
	for code, address := range c.URLs {
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("--poll-urls: %s is %q and must be an http or https URL", code, address)
		}
	}
}

// WorkConfig says how work is divided.
type WorkConfig struct {
	LevelAge time.Duration `hidden:"" default:"1m" help:"How old at least is what the level check calls lost. Tests only."`
	Shards   int           `default:"1" help:"Parts that normalizing, matching and delivery are divided into, 1 to 64; the most instances that can share the work. All instances must agree."`
	Lease    time.Duration `default:"10s" help:"How long the parts of an instance that says nothing stay its own, before others take them over; 8s at least."`
	// RetryScale is for tests: with 0.001 three days are five minutes.
	RetryScale       float64       `name:"retry-scale" hidden:"" default:"1" help:"Multiplies the times of retry policies. Tests only."`
	AttemptRetention time.Duration `default:"720h" help:"How long the log of attempts is kept; it goes a whole day at a time."`
}

// TestConfig is for tests only, and hidden.
type TestConfig struct {
	ClockOffset time.Duration `hidden:"" help:"Added to the clock, as if it had been stepped. Tests only."`
}

// Validate checks what the types can't. It names the flag and the rule.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	addresses := map[string]string{
		"ops-listen": c.Ops.Listen, "grpc-listen": c.GRPC.Listen, "http-listen": c.HTTP.Listen, "nats-listen": c.Embedded.NATSListen,
	}
	for _, flag := range []string{"ops-listen", "grpc-listen", "http-listen", "nats-listen"} {
		if a := addresses[flag]; a != "" || flag != "nats-listen" {
			if _, _, err := net.SplitHostPort(a); err != nil {
				bad("--%s is %q and must be host:port", flag, a)
			}
		}
	}
	c.NATS.checkFeeds(bad, c.Embedded.NATSUsers)
	if c.Trace.Ratio < 0 || c.Trace.Ratio > 1 {
		bad("--trace-ratio is %v and must be from 0 to 1", c.Trace.Ratio)
	}
	c.Poll.check(bad)
	c.Privacy.check(bad)
	if c.Work.Lease != 0 && c.Work.Lease < 8*time.Second {
		bad("--lease is %s and must be 8s at least", c.Work.Lease)
	}
	if c.Work.Shards < 1 || c.Work.Shards > 64 {
		bad("--shards is %d and must be from 1 to 64", c.Work.Shards)
	}
	if c.Work.RetryScale <= 0 || c.Work.RetryScale > 1 {
		bad("--retry-scale is %v and must be above 0 and at most 1", c.Work.RetryScale)
	}
	if c.Sources.Share < -1 {
		bad("--intake-share is %d and must be -1 or more", c.Sources.Share)
	}
	if c.Work.AttemptRetention < 24*time.Hour {
		bad("--attempt-retention is %s and must be at least 24h", c.Work.AttemptRetention)
	}
	if r := c.Stream.Replicas; r != 1 && r != 3 && r != 5 {
		bad("--stream-replicas is %d and must be 1, 3 or 5", r)
	}
	for flag, d := range map[string]time.Duration{"stop-delay": c.Stop.Delay, "stop-grace": c.Stop.Grace, "grpc-max-deadline": c.GRPC.MaxDeadline} {
		if d < 0 {
			bad("--%s is %s and must not be negative", flag, d)
		}
	}
	c.Sources.check(bad)
	if c.Stream.RawMaxAge < time.Hour {
		bad("--stream-raw-max-age is %s and must be at least 1h", c.Stream.RawMaxAge)
	}
	if p := c.Egress.Proxy; p != "" {
		if u, err := url.Parse(p.Reveal()); err != nil || u.Scheme != "http" || u.Hostname() == "" {
			bad("--egress-proxy must be http://host:port")
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("--tls-cert and --tls-key belong together")
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		bad("--tls-client-ca needs --tls-cert")
	}
	if c.Auth.Mode == AuthOpen && !c.Auth.Insecure && (public(c.GRPC.Listen) || public(c.HTTP.Listen)) {
		bad("--auth=open lets everybody who reaches --grpc-listen or --http-listen do everything: use --auth=required, or add --auth-insecure")
	}
	if len(c.Auth.Certificates) > 0 && c.TLS.ClientCA == "" {
		bad("--auth-certificates needs --tls-client-ca")
	}
	if _, err := certificates(c.Auth.Certificates); err != nil {
		bad("--auth-certificates: %w", err)
	}
	if c.Auth.Issuer != "" && c.Auth.Audience == "" {
		bad("--auth-oidc-issuer needs --auth-oidc-audience: tokens for others must not open Posthaste")
	}
	return errors.Join(errs...)
}

// Warnings are about settings that are legal and unwise, each with its
// consequence.
func (c *Config) Warnings() []string {
	var w []string
	if c.NATS.URL == "" && c.Embedded.NATSUsers == "" && !c.NATS.Feeds && public(c.Embedded.NATSListen) {
		w = append(w, "--nats-listen is open to other machines: whoever reaches it reads and writes every stream")
	}
	if c.NATS.URL != "" && len(c.NATS.Monitor) == 0 {
		w = append(w, "--nats-monitor isn't set: nobody checks that NATS syncs before it acknowledges, and without that a power cut loses what was accepted")
	}
	if public(c.Ops.Listen) {
		w = append(w, "--ops-listen is open to other machines: whoever reaches it sees metrics and profiles")
	}
	w = append(w, c.Sources.warn()...)
	switch exposed := public(c.GRPC.Listen) || public(c.HTTP.Listen); {
	case c.Auth.Mode == AuthOpen && exposed:
		w = append(w, "--auth is open and other machines can call: whoever reaches Posthaste may do everything")
	case exposed && c.TLS.Cert == "":
		w = append(w, "--grpc-listen or --http-listen is open to other machines without --tls-cert: keys come in the clear, unless a proxy or mesh in front encrypts")
	}
	if strings.HasPrefix(c.Auth.JWKS, "http:") {
		w = append(w, "--auth-oidc-jwks is fetched in the clear: who changes it on its way can make tokens")
	}
	if c.Trace.Ratio > 0.1 {
		w = append(w, "--trace-ratio is above 0.1: with an exporter on, spans cost more than the work they describe")
	}
	if c.Egress.Policy == egress.Lab {
		w = append(w, "--egress-policy is lab: whoever may make an endpoint can call what listens on this machine")
	}
	if c.Test.ClockOffset != 0 {
		w = append(w, "--test-clock-offset is set: times are wrong on purpose")
	}
	if c.Database.Volatile {
		w = append(w, "--database-volatile is set: a power cut loses pushes")
	}
	if c.Work.RetryScale != 1 {
		w = append(w, "--retry-scale is set: failing pushes are repeated sooner and given up sooner than their policies say")
	}
	return w
}

// public says whether an address takes connections from other machines.
func public(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}
