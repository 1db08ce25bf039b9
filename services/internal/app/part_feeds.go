package app

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/feeds"
)

// checkFeeds holds the settings of feeds together.
func (c *NATSConfig) checkFeeds(bad func(format string, args ...any), users string) {
	switch {
	case c.Feeds && c.URL != "":
		bad("--nats-feeds is for the all-in-one's own NATS; for another give --nats-feed-key, --nats-operator-key and --nats-system-credentials")
	case c.Feeds && users != "":
		bad("--nats-feeds and --nats-users can't be had together: with feeds everybody has credentials")
	case (c.OperatorKey == "") != (c.SystemCredentials == ""):
		bad("--nats-operator-key and --nats-system-credentials belong together")
	case c.OperatorKey != "" && c.FeedKey == "":
		bad("--nats-operator-key needs --nats-feed-key")
	}
	if c.FeedMaxBytes != 0 && c.FeedMaxBytes < 1<<20 {
		bad("--nats-feed-max-bytes is %d and must be at least 1MiB, or 0 for the default", int64(c.FeedMaxBytes))
	}
	if c.FeedMaxAge != 0 && c.FeedMaxAge < time.Hour {
		bad("--nats-feed-max-age is %s and must be at least 1h, or 0 for the default", c.FeedMaxAge)
	}
}

func (e *Env) feedLimits() feeds.Limits {
	c := e.Config.NATS
	return feeds.Limits{Bytes: int64(c.FeedMaxBytes), Age: c.FeedMaxAge, Replicas: e.Config.Stream.Replicas}
}

// feedAuthority makes accounts of teams; nil where there are no feeds. The
// returned function ends its connection.
func (e *Env) feedAuthority(ctx context.Context) (*feeds.Authority, func(), error) {
	c := e.Config.NATS
	operatorFile, rootFile := c.OperatorKey, c.FeedKey
	if e.NATSServer != nil {
		operatorFile, rootFile = e.NATSServer.OperatorKey(), e.NATSServer.FeedsKey()
	}
	if operatorFile == "" {
		return nil, func() {}, nil
	}
	operator, err := feeds.LoadOperator(operatorFile)
	if err != nil {
		return nil, func() {}, err
	}
	root, err := feeds.LoadRoot(rootFile)
	if err != nil {
		return nil, func() {}, err
	}
	var system *nats.Conn
	err = e.await(ctx, "NATS's system account", func(context.Context) (err error) {
		if e.NATSServer != nil {
			system, err = e.NATSServer.ConnectSystem()
			return err
		}
		system, err = nats.Connect(c.URL.Reveal(), nats.UserCredentials(c.SystemCredentials), nats.Name("posthaste-feeds"), nats.MaxReconnects(-1))
		return err
	})
	if err != nil {
		return nil, func() {}, err
	}
	return feeds.NewAuthority(root, operator, system, e.feedLimits(), e.now), system.Close, nil
}

// poster makes attempts of both kinds of endpoints.
type poster struct {
	webhooks *callback.Client
	feeds    *feeds.Poster // nil where there are none
}

// newPoster adds feeds to a client for webhooks.
func (e *Env) newPoster(webhooks *callback.Client) (*poster, error) {
	file := e.Config.NATS.FeedKey
	connect := func(opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(e.Config.NATS.URL.Reveal(), opts...)
	}
	if e.NATSServer != nil {
		file, connect = e.NATSServer.FeedsKey(), e.NATSServer.ConnectAs
	}
	p := &poster{webhooks: webhooks}
	if file == "" {
		return p, nil
	}
	root, err := feeds.LoadRoot(file)
	if err != nil {
		return nil, err
	}
	p.feeds = feeds.NewPoster(root, connect, e.feedLimits(), e.Log, e.now)
	return p, nil
}

// Post makes one attempt.
func (p *poster) Post(ctx context.Context, r callback.Request) callback.Result {
	switch {
	case !feeds.IsFeed(r.URL):
		return p.webhooks.Post(ctx, r)
	case p.feeds == nil:
		return callback.Result{Class: feeds.ClassOff, Error: "this Posthaste has no feeds any more", Took: time.Nanosecond}
	}
	return p.feeds.Post(ctx, r)
}

// Close closes idle connections.
func (p *poster) Close() {
	p.webhooks.Close()
	if p.feeds != nil {
		p.feeds.Close()
	}
}
