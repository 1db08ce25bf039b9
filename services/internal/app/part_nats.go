package app

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
)

func startEmbeddedNATS(ctx context.Context, env *Env) (func(context.Context) error, error) {
	if env.Config.NATS.URL != "" {
		return nil, nil
	}
	if err := makeDataFolder(env.Config.Embedded.Data); err != nil {
		return nil, err
	}
	var err error
	env.NATSServer, err = embedded.StartNATS(ctx, embedded.NATSConfig{
		Dir:      filepath.Join(env.Config.Embedded.Data, "nats"),
		Listen:   env.Config.Embedded.NATSListen,
		Users:    env.Config.Embedded.NATSUsers,
		Operator: env.Config.NATS.Feeds,
		MaxStore: int64(env.Config.Embedded.NATSMaxStore),
		MinFree:  int64(env.Config.Embedded.MinFree),
		Log:      env.Log,
	})
	if err != nil {
		return nil, err
	}
	env.Health.Register("nats-server", func(context.Context) error { return env.NATSServer.Health() })
	stop := env.run("embedded-nats", func(ctx context.Context) error { return watchServer(ctx, env.NATSServer) })
	return func(ctx context.Context) error { return errors.Join(stop(ctx), env.NATSServer.Stop(ctx)) }, nil
}

const (
	serverInterval = 2 * time.Second
	serverTimes    = 3
)

// errNeedsRestart ends the process, so that whoever runs it starts it anew.
var errNeedsRestart = errors.New("nats-server could not write to its disk, and stays so until it is started anew; the disk has room again: start the program again, nothing that was accepted is lost")

// watchServer ends with an error when the server has failed for good: after a
// full disk it gives no answers even when there is room again.
func watchServer(ctx context.Context, n *embedded.NATS) error {
	for bad := 0; ; {
		if err := pause.For(ctx, serverInterval); err != nil {
			return err
		}
		free, least, err := n.Disk()
		if bad++; n.Health() == nil || err != nil || free < least {
			bad = 0
		}
		if bad == serverTimes {
			return errNeedsRestart
		}
	}
}

