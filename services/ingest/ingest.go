package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// publisher stores messages; nil means that all are on disk.
type publisher interface {
	Publish(ctx context.Context, msgs ...stream.Message) error
}

// Config is what the service needs.
type Config struct {
	Raw      publisher // to the RAW stream
	Rejected publisher // to the REJECTED stream
	// Room is nil while there is room for more, and else says what is full; then
	// sources and callers are told to come again. A nil Room never says so.
	Room func() error
	// Accounts are the secrets of each source's accounts, by source and name.
	Accounts map[string]map[string]string
	// Share is how many traces a second a caller may always report while others
	// do; 0 means no limit.
	Share     float64
	Log       *slog.Logger
	Meter     metric.MeterProvider
	Messaging obs.Messaging
	Now       func() time.Time
}

// Service takes reports in.
type Service struct {
	cfg      Config
	accepted metric.Int64Counter
	rejected metric.Int64Counter
	took     metric.Float64Histogram
	slowed   metric.Float64Counter
	shares   *shares
}

// New makes a service.
func New(cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, shares: newShares(cfg.Share, cfg.Now)}
	m := cfg.Meter.Meter("github.com/posthaste/posthaste/services/ingest")
	var errs [4]error
	s.accepted, errs[0] = m.Int64Counter("posthaste_ingest_accepted", metric.WithDescription("Raw traces that are on disk, by source."))
	s.rejected, errs[1] = m.Int64Counter("posthaste_ingest_rejected", metric.WithDescription("Reports that could not be used, by source and reason."))
	s.took, errs[2] = m.Float64Histogram("posthaste_ingest_publish", metric.WithUnit("s"), metric.WithDescription("Time until a request's raw traces were on disk, by source."))
	s.slowed, errs[3] = m.Float64Counter("posthaste_ingest_slowed", metric.WithUnit("s"), metric.WithDescription("Time that callers were made to wait because they reported far more than all others, by source."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("make the instruments of ingest: %w", err)
	}
	return s, nil
}

// rawDestination names where raw traces go, in spans.
const rawDestination = "posthaste.v1.raw.{slot}.{source}"

// keep publishes raw traces of one source. When it returns nil all are on disk;
// otherwise some may be, and the source repeats, which changes nothing.
func (s *Service) keep(ctx context.Context, source string, raws []*pipelinev1.RawTrace) (err error) {
	if len(raws) == 0 {
		return nil
	}
	if err := s.room(); err != nil {
		return fmt.Errorf("keep %d raw traces of %s: %w", len(raws), source, err)
	}
	ctx, span := s.cfg.Messaging.Send(ctx, rawDestination)
	defer func() { obs.End(span, err) }()
	began := s.cfg.Now()
	msgs := make([]stream.Message, len(raws))
	for i, r := range raws {
		data, err := proto.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode a raw trace: %w", err)
		}
		msgs[i] = stream.Message{Subject: subject.Raw(r.GetSource(), r.GetCarrierCode(), r.GetWaybillNumber()), Header: map[string][]string{}, Data: data}
		obs.Inject(ctx, msgs[i].Header)
	}
	fault.Crash("ingest.parsed")
	if fault.AckBeforePublish {
		go func() {
			fault.Delay()
			_ = s.cfg.Raw.Publish(context.WithoutCancel(ctx), msgs...)
		}()
		return nil
	}
	if err := s.cfg.Raw.Publish(ctx, msgs...); err != nil {
		return fmt.Errorf("keep %d raw traces of %s: %w", len(raws), source, err)
	}
	fault.Crash("ingest.published")
	by := metric.WithAttributes(attribute.String("source", source))
	s.accepted.Add(ctx, int64(len(raws)), by)
	s.took.Record(ctx, s.cfg.Now().Sub(began).Seconds(), by)
	return nil
}

func (s *Service) room() error {
	if s.cfg.Room == nil {
		return nil
	}
	return s.cfg.Room()
}

// levelOf is how loudly it is said that something can't be kept: that there is no
// room is said once, by whoever found it.
func levelOf(err error) slog.Level {
	if _, full := errors.AsType[*stream.FullError](err); full {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// keepShare is [Service.keep] within a caller's share. With bounded it returns
// [errBusy] instead of waiting for long.
func (s *Service) keepShare(ctx context.Context, source, caller string, raws []*pipelinev1.RawTrace, bounded bool) error {
	waited, err := s.shares.each(ctx, caller, raws, bounded, func(raws []*pipelinev1.RawTrace) error { return s.keep(ctx, source, raws) })
	if waited > 0 {
		s.slowed.Add(ctx, waited.Seconds(), metric.WithAttributes(attribute.String("source", source)))
	}
	return err
}

// reject records what could not be used, for people to look at. When it returns
// nil all is on disk.
func (s *Service) reject(ctx context.Context, rejected ...*pipelinev1.RejectedRaw) error {
	if len(rejected) == 0 {
		return nil
	}
	if err := s.room(); err != nil {
		return fmt.Errorf("record %d rejected reports: %w", len(rejected), err)
	}
	msgs := make([]stream.Message, len(rejected))
	for i, r := range rejected {
		r.Service = "ingest"
		data, err := proto.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode a rejected report: %w", err)
		}
		msgs[i] = stream.Message{Subject: subject.Rejected(r.GetSource()), Data: data}
	}
	for _, r := range rejected {
		s.rejected.Add(ctx, 1, metric.WithAttributes(attribute.String("source", r.GetSource()), attribute.String("reason", r.GetReason())))
	}
	if err := s.cfg.Rejected.Publish(ctx, msgs...); err != nil {
		return fmt.Errorf("record %d rejected reports: %w", len(rejected), err)
	}
	return nil
}
