// Package push holds the decisions about one push: what its body says, and what
// becomes of it after an attempt. It is pure: no I/O, and time is an argument.
package push

import (
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Subscription is what a body says of the subscription it is for.
type Subscription struct {
	ID       string // "sub_…"
	TenantID string
	Metadata map[string]string
	// Terms are what a platform's subscriber asked for, in JSON: [KdniaoTerms] or
	// [Kuaidi100Terms]; empty for none.
	Terms []byte
	// AccountID is the platform account that the endpoint belongs to; empty for none.
	AccountID string
	// IncludeTrace is the endpoint's wish to have the whole trace in each push.
	IncludeTrace bool
	// Mask hides personal data, for tenants that may not have it.
	Mask bool
}

// ID names the push that brings a subscription up to a revision: "psh_", the
// subscription's id without "sub_", and the revision. There is one push for
// the two, whoever makes it and however often.
func ID(subscriptionID string, revision track.Revision) string {
	return "psh_" + strings.TrimPrefix(subscriptionID, "sub_") + "_" + strconv.FormatUint(uint64(revision), 10)
}

// ParseID reads what [ID] made.
func ParseID(id string) (subscriptionID string, revision track.Revision, ok bool) {
	rest, ok := strings.CutPrefix(id, "psh_")
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 1 {
		return "", 0, false
	}
	r, err := strconv.ParseUint(rest[i+1:], 10, 63)
	return "sub_" + rest[:i], track.Revision(r), err == nil && r > 0
}

// Render says what changed in a waybill after a revision, up to the trace's
// own. It looks at nothing else, not even a clock: the same arguments give the
// same body. Of events up to that revision it needs no more than the revision,
// unless the whole trace is to be included. The result shares the metadata and the events' maps and slices,
// so write it before they change.
func Render(sub Subscription, t *track.Trace, after track.Revision) payload.Push {
	p := payload.Push{
		Type:           payload.TypeTraceUpdated,
		PushID:         ID(sub.ID, t.Revision),
		SubscriptionID: sub.ID,
		TenantID:       sub.TenantID,
		Metadata:       sub.Metadata,
		AfterRevision:  uint64(after),
		Revision:       uint64(t.Revision),
		Waybill:        renderWaybill(t),
	}
	changed := 0
	for i := range t.Events {
		if t.Events[i].Revision > after {
			changed++
		}
	}
	p.Events = make([]payload.Event, 0, changed)
	if sub.IncludeTrace {
		p.Trace = make([]payload.Event, 0, len(t.Events))
	}
	for i := range t.Events {
		isNew := t.Events[i].Revision > after
		if !isNew && !sub.IncludeTrace {
			continue
		}
		e := renderEvent(&t.Events[i])
		if isNew {
			p.Events = append(p.Events, e)
		}
		if sub.IncludeTrace {
			p.Trace = append(p.Trace, e)
		}
	}
	return p
}

func renderWaybill(t *track.Trace) payload.Waybill {
	s := &t.State
	w := payload.Waybill{
		CarrierCode:   string(t.Waybill.Carrier),
		WaybillNumber: string(t.Waybill.Number),
		Revision:      uint64(t.Revision),
		Status:        s.Status.String(),
		SubStatus:     s.Sub.String(),
		StatusName:    payload.Name{English: s.Status.English(), Chinese: s.Status.Chinese()},
		SubStatusName: payload.Name{English: s.Sub.English(), Chinese: s.Sub.Chinese()},
		StatusTime:    optionalMoment(s.Since),
		StatusEventID: string(s.EventID),
		Terminal:      s.Terminal,
		Signer:        s.Signer,
		EventCount:    len(t.Events),
		CreateTime:    t.CreateTime.UTC(),
		UpdateTime:    t.UpdateTime.UTC(),
	}
	if e := s.Estimate; e != nil {
		w.Estimate = &payload.Estimate{Window: renderWindow(e.From, e.To), Source: e.Source, ReceiveTime: e.ReceiveTime.UTC()}
	}
	if len(s.Milestones) > 0 {
		w.Milestones = make([]payload.Milestone, len(s.Milestones))
		for i, m := range s.Milestones {
			w.Milestones[i] = payload.Milestone{Status: m.Status.String(), Time: moment(m.Time), Precision: precision(m.Time.Precision)}
		}
	}
	if len(t.Links) > 0 {
		w.Links = make([]payload.Link, len(t.Links))
		for i, l := range t.Links {
			w.Links[i] = payload.Link{Role: role(l.Role), CarrierCode: string(l.Waybill.Carrier), WaybillNumber: string(l.Waybill.Number)}
		}
	}
	return w
}

func renderEvent(e *track.Event) payload.Event {
	p := payload.Event{
		ID:            string(e.ID),
		Kind:          kind(e.Kind),
		TargetEventID: string(e.Target),
		VoidedBy:      string(e.VoidedBy),
		CorrectedBy:   string(e.CorrectedBy),
		DuplicateOf:   string(e.DuplicateOf),
		Revision:      uint64(e.Revision),
		EventTime:     moment(e.Time),
		LocalTime:     localTime(e.Time),
		OffsetSource:  offsetSource(e.Time.OffsetSource),
		Precision:     precision(e.Time.Precision),
		ReceiveTime:   e.ReceiveTime.UTC(),
		OrderHint:     e.OrderHint,
		Status:        e.Status.String(),
		SubStatus:     e.Sub.String(),
		Text:          e.Text,
		Language:      e.Language,
		Location:      renderLocation(&e.Location),
		Signer:        e.Signer,
		ReasonCode:    e.ReasonCode,
		RawCode:       e.RawCode,
		RawSubCode:    e.RawSubCode,
		TransportMode: e.TransportMode,
		Vehicle:       e.Vehicle,
		Piece:         e.Piece,
		ProofURLs:     e.ProofURLs,
		Source:        e.Provenance.Source,
		Attributes:    e.Attributes,
	}
	if e.Time.OffsetSource != track.OffsetUnknown {
		p.UTCOffsetSeconds = new(int32(e.Time.Offset / time.Second))
	}
	if e.NextLocation != (track.Location{}) {
		p.NextLocation = new(renderLocation(&e.NextLocation))
	}
	if e.Courier != (track.Person{}) {
		p.Courier = &payload.Person{Name: e.Courier.Name, Phone: e.Courier.Phone}
	}
	if e.Leg != (track.Waybill{}) {
		p.Leg = &payload.Leg{CarrierCode: string(e.Leg.Carrier), WaybillNumber: string(e.Leg.Number)}
	}
	if !e.Estimate.IsZero() {
		p.Estimate = new(renderWindow(e.Estimate, e.EstimateTo))
	}
	return p
}

func renderLocation(l *track.Location) payload.Location {
	p := payload.Location{
		Text: l.Text, City: l.City, Region: l.Region, Country: l.Country, Postcode: l.Postcode,
		FacilityCode: l.FacilityCode, FacilityName: l.FacilityName, FacilityType: l.FacilityType,
	}
	if c := l.Coordinates; c != nil {
		p.Latitude, p.Longitude = &c.Latitude, &c.Longitude
	}
	return p
}

func renderWindow(from, to track.Time) payload.Window {
	return payload.Window{
		From: moment(from), To: optionalMoment(to),
		Precision: precision(from.Precision), OffsetSource: offsetSource(from.OffsetSource),
	}
}

// moment is the instant in a zone that shows the clock at the place. An unknown
// offset counts as zero, so the clock is right then too.
func moment(t track.Time) time.Time {
	if t.OffsetSource == track.OffsetUnknown || t.Offset == 0 {
		return t.Instant()
	}
	return t.Instant().In(time.FixedZone("", int(t.Offset/time.Second)))
}

func optionalMoment(t track.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(moment(t))
}

func localTime(t track.Time) string {
	if t.Precision == track.PrecisionDate {
		return t.Wall.Format(time.DateOnly)
	}
	return t.Wall.Format("2006-01-02T15:04:05.999999999")
}

func kind(k track.Kind) string {
	switch k {
	case track.KindEvent:
		return "event"
	case track.KindInfo:
		return "info"
	case track.KindEstimate:
		return "estimate"
	case track.KindVoid:
		return "void"
	case track.KindCorrection:
		return "correction"
	default:
		return ""
	}
}

func offsetSource(s track.OffsetSource) string {
	switch s {
	case track.OffsetGiven:
		return "given"
	case track.OffsetFacility:
		return "facility"
	case track.OffsetCountry:
		return "country"
	case track.OffsetCarrierDefault:
		return "carrier_default"
	default:
		return "unknown"
	}
}

func precision(p track.Precision) string {
	switch p {
	case track.PrecisionMinute:
		return "minute"
	case track.PrecisionDate:
		return "date"
	default:
		return "second"
	}
}

func role(r track.LinkRole) string {
	switch r {
	case track.LinkLastMile:
		return "last_mile"
	case track.LinkReturn:
		return "return"
	case track.LinkPiece:
		return "piece"
	case track.LinkParent:
		return "parent"
	case track.LinkCorrected:
		return "corrected"
	default:
		return ""
	}
}
