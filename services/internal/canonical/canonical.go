// Package canonical is the adapter between events that teams report over gRPC
// and the domain: it checks an event and makes it canonical. Taking the events
// in is ingest's; what they do to a trace is track's.
package canonical

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Source is the code of this source.
const Source = "canonical"

// MappingVersion goes up when the same event would become another one.
const MappingVersion = "1"

// Limits, as the proto's comments state them.
const (
	minNumber     = 4
	maxNumber     = 64
	maxText       = 4000
	maxAttributes = 32
)

// Event checks an event and makes it canonical. The same event gives the same
// id, whenever it is received. The error names the field as the proto does. The
// two share their attributes.
func Event(e *ingestv1.ReportedEvent, receive time.Time) (track.Waybill, track.Event, *carrier.FieldError) {
	w, bad := waybill(e)
	if bad != nil {
		return w, track.Event{}, bad
	}
	if bad := checkTexts(e); bad != nil {
		return w, track.Event{}, bad
	}
	out := track.Event{
		ReceiveTime: receive, OrderHint: int(e.GetOrderHint()), ReasonCode: e.GetReasonCode(), RawCode: e.GetRawCode(),
		Text: e.GetText(), Language: e.GetLanguage(),
		Courier: track.Person{Name: e.GetCourier().GetName(), Phone: e.GetCourier().GetPhone()}, Signer: e.GetSigner(),
		Provenance: track.Provenance{Source: Source, Kind: track.SourceTeam, MappingVersion: MappingVersion, Confidence: 100},
		Attributes: e.GetAttributes(),
	}
	if out.Kind, bad = kind(e); bad != nil {
		return w, track.Event{}, bad
	}
	if out.Time, bad = eventTime("event_time", e.GetEventTime()); bad != nil {
		return w, track.Event{}, bad
	}
	if out.Status, out.Sub, bad = statusOf(e); bad != nil {
		return w, track.Event{}, bad
	}
	if out.Location, bad = location("location", e.GetLocation()); bad != nil {
		return w, track.Event{}, bad
	}
	if out.NextLocation, bad = location("next_location", e.GetNextLocation()); bad != nil {
		return w, track.Event{}, bad
	}
	if e.GetEstimateTime() != "" {
		if out.Estimate, bad = eventTime("estimate_time", e.GetEstimateTime()); bad != nil {
			return w, track.Event{}, bad
		}
	}
	out.ID = identify(w, e)
	if e.GetTargetEventId() != "" {
		out.Target = track.DeriveID(track.IDParts{Waybill: w, SourceID: e.GetTargetEventId()})
	}
	return w, out, nil
}

// Map makes a report of a RawTrace body: an encoded ReportEventsRequest with the
// events of one waybill, all of them checked when they were taken in.
func Map(raw carrier.Raw) (track.Report, error) {
	var req ingestv1.ReportEventsRequest
	if err := proto.Unmarshal(raw.Body, &req); err != nil {
		return track.Report{}, fmt.Errorf("decode events: %w", err)
	}
	r := track.Report{Waybill: raw.Waybill, ReceiveTime: raw.ReceiveTime, Events: make([]track.Event, 0, len(req.GetEvents()))}
	for i, reported := range req.GetEvents() {
		w, e, bad := Event(reported, raw.ReceiveTime)
		if bad != nil {
			return track.Report{}, &carrier.FieldError{Field: fmt.Sprintf("events[%d].%s", i, bad.Field), Description: bad.Description}
		}
		if w != raw.Waybill {
			return track.Report{}, &carrier.FieldError{Field: fmt.Sprintf("events[%d].waybill_number", i), Description: "is of another waybill"}
		}
		r.Events = append(r.Events, e)
	}
	return r, nil
}

func waybill(e *ingestv1.ReportedEvent) (track.Waybill, *carrier.FieldError) {
	code := e.GetCarrierCode()
	if len(code) < 2 || len(code) > 40 {
		return track.Waybill{}, bad("carrier_code", "must be 2 to 40 characters of a–z, 0–9, '-' and '_'")
	}
	for i := range len(code) {
		if c := code[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return track.Waybill{}, bad("carrier_code", "must be 2 to 40 characters of a–z, 0–9, '-' and '_'")
		}
	}
	c, err := track.NormalCarrier(code)
	if err != nil {
		return track.Waybill{}, bad("carrier_code", err.Error())
	}
	number := e.GetWaybillNumber()
	if n := utf8.RuneCountInString(number); n < minNumber || n > maxNumber {
		return track.Waybill{}, bad("waybill_number", "must be 4 to 64 printable characters")
	}
	for _, r := range number {
		if !unicode.IsPrint(r) {
			return track.Waybill{}, bad("waybill_number", "must be 4 to 64 printable characters")
		}
	}
	n, err := track.NormalNumber(number)
	if err != nil {
		return track.Waybill{}, bad("waybill_number", err.Error())
	}
	return track.Waybill{Carrier: c, Number: n}, nil
}

// checkTexts refuses what no store of ours could hold.
func checkTexts(e *ingestv1.ReportedEvent) *carrier.FieldError {
	if len(e.GetText()) > maxText && utf8.RuneCountInString(e.GetText()) > maxText {
		return bad("text", "must be at most 4,000 characters")
	}
	if len(e.GetAttributes()) > maxAttributes {
		return bad("attributes", "must be at most 32 entries")
	}
	for _, f := range [...]struct{ name, value string }{
		{"event_id", e.GetEventId()},
		{"target_event_id", e.GetTargetEventId()},
		{"text", e.GetText()},
		{"language", e.GetLanguage()},
		{"courier.name", e.GetCourier().GetName()},
		{"courier.phone", e.GetCourier().GetPhone()},
		{"signer", e.GetSigner()},
		{"reason_code", e.GetReasonCode()},
		{"raw_code", e.GetRawCode()},
	} {
		if strings.IndexByte(f.value, 0) >= 0 {
			return bad(f.name, "must not contain the character NUL")
		}
	}
	for k, v := range e.GetAttributes() {
		if strings.IndexByte(k, 0) >= 0 || strings.IndexByte(v, 0) >= 0 {
			return bad("attributes", "must not contain the character NUL")
		}
	}
	return nil
}

