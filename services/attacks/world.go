package attacks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/obs"
)

// Options say how the product is run.
type Options struct {
	// PGBin and PGFetched say where PostgreSQL is, as the flags of that name.
	PGBin, PGFetched string
	// Root is the repository's folder: manifests and schemas are read there.
	Root string
}

// World is the product, once for each policy, and all around it.
type World struct {
	Log *recorder

	opts     Options
	dir      string
	receiver *receiver
	products map[string]*product
	serial   atomic.Int64
	// own are secrets that cases gave or got.
	own []string
	// asking is the product that asks who calls; closing are those that aren't asked
	// whether they are alive.
	asking  *locked
	closing []*product
}

// NewWorld makes a world without a product yet; each is started when a case needs
// it.
func NewWorld(ctx context.Context, opts Options) (*World, error) {
	dir, err := os.MkdirTemp("", "posthaste-attacks-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL may run as another user
		return nil, err
	}
	w := &World{Log: &recorder{}, opts: opts, dir: dir, products: map[string]*product{}}
	if w.receiver, err = newReceiver(ctx); err != nil {
		return nil, err
	}
	return w, os.WriteFile(filepath.Join(dir, "ca.pem"), w.receiver.pem(), 0o600)
}

// Close stops the products and throws their data away.
func (w *World) Close(ctx context.Context) error {
	var errs []error
	for _, p := range w.products {
		errs = append(errs, p.stop(ctx))
	}
	for _, p := range w.closing {
		errs = append(errs, p.stop(ctx))
	}
	w.receiver.close()
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// fresh is a text that no other case has.
func (w *World) fresh(prefix string) string {
	return fmt.Sprintf("%s%d%s", prefix, w.serial.Add(1), rand.Text()[:6])
}

// Secrets of the products; none may ever be seen in a log or an answer.
const (
	kdniaoAccount = "1700001"
	kdniaoKey     = "attack-kdniao-key-0d5f2c"
	kuaidiAccount = "attacks"
	kuaidiSalt    = "attack-kuaidi-salt-77aa1"
)

func (w *World) secrets() []string {
	return slices.Concat([]string{kdniaoKey, kuaidiSalt}, slices.Collect(maps.Values(carrierSecrets)), w.own)
}

// product is a running all-in-one.
type product struct {
	app *app.App
	at  app.Addresses
	net *network

	conn      *grpc.ClientConn
	endpoints subscriptionv1.EndpointServiceClient
	subs      subscriptionv1.SubscriptionServiceClient
	waybills  trackingv1.WaybillServiceClient
	reports   ingestv1.IngestServiceClient
}

const tenant = "tenants/attacked"

// product is the one with a policy.
func (w *World) product(ctx context.Context, policy string) (*product, error) {
	if p, ok := w.products[policy]; ok {
		return p, nil
	}
	p, err := w.start(ctx, policy, "--egress-policy="+policy)
	if err != nil {
		return nil, err
	}
	w.products[policy] = p
	return p, nil
}

// start starts a product of its own, with flags beside the usual ones.
func (w *World) start(ctx context.Context, name string, flags ...string) (*product, error) {
	var cfg struct{ app.Config }
	k, err := kong.New(&cfg, app.ParserOptions()...)
	if err != nil {
		return nil, err
	}
	flags = append(append(sourceFlags(),
		"--data="+filepath.Join(w.dir, name), "--nats-listen=127.0.0.1:0", "--nats-max-store=1GiB", "--pg-bin="+w.opts.PGBin, "--pg-fetched="+w.opts.PGFetched,
		"--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", "--log-level=debug", "--trace-ratio=0", "--stop-grace=5s",
		"--egress-ca="+filepath.Join(w.dir, "ca.pem"),
		"--kdniao="+kdniaoAccount+"="+kdniaoKey, "--kuaidi100="+kuaidiAccount+"="+kuaidiSalt,
	), flags...)
	if _, err := k.Parse(flags); err != nil {
		return nil, fmt.Errorf("configure the product: %w", err)
	}
	log, err := obs.NewLogger(w.Log, obs.FormatText, slog.LevelDebug)
	if err != nil {
		return nil, err
	}
	p := &product{net: newNetwork(w.receiver, says(strings.Join(flags, " "), "--egress-policy=lab"))}
	p.app, err = app.Start(context.WithoutCancel(ctx), app.AllInOne, cfg.Config, log, app.WithNetwork(app.Network{Resolver: p.net, Dial: p.net.Dial}))
	if err != nil {
		return nil, fmt.Errorf("start the product: %w", err)
	}
	p.at = p.app.Addresses()
	p.conn, err = grpc.NewClient("passthrough:///"+p.at.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, p.app.Stop(ctx))
	}
	p.endpoints, p.subs = subscriptionv1.NewEndpointServiceClient(p.conn), subscriptionv1.NewSubscriptionServiceClient(p.conn)
	p.waybills, p.reports = trackingv1.NewWaybillServiceClient(p.conn), ingestv1.NewIngestServiceClient(p.conn)
	return p, nil
}

func (p *product) stop(ctx context.Context) error {
	_ = p.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return p.app.Stop(ctx)
}

// alive asks every product something well-formed.
func (w *World) alive(ctx context.Context) error {
	for name, p := range w.products {
		if _, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 1}); err != nil {
			return fmt.Errorf("product %s: %w", name, err)
		}
		if b := p.net.breaches(); len(b) > 0 {
			return fmt.Errorf("product %s dialled what is forbidden: %s", name, strings.Join(b, ", "))
		}
	}
	return nil
}

// await asks until an answer is there or the context ends.
func await(ctx context.Context, what string, ask func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ask()
		if err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// attempts are those of a subscription, the first first.
func (p *product) attempts(ctx context.Context, subscription string) ([]*deliveryv1.Attempt, error) {
	resp, err := p.waybills.ListAttempts(ctx, &trackingv1.ListAttemptsRequest{Parent: subscription, PageSize: 100})
	if err != nil {
		return nil, err
	}
	out := make([]*deliveryv1.Attempt, len(resp.GetAttempts()))
	for i, a := range resp.GetAttempts() {
		out[len(out)-1-i] = a
	}
	return out, nil
}
