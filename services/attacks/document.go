package attacks

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// runJSON sends a document in JSON, signed well, and looks at what became of it.
func runJSON(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	number := strings.ToUpper(w.fresh("JSON"))
	body, field, err := documentJSON(&c.Input, number)
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	a, err := p.do(ctx, push("sf", typeJSON, body))
	if err != nil {
		return nil, err
	}
	o.see(w, a)
	o.check(".", p.harmless(ctx, w, a, number, body))
	if field != "" {
		o.check("neighbour|processed|quarantine", p.besides(ctx, w, body))
	}
	return o, nil
}

// documentJSON makes the document of a case: its own, or a well-formed event with
// one field of the case's.
func documentJSON(in *Map, number string) (doc []byte, field string, err error) {
	switch {
	case in.Has("raw"):
		return []byte(in.Text("raw")), "", nil
	case in.Has("raw_hex"):
		doc, err = hex.DecodeString(strings.ReplaceAll(in.Text("raw_hex"), " ", ""))
		return doc, "", err
	case in.Has("raw_repeat"):
		doc, err = repeated(in.Map("raw_repeat"))
		return doc, "", err
	case in.Has("field"):
		field = in.Text("field")
		value, err := fieldValue(in)
		if err != nil {
			return nil, "", err
		}
		e := event(number)
		delete(e, field)
		rest := encode(e)
		return []byte(`{` + string(encode(field)) + `:` + value + `,` + string(rest[1:])), field, nil
	}
	return nil, "", fmt.Errorf("the case has no document: %w", in.rest())
}

// fieldValue is a case's value as it stands in JSON.
func fieldValue(in *Map) (string, error) {
	switch {
	case in.Has("value_escaped"):
		return `"` + in.Text("value_escaped") + `"`, nil
	case in.Has("value_hex"):
		b, err := hex.DecodeString(strings.ReplaceAll(in.Text("value_hex"), " ", ""))
		return `"` + string(b) + `"`, err
	case in.Has("value_raw"):
		return in.Text("value_raw"), nil
	case in.Has("value_repeat"):
		b, err := repeated(in.Map("value_repeat"))
		return string(encode(string(b))), err
	case in.Has("value"):
		return string(encode(in.Any("value"))), nil
	}
	return "", errors.New("the case's field has no value")
}

func repeated(m Map) ([]byte, error) {
	key := "depth"
	if m.Has("count") {
		key = "count"
	}
	n, err := m.Number(key)
	if err != nil {
		return nil, err
	}
	if m.Has("char") {
		return []byte(m.Text("prefix") + strings.Repeat(m.Text("char"), n) + m.Text("suffix")), m.rest()
	}
	doc := strings.Repeat(m.Text("open"), n) + m.Text("middle") + strings.Repeat(m.Text("close"), n)
	return []byte(doc), m.rest()
}

// harmless says whether an answer is a refusal in words, or what was taken is
// stored as it was meant and stands in nobody's way.
func (p *product) harmless(ctx context.Context, w *World, a answer, number string, body []byte) error {
	if err := p.flows(ctx, w); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	if a.status >= 400 && a.status < 500 {
		var said struct{ Error string }
		if err := json.Unmarshal(a.body, &said); err != nil || said.Error == "" {
			return fmt.Errorf("the refusal says nothing: %q", a.body)
		}
		return nil
	}
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		return fmt.Errorf("answered %d", a.status)
	}
	events, err := p.awaitTrace(ctx, "sf", number, 1)
	if err != nil {
		return fmt.Errorf("it was accepted as something else than was sent: %w", err)
	}
	for _, e := range events {
		for _, text := range []string{e.GetText(), e.GetRawCode(), e.GetSigner(), e.GetLocation().GetText()} {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
				return unicode.IsControl(r) || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
			}) {
				return fmt.Errorf("stored as %q", text)
			}
		}
	}
	_ = body
	return p.moves(ctx, w, number)
}

