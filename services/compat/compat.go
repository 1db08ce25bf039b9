package compat

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/rpc"
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
	// Admit counts a call of a tenant, or refuses it with an [rpc.Error]; nil counts
	// none.
	Admit func(ctx context.Context, tenant string) error
	// Want has a waybill that nobody may subscribe to asked for until a time, where
	// its carrier is polled; phone is the end of a phone number, or empty. Nil asks for
	// none.
	Want func(ctx context.Context, w track.Waybill, phone string, until time.Time) error
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

var (
	// errSpent says that the tenant has used up what it may: the day's calls, or its
	// subscriptions.
	errSpent = errors.New("the tenant's quota is spent")
	// errBusy says that the tenant calls too fast.
	errBusy = errors.New("the tenant calls too fast")
)

// account is the platform's account of an id, whose tenant isn't disabled, or
// [pg.ErrNoAccount].
func (s *Service) account(ctx context.Context, platform push.Format, id string) (pg.PlatformAccount, error) {
	return enabled(s.cfg.Accounts.Get(ctx, int16(platform), id))
}

// accountOfKey is the account of a key; see account.
func (s *Service) accountOfKey(ctx context.Context, platform push.Format, key string) (pg.PlatformAccount, error) {
	return enabled(s.cfg.Accounts.OfKey(ctx, int16(platform), key))
}

func enabled(a pg.PlatformAccount, err error) (pg.PlatformAccount, error) {
	if err == nil && a.Disabled {
		return pg.PlatformAccount{}, pg.ErrNoAccount
	}
	return a, err
}

// admit counts a call of an account that has proven who it is. It returns errSpent
// or errBusy.
func (s *Service) admit(ctx context.Context, a *pg.PlatformAccount) error {
	if s.cfg.Admit == nil {
		return nil
	}
	err := s.cfg.Admit(ctx, a.TenantID)
	refusal, ok := errors.AsType[*rpc.Error](err)
	switch {
	case err == nil:
		return nil
	case ok && refusal.RetryAfter <= time.Second: // a second's share, not a day's
		return errBusy
	default:
		return errSpent
	}
}

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
		kuaidi100Subscribe, "/pollmap", kuaidi100Query, "/poll/synquery.do", "/synquery", "/poll/maptrack.do",
		kuaidi100Recognise, "/autonumber/autoComNum", "/stdio/queryTrace", kuaidi100Old,
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
