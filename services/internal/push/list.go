package push

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// china is the clock of both platforms.
var china = time.FixedZone("CST", 8*60*60)

// ChinaTime writes a time as both platforms do.
func ChinaTime(t time.Time) string { return t.In(china).Format(time.DateTime) }

// chinaClock is an event's time as both platforms write it. A date, and a clock
// whose place isn't known, are written as they were told.
func chinaClock(t track.Time) string {
	if t.OffsetSource == track.OffsetUnknown || t.Precision == track.PrecisionDate {
		return t.Wall.Format(time.DateTime)
	}
	return ChinaTime(t.Instant())
}

// listed are the events that a platform's list holds, in order of time: those in
// force that say something of the parcel. That a source gave up is told by the
// state alone.
func listed(t *track.Trace) []*track.Event {
	list := make([]*track.Event, 0, len(t.Events))
	for i := range t.Events {
		e := &t.Events[i]
		switch {
		case e.Kind == track.KindVoid, e.Kind == track.KindEstimate, e.VoidedBy != "", e.CorrectedBy != "", e.DuplicateOf != "":
		case e.Kind == track.KindInfo && e.Text == "", e.Status == status.Expired:
		default:
			list = append(list, e)
		}
	}
	return list
}

// words are what a list says of an event: its text, or else its status.
func words(e *track.Event) string {
	switch {
	case e.Text != "":
		return e.Text
	case e.Sub != 0:
		return e.Sub.Chinese()
	default:
		return e.Status.Chinese()
	}
}

// city is the shortest name of where an event happened.
func city(e *track.Event) string {
	switch {
	case e.Location.City != "":
		return e.Location.City
	case e.Location.Text != "":
		return e.Location.Text
	case e.Location.FacilityName != "":
		return e.Location.FacilityName
	case e.Location.Region != "":
		return e.Location.Region
	default:
		return e.Location.Country
	}
}

// stateEvent is the event that gave a trace its status; nil when none did.
func stateEvent(t *track.Trace) *track.Event {
	for i := range t.Events {
		if t.Events[i].ID == t.State.EventID && t.State.EventID != "" {
			return &t.Events[i]
		}
	}
	return nil
}

// courier is who has the parcel for delivery, as far as the newest of a list
// tell; empty when it isn't on its way to the recipient.
func courier(list []*track.Event) track.Person {
	if n := len(list); n > 0 && list[n-1].Status == status.OutForDelivery {
		return list[n-1].Courier
	}
	return track.Person{}
}

// encode writes JSON as the platforms do: characters as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("push: " + err.Error()) // only for types that JSON can't write
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// keep puts what an attempt needs beside a document before it, as a line.
func keep(head any, document []byte) []byte {
	return append(append(encode(head), '\n'), document...)
}

// kept takes apart what keep made. What has no head reads as having an empty
// one.
func kept(b []byte, head any) (document []byte) {
	line, document, found := bytes.Cut(b, []byte("\n"))
	if !found || json.Unmarshal(line, head) != nil {
		return b
	}
	return document
}

// formType is how both platforms post.
const formType = "application/x-www-form-urlencoded;charset=utf-8"

// form writes pairs as a form, in order; blanks are %20, which every decoder
// reads, unlike the plus.
func form(pairs ...string) []byte {
	var b bytes.Buffer
	for i := 0; i+1 < len(pairs); i += 2 {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i])
		b.WriteByte('=')
		escape(&b, pairs[i+1])
	}
	return b.Bytes()
}

func escape(b *bytes.Buffer, s string) {
	const hex = "0123456789ABCDEF"
	b.Grow(len(s) + len(s)/2)
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
}
