package payload

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends the body to b. The same push gives the same bytes: maps
// are written in order of their keys.
//
// It never fails. What JSON can't say is written as near as it can: a byte that
// isn't UTF-8 becomes U+FFFD, a coordinate that isn't finite null, a year
// outside 0 to 9999 the nearest of those. A nil map or slice is {} or [],
// except Trace, which is null.
func (p *Push) AppendJSON(b []byte) []byte {
	b = append(b, `{"type":`...)
	b = appendString(b, p.Type)
	b = append(b, `,"push_id":`...)
	b = appendString(b, p.PushID)
	b = append(b, `,"subscription_id":`...)
	b = appendString(b, p.SubscriptionID)
	b = append(b, `,"tenant_id":`...)
	b = appendString(b, p.TenantID)
	b = append(b, `,"metadata":`...)
	b = appendMap(b, p.Metadata)
	b = append(b, `,"after_revision":`...)
	b = strconv.AppendUint(b, p.AfterRevision, 10)
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, p.Revision, 10)
	b = append(b, `,"waybill":`...)
	b = p.Waybill.appendJSON(b)
	b = append(b, `,"events":`...)
	b = appendEvents(b, p.Events)
	b = append(b, `,"trace":`...)
	if p.Trace == nil {
		b = append(b, "null"...)
	} else {
		b = appendEvents(b, p.Trace)
	}
	return append(b, '}')
}

// MarshalJSON lets encoding/json write what [Push.AppendJSON] writes.
func (p Push) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil), nil }

func (w *Waybill) appendJSON(b []byte) []byte {
	b = append(b, `{"carrier_code":`...)
	b = appendString(b, w.CarrierCode)
	b = append(b, `,"waybill_number":`...)
	b = appendString(b, w.WaybillNumber)
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, w.Revision, 10)
	b = append(b, `,"status":`...)
	b = appendString(b, w.Status)
	b = append(b, `,"sub_status":`...)
	b = appendString(b, w.SubStatus)
	b = append(b, `,"status_name":`...)
	b = w.StatusName.appendJSON(b)
	b = append(b, `,"sub_status_name":`...)
	b = w.SubStatusName.appendJSON(b)
	b = append(b, `,"status_time":`...)
	b = appendOptionalTime(b, w.StatusTime)
	b = append(b, `,"status_event_id":`...)
	b = appendString(b, w.StatusEventID)
	b = append(b, `,"terminal":`...)
	b = strconv.AppendBool(b, w.Terminal)
	b = append(b, `,"signer":`...)
	b = appendString(b, w.Signer)
	b = append(b, `,"estimate":`...)
	if e := w.Estimate; e == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '{')
		b = e.appendFields(b)
		b = append(b, `,"source":`...)
		b = appendString(b, e.Source)
		b = append(b, `,"receive_time":`...)
		b = appendTime(b, e.ReceiveTime)
		b = append(b, '}')
	}
	b = append(b, `,"milestones":[`...)
	for i := range w.Milestones {
		m := &w.Milestones[i]
		b = appendComma(b, i)
		b = append(b, `{"status":`...)
		b = appendString(b, m.Status)
		b = append(b, `,"time":`...)
		b = appendTime(b, m.Time)
		b = append(b, `,"precision":`...)
		b = appendString(b, m.Precision)
		b = append(b, '}')
	}
	b = append(b, `],"links":[`...)
	for i := range w.Links {
		l := &w.Links[i]
		b = appendComma(b, i)
		b = append(b, `{"role":`...)
		b = appendString(b, l.Role)
		b = append(b, ',')
		b = appendNumber(b, l.CarrierCode, l.WaybillNumber)
		b = append(b, '}')
	}
	b = append(b, `],"event_count":`...)
	b = strconv.AppendInt(b, int64(w.EventCount), 10)
	b = append(b, `,"create_time":`...)
	b = appendTime(b, w.CreateTime)
	b = append(b, `,"update_time":`...)
	b = appendTime(b, w.UpdateTime)
	return append(b, '}')
}

func (n *Name) appendJSON(b []byte) []byte {
	b = append(b, `{"en":`...)
	b = appendString(b, n.English)
	b = append(b, `,"zh":`...)
	b = appendString(b, n.Chinese)
	return append(b, '}')
}

func (w *Window) appendFields(b []byte) []byte {
	b = append(b, `"from":`...)
	b = appendTime(b, w.From)
	b = append(b, `,"to":`...)
	b = appendOptionalTime(b, w.To)
	b = append(b, `,"precision":`...)
	b = appendString(b, w.Precision)
	b = append(b, `,"offset_source":`...)
	return appendString(b, w.OffsetSource)
}

func appendEvents(b []byte, events []Event) []byte {
	b = append(b, '[')
	for i := range events {
		b = appendComma(b, i)
		b = events[i].appendJSON(b)
	}
	return append(b, ']')
}

