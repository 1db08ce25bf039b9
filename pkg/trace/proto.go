package trace

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
)

// FromWaybill converts a message. A nil message is the zero Waybill.
func FromWaybill(m *trackingv1.Waybill) Waybill {
	w := Waybill{
		ID:            ID{CarrierCode: m.GetCarrierCode(), WaybillNumber: m.GetWaybillNumber()},
		Revision:      m.GetRevision(),
		Status:        fromStatus(m.GetStatus()),
		SubStatus:     fromSubStatus(m.GetSubStatus()),
		StatusTime:    fromTime(m.GetStatusTime()),
		StatusEventID: m.GetStatusEventId(),
		Terminal:      m.GetTerminal(),
		EventCount:    int(m.GetEventCount()),
		Signer:        m.GetSigner(),
		CreateTime:    fromTimestamp(m.GetCreateTime()),
		UpdateTime:    fromTimestamp(m.GetUpdateTime()),
		EraseTime:     fromTimestamp(m.GetEraseTime()),
	}
	if e := m.GetEstimate(); e != nil {
		w.Estimate = &Estimate{
			From: fromTime(e.GetFrom()), To: fromTime(e.GetTo()), Source: e.GetSource(), ReceiveTime: fromTimestamp(e.GetReceiveTime()),
		}
	}
	for _, s := range m.GetMilestones() {
		w.Milestones = append(w.Milestones, Milestone{Status: fromStatus(s.GetStatus()), Time: fromTime(s.GetTime())})
	}
	for _, l := range m.GetLinks() {
		w.Links = append(w.Links, Link{
			Role: roles[l.GetRole()], ID: ID{CarrierCode: l.GetCarrierCode(), WaybillNumber: l.GetWaybillNumber()},
		})
	}
	return w
}

// FromEvents converts messages.
func FromEvents(ms []*trackingv1.TraceEvent) []Event {
	if len(ms) == 0 {
		return nil
	}
	events := make([]Event, len(ms))
	for i, m := range ms {
		events[i] = FromEvent(m)
	}
	return events
}

// FromEvent converts a message. A nil message is the zero Event.
func FromEvent(m *trackingv1.TraceEvent) Event {
	p := m.GetProvenance()
	return Event{
		ID:            m.GetId(),
		Kind:          kinds[m.GetKind()],
		TargetEventID: m.GetTargetEventId(),
		VoidedBy:      m.GetVoidedBy(),
		CorrectedBy:   m.GetCorrectedBy(),
		DuplicateOf:   m.GetDuplicateOf(),
		Revision:      m.GetRevision(),
		Time:          fromTime(m.GetTime()),
		ReceiveTime:   fromTimestamp(m.GetReceiveTime()),
		OrderHint:     int(m.GetOrderHint()),
		Status:        fromStatus(m.GetStatus()),
		SubStatus:     fromSubStatus(m.GetSubStatus()),
		ReasonCode:    m.GetReasonCode(),
		RawCode:       m.GetRawCode(),
		RawSubCode:    m.GetRawSubCode(),
		Text:          m.GetText(),
		Language:      m.GetLanguage(),
		Location:      fromLocation(m.GetLocation()),
		NextLocation:  fromLocation(m.GetNextLocation()),
		Courier:       Person{Name: m.GetCourier().GetName(), Phone: m.GetCourier().GetPhone()},
		Signer:        m.GetSigner(),
		ProofURLs:     m.GetProofUrls(),
		TransportMode: m.GetTransportMode(),
		Vehicle:       m.GetVehicle(),
		Piece:         m.GetPiece(),
		Leg:           ID{CarrierCode: m.GetLegCarrierCode(), WaybillNumber: m.GetLegWaybillNumber()},
		Estimate:      fromTime(m.GetEstimateFrom()),
		EstimateTo:    fromTime(m.GetEstimateTo()),
		Provenance: Provenance{
			Source: p.GetSource(), Kind: sources[p.GetKind()], MappingVersion: p.GetMappingVersion(),
			MappingRule: p.GetMappingRule(), Confidence: int(p.GetConfidence()),
		},
		Attributes: m.GetAttributes(),
	}
}

