package carrier

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

// outcome is what a waybill of a sample must become: how many events count,
// how many are notices or estimates, and the newest one's status.
type outcome struct {
	Waybill string
	Events  int
	Others  int
	Status  string
}

// samplePushes says what each recorded or constructed push means.
var samplePushes = map[string]map[string][]outcome{
	"kdniao": {
		"push-101-two-waybills-2015": {
			{"ems/5042260908504", 8, 0, "in_transit.moving"}, {"ems/5042260943004", 8, 0, "in_transit.moving"},
		},
		"push-102-cross-border-customs":    {{"usps/LX250000004CN", 7, 0, "customs.cleared"}},
		"push-102-locker-step-1":           {{"yto-express/YT2500000000001", 7, 0, "available_for_pickup.pickup_point"}},
		"push-102-locker-step-2-collected": {{"yto-express/YT2500000000001", 9, 0, "delivered.collected"}},
		"push-102-not-found-yet":           {{"zto-express/78250000000003", 0, 0, ""}},
		"push-102-out-for-delivery":        {{"yto-express/YT2500000000001", 6, 1, "out_for_delivery.on_vehicle"}},
		"push-102-refused-and-returned":    {{"sto-express/773250000000002", 10, 0, "returned.to_sender"}},
		"push-107-payment":                 nil, // about money
		"query-8001-zto-delivered-2018":    {{"zto-express/73152346708212", 11, 0, "delivered.recipient"}},
		"query-1002-no-trace":              {{"sf-express/118461988807", 0, 0, ""}},
	},
	"kuaidi100": {
		"push-abort-3-days-no-record":             {{"yunda-express/4310508235533", 0, 0, ""}},
		"push-auto-correct-step-1-abort":          {{"yto-express/1136281381675", 0, 0, ""}},
		"push-auto-correct-step-2-polling":        {{"ems/1136281381675", 2, 0, "in_transit.moving"}},
		"push-customs":                            {{"usps/LX250000004CN", 4, 0, "customs.cleared"}},
		"push-locker-overdue":                     {{"yto-express/YT2500000000001", 6, 0, "available_for_pickup.overdue"}},
		"push-official-company-corrected":         {{"yto-express/V030344422", 2, 0, "in_transit.moving"}},
		"push-official-international-two-legs":    {{"yto-express/V030344422", 2, 0, "in_transit.moving"}, {"singapore-speedpost/EX015142583SG", 1, 0, "delivered.unspecified"}},
		"push-polling-advanced-2021":              {{"yto-express/YT6186594166532", 4, 0, "in_transit.moving"}},
		"push-refused-return-shutdown":            {{"sto-express/773250000000002", 7, 0, "returned.to_sender"}},
		"query-response-shentong-in-transit-2024": {{"sto-express/156156131846523189", 6, 0, "in_transit.moving"}},
		"query-response-yuantong-locker-2022":     {{"yto-express/YT6247854916511", 12, 0, "delivered.collected"}},
	},
}

// TestSources_UnderstandTheSamples reads the samples where they are. A query's
// answer is put into a push's envelope, because it is the same object.
func TestSources_UnderstandTheSamples(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for _, source := range Sources() {
		names, err := filepath.Glob(filepath.Join(dir, source.Code, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".json"), ".form.txt")
			want, known := samplePushes[source.Code][base]
			isTrace := strings.HasPrefix(base, "push-") && !strings.HasPrefix(base, "push-ack-") ||
				source.Code == kdniaoCode && strings.HasPrefix(base, "query-8001-") || source.Code == kdniaoCode && base == "query-1002-no-trace" ||
				source.Code == kuaidi100Code && strings.HasPrefix(base, "query-response-")
			if !isTrace {
				continue
			}
			t.Run(source.Code+"/"+filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				if !known {
					t.Fatal("nobody has said what this sample means")
				}
				if diff := cmp.Diff(want, outcomes(t, source, sampleDocument(t, source.Code, name))); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// sampleDocument is the JSON of a sample: bare, of a form, or of an answer.
func sampleDocument(t *testing.T, code, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".form.txt") {
		form, err := url.ParseQuery(strings.TrimSpace(string(doc)))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(form.Get(map[string]string{kdniaoCode: "RequestData", kuaidi100Code: "param"}[code]))
	}
	if strings.HasPrefix(filepath.Base(name), "query-") {
		envelope := map[string]any{"Data": []json.RawMessage{doc}}
		if code == kuaidi100Code {
			envelope = map[string]any{"status": "polling", "lastResult": json.RawMessage(doc)}
		}
		if doc, err = json.Marshal(envelope); err != nil {
			t.Fatal(err)
		}
	}
	return doc
}

func outcomes(t *testing.T, source Source, doc []byte) []outcome {
	t.Helper()
	var all []outcome
	for _, g := range mapAll(t, source, doc) {
		if g.Error != "" || len(g.Unmapped) > 0 {
			t.Errorf("%s: %s; unmapped %v", g.Waybill, g.Error, g.Unmapped)
		}
		o := outcome{Waybill: g.Waybill}
		for _, e := range g.Events {
			if e.Kind != track.KindEvent {
				o.Others++
				continue
			}
			o.Events++
			o.Status = e.Status
		}
		all = append(all, o)
	}
	return all
}
