package carrier

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/track"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asked is the waybill that was asked for, where an answer names none.
var asked = track.Waybill{Carrier: "parcelone", Number: "P1000000001"}

var received = time.Date(2025, 6, 5, 4, 0, 0, 0, time.UTC)

// goldenPart is what a part became, said for a reader. Ids are left out: they
// are checked apart.
type goldenPart struct {
	Waybill  string            `json:"waybill,omitempty"`
	Context  map[string]string `json:"context,omitempty"`
	Error    string            `json:"error,omitempty"`
	Events   []goldenEvent     `json:"events,omitempty"`
	Links    []track.Link      `json:"links,omitempty"`
	Unmapped []string          `json:"unmapped,omitempty"`
}

type goldenEvent struct {
	Order      int               `json:"order"`
	Kind       track.Kind        `json:"kind"`
	Time       string            `json:"time"`
	Status     string            `json:"status"`
	Raw        string            `json:"raw,omitempty"`
	RawSub     string            `json:"raw_sub,omitempty"`
	Rule       string            `json:"rule,omitempty"`
	Confidence int               `json:"confidence"`
	Text       string            `json:"text,omitempty"`
	Language   string            `json:"language,omitempty"`
	Location   string            `json:"location,omitempty"`
	Next       string            `json:"next,omitempty"`
	Leg        string            `json:"leg,omitempty"`
	Piece      string            `json:"piece,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Courier    track.Person      `json:"courier,omitzero"`
	Signer     string            `json:"signer,omitempty"`
	Estimate   string            `json:"estimate,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

func sayTime(t track.Time) string {
	if t.IsZero() {
		return ""
	}
	precision := [...]string{"none", "second", "minute", "date"}[t.Precision]
	source := [...]string{"unknown", "given", "facility", "country", "carrier default"}[t.OffsetSource]
	return t.Wall.Format("2006-01-02 15:04:05.999") + " " + t.Offset.String() + ", " + source + ", " + precision
}

func sayPlace(l track.Location) string {
	if l == (track.Location{}) {
		return ""
	}
	s := strings.Join([]string{l.Text, "city " + l.City, "region " + l.Region, "country " + l.Country}, "; ")
	if l.Postcode != "" {
		s += "; postcode " + l.Postcode
	}
	if f := strings.TrimSpace(strings.Join([]string{l.FacilityCode, l.FacilityName, l.FacilityType}, " ")); f != "" {
		s += "; facility " + f
	}
	if l.Coordinates != nil {
		s += fmt.Sprintf("; %g, %g", l.Coordinates.Latitude, l.Coordinates.Longitude)
	}
	return s
}

// mapAll splits and maps a document, and checks what holds of every one.
func mapAll(t *testing.T, source Source, doc []byte) []goldenPart {
	t.Helper()
	parts, err := source.Answer(doc, asked)
	if err != nil {
		return []goldenPart{{Error: err.Error()}}
	}
	var all []goldenPart
	for _, p := range parts {
		g := goldenPart{Waybill: string(p.Carrier) + "/" + string(p.Number), Context: p.Context}
		if !bytes.Contains(doc, p.Body) && !escaped(doc, p.Body) {
			t.Errorf("the body of %s isn't in the document byte for byte", g.Waybill)
		}
		if p.Err != nil {
			g.Error = p.Err.Error()
			all = append(all, g)
			continue
		}
		raw := Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: received}
		report, err := source.Map(raw)
		if err != nil {
			t.Fatalf("Split takes what Map refuses: %v", err)
		}
		checkReport(t, source, raw, report)
		g.Links, g.Unmapped = report.Links, report.Unmapped
		for i := range report.Events {
			g.Events = append(g.Events, goldenOf(&report.Events[i]))
		}
		all = append(all, g)
	}
	return all
}

// escaped reports whether a body stands in a document inside a string, as SF's
// answers have it.
func escaped(doc, body []byte) bool {
	var answer struct{ APIResultData string }
	return json.Unmarshal(doc, &answer) == nil && strings.Contains(answer.APIResultData, string(body))
}

func goldenOf(e *track.Event) goldenEvent {
	s := e.Status.String()
	if e.Sub != 0 {
		s = e.Sub.String()
	}
	g := goldenEvent{
		Order: e.OrderHint, Kind: e.Kind, Time: sayTime(e.Time), Status: s, Raw: e.RawCode, RawSub: e.RawSubCode, Rule: e.Provenance.MappingRule,
		Confidence: e.Provenance.Confidence, Text: e.Text, Language: e.Language, Location: sayPlace(e.Location), Next: sayPlace(e.NextLocation),
		Piece: e.Piece, Reason: e.ReasonCode, Courier: e.Courier, Signer: e.Signer, Estimate: sayTime(e.Estimate), Attributes: e.Attributes,
	}
	if e.Leg != (track.Waybill{}) {
		g.Leg = string(e.Leg.Carrier) + "/" + string(e.Leg.Number)
	}
	if !e.EstimateTo.IsZero() {
		g.Estimate += " to " + sayTime(e.EstimateTo)
	}
	return g
}

// checkReport checks what holds of every report.
func checkReport(t testing.TB, source Source, raw Raw, r track.Report) {
	t.Helper()
	if r.Waybill != raw.Waybill || !r.ReceiveTime.Equal(raw.ReceiveTime) {
		t.Errorf("the report is of %v at %v", r.Waybill, r.ReceiveTime)
	}
	ids := map[track.EventID]bool{}
	for i := range r.Events {
		e := &r.Events[i]
		switch {
		case e.ID == "" || ids[e.ID]:
			t.Errorf("event %d has the id %q", i, e.ID)
		case e.Time.IsZero() || e.Time.Precision == 0 || e.Time.Wall.Location() != time.UTC:
			t.Errorf("event %d has the time %+v", i, e.Time)
		case e.Sub != 0 && e.Sub.Status() != e.Status || !e.Sub.Valid():
			t.Errorf("event %d is %v with %v", i, e.Status, e.Sub)
		case e.OrderHint != i+1:
			t.Errorf("event %d has the hint %d", i, e.OrderHint)
		case e.Kind != track.KindEvent && e.Kind != track.KindInfo && e.Kind != track.KindEstimate:
			t.Errorf("event %d is of kind %d", i, e.Kind)
		case e.Provenance.Source != source.Code || e.Provenance.Kind != source.Kind || e.Provenance.MappingVersion != MappingVersion:
			t.Errorf("event %d comes from %+v", i, e.Provenance)
		}
		ids[e.ID] = true
	}
	again, err := source.Map(raw)
	if diff := cmp.Diff(r, again); err != nil || diff != "" {
		t.Errorf("the same part maps otherwise: %v %s", err, diff)
	}
}

func TestSources_MapDocumentsAsTheGoldenFilesSay(t *testing.T) {
	t.Parallel()
	for _, source := range Sources() {
		names, err := filepath.Glob(filepath.Join("testdata", source.Code, "*.raw"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no documents of %s: %v", source.Code, err)
		}
		for _, name := range names {
			t.Run(source.Code+"/"+filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				doc, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				out := json.NewEncoder(&got)
				out.SetIndent("", " ")
				out.SetEscapeHTML(false)
				if err := out.Encode(mapAll(t, source, doc)); err != nil {
					t.Fatal(err)
				}
				golden := strings.TrimSuffix(name, ".raw") + ".golden.json"
				if *update {
					if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}
