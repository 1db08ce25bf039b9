package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/poller"
)

// startPoller starts the service that asks carriers and aggregators that don't push.
func startPoller(_ context.Context, env *Env) (func(context.Context) error, error) {
	sources, err := pollSources(&env.Config.Poll)
	if err != nil {
		return nil, err
	}
	raw := stream.NewPublisher(env.JetStream, stream.Raw, stream.PublisherOptions{Bundle: env.bundle})
	rejected := stream.NewPublisher(env.JetStream, stream.Rejected, stream.PublisherOptions{})
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second}
	client := &http.Client{
		Transport: transport,
		// A redirect would carry credentials elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p, err := poller.New(poller.Config{
		Queue: pg.NewPolls(env.PG), Lease: env.Config.Work.Lease, Raw: raw, Rejected: rejected, Sources: sources, Client: client,
		Log: env.Log, Meter: env.Telemetry.Meter, Messaging: obs.NewMessaging(env.Telemetry.Tracer), Now: env.now, Random: rand.Float64,
	})
	if err != nil {
		raw.Close()
		rejected.Close()
		return nil, err
	}
	stop := env.run("poller", p.Run)
	return func(ctx context.Context) error {
		err := stop(ctx)
		transport.CloseIdleConnections()
		raw.Close()
		rejected.Close()
		return err
	}, nil
}

// pollSources are the sources with an account: carriers' own before aggregators,
// which know all carriers.
func pollSources(c *PollConfig) ([]poller.Source, error) {
	var sources []poller.Source
	if c.Sandbox {
		sources = append(sources, poller.Sandbox(c.SandboxSpeed))
	}
	adapters := poller.Adapters()
	slices.SortStableFunc(adapters, func(a, b poller.Adapter) int { return int(a.Kind) - int(b.Kind) })
	known := make(map[string]bool, len(adapters))
	for _, a := range adapters {
		known[a.Code] = true
		secret, ok := c.Accounts[a.Code]
		if !ok {
			continue
		}
		at := strings.LastIndexByte(secret.Reveal(), ',')
		if at < 0 {
			return nil, fmt.Errorf("--poll-accounts: %s must be %s, with a comma in between", a.Code, a.Secrets)
		}
		s := poller.Source{Adapter: a, Base: strings.TrimSuffix(c.URLs[a.Code], "/")}
		s.Account = poller.Account{ID: secret.Reveal()[:at], Secret: secret.Reveal()[at+1:]}
		for code := range strings.FieldsSeq(strings.ReplaceAll(c.Carriers[a.Code], ",", " ")) {
			carrier, err := track.NormalCarrier(code)
			if err != nil {
				return nil, fmt.Errorf("--poll-carriers: %s: %s %w", a.Code, code, err)
			}
			s.Only = append(s.Only, carrier)
		}
		sources = append(sources, s)
	}
	for code := range c.Accounts {
		if !known[code] {
			return nil, fmt.Errorf("--poll-accounts: %s can't be polled; those that can are in docs/polling.md", code)
		}
	}
	return sources, nil
}
