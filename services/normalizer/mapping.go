package normalizer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// mapRaw makes a report of a message, or says why it can't be used.
func (s *Service) mapRaw(ctx context.Context, m *stream.Received, raw *pipelinev1.RawTrace) (track.Report, *pipelinev1.RejectedRaw) {
	if err := proto.Unmarshal(m.Data, raw); err != nil {
		return track.Report{}, &pipelinev1.RejectedRaw{Body: m.Data, Reason: "undecodable", Description: err.Error(), Service: "normalizer"}
	}
	report, err := mapped(raw)
	if err != nil {
		no := unusable(raw, "unmappable", err)
		s.cfg.Log.DebugContext(ctx, "a raw trace can't be used", obs.KeySource, raw.GetSource(), obs.KeyError, err)
		return track.Report{}, no
	}
	if len(report.Unmapped) > 0 {
		s.meters.unmap(ctx, raw.GetSource(), len(report.Unmapped))
		s.cfg.Log.DebugContext(ctx, "codes that no rule knows", obs.KeySource, raw.GetSource(), "codes", report.Unmapped)
	}
	return report, nil
}

// mapped maps by the source's rules. A mapping that panics takes down its raw
// trace and nothing else.
func mapped(m *pipelinev1.RawTrace) (report track.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the mapping of %s panicked: %v", m.GetSource(), p)
		}
	}()
	raw := carrier.Raw{
		Waybill: track.Waybill{Carrier: track.Carrier(m.GetCarrierCode()), Number: track.Number(m.GetWaybillNumber())},
		Kind:    track.SourceKind(m.GetSourceKind()), Account: m.GetAccount(), Body: m.GetBody(), Context: m.GetContext(), ReceiveTime: m.GetReceiveTime().AsTime(),
	}
	if raw.Waybill.Carrier == "" || raw.Waybill.Number == "" {
		return report, errors.New("it names no waybill")
	}
	switch m.GetSource() {
	case canonical.Source:
		report, err = canonical.Map(raw)
	case carrier.RemapSource: // it tells nothing of its own
	case carrier.EraseSource:
		report.Erase = raw.ReceiveTime
	default:
		source, ok := carrier.Lookup(m.GetSource())
		if !ok {
			return report, fmt.Errorf("source %q has no mapping", m.GetSource())
		}
		report, err = source.Map(raw)
	}
	if err != nil {
		return report, err
	}
	// What is merged is what was taken in for.
	report.Waybill = raw.Waybill
	for i := range report.Events {
		screen(&report.Events[i])
	}
	return report, nil
}

// unusable is what is kept of a raw trace that can't be used, and why.
func unusable(raw *pipelinev1.RawTrace, reason string, err error) *pipelinev1.RejectedRaw {
	no := &pipelinev1.RejectedRaw{
		Source: raw.GetSource(), Account: raw.GetAccount(), Body: raw.GetBody(), Reason: reason, Description: err.Error(),
		ReceiveTime: raw.GetReceiveTime(), RequestId: raw.GetRequestId(), Service: "normalizer",
	}
	if f, ok := errors.AsType[*carrier.FieldError](err); ok {
		no.Field = f.Field
	}
	return no
}

// unmergeable is the rejection of a raw trace that was mapped and can't be
// merged.
func unmergeable(m *stream.Received, err error) rejection {
	reason := "unmergeable"
	if errors.Is(err, errTooLarge) {
		reason = "too_large"
	}
	var raw pipelinev1.RawTrace
	if bad := proto.Unmarshal(m.Data, &raw); bad != nil {
		err = errors.Join(err, bad)
	}
	return rejection{raw: m, why: unusable(&raw, reason, err)}
}
