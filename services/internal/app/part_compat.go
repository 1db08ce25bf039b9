package app

import (
	"context"
	"net/http"
	"strings"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/compat"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/quota"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// startCompat starts what answers the clients of Kdniao and Kuaidi100.
func startCompat(_ context.Context, env *Env) (func(context.Context) error, error) {
	learned := pg.NewRecognition(env.PG)
	var stop func(context.Context) error
	meter := env.Meter
	if meter == nil { // where callers of gRPC aren't asked who they are, these are
		meter = quota.New(quota.Config{Add: pg.NewTenants(env.PG).AddCalls, Log: env.Log, Now: env.now})
		stop = env.run("compat-quota", meter.Run)
	}
	s := compat.New(compat.Config{
		Accounts: pg.NewPlatformAccounts(env.PG), Subscriptions: pg.NewSubscriptions(env.PG),
		Traces: func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*track.Trace, error) {
			return traces(ctx, env, waybills)
		},
		Candidates: func(ctx context.Context, number string) []recognize.Candidate {
			answers, err := learned.Answers(ctx, number)
			if err != nil {
				env.Log.WarnContext(ctx, "a number is recognized by its form alone", obs.KeyError, err)
			}
			return recognize.Candidates(number, recognize.Hints{Answers: answers})
		},
		Admit: meter.Admit, Want: pg.NewPolls(env.PG).Want,
		CheckURL: env.guard().Check,
		Log:      env.Log, Now: env.now,
	})
	// What no other part serves: the platforms' paths are matched in any case.
	env.HTTP.Handle("/", s.Handler())
	return stop, nil
}

// traces reads waybills' newest traces: from the stream, and those that left it
// from PostgreSQL.
func traces(ctx context.Context, env *Env, waybills []track.Waybill) (map[track.Waybill]*track.Trace, error) {
	subjects := make([]string, len(waybills))
	for i, w := range waybills {
		subjects[i] = subject.Trace(string(w.Carrier), string(w.Number))
	}
	last, err := env.lastTraces(ctx, subjects)
	if err != nil {
		return nil, err
	}
	found := make(map[track.Waybill]*track.Trace, len(waybills))
	var missing []track.Waybill
	for i, w := range waybills {
		m, ok := last[subjects[i]]
		if !ok {
			missing = append(missing, w)
			continue
		}
		if found[w], err = wire.Decode(m.Data, 0); err != nil {
			return nil, err
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	projected, err := env.projectedTraces(ctx, missing)
	if err != nil {
		return nil, err
	}
	for w, u := range projected {
		if found[w], err = wire.Trace(u); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// oneSlash takes slashes too many out of paths: clients join a base URL that ends
// in one with a path that begins with one, and don't follow a redirection with
// their form.
func oneSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") {
			u := *r.URL
			for strings.Contains(u.Path, "//") {
				u.Path = strings.ReplaceAll(u.Path, "//", "/")
			}
			u.RawPath = ""
			r2 := *r
			r2.URL, r = &u, &r2
		}
		next.ServeHTTP(w, r)
	})
}
