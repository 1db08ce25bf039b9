package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
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
	Sources  SourcesConfig  `embed:"" group:"sources"`
	Egress   EgressConfig   `embed:"" prefix:"egress-" group:"egress"`
	Work     WorkConfig     `embed:"" group:"work"`
	Test     TestConfig     `embed:"" prefix:"test-" group:"work"`
}

// LogConfig says how log lines are written, always to standard error.
type LogConfig struct {
	Format string     `enum:"text,json" default:"text" help:"Form of log lines: text or json."`
	Level  slog.Level `default:"info" help:"Least level that is logged: debug (a line for every message), info, warn or error."`
}

// OpsConfig is about the server for operators.
type OpsConfig struct {
	Listen string `default:"127.0.0.1:9464" help:"Address of /metrics, /healthz, /readyz and /debug/pprof. It has no authentication."`
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
	Credentials string    `type:"path" help:"Credentials file (.creds) for NATS."`
}

// StreamConfig is about the streams.
type StreamConfig struct {
	Manage           bool          `negatable:"" default:"true" help:"Make streams that are missing. Off, a missing stream is an error."`
	Replicas         int           `default:"1" help:"Replicas of each stream: 1 on a single server, 3 in a cluster."`
	RawMaxBytes      Size          `default:"0" help:"Most bytes of raw traces kept. Full, intake answers 503. 0 chooses by the disk, or 16GiB."`
	TraceMaxBytes    Size          `default:"0" help:"Most bytes of waybill states kept. Full, normalising stops. 0 chooses by the disk, or 32GiB."`
	PushMaxBytes     Size          `default:"0" help:"Most bytes of pushes on their way. Full, matching waits. 0 chooses by the disk, or 16GiB."`
	RejectedMaxBytes Size          `default:"0" help:"Most bytes of rejected reports kept; the oldest go. 0 chooses by the disk, or 1GiB."`
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
	NATSListen   string `name:"nats-listen" default:"127.0.0.1:4222" help:"Address at which the all-in-one's NATS takes clients; empty opens no port. It has no authentication."`
	NATSMaxStore Size   `name:"nats-max-store" default:"0" help:"Most bytes of all streams of the all-in-one's NATS; 0 means three quarters of the disk's free space."`
	PGBin        string `name:"pg-bin" help:"Folder of the programs initdb and postgres. Empty looks on the PATH and where systems put them."`
	PGFetched    string `name:"pg-fetched" default:".cache/postgres" help:"Folder that hack/ensure-postgres fetches PostgreSQL to; used when the system has none."`
}

// GRPCConfig is about the gRPC server.
type GRPCConfig struct {
	Listen      string        `default:"127.0.0.1:9090" help:"Address of the gRPC server."`
	Reflection  bool          `negatable:"" default:"true" help:"Let grpcurl and its like ask what the server offers."`
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

// SourcesConfig names the accounts whose pushes are taken in.
type SourcesConfig struct {
	Kdniao    map[string]Secret `name:"kdniao" placeholder:"EBUSINESSID=APPKEY" help:"Kdniao accounts, separated by semicolons: EBusinessID=AppKey. A push of another account is refused."`
	Kuaidi100 map[string]Secret `name:"kuaidi100" placeholder:"ACCOUNT=SALT" help:"Kuaidi100 accounts, separated by semicolons: a name of yours, which is part of the callback's path, and the salt of its subscriptions. An empty salt takes unsigned pushes."`
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

// WorkConfig says how work is divided.
type WorkConfig struct {
	Shards int `default:"1" help:"Parts that normalizing, matching and delivery are divided into, 1 to 64; the most instances that can share the work. All instances must agree."`
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
	if c.Trace.Ratio < 0 || c.Trace.Ratio > 1 {
		bad("--trace-ratio is %v and must be from 0 to 1", c.Trace.Ratio)
	}
	if c.Work.Shards < 1 || c.Work.Shards > 64 {
		bad("--shards is %d and must be from 1 to 64", c.Work.Shards)
	}
	if r := c.Stream.Replicas; r != 1 && r != 3 && r != 5 {
		bad("--stream-replicas is %d and must be 1, 3 or 5", r)
	}
	for flag, d := range map[string]time.Duration{"stop-delay": c.Stop.Delay, "stop-grace": c.Stop.Grace, "grpc-max-deadline": c.GRPC.MaxDeadline} {
		if d < 0 {
			bad("--%s is %s and must not be negative", flag, d)
		}
	}
	if c.Stream.RawMaxAge < time.Hour {
		bad("--stream-raw-max-age is %s and must be at least 1h", c.Stream.RawMaxAge)
	}
	if p := c.Egress.Proxy; p != "" {
		if u, err := url.Parse(p.Reveal()); err != nil || u.Scheme != "http" || u.Hostname() == "" {
			bad("--egress-proxy must be http://host:port")
		}
	}
	return errors.Join(errs...)
}

// Warnings are about settings that are legal and unwise, each with its
// consequence.
func (c *Config) Warnings() []string {
	var w []string
	if c.NATS.URL == "" && public(c.Embedded.NATSListen) {
		w = append(w, "--nats-listen is open to other machines: whoever reaches it reads and writes every stream")
	}
	if public(c.Ops.Listen) {
		w = append(w, "--ops-listen is open to other machines: whoever reaches it sees metrics and profiles")
	}
	for account, salt := range c.Sources.Kuaidi100 {
		if salt == "" {
			w = append(w, "--kuaidi100 account "+account+" has no salt: whoever knows its URL can report events")
		}
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
