// Package wire converts between the domain and the messages of the public API:
// what the TRACE stream and the projections hold, and what queries answer. It
// decides nothing. The numbers of enumerations are the same on both sides, which
// a test holds.
package wire

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/internal/track"
)

// TraceUpdate is a trace as a message. It shares the trace's maps and slices of
// text, so encode it before they change.
func TraceUpdate(t *track.Trace) *trackingv1.TraceUpdate {
	u := &trackingv1.TraceUpdate{Waybill: Waybill(t), Events: make([]*trackingv1.TraceEvent, len(t.Events))}
	for i := range t.Events {
		u.Events[i] = Event(&t.Events[i])
	}
	return u
}

// Waybill is a trace's state as a message.
func Waybill(t *track.Trace) *trackingv1.Waybill {
	s := &t.State
	w := &trackingv1.Waybill{
		Name:          trace.ID{CarrierCode: string(t.Waybill.Carrier), WaybillNumber: string(t.Waybill.Number)}.Name(),
		CarrierCode:   string(t.Waybill.Carrier),
		WaybillNumber: string(t.Waybill.Number),
		Revision:      uint64(t.Revision),
		Status:        trackingv1.Status(s.Status),
		SubStatus:     trackingv1.SubStatus(s.Sub),
		StatusTime:    eventTime(s.Since),
		StatusEventId: string(s.EventID),
		Terminal:      s.Terminal,
		EventCount:    int32(len(t.Events)),
		Signer:        s.Signer,
		CreateTime:    timestamp(t.CreateTime),
		UpdateTime:    timestamp(t.UpdateTime),
		EraseTime:     timestamp(t.EraseTime),
	}
	if e := s.Estimate; e != nil {
		w.Estimate = &trackingv1.Estimate{From: eventTime(e.From), To: eventTime(e.To), Source: e.Source, ReceiveTime: timestamp(e.ReceiveTime)}
	}
	for _, m := range s.Milestones {
		w.Milestones = append(w.Milestones, &trackingv1.Milestone{Status: trackingv1.Status(m.Status), Time: eventTime(m.Time)})
	}
	for _, l := range t.Links {
		w.Links = append(w.Links, &trackingv1.Link{
			Role: trackingv1.LinkRole(l.Role), CarrierCode: string(l.Waybill.Carrier), WaybillNumber: string(l.Waybill.Number),
		})
	}
	return w
}

// Event is an event as a message.
func Event(e *track.Event) *trackingv1.TraceEvent {
	m := &trackingv1.TraceEvent{
		Id:               string(e.ID),
		Kind:             trackingv1.EventKind(e.Kind),
		TargetEventId:    string(e.Target),
		VoidedBy:         string(e.VoidedBy),
		CorrectedBy:      string(e.CorrectedBy),
		DuplicateOf:      string(e.DuplicateOf),
		Revision:         uint64(e.Revision),
		Time:             eventTime(e.Time),
		ReceiveTime:      timestamp(e.ReceiveTime),
		OrderHint:        int32(e.OrderHint),
		Status:           trackingv1.Status(e.Status),
		SubStatus:        trackingv1.SubStatus(e.Sub),
		ReasonCode:       e.ReasonCode,
		RawCode:          e.RawCode,
		RawSubCode:       e.RawSubCode,
		Text:             e.Text,
		Language:         e.Language,
		Location:         location(&e.Location),
		NextLocation:     location(&e.NextLocation),
		Signer:           e.Signer,
		ProofUrls:        e.ProofURLs,
		TransportMode:    e.TransportMode,
		Vehicle:          e.Vehicle,
		Piece:            e.Piece,
		LegCarrierCode:   string(e.Leg.Carrier),
		LegWaybillNumber: string(e.Leg.Number),
		EstimateFrom:     eventTime(e.Estimate),
		EstimateTo:       eventTime(e.EstimateTo),
		Attributes:       e.Attributes,
	}
	if e.Courier != (track.Person{}) {
		m.Courier = &trackingv1.Person{Name: e.Courier.Name, Phone: e.Courier.Phone}
	}
	if p := &e.Provenance; *p != (track.Provenance{}) {
		m.Provenance = &trackingv1.Provenance{
			Source: p.Source, Kind: trackingv1.SourceKind(p.Kind), MappingVersion: p.MappingVersion,
			MappingRule: p.MappingRule, Confidence: int32(p.Confidence),
		}
	}
	return m
}

// wallLayout is a wall clock without offset, to the nanosecond if need be.
const wallLayout = "2006-01-02T15:04:05.999999999"

func eventTime(t track.Time) *trackingv1.EventTime {
	if t.IsZero() {
		return nil
	}
	m := &trackingv1.EventTime{
		OffsetSource: trackingv1.OffsetSource(t.OffsetSource), Precision: trackingv1.TimePrecision(t.Precision), Instant: timestamppb.New(t.Instant()),
	}
	if t.OffsetSource != track.OffsetUnknown {
		m.UtcOffsetSeconds = new(int32(t.Offset / time.Second))
	}
	m.Local = t.Wall.Format(wallLayout)
	if t.Precision == track.PrecisionDate {
		m.Local = m.GetLocal()[:len(time.DateOnly)]
	}
	return m
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func location(l *track.Location) *trackingv1.Location {
	if *l == (track.Location{}) {
		return nil
	}
	m := &trackingv1.Location{
		Text: l.Text, City: l.City, Region: l.Region, Country: l.Country, Postcode: l.Postcode,
		FacilityCode: l.FacilityCode, FacilityName: l.FacilityName, FacilityType: l.FacilityType,
	}
	if c := l.Coordinates; c != nil {
		m.Latitude, m.Longitude = &c.Latitude, &c.Longitude
	}
	return m
}
