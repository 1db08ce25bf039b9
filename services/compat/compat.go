package compat

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

// The interfaces are what the faces need of their neighbours.
type (
	accounts interface {
		Get(ctx context.Context, platform int16, id string) (pg.PlatformAccount, error)
		OfKey(ctx context.Context, platform int16, key string) (pg.PlatformAccount, error)
		EndpointFor(ctx context.Context, e *pg.Endpoint) (id string, err error)
		Followed(ctx context.Context, a *pg.PlatformAccount, carrier, number string) (pg.Subscription, error)
	}
	subscriptions interface {
		Create(ctx context.Context, tenant string, news []pg.NewSubscription) ([]pg.Created, error)
		Update(ctx context.Context, tenant, id string, now time.Time, change func(*pg.Subscription) (bool, error)) (pg.Subscription, error)
	}
)

// Config is what the service needs.
type Config struct {
	Accounts      accounts
	Subscriptions subscriptions
	// Traces reads waybills' newest traces; unknown ones are absent.
	Traces func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*track.Trace, error)
	// Candidates are the carriers that a number may belong to, the likeliest first.
	Candidates func(ctx context.Context, number string) []recognize.Candidate
	// CheckURL judges a callback's URL; see egress.Guard.Check.
	CheckURL func(ctx context.Context, tenant, url string) (normal, warning string, err error)
	Log      *slog.Logger
	Now      func() time.Time
}

// Service answers both platforms' clients.
type Service struct{ cfg Config }

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// now is the time as PostgreSQL keeps it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Paths lists what is served, in the platforms' spelling. Case, slashes too many
// and one at the end don't count.
func Paths() []string {
	return append(kdniaoPaths(), kuaidi100Paths()...)
}

// kdniaoPaths are all the same to us: what is asked for is said by RequestType,
// and clients send any type to any path.
func kdniaoPaths() []string {
	return []string{
		"/Ebusiness/EbusinessOrderHandle.aspx", "/api/dist", "/api/EOrderService", "/api/OOrderService",
		"/kdniaosandbox/gateway/exterfaceInvoke.json",
	}
}

func kuaidi100Paths() []string {
	return []string{
		kuaidi100Subscribe, "/pollmap", kuaidi100Query, "/poll/maptrack.do", kuaidi100Recognise, "/autonumber/autoComNum", "/stdio/queryTrace",
	}
}

// Handler serves [Paths], and answers 404 to others.
func (s *Service) Handler() http.Handler {
	routes := map[string]http.HandlerFunc{}
	for _, p := range kdniaoPaths() {
		routes[strings.ToLower(p)] = s.kdniao
	}
	for p, h := range s.kuaidi100Routes() {
		routes[strings.ToLower(p)] = h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := routes[strings.ToLower(path.Clean("/"+r.URL.Path))]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	})
}

// answer writes JSON with a length: some clients speak HTTP/1.0. Characters are
// written as they are, like both platforms do.
func answer(w http.ResponseWriter, v any) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	text := strings.TrimSuffix(b.String(), "\n")
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write([]byte(text))
}