func kind(e *ingestv1.ReportedEvent) (track.Kind, *carrier.FieldError) {
	var k track.Kind
	switch e.GetKind() {
	case trackingv1.EventKind_EVENT_KIND_UNSPECIFIED, trackingv1.EventKind_EVENT_KIND_EVENT:
		k = track.KindEvent
	case trackingv1.EventKind_EVENT_KIND_INFO:
		k = track.KindInfo
	case trackingv1.EventKind_EVENT_KIND_ESTIMATE:
		k = track.KindEstimate
		if e.GetEstimateTime() == "" {
			return 0, bad("estimate_time", "is required for the kind ESTIMATE")
		}
	case trackingv1.EventKind_EVENT_KIND_VOID:
		k = track.KindVoid
	case trackingv1.EventKind_EVENT_KIND_CORRECTION:
		k = track.KindCorrection
	default:
		return 0, bad("kind", "is not a known kind")
	}
	acts := k == track.KindVoid || k == track.KindCorrection
	switch {
	case acts && e.GetTargetEventId() == "":
		return 0, bad("target_event_id", "is required for the kinds VOID and CORRECTION")
	case !acts && e.GetTargetEventId() != "":
		return 0, bad("target_event_id", "is for the kinds VOID and CORRECTION only")
	case acts && e.GetTargetEventId() == e.GetEventId():
		return 0, bad("target_event_id", "must not be the event's own event_id")
	}
	return k, nil
}

func statusOf(e *ingestv1.ReportedEvent) (status.Status, status.Sub, *carrier.FieldError) {
	if n := e.GetStatus(); n < 0 || n > math.MaxUint8 || !status.Status(n).Valid() {
		return 0, 0, bad("status", "is not in the taxonomy")
	}
	s := status.Status(e.GetStatus())
	if e.GetSubStatus() == 0 {
		return s, 0, nil
	}
	if n := e.GetSubStatus(); n < 0 || n > math.MaxUint16 || !status.Sub(n).Valid() {
		return 0, 0, bad("sub_status", "is not in the taxonomy")
	}
	sub := status.Sub(e.GetSubStatus())
	if sub.Status() != s {
		return 0, 0, bad("sub_status", "must belong to status")
	}
	return s, sub, nil
}

func location(field string, l *trackingv1.Location) (track.Location, *carrier.FieldError) {
	if l == nil {
		return track.Location{}, nil
	}
	out := track.Location{
		Text: l.GetText(), City: l.GetCity(), Region: l.GetRegion(), Country: l.GetCountry(), Postcode: l.GetPostcode(),
		FacilityCode: l.GetFacilityCode(), FacilityName: l.GetFacilityName(), FacilityType: l.GetFacilityType(),
	}
	for _, f := range [...]struct{ name, value string }{
		{".text", out.Text},
		{".city", out.City},
		{".region", out.Region},
		{".postcode", out.Postcode},
		{".facility_code", out.FacilityCode},
		{".facility_name", out.FacilityName},
		{".facility_type", out.FacilityType},
	} {
		if strings.IndexByte(f.value, 0) >= 0 {
			return track.Location{}, bad(field+f.name, "must not contain the character NUL")
		}
	}
	if c := out.Country; c != "" && (len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z') {
		return track.Location{}, bad(field+".country", "must be an ISO 3166-1 alpha-2 code in upper case")
	}
	if l.Latitude == nil && l.Longitude == nil {
		return out, nil
	}
	if l.Latitude == nil || !(math.Abs(l.GetLatitude()) <= 90) { // false for NaN too
		return track.Location{}, bad(field+".latitude", "must be from -90 to 90, given with longitude")
	}
	if l.Longitude == nil || !(math.Abs(l.GetLongitude()) <= 180) {
		return track.Location{}, bad(field+".longitude", "must be from -180 to 180, given with latitude")
	}
	out.Coordinates = &track.Coordinates{Latitude: l.GetLatitude(), Longitude: l.GetLongitude()}
	return out, nil
}

// identify derives an event's id. Without an event_id, what tells two events of
// one moment apart goes into the code: two estimates, or withdrawals of two
// events, may be alike in everything else.
func identify(w track.Waybill, e *ingestv1.ReportedEvent) track.EventID {
	if e.GetEventId() != "" {
		return track.DeriveID(track.IDParts{Waybill: w, SourceID: e.GetEventId()})
	}
	code := e.GetRawCode()
	if code == "" {
		code = e.GetStatus().String() + "/" + e.GetSubStatus().String()
	}
	if e.GetTargetEventId() != "" || e.GetEstimateTime() != "" {
		kind := e.GetKind()
		if kind == trackingv1.EventKind_EVENT_KIND_UNSPECIFIED {
			kind = trackingv1.EventKind_EVENT_KIND_EVENT // it means the same
		}
		code = strings.Join([]string{code, kind.String(), e.GetTargetEventId(), e.GetEstimateTime()}, "\x00")
	}
	return track.DeriveID(track.IDParts{
		Waybill: w, Time: e.GetEventTime(), Code: code, Location: e.GetLocation().GetText(), Text: e.GetText(),
	})
}

func bad(field, description string) *carrier.FieldError {
	return &carrier.FieldError{Field: field, Description: description}
}
