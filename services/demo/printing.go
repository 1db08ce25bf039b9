package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/posthaste/posthaste/pkg/payload"
)

// printer writes for people. Callbacks come from several goroutines.
type printer struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *printer) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// push shows a callback: where the parcel stands, and the events that are new.
func (p *printer) push(push payload.Push, news []payload.Event) {
	w := push.Waybill
	lines := []string{fmt.Sprintf("  ← callback %s %s  revision %d  %s", w.CarrierCode, w.WaybillNumber, push.Revision, standing(w))}
	for _, e := range news {
		lines = append(lines, "      "+strings.Join(eventWords(e), "  "))
	}
	p.say("%s", strings.Join(lines, "\n"))
}

// standing is the status in both languages, and the detail if there is one.
func standing(w payload.Waybill) string {
	s := w.StatusName.Chinese + " " + w.StatusName.English
	if w.SubStatus != "" {
		s += " (" + w.SubStatusName.Chinese + " " + w.SubStatusName.English + ")"
	}
	if w.Terminal {
		s += " ■"
	}
	return s
}

// eventWords are an event's local time, place and text.
func eventWords(e payload.Event) []string {
	at := strings.Replace(e.LocalTime, "T", " ", 1)
	if e.UTCOffsetSeconds != nil {
		at += e.EventTime.Format(" Z07:00")
	}
	words := []string{at}
	for _, word := range []string{place(e.Location), e.Text} {
		if word != "" {
			words = append(words, word)
		}
	}
	if e.VoidedBy != "" || e.CorrectedBy != "" {
		words = append(words, "(withdrawn)")
	}
	return words
}

func place(l payload.Location) string {
	for _, word := range []string{l.Text, l.City, l.FacilityName, l.Region} {
		if word != "" {
			return word
		}
	}
	return l.Country
}