func fromTime(m *trackingv1.EventTime) Time {
	if m == nil {
		return Time{}
	}
	t := Time{
		Instant: fromTimestamp(m.GetInstant()), Local: m.GetLocal(),
		OffsetSource: offsetSources[m.GetOffsetSource()], Precision: precisions[m.GetPrecision()],
	}
	if m.UtcOffsetSeconds != nil && m.GetUtcOffsetSeconds() != 0 {
		t.Instant = t.Instant.In(time.FixedZone("", int(m.GetUtcOffsetSeconds())))
	}
	return t
}

func fromLocation(m *trackingv1.Location) Location {
	if m == nil {
		return Location{}
	}
	return Location{
		Text: m.GetText(), City: m.GetCity(), Region: m.GetRegion(), Country: m.GetCountry(), Postcode: m.GetPostcode(),
		FacilityCode: m.GetFacilityCode(), FacilityName: m.GetFacilityName(), FacilityType: m.GetFacilityType(),
		Latitude: m.Latitude, Longitude: m.Longitude,
	}
}

func fromTimestamp(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}

// fromStatus keeps the numbers of later versions as far as they fit.
func fromStatus(s trackingv1.Status) status.Status {
	if s < 0 || s > math.MaxUint8 {
		return status.Unknown
	}
	return status.Status(s)
}

func fromSubStatus(s trackingv1.SubStatus) status.Sub {
	if s < 0 || s > math.MaxUint16 {
		return 0
	}
	return status.Sub(s)
}

// What a message may say and what it is called here. A value of a later version
// is "".
var (
	kinds = map[trackingv1.EventKind]Kind{
		trackingv1.EventKind_EVENT_KIND_EVENT:      KindEvent,
		trackingv1.EventKind_EVENT_KIND_INFO:       KindInfo,
		trackingv1.EventKind_EVENT_KIND_ESTIMATE:   KindEstimate,
		trackingv1.EventKind_EVENT_KIND_VOID:       KindVoid,
		trackingv1.EventKind_EVENT_KIND_CORRECTION: KindCorrection,
	}
	offsetSources = map[trackingv1.OffsetSource]OffsetSource{
		trackingv1.OffsetSource_OFFSET_SOURCE_UNSPECIFIED:     OffsetUnknown,
		trackingv1.OffsetSource_OFFSET_SOURCE_GIVEN:           OffsetGiven,
		trackingv1.OffsetSource_OFFSET_SOURCE_FACILITY:        OffsetFacility,
		trackingv1.OffsetSource_OFFSET_SOURCE_COUNTRY:         OffsetCountry,
		trackingv1.OffsetSource_OFFSET_SOURCE_CARRIER_DEFAULT: OffsetCarrierDefault,
	}
	precisions = map[trackingv1.TimePrecision]Precision{
		trackingv1.TimePrecision_TIME_PRECISION_SECOND: PrecisionSecond,
		trackingv1.TimePrecision_TIME_PRECISION_MINUTE: PrecisionMinute,
		trackingv1.TimePrecision_TIME_PRECISION_DATE:   PrecisionDate,
	}
	sources = map[trackingv1.SourceKind]SourceKind{
		trackingv1.SourceKind_SOURCE_KIND_CARRIER_PUSH:    SourceCarrierPush,
		trackingv1.SourceKind_SOURCE_KIND_CARRIER_POLL:    SourceCarrierPoll,
		trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_PUSH: SourceAggregatorPush,
		trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_POLL: SourceAggregatorPoll,
		trackingv1.SourceKind_SOURCE_KIND_TEAM:            SourceTeam,
	}
	roles = map[trackingv1.LinkRole]Role{
		trackingv1.LinkRole_LINK_ROLE_LAST_MILE: RoleLastMile,
		trackingv1.LinkRole_LINK_ROLE_RETURN:    RoleReturn,
		trackingv1.LinkRole_LINK_ROLE_PIECE:     RolePiece,
		trackingv1.LinkRole_LINK_ROLE_PARENT:    RoleParent,
		trackingv1.LinkRole_LINK_ROLE_CORRECTED: RoleCorrected,
	}
)
