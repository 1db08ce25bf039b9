package app

import (
	"context"
	"fmt"
	"slices"
)

// part is something that starts and stops.
type part struct {
	name string
	// needs are the parts whose results this one uses; they are started first.
	needs []string
	// start makes it run and returns what ends it, nil if there is nothing to
	// end. The context is for starting only.
	start func(ctx context.Context, env *Env) (stop func(context.Context) error, err error)
}

// The programs.
const (
	Ingest       = "ingest"
	Normalizer   = "normalizer"
	Subscription = "subscription"
	Delivery     = "delivery"
	Poller       = "poller"
	AllInOne     = "posthaste"
)

// table holds every part, in start order.
func table() []part {
	return []part{
		{name: "telemetry", start: startTelemetry},
		{name: "ops", needs: []string{"telemetry"}, start: startOps},
		{name: "embedded-nats", start: startEmbeddedNATS},
		{name: "nats", start: startNATS},
		{name: "embedded-postgres", start: startEmbeddedPostgreSQL},
		{name: "postgres", start: startPostgreSQL},
		// After PostgreSQL, which remembers what was made, where a program has it.
		{name: "streams", needs: []string{"nats"}, start: startStreams},
		{name: "tls", start: startTLS},
		{name: "auth", start: startAuth},
		{name: "grpc", needs: []string{"telemetry", "tls", "auth"}, start: startGRPC},
		{name: "http", start: startHTTP},

		{name: "ingest", needs: []string{"streams", "grpc", "http"}, start: startIngest},
		{name: "normalizer", needs: []string{"streams", "postgres"}, start: startNormalizer},
		{name: "subscription", needs: []string{"streams", "postgres", "grpc"}, start: startSubscription},
		{name: "compat", needs: []string{"streams", "postgres", "auth", "http"}, start: startCompat},
		{name: "query", needs: []string{"streams", "postgres", "grpc"}, start: startQuery},
		{name: "resend", needs: []string{"postgres", "grpc"}, start: startResend},
		{name: "privacy", needs: []string{"streams", "postgres", "grpc"}, start: startPrivacy},
		{name: "delivery", needs: []string{"streams", "postgres"}, start: startDelivery},
		{name: "poller", needs: []string{"streams", "postgres"}, start: startPoller},

		{name: "lag", needs: []string{"streams", "telemetry"}, start: startLag},
		{name: "rest", needs: []string{"grpc", "http"}, start: startREST},

		// Servers take calls when all that they serve is there.
		{name: "grpc-serve", needs: []string{"grpc"}, start: serveGRPC},
		{name: "http-serve", needs: []string{"http", "telemetry", "tls"}, start: serveHTTP},
		{name: "ready", needs: []string{"ops"}, start: startReady},
	}
}

// programs say which parts a program has, beside those that these need.
var programs = map[string][]string{
	Ingest:       {"ingest", "rest", "grpc-serve", "http-serve", "ready"},
	Normalizer:   {"normalizer", "ready"},
	Subscription: {"subscription", "compat", "query", "resend", "privacy", "lag", "rest", "grpc-serve", "http-serve", "ready"},
	Delivery:     {"delivery", "ready"},
	Poller:       {"poller", "ready"},
	AllInOne: {
		"embedded-nats", "embedded-postgres",
		"ingest", "normalizer", "subscription", "compat", "query", "resend", "privacy", "delivery", "poller",
		"lag", "rest", "grpc-serve", "http-serve", "ready",
	},
}

// choose returns a program's parts in start order.
func choose(table []part, names []string) ([]part, error) {
	wanted := make(map[string]bool)
	var want func(name string) error
	want = func(name string) error {
		i := slices.IndexFunc(table, func(p part) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("part %s doesn't exist", name)
		}
		wanted[name] = true
		for _, n := range table[i].needs {
			if err := want(n); err != nil {
				return fmt.Errorf("part %s: %w", name, err)
			}
		}
		return nil
	}
	for _, name := range names {
		if err := want(name); err != nil {
			return nil, err
		}
	}
	var chosen []part
	for _, p := range table {
		if wanted[p.name] {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}
