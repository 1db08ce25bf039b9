package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // lets balancing leave out servers that aren't ready
	"google.golang.org/grpc/keepalive"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// Client calls Posthaste. Close it.
type Client struct {
	conn   *grpc.ClientConn
	tenant string

	endpoints     subscriptionv1.EndpointServiceClient
	subscriptions subscriptionv1.SubscriptionServiceClient
	waybills      trackingv1.WaybillServiceClient
	pushes        deliveryv1.PushServiceClient
	ingest        ingestv1.IngestServiceClient

	// How watches come back; tests make it quicker.
	silence time.Duration
	backoff func(failures int) time.Duration
}

// DefaultTenant owns what is made by a client that isn't told of another.
const DefaultTenant = "default"

// DefaultCallTimeout bounds calls whose context has no deadline.
const DefaultCallTimeout = 10 * time.Second

// maxReceive is the largest message taken: a page of long traces is larger than
// gRPC's own 4 MiB.
const maxReceive = 32 << 20

// serviceConfig: every instance gets its share of calls, those that aren't
// ready get none, and only what surely had no effect, or may be repeated, is
// tried again.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": ""},
	"methodConfig": [{
		"name": [{}],
		"retryPolicy": {
			"maxAttempts": 4,
			"initialBackoff": "0.2s",
			"maxBackoff": "2s",
			"backoffMultiplier": 3,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

type options struct {
	tenant      string
	callTimeout time.Duration
	credentials credentials.TransportCredentials
	clear       bool // nothing encrypts
	dial        []grpc.DialOption

	key           func() (string, error)
	keyInTheClear bool
}

// Option changes how a client works.
type Option func(*options)

// WithTenant says whose endpoints and subscriptions the client works with; the
// default is [DefaultTenant].
func WithTenant(tenant string) Option { return func(o *options) { o.tenant = tenant } }

// WithTLS sets the certificates to trust and to show. Without it, those of the
// system are trusted.
func WithTLS(cfg *tls.Config) Option {
	return func(o *options) { o.credentials, o.clear = credentials.NewTLS(cfg), false }
}

// WithoutTLS sends everything in the clear: for the same machine, and for a
// mesh that encrypts by itself.
func WithoutTLS() Option {
	return func(o *options) { o.credentials, o.clear = insecure.NewCredentials(), true }
}

// WithCallTimeout bounds calls whose context has no deadline; the default is
// [DefaultCallTimeout].
func WithCallTimeout(d time.Duration) Option { return func(o *options) { o.callTimeout = d } }

// WithDialOptions hands options to gRPC, after the client's own.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, opts...) }
}

// Dial makes a client of the servers at a target, in gRPC's form:
// "dns:///posthaste:9090" spreads calls over all addresses of a name. It
// doesn't wait for a connection; the first call does.
func Dial(target string, opts ...Option) (*Client, error) {
	o := options{tenant: DefaultTenant, callTimeout: DefaultCallTimeout, credentials: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})}
	for _, opt := range opts {
		opt(&o)
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(o.credentials),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A dead connection is noticed although nothing is sent: a watch may be
		// silent for long.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithChainUnaryInterceptor(withDeadline(o.callTimeout)),
		grpc.WithUserAgent("posthaste-client"),
	}, o.dial...)
	if o.key != nil {
		here := o.clear && loopback(target)
		if o.clear && !here && !o.keyInTheClear {
			return nil, fmt.Errorf("dial %s: %w", target, ErrKeyInTheClear)
		}
		dial = append(dial, grpc.WithPerRPCCredentials(keyCredentials{key: o.key, inClear: here || o.keyInTheClear}))
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return &Client{
		conn:          conn,
		tenant:        o.tenant,
		endpoints:     subscriptionv1.NewEndpointServiceClient(conn),
		subscriptions: subscriptionv1.NewSubscriptionServiceClient(conn),
		waybills:      trackingv1.NewWaybillServiceClient(conn),
		pushes:        deliveryv1.NewPushServiceClient(conn),
		ingest:        ingestv1.NewIngestServiceClient(conn),
		silence:       watchSilence,
		backoff:       watchBackoff,
	}, nil
}

// Conn is the connection, for services that this package has no methods for. The
// key, deadlines and retries are in it.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Close ends the connections; calls in progress fail.
func (c *Client) Close() error { return c.conn.Close() }

func withDeadline(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok && timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}
