package app_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/posthaste/posthaste/services/internal/app"
)

const (
	metricsDoc   = "../../../docs/metrics.md"
	metricsBegin = "<!-- metrics: made by go test ./internal/app -run TestMetrics -update -->\n"
	metricsEnd   = "<!-- end of metrics -->\n"
)

// family is an instrument as Prometheus names it.
func family(i sdkmetric.Instrument) (name, kind string) {
	name = i.Name
	switch i.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	switch i.Kind {
	case sdkmetric.InstrumentKindCounter, sdkmetric.InstrumentKindObservableCounter:
		return name + "_total", "counter"
	case sdkmetric.InstrumentKindHistogram:
		return name, "histogram"
	default:
		return name, "gauge"
	}
}

func metrics(t *testing.T, a *app.App) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addresses().Ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestMetrics_AreThoseOfTheDocument: docs/metrics.md lists what a real all-in-one
// measures, and what it shows is in the list.
func TestMetrics_AreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	a := start(t, app.AllInOne, config(t, t.TempDir()))
	// Some are made when the first shard is owned.
	shows := metrics(t, a)
	for !strings.Contains(shows, "posthaste_normalizer_pending_messages{") || !strings.Contains(shows, "posthaste_query_projection_lag_seconds{") {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		shows = metrics(t, a)
	}
	var table strings.Builder
	table.WriteString("| metric | kind | what |\n| --- | --- | --- |\n")
	known := map[string]string{}
	for _, i := range a.Instruments() {
		name, kind := family(i)
		if !strings.HasPrefix(name, "posthaste_") {
			continue // of libraries
		}
		known[name] = kind
		if i.Description == "" {
			t.Errorf("%s says nothing of itself", name)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", name, kind, i.Description)
	}
	shown := 0
	for line := range strings.Lines(shows) {
		words := strings.Fields(line)
		if len(words) != 4 || words[1] != "TYPE" || !strings.HasPrefix(words[2], "posthaste_") {
			continue
		}
		shown++
		if kind := known[words[2]]; kind != words[3] {
			t.Errorf("/metrics shows %s as %s, and among the instruments it is %q", words[2], words[3], kind)
		}
	}
	if shown < 10 {
		t.Errorf("/metrics shows %d metrics of ours", shown)
	}
	doc, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(doc), metricsBegin)
	old, after, ok2 := strings.Cut(rest, metricsEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the list", metricsDoc)
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(metricsDoc, []byte(before+metricsBegin+table.String()+metricsEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Errorf("%s is out of date; run go test ./internal/app -run TestMetrics -update. It should list\n%s", metricsDoc, table.String())
	}
}
