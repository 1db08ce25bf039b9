package wire

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

var errNoTrace = errors.New("read a trace: it names no waybill and revision")

// Trace reads a message made by [TraceUpdate]. It shares the message's maps and
// slices of text.
func Trace(u *trackingv1.TraceUpdate) (*track.Trace, error) {
	t, err := state(u.GetWaybill())
	if err != nil {
		return nil, err
	}
	if len(u.GetEvents()) > 0 {
		t.Events = make([]track.Event, len(u.GetEvents()))
	}
	for i, m := range u.GetEvents() {
		if t.Events[i], err = TrackEvent(m); err != nil {
			return nil, fmt.Errorf("read a trace: %w", err)
		}
	}
	return t, nil
}

// state reads all of a trace but its events.
func state(w *trackingv1.Waybill) (*track.Trace, error) {
	if w.GetCarrierCode() == "" || w.GetWaybillNumber() == "" || w.GetRevision() == 0 {
		return nil, errNoTrace
	}
	t := &track.Trace{
		Waybill:    track.Waybill{Carrier: track.Carrier(w.GetCarrierCode()), Number: track.Number(w.GetWaybillNumber())},
		Revision:   track.Revision(w.GetRevision()),
		CreateTime: instant(w.GetCreateTime()),
		UpdateTime: instant(w.GetUpdateTime()),
		EraseTime:  instant(w.GetEraseTime()),
		State: track.State{
			Status: status.Status(w.GetStatus()), Sub: status.Sub(w.GetSubStatus()), EventID: track.EventID(w.GetStatusEventId()),
			Terminal: w.GetTerminal(), Signer: w.GetSigner(),
		},
	}
	var err error
	if t.State.Since, err = trackTime(w.GetStatusTime()); err != nil {
		return nil, fmt.Errorf("read a trace: status_time: %w", err)
	}
	if e := w.GetEstimate(); e != nil {
		est := &track.Estimate{Source: e.GetSource(), ReceiveTime: instant(e.GetReceiveTime())}
		if est.From, est.To, err = window(e.GetFrom(), e.GetTo()); err != nil {
			return nil, fmt.Errorf("read a trace: estimate: %w", err)
		}
		t.State.Estimate = est
	}
	for _, m := range w.GetMilestones() {
		at, err := trackTime(m.GetTime())
		if err != nil {
			return nil, fmt.Errorf("read a trace: milestone: %w", err)
		}
		t.State.Milestones = append(t.State.Milestones, track.Milestone{Status: status.Status(m.GetStatus()), Time: at})
	}
	for _, l := range w.GetLinks() {
		t.Links = append(t.Links, track.Link{
			Role: track.LinkRole(l.GetRole()), Waybill: track.Waybill{Carrier: track.Carrier(l.GetCarrierCode()), Number: track.Number(l.GetWaybillNumber())},
		})
	}
	return t, nil
}

// TrackEvent reads a message made by [Event].
func TrackEvent(m *trackingv1.TraceEvent) (track.Event, error) {
	p := m.GetProvenance()
	e := track.Event{
		ID: track.EventID(m.GetId()), Kind: track.Kind(m.GetKind()), Target: track.EventID(m.GetTargetEventId()),
		VoidedBy: track.EventID(m.GetVoidedBy()), CorrectedBy: track.EventID(m.GetCorrectedBy()), DuplicateOf: track.EventID(m.GetDuplicateOf()),
		Revision: track.Revision(m.GetRevision()), ReceiveTime: instant(m.GetReceiveTime()), OrderHint: int(m.GetOrderHint()),
		Status: status.Status(m.GetStatus()), Sub: status.Sub(m.GetSubStatus()), ReasonCode: m.GetReasonCode(),
		RawCode: m.GetRawCode(), RawSubCode: m.GetRawSubCode(), Text: m.GetText(), Language: m.GetLanguage(),
		Location: trackLocation(m.GetLocation()), NextLocation: trackLocation(m.GetNextLocation()),
		Courier: track.Person{Name: m.GetCourier().GetName(), Phone: m.GetCourier().GetPhone()}, Signer: m.GetSigner(),
		ProofURLs: m.GetProofUrls(), TransportMode: m.GetTransportMode(), Vehicle: m.GetVehicle(), Piece: m.GetPiece(),
		Leg: track.Waybill{Carrier: track.Carrier(m.GetLegCarrierCode()), Number: track.Number(m.GetLegWaybillNumber())},
		Provenance: track.Provenance{
			Source: p.GetSource(), Kind: track.SourceKind(p.GetKind()), MappingVersion: p.GetMappingVersion(),
			MappingRule: p.GetMappingRule(), Confidence: int(p.GetConfidence()),
		},
		Attributes: m.GetAttributes(),
	}
	var err error
	if e.Time, err = trackTime(m.GetTime()); err != nil {
		return track.Event{}, fmt.Errorf("event %s: time: %w", m.GetId(), err)
	}
	if e.Estimate, e.EstimateTo, err = window(m.GetEstimateFrom(), m.GetEstimateTo()); err != nil {
		return track.Event{}, fmt.Errorf("event %s: estimate: %w", m.GetId(), err)
	}
	return e, nil
}

func window(from, to *trackingv1.EventTime) (a, b track.Time, err error) {
	if a, err = trackTime(from); err != nil {
		return a, b, err
	}
	b, err = trackTime(to)
	return a, b, err
}

// trackTime takes the wall clock from the instant and the offset: they say the
// same as local, and need no parsing.
func trackTime(m *trackingv1.EventTime) (track.Time, error) {
	if m == nil {
		return track.Time{}, nil
	}
	if m.GetInstant() == nil {
		return track.Time{}, errors.New("the instant is missing")
	}
	offset := time.Duration(m.GetUtcOffsetSeconds()) * time.Second
	return track.Time{
		Wall: m.GetInstant().AsTime().Add(offset), Offset: offset,
		OffsetSource: track.OffsetSource(m.GetOffsetSource()), Precision: track.Precision(m.GetPrecision()),
	}, nil
}

func instant(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}

func trackLocation(m *trackingv1.Location) track.Location {
	if m == nil {
		return track.Location{}
	}
	l := track.Location{
		Text: m.GetText(), City: m.GetCity(), Region: m.GetRegion(), Country: m.GetCountry(), Postcode: m.GetPostcode(),
		FacilityCode: m.GetFacilityCode(), FacilityName: m.GetFacilityName(), FacilityType: m.GetFacilityType(),
	}
	if m.Latitude != nil || m.Longitude != nil {
		l.Coordinates = &track.Coordinates{Latitude: m.GetLatitude(), Longitude: m.GetLongitude()}
	}
	return l
}
