package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/track"
)

// normalizeCmd shows what Posthaste makes of a source's documents, without
// taking them in.
type normalizeCmd struct {
	Source  string   `env:"-" required:"" enum:"${sources}" help:"Whose documents they are: ${enum}."`
	Waybill string   `env:"-" placeholder:"CARRIER/NUMBER" help:"The waybill that was asked for, where an answer names none."`
	Files   []string `arg:"" name:"file" type:"existingfile" help:"A document, bare or as the form it was pushed in. Several are taken in, in this order."`
}

// Run is called by kong.
func (c *normalizeCmd) Run() error {
	n := normalization{now: time.Now(), errors: os.Stderr, traces: map[track.Waybill]*track.Trace{}}
	if carrierCode, number, ok := strings.Cut(c.Waybill, "/"); ok {
		n.asked = track.Waybill{Carrier: track.Carrier(carrierCode), Number: track.Number(number)}
	}
	for _, name := range c.Files {
		doc, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read document: %w", err)
		}
		if c.Source == canonical.Source {
			n.addCanonical(name, doc)
		} else if source, ok := carrier.Lookup(c.Source); ok {
			n.add(name, source, source.Document(doc))
		}
	}
	if err := n.print(os.Stdout); err != nil {
		return err
	}
	if n.rejected > 0 {
		return fmt.Errorf("%d of the parts can't be used", n.rejected)
	}
	return nil
}

// normalization is the traces of the documents so far.
type normalization struct {
	now      time.Time
	asked    track.Waybill
	errors   io.Writer
	order    []track.Waybill
	traces   map[track.Waybill]*track.Trace
	rejected int
}

// reject says what of a file can't be used.
func (n *normalization) reject(file string, err error) {
	n.rejected++
	_, _ = fmt.Fprintf(n.errors, "%s: %s\n", file, err)
}

// add takes in a source's document.
func (n *normalization) add(file string, source carrier.Source, doc []byte) {
	parts, err := source.Answer(doc, n.asked)
	if err != nil {
		n.reject(file, err)
	}
	for _, p := range parts {
		if p.Err != nil {
			n.reject(file, p.Err)
			continue
		}
		report, err := source.Map(carrier.Raw{
			Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind,
			Body: p.Body, Context: p.Context, ReceiveTime: n.now,
		})
		if err != nil {
			n.reject(file, err)
			continue
		}
		for _, code := range report.Unmapped {
			_, _ = fmt.Fprintf(n.errors, "%s: no rule knows the code %s\n", file, code)
		}
		n.merge(report)
	}
}

// addCanonical takes in a ReportEventsRequest in JSON.
func (n *normalization) addCanonical(file string, doc []byte) {
	var req ingestv1.ReportEventsRequest
	if err := protojson.Unmarshal(doc, &req); err != nil {
		n.reject(file, err)
		return
	}
	for i, e := range req.GetEvents() {
		w, event, wrong := canonical.Event(e, n.now)
		if wrong != nil {
			n.reject(file, fmt.Errorf("events[%d].%w", i, wrong))
			continue
		}
		n.merge(track.Report{Waybill: w, Events: []track.Event{event}, ReceiveTime: n.now})
	}
}

func (n *normalization) merge(r track.Report) {
	old, known := n.traces[r.Waybill]
	if !known {
		n.order = append(n.order, r.Waybill)
	}
	t, _ := track.Merge(old, r, n.now)
	n.traces[r.Waybill] = t
}

// print writes each waybill's trace as a push would say it.
func (n *normalization) print(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	for _, id := range n.order {
		t := n.traces[id]
		if t == nil { // the documents said nothing of it
			continue
		}
		p := push.Render(push.Subscription{IncludeTrace: true}, t, 0)
		var said struct {
			Waybill json.RawMessage `json:"waybill"`
			Trace   json.RawMessage `json:"trace"`
		}
		if err := json.Unmarshal(p.AppendJSON(nil), &said); err != nil {
			return errors.Join(errors.New("read the rendered trace"), err)
		}
		if err := out.Encode(said); err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
	}
	return nil
}