func startNATS(ctx context.Context, env *Env) (func(context.Context) error, error) {
	closed := make(chan struct{})
	var once sync.Once
	opts := []nats.Option{
		nats.Name("posthaste"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { once.Do(func() { close(closed) }) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				env.Log.Warn("NATS is away", obs.KeyError, err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { env.Log.Info("NATS is back", "address", nc.ConnectedAddr()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			env.Log.Warn("NATS reports an error", obs.KeyError, err)
		}),
	}
	if c := env.Config.NATS.Credentials; c != "" {
		opts = append(opts, nats.UserCredentials(c))
	}
	connect := func(context.Context) (err error) {
		env.NATS, err = nats.Connect(env.Config.NATS.URL.Reveal(), opts...)
		return err
	}
	switch {
	case env.NATSServer != nil:
		connect = func(context.Context) (err error) {
			env.NATS, err = env.NATSServer.Connect(opts...)
			return err
		}
	case env.Config.NATS.URL == "":
		return nil, errors.New("no NATS is given: set --nats-url or POSTHASTE_NATS_URL")
	}
	if err := env.await(ctx, "NATS", connect); err != nil {
		return nil, err
	}
	if env.NATSServer == nil {
		if err := checkServer(ctx, env); err != nil {
			env.NATS.Close()
			return nil, err
		}
	}
	stop := func(ctx context.Context) error {
		err := env.NATS.FlushWithContext(ctx)
		if errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrDisconnected) {
			err = nil // what was not acknowledged is done again
		}
		env.NATS.Close()
		select {
		case <-closed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	env.Health.Register("nats", func(ctx context.Context) error { return env.NATS.FlushWithContext(ctx) })
	var err error
	if env.JetStream, err = jetstream.New(env.NATS); err != nil {
		return stop, err
	}
	return stop, nil
}

// checkServer refuses a server that may lose what it has acknowledged.
func checkServer(ctx context.Context, env *Env) error {
	if err := stream.CheckServerVersion(env.NATS.ConnectedServerVersion()); err != nil {
		return err
	}
	return env.await(ctx, "NATS's monitoring addresses", func(ctx context.Context) error { return checkSync(ctx, env.Config.NATS.Monitor) })
}

// checkSync asks servers whether they sync before they acknowledge. One that
// doesn't is refused; of those that are silent there may be fewer than answer, as
// the cluster itself works without them.
func checkSync(ctx context.Context, monitors []string) error {
	errs := make([]error, len(monitors))
	var asked sync.WaitGroup
	for i, monitor := range monitors {
		asked.Go(func() { errs[i] = stream.CheckServerSync(ctx, monitor) })
	}
	asked.Wait()
	silent := 0
	for _, err := range errs {
		if _, weak := errors.AsType[*stream.WeakServerError](err); weak {
			return permanentError{err}
		}
		if err != nil {
			silent++
		}
	}
	if silent > 0 && 2*silent >= len(monitors) {
		return errors.Join(errs...)
	}
	return nil
}

// startStreams makes the streams or waits for them. Who has no PostgreSQL can't
// tell a stream that was never made from one that was lost, and makes none.
func startStreams(ctx context.Context, env *Env) (func(context.Context) error, error) {
	cfg := streamConfig(env)
	makes := env.Config.Stream.Manage && env.PG != nil
	err := env.await(ctx, "the streams", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if makes {
			env.Streams, err = stream.Ensure(ctx, env.JetStream, cfg, pg.NewBus(env.PG), env.Config.Stream.Recover)
		} else {
			err = stream.Verify(ctx, env.JetStream, cfg)
		}
		if err == nil || heals(err) || env.Config.Stream.Manage && errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return permanentError{err}
	})
	if err != nil {
		return nil, err
	}
	if lost := env.Streams.Lost; len(lost) > 0 {
		env.Log.ErrorContext(ctx, "NATS lost streams and they were made anew; what can be is rebuilt from PostgreSQL", "streams", lost)
		if slices.Contains(lost, stream.Trace) && !slices.Contains(lost, stream.Raw) {
			// What had been normalized and not projected is in RAW.
			if _, err := stream.Rewind(ctx, env.JetStream, stream.Raw, rawDurable, time.Time{}); err != nil {
				return nil, err
			}
		}
	}
	env.Health.Register("streams", func(ctx context.Context) error { return stream.Verify(ctx, env.JetStream, cfg) })
	return nil, nil
}

// heals says whether an error about streams goes away by itself: the server is
// starting, or a cluster is electing.
func heals(err error) bool {
	for _, e := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 503
}

// Shares of the embedded server's store, in proportion to the defaults of an
// external one.
const (
	rawShare, traceShare, pushShare, rejectedShare = 16, 32, 16, 1
	opsShare                                       = 1  // more than it takes
	feedShare                                      = 16 // of all teams' feeds together, when there are any
	allShares                                      = rawShare + traceShare + pushShare + rejectedShare + opsShare
)

// streamConfig sizes the streams. An embedded server reserves a stream's limit
// from what the disk can hold, so the defaults of a large server would be
// refused on a small one.
func streamConfig(env *Env) stream.Config {
	c := env.Config.Stream
	cfg := stream.Config{
		Replicas:    c.Replicas,
		RawMaxBytes: int64(c.RawMaxBytes), TraceMaxBytes: int64(c.TraceMaxBytes),
		PushMaxBytes: int64(c.PushMaxBytes), RejectedMaxBytes: int64(c.RejectedMaxBytes),
		RawMaxAge: c.RawMaxAge, TraceMaxAge: c.TraceMaxAge, RejectedMaxAge: c.RejectedMaxAge,
	}
	if env.NATSServer == nil {
		return cfg
	}
	const gib = 1 << 30
	shares := int64(allShares)
	if env.Config.NATS.Feeds {
		shares += feedShare
	}
	unit := min(env.NATSServer.MaxStore()/shares, gib)
	for size, share := range map[*int64]int64{
		&cfg.RawMaxBytes: rawShare, &cfg.TraceMaxBytes: traceShare, &cfg.PushMaxBytes: pushShare, &cfg.RejectedMaxBytes: rejectedShare,
	} {
		if *size == 0 {
			*size = unit * share
		}
	}
	return cfg
}