// moves says whether a waybill still follows what happens now: a time that can't be
// mustn't hold its status for ever.
func (p *product) moves(ctx context.Context, _ *World, number string) error {
	before := len(p.trace(ctx, "sf", number))
	rep, err := p.reports.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: "sf", WaybillNumber: number, EventTime: time.Now().Format(time.RFC3339), Status: trackingv1.Status_STATUS_OUT_FOR_DELIVERY, Text: "later",
	}}})
	if err != nil || rep.GetAcceptedCount() != 1 {
		return fmt.Errorf("a later event isn't taken: %w", err)
	}
	if _, err := p.awaitTrace(ctx, "sf", number, before+1); err != nil {
		return err
	}
	got, err := p.waybills.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: "waybills/sf/" + number})
	if err != nil {
		return err
	}
	if s := got.GetWaybill().GetStatus(); s != trackingv1.Status_STATUS_OUT_FOR_DELIVERY {
		return fmt.Errorf("the waybill stands at %s whatever comes later", s)
	}
	return nil
}

// besides sends a bad event beside a good one: the good one must be taken.
func (p *product) besides(ctx context.Context, w *World, bad []byte) error {
	good := strings.ToUpper(w.fresh("GOOD"))
	body := []byte(`{"events":[` + string(bad) + `,` + string(encode(event(good))) + `]}`)
	a, err := p.do(ctx, push("sf", typeJSON, body))
	if err != nil {
		return err
	}
	if a.status == http.StatusBadRequest {
		return nil // the document as a whole can't be read, and its sender knows
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("a bad event beside a good one is answered %d: %s", a.status, a.body)
	}
	_, err = p.awaitTrace(ctx, "sf", good, 1)
	return err
}

var local = regexp.MustCompile(`https?://(127\.0\.0\.1|localhost):(\d+)`)

// runXML sends a document in XML, signed well.
func runXML(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	number := strings.ToUpper(w.fresh("XML"))
	in := &c.Input
	text := "on its way"
	var body []byte
	switch {
	case in.Has("raw"):
		body = []byte(in.Text("raw"))
	case in.Has("raw_hex"):
		if body, err = hex.DecodeString(strings.ReplaceAll(in.Text("raw_hex"), " ", "")); err != nil {
			return nil, err
		}
	case in.Has("raw_repeat"):
		if body, err = repeated(in.Map("raw_repeat")); err != nil {
			return nil, err
		}
	case in.Has("encoding"):
		if in.Has("text") {
			text = in.Text("text")
		}
		if body, err = documentXML(in.Text("encoding"), number, text); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("the case has no document: %w", in.rest())
	}
	called := canary(ctx, string(body))
	a, err := p.do(ctx, push("sf", typeXML, body))
	if err != nil {
		return nil, err
	}
	o.see(w, a)
	o.holds("connection|fetch", called() == 0, "%d connections came from reading it", called())
	o.holds("file|passwd", !says(string(a.body)+w.Log.text(), "root:", "/bin/"), "the answer or the log holds the file")
	if a.status == http.StatusOK {
		events, err := p.awaitTrace(ctx, "sf", number, 1)
		if err == nil && events[0].GetText() != text {
			err = fmt.Errorf("it arrived as %q", events[0].GetText())
		}
		o.check("arrives|UTF-8|text", err)
	}
	o.check("flow|next|memory", p.flows(ctx, w))
	return o, nil
}

func documentXML(name, number, text string) ([]byte, error) {
	doc := `<?xml version="1.0" encoding="` + name + `"?><events><event><waybill>` + number + `</waybill><event_time>` + time.Now().Format(time.RFC3339) +
		`</event_time><status>IN_TRANSIT</status><description>` + text + `</description></event></events>`
	encodings := map[string]encoding.Encoding{"GBK": simplifiedchinese.GBK, "GB2312": simplifiedchinese.GBK, "GB18030": simplifiedchinese.GB18030, "BIG5": traditionalchinese.Big5}
	if e, ok := encodings[strings.ToUpper(name)]; ok {
		return e.NewEncoder().Bytes([]byte(doc))
	}
	return []byte(doc), nil
}

// canary listens where a document points to on this machine, and counts who comes.
func canary(ctx context.Context, doc string) func() int64 {
	var n atomic.Int64
	for _, m := range local.FindAllStringSubmatch(doc, -1) {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+m[2])
		if err != nil {
			continue // the port is another's, or not for us
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				n.Add(1)
				_ = conn.Close()
			}
		}()
	}
	return n.Load
}
