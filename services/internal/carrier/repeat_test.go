package carrier

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// TestSources_SayNothingNewInARepeat merges each document twice, pushed again
// an hour later: a repeat must be silent.
func TestSources_SayNothingNewInARepeat(t *testing.T) {
	t.Parallel()
	for _, source := range Sources() {
		names, err := filepath.Glob(filepath.Join("testdata", source.Code, "*.raw"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no documents of %s: %v", source.Code, err)
		}
		for _, name := range names {
			doc, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			parts, err := source.Answer(doc, asked)
			if err != nil {
				continue // a document that is refused whole
			}
			for _, p := range parts {
				if p.Err != nil {
					continue
				}
				raw := Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: received}
				first, err := source.Map(raw)
				if err != nil {
					t.Fatal(err)
				}
				raw.ReceiveTime = received.Add(time.Hour)
				if source.Code == kdniaoCode {
					raw.Context = map[string]string{contextPushTime: "2025-06-05 13:00:00"}
				}
				second, err := source.Map(raw)
				if err != nil {
					t.Fatal(err)
				}
				old, _ := track.Merge(nil, first, first.ReceiveTime)
				if _, changed := track.Merge(old, second, second.ReceiveTime); changed {
					t.Errorf("%s: the repeat of %v changes its trace", name, raw.Waybill)
				}
			}
		}
	}
}

func TestEstimate_ChangesWithoutANewEvent(t *testing.T) {
	t.Parallel()
	source, _ := Lookup(kdniaoCode)
	var trace *track.Trace
	for i, day := range []string{"03", "04", "03"} {
		report, err := source.Map(Raw{
			Waybill: track.Waybill{Carrier: "sf-express", Number: "SF1234567890"}, ReceiveTime: received.Add(time.Duration(i) * time.Hour),
			Body: []byte(`{"State":"2","EstimatedDeliveryTime":"2025-06-` + day + `","Traces":[{"AcceptTime":"2025-06-01 09:00:00","AcceptStation":"a","Action":"2"}]}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		var changed bool
		if trace, changed = track.Merge(trace, report, report.ReceiveTime); !changed || trace.State.Estimate == nil || trace.State.Estimate.From.Wall.Format("02") != day {
			t.Errorf("estimate %d is %+v", i, trace.State.Estimate)
		}
	}
}
