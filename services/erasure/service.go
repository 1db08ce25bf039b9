package erasure

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// The interfaces are what the service needs of its neighbours.
type (
	store interface {
		Request(ctx context.Context, w track.Waybill, tenant string, now time.Time) (pg.Erasure, error)
		Get(ctx context.Context, w track.Waybill) (pg.Erasure, error)
		Subscribed(ctx context.Context, tenant string, w track.Waybill) (bool, error)
		Running(ctx context.Context, limit int) ([]pg.Erasure, error)
		Save(ctx context.Context, e *pg.Erasure) error
		Projected(ctx context.Context, w track.Waybill) (*trackingv1.Waybill, error)
		Sweep(ctx context.Context, w track.Waybill, revision track.Revision) (pg.Swept, error)
		OldTraces(ctx context.Context, after track.Waybill, before time.Time, limit int) (map[track.Waybill]track.Revision, track.Waybill, error)
		Owes(ctx context.Context, w track.Waybill) (bool, error)
		Expire(ctx context.Context, w track.Waybill, revision track.Revision, now time.Time) error
		ForgetBodies(ctx context.Context, before time.Time, limit int) (int64, error)
		ForgetAudit(ctx context.Context, before time.Time, limit int) (int64, error)
	}
	publisher interface {
		Publish(ctx context.Context, msgs ...stream.Message) error
	}
)

// Config is what the service needs.
type Config struct {
	Store store
	Raw   publisher // to RAW: what is to be erased
	// Last reads the newest TRACE message of subjects.
	Last func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// OldestPush is when the oldest push on its way was stored; false for none.
	OldestPush func(ctx context.Context) (time.Time, bool, error)
	// PurgeRejected deletes the rejected reports that match.
	PurgeRejected func(ctx context.Context, match func(data []byte) bool) (int, error)
	// Hold works while it holds the lease; see [pg.Hold].
	Hold func(ctx context.Context, work func(ctx context.Context) error) error
	// RawAge is how long raw traces stay in their stream.
	RawAge    time.Duration
	Retention Retention
	// Settle is how long after a trace is erased what was made of it before may still
	// turn up in the stream of pushes; 0 means 5 s. Flight is how long an attempt with
	// it may last; 0 means 90 s, more than the longest time-out of an endpoint.
	Settle, Flight time.Duration
	// Interval is how often it is looked for requests; 0 means a second.
	Interval time.Duration
	Log      *slog.Logger
	Now      func() time.Time
}

// Retention says how long is kept what can't be kept for ever; zero means without
// an end.
type Retention struct {
	Traces time.Duration // texts of traces without a change
	Bodies time.Duration // bodies of parked pushes
	Audit  time.Duration
	// Every is how often old traces are looked for; 0 means an hour.
	Every time.Duration
}

// Service answers the ErasureService; [Service.Run] erases.
type Service struct {
	privacyv1.UnimplementedErasureServiceServer
	cfg Config
	// cursor is how far the walk along all waybills is.
	cursor track.Waybill
	rested time.Time // when the next walk begins
}

// New makes a service.
func New(cfg Config) *Service {
	for d, def := range map[*time.Duration]time.Duration{&cfg.Settle: 5 * time.Second, &cfg.Flight: 90 * time.Second, &cfg.Interval: time.Second, &cfg.Retention.Every: time.Hour} {
		if *d == 0 {
			*d = def
		}
	}
	return &Service{cfg: cfg}
}

// unavailableFor is when a caller may try again.
const unavailableFor = 2 * time.Second

const suffix = "/erasure"

func parse(field, name, suffix string) (track.Waybill, error) {
	rest, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return track.Waybill{}, rpc.Invalid(field, "must be of the form waybills/{carrier_code}/{waybill_number}"+suffix)
	}
	carrier, number, err := rpc.ParseWaybillName(rest)
	if err != nil {
		return track.Waybill{}, rpc.Invalid(field, err.Error())
	}
	normal, err := track.NormalNumber(number)
	if err != nil {
		return track.Waybill{}, rpc.Invalid(field, "the waybill number "+err.Error())
	}
	return track.Waybill{Carrier: track.Carrier(carrier), Number: normal}, nil
}

// EraseWaybill records that a waybill's personal data is to be erased.
func (s *Service) EraseWaybill(ctx context.Context, req *privacyv1.EraseWaybillRequest) (*privacyv1.EraseWaybillResponse, error) {
	w, err := parse("name", req.GetName(), "")
	if err != nil {
		return nil, err
	}
	if err := s.known(ctx, w); err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	e, err := s.cfg.Store.Request(ctx, w, auth.CallOf(ctx).Principal.Tenant, s.cfg.Now())
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &privacyv1.EraseWaybillResponse{Erasure: s.message(&e)}, nil
}

// GetErasure says how far an erasure is, to whoever may ask for it.
func (s *Service) GetErasure(ctx context.Context, req *privacyv1.GetErasureRequest) (*privacyv1.GetErasureResponse, error) {
	w, err := parse("name", req.GetName(), suffix)
	if err != nil {
		return nil, err
	}
	if tenant := auth.CallOf(ctx).Principal.Tenant; tenant != "" {
		subscribed, err := s.cfg.Store.Subscribed(ctx, tenant, w)
		if err == nil && !subscribed {
			err = pg.ErrNotSubscribed
		}
		if err != nil {
			return nil, s.fail(ctx, req.GetName(), err)
		}
	}
	e, err := s.cfg.Store.Get(ctx, w)
	if err != nil {
		return nil, s.fail(ctx, req.GetName(), err)
	}
	return &privacyv1.GetErasureResponse{Erasure: s.message(&e)}, nil
}

var errUnknown = errors.New("nothing was ever reported of the waybill")

// known says whether there is anything to erase. What was taken in a moment ago and
// isn't normalized yet, isn't known.
func (s *Service) known(ctx context.Context, w track.Waybill) error {
	state, err := s.cfg.Store.Projected(ctx, w)
	if err != nil || state != nil {
		return err
	}
	sub := subject.Trace(string(w.Carrier), string(w.Number))
	stored, err := s.cfg.Last(ctx, []string{sub})
	if err != nil {
		return err
	}
	if _, ok := stored[sub]; !ok {
		return errUnknown
	}
	return nil
}

// fail answers an error of a call about a waybill.
func (s *Service) fail(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, errUnknown), errors.Is(err, pg.ErrNoErasure), errors.Is(err, pg.ErrNotSubscribed):
		return rpc.NotFound(name)
	case errors.Is(err, pg.ErrNotAlone):
		return rpc.Forbidden("the waybill isn't this tenant's alone: ask whoever runs Posthaste to erase it")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.cfg.Log.ErrorContext(ctx, "an erasure can't be asked for now; the caller is told to try again", obs.KeyError, err)
	return rpc.Unavailable(unavailableFor)
}

func (s *Service) message(e *pg.Erasure) *privacyv1.Erasure {
	m := &privacyv1.Erasure{
		Name:  rpc.WaybillName(string(e.Waybill.Carrier), string(e.Waybill.Number)) + suffix,
		State: privacyv1.ErasureState_ERASURE_STATE_RUNNING, RequestTime: timestamppb.New(e.Request), RawGoneTime: timestamppb.New(e.Request.Add(s.cfg.RawAge)),
	}
	if !e.Done.IsZero() {
		m.State, m.DoneTime = privacyv1.ErasureState_ERASURE_STATE_DONE, timestamppb.New(e.Done)
	}
	return m
}