func (e *Event) appendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"kind":`...)
	b = appendString(b, e.Kind)
	b = append(b, `,"target_event_id":`...)
	b = appendString(b, e.TargetEventID)
	b = append(b, `,"voided_by":`...)
	b = appendString(b, e.VoidedBy)
	b = append(b, `,"corrected_by":`...)
	b = appendString(b, e.CorrectedBy)
	b = append(b, `,"duplicate_of":`...)
	b = appendString(b, e.DuplicateOf)
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, e.Revision, 10)
	b = append(b, `,"event_time":`...)
	b = appendTime(b, e.EventTime)
	b = append(b, `,"local_time":`...)
	b = appendString(b, e.LocalTime)
	b = append(b, `,"utc_offset_seconds":`...)
	if e.UTCOffsetSeconds == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, int64(*e.UTCOffsetSeconds), 10)
	}
	b = append(b, `,"offset_source":`...)
	b = appendString(b, e.OffsetSource)
	b = append(b, `,"precision":`...)
	b = appendString(b, e.Precision)
	b = append(b, `,"receive_time":`...)
	b = appendTime(b, e.ReceiveTime)
	b = append(b, `,"order_hint":`...)
	b = strconv.AppendInt(b, int64(e.OrderHint), 10)
	b = append(b, `,"status":`...)
	b = appendString(b, e.Status)
	b = append(b, `,"sub_status":`...)
	b = appendString(b, e.SubStatus)
	b = append(b, `,"text":`...)
	b = appendString(b, e.Text)
	b = append(b, `,"language":`...)
	b = appendString(b, e.Language)
	b = append(b, `,"location":`...)
	b = e.Location.appendJSON(b)
	b = append(b, `,"next_location":`...)
	if e.NextLocation == nil {
		b = append(b, "null"...)
	} else {
		b = e.NextLocation.appendJSON(b)
	}
	b = append(b, `,"courier":`...)
	if e.Courier == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, `{"name":`...)
		b = appendString(b, e.Courier.Name)
		b = append(b, `,"phone":`...)
		b = appendString(b, e.Courier.Phone)
		b = append(b, '}')
	}
	b = append(b, `,"signer":`...)
	b = appendString(b, e.Signer)
	b = append(b, `,"reason_code":`...)
	b = appendString(b, e.ReasonCode)
	b = append(b, `,"raw_code":`...)
	b = appendString(b, e.RawCode)
	b = append(b, `,"raw_sub_code":`...)
	b = appendString(b, e.RawSubCode)
	b = append(b, `,"transport_mode":`...)
	b = appendString(b, e.TransportMode)
	b = append(b, `,"vehicle":`...)
	b = appendString(b, e.Vehicle)
	b = append(b, `,"piece":`...)
	b = appendString(b, e.Piece)
	b = append(b, `,"leg":`...)
	if e.Leg == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '{')
		b = appendNumber(b, e.Leg.CarrierCode, e.Leg.WaybillNumber)
		b = append(b, '}')
	}
	b = append(b, `,"proof_urls":[`...)
	for i, u := range e.ProofURLs {
		b = appendComma(b, i)
		b = appendString(b, u)
	}
	b = append(b, `],"estimate":`...)
	if e.Estimate == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '{')
		b = e.Estimate.appendFields(b)
		b = append(b, '}')
	}
	b = append(b, `,"source":`...)
	b = appendString(b, e.Source)
	b = append(b, `,"attributes":`...)
	b = appendMap(b, e.Attributes)
	return append(b, '}')
}

func (l *Location) appendJSON(b []byte) []byte {
	b = append(b, `{"text":`...)
	b = appendString(b, l.Text)
	b = append(b, `,"city":`...)
	b = appendString(b, l.City)
	b = append(b, `,"region":`...)
	b = appendString(b, l.Region)
	b = append(b, `,"country":`...)
	b = appendString(b, l.Country)
	b = append(b, `,"postcode":`...)
	b = appendString(b, l.Postcode)
	b = append(b, `,"latitude":`...)
	b = appendOptionalFloat(b, l.Latitude)
	b = append(b, `,"longitude":`...)
	b = appendOptionalFloat(b, l.Longitude)
	b = append(b, `,"facility_code":`...)
	b = appendString(b, l.FacilityCode)
	b = append(b, `,"facility_name":`...)
	b = appendString(b, l.FacilityName)
	b = append(b, `,"facility_type":`...)
	b = appendString(b, l.FacilityType)
	return append(b, '}')
}

func appendNumber(b []byte, carrier, waybill string) []byte {
	b = append(b, `"carrier_code":`...)
	b = appendString(b, carrier)
	b = append(b, `,"waybill_number":`...)
	return appendString(b, waybill)
}

func appendComma(b []byte, i int) []byte {
	if i == 0 {
		return b
	}
	return append(b, ',')
}

// appendMap writes the keys in order. Up to 32, the most that subscriptions
// and events may have, are ordered without allocating.
func appendMap(b []byte, m map[string]string) []byte {
	if len(m) == 0 {
		return append(b, "{}"...)
	}
	var few [32]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		b = appendComma(b, i)
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, m[k])
	}
	return append(b, '}')
}

func appendOptionalTime(b []byte, t *time.Time) []byte {
	if t == nil {
		return append(b, "null"...)
	}
	return appendTime(b, *t)
}

// The years RFC 3339 can write.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

func appendTime(b []byte, t time.Time) []byte {
	// RFC 3339 has offsets of whole minutes below a day. Others, such as local
	// mean time, would come out as another instant.
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
		t = t.UTC()
	}
	switch year := t.Year(); {
	case year < 0:
		t = firstTime
	case year > 9999:
		t = lastTime
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

func appendOptionalFloat(b []byte, f *float64) []byte {
	if f == nil || math.IsNaN(*f) || math.IsInf(*f, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	// Coordinates never need an exponent; what isn't one could need 300 digits.
	if abs := math.Abs(*f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, *f, format, -1, 64)
}

const hex = "0123456789abcdef"

// plain marks the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString writes a JSON string. U+2028 and U+2029 are escaped: they end
// lines in what reads JSON as JavaScript.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	done := 0 // of s, written
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[done:i]...)
			b = appendEscaped(b, c)
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, s[done:i]...)
			b = append(b, "\ufffd"...)
			done = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(b, s[done:i]...)
			b = append(b, `\u202`...)
			b = append(b, hex[r&0xf])
			done = i + size
		}
		i += size
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	default:
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
	}
}
