package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	day = 24 * time.Hour
	// tail is how long a waybill is followed after its journey's end, and life how
	// long one whose end never comes: the defaults of subscriptions.
	tail = 3 * day
	life = 90 * day
	// interest is how long a waybill is polled after it was queried.
	interest = 3 * day
	// maxCandidates of a number are looked at for a trace.
	maxCandidates = 8
)

var (
	// errFollowed says that the account follows the waybill already.
	errFollowed = errors.New("the waybill is followed already")
	// errCallback says that pushes would have nowhere to go; its text says why.
	errCallback = errors.New("the callback can't be used")
)

// wish is a subscription that a client asks for.
type wish struct {
	account *pg.PlatformAccount
	waybill track.Waybill
	// callback of the subscription; empty for the account's own.
	callback string
	terms    any // push.KdniaoTerms or Kuaidi100Terms
	// others are the carriers that it may be of, if not of the waybill's; nil when
	// that isn't to be checked. how is [pg.CarrierRecognized], or empty.
	others []track.Carrier
	how    string
	phone  string // the end of a phone number, or empty
	// again lets a wish for what is followed already change its terms.
	again bool
}

// follow makes a subscription. It returns errFollowed, errSpent, or an error that
// wraps errCallback.
func (s *Service) follow(ctx context.Context, w wish) error {
	terms, err := json.Marshal(w.terms)
	if err != nil {
		return fmt.Errorf("encode a subscription's terms: %w", err)
	}
	endpoint, err := s.endpoint(ctx, w.account, w.callback)
	if err != nil {
		return err
	}
	old, err := s.cfg.Accounts.Followed(ctx, w.account, string(w.waybill.Carrier), string(w.waybill.Number))
	switch {
	case errors.Is(err, pg.ErrNoSubscription):
	case err != nil:
		return err
	case old.CompleteTime == nil && old.EndpointID == endpoint && w.again:
		if w.phone != "" {
			s.want(ctx, w.waybill, w.phone, 0)
		}
		return s.change(ctx, &old, terms)
	case old.CompleteTime == nil && !w.again:
		return errFollowed
	default:
		// The journey is over, or pushes are to go elsewhere: it begins anew.
		if err := s.end(ctx, &old); err != nil {
			return err
		}
	}
	now := s.now()
	n := pg.NewSubscription{Subscription: pg.Subscription{
		ID: id.New("sub_", now), TenantID: w.account.TenantID, EndpointID: endpoint, Waybill: w.waybill, Terms: terms,
		Tail: tail, CreateTime: now, UpdateTime: now, ExpireTime: now.Add(life),
	}, Candidates: w.others, How: w.how, Phone: w.phone}
	made, err := s.cfg.Subscriptions.Create(ctx, w.account.TenantID, []pg.NewSubscription{n})
	if err != nil {
		return err
	}
	switch err := made[0].Err; {
	case errors.Is(err, pg.ErrSubscribed) && w.again:
		return nil // at the same time, by the same client
	case errors.Is(err, pg.ErrSubscribed):
		return errFollowed
	case errors.Is(err, pg.ErrQuotaSubscriptions):
		return errSpent
	default:
		return err
	}
}

func (s *Service) change(ctx context.Context, old *pg.Subscription, terms []byte) error {
	_, err := s.cfg.Subscriptions.Update(ctx, old.TenantID, old.ID, s.now(), func(sub *pg.Subscription) (bool, error) {
		changed := string(sub.Terms) != string(terms) || sub.State == pg.SubscriptionPaused
		sub.Terms = terms
		if sub.Live() {
			sub.State = pg.SubscriptionActive
		}
		return changed, nil
	})
	return err
}

func (s *Service) end(ctx context.Context, old *pg.Subscription) error {
	_, err := s.cfg.Subscriptions.Update(ctx, old.TenantID, old.ID, s.now(), func(sub *pg.Subscription) (bool, error) {
		if !sub.Live() {
			return false, nil
		}
		sub.State = pg.SubscriptionCancelled
		return true, nil
	})
	return err
}

// endpoint is where an account's pushes go: the one of a callback, which is made
// on its first use, or else the account's own.
func (s *Service) endpoint(ctx context.Context, a *pg.PlatformAccount, callback string) (string, error) {
	if callback == "" {
		if a.EndpointID == nil {
			return "", fmt.Errorf("%w: there is none, neither here nor at the account", errCallback)
		}
		return *a.EndpointID, nil
	}
	normal, _, err := s.cfg.CheckURL(ctx, a.TenantID, callback)
	if err != nil {
		return "", fmt.Errorf("%w: it %w", errCallback, err)
	}
	now := s.now()
	e := a.NewEndpoint(id.New("ep_", now), normal, webhook.NewSecret(), now)
	return s.cfg.Accounts.EndpointFor(ctx, &e)
}

// splitCallback takes the query string off a callback's URL: users tell orders
// apart by it, so there is one endpoint for all of them. What can't stand in a
// request's line is escaped, all else is as it was.
func splitCallback(url string) (base, query string) {
	url, _, _ = strings.Cut(strings.TrimSpace(url), "#")
	base, query, _ = strings.Cut(url, "?")
	if query == "" {
		return base, ""
	}
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return base, b.String()
}

// want has a waybill asked for, for as long as d. That it can't be fails nobody: what
// is known is answered.
func (s *Service) want(ctx context.Context, w track.Waybill, phone string, d time.Duration) {
	if s.cfg.Want == nil || w.Carrier == "" {
		return
	}
	if err := s.cfg.Want(ctx, w, phone, s.now().Add(d)); err != nil {
		s.away(ctx, err)
	}
}

// look is find for a query: what isn't known, or goes on, is asked for from now on.
func (s *Service) look(ctx context.Context, c track.Carrier, n track.Number, phone string) (track.Waybill, *track.Trace, error) {
	w, t, err := s.find(ctx, c, n)
	if err == nil && (t == nil || !t.State.Terminal) {
		s.want(ctx, w, phone, interest)
	}
	return w, t, err
}

// find reads the trace of a number: of the carrier, or, without one, of the
// likeliest candidate that has one. The waybill is the likeliest's when there is
// no trace, and without a carrier when there is no candidate.
func (s *Service) find(ctx context.Context, c track.Carrier, n track.Number) (track.Waybill, *track.Trace, error) {
	var waybills []track.Waybill
	if c != "" {
		waybills = []track.Waybill{{Carrier: c, Number: n}}
	} else {
		for _, candidate := range s.cfg.Candidates(ctx, string(n)) {
			if len(waybills) < maxCandidates {
				waybills = append(waybills, track.Waybill{Carrier: candidate.Carrier, Number: n})
			}
		}
	}
	if len(waybills) == 0 {
		return track.Waybill{Number: n}, nil, nil
	}
	traces, err := s.cfg.Traces(ctx, waybills)
	if err != nil {
		return track.Waybill{}, nil, err
	}
	for _, w := range waybills {
		if t := traces[w]; t != nil {
			return w, t, nil
		}
	}
	return waybills[0], nil, nil
}
