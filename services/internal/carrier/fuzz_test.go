package carrier

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/posthaste/posthaste/services/internal/track"
)

// fuzz holds that no document breaks a source, and that Map takes what Split
// gives.
func fuzz(f *testing.F, code string) {
	f.Helper()
	source, ok := Lookup(code)
	if !ok {
		f.Fatal("the source is missing")
	}
	names, err := filepath.Glob(filepath.Join("testdata", code, "*.raw"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		doc, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		parts, err := source.Split(doc)
		if err != nil && parts != nil {
			t.Error("both parts and an error")
		}
		for _, p := range parts {
			raw := Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: received}
			report, err := source.Map(raw)
			if p.Err != nil {
				continue
			}
			if err != nil {
				t.Fatalf("Split takes what Map refuses: %v", err)
			}
			checkReport(t, source, raw, report)
		}
	})
}

// FuzzSources takes any document for any of the sources that are made of a spec.
func FuzzSources(f *testing.F) {
	for i, source := range Sources() {
		names, err := filepath.Glob(filepath.Join("testdata", source.Code, "*.raw"))
		if err != nil || len(names) == 0 {
			f.Fatalf("no documents of %s: %v", source.Code, err)
		}
		for _, name := range names {
			doc, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), doc)
		}
	}
	f.Fuzz(func(t *testing.T, at uint8, doc []byte) {
		source := Sources()[int(at)%len(Sources())]
		parts, err := source.Answer(doc, asked)
		if err != nil && parts != nil {
			t.Error("both parts and an error")
		}
		for _, p := range parts {
			raw := Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: received}
			report, err := source.Map(raw)
			if p.Err != nil {
				continue
			}
			if err != nil {
				t.Fatalf("%s: Split takes what Map refuses: %v", source.Code, err)
			}
			checkReport(t, source, raw, report)
			checkWaybill(t, raw.Waybill)
		}
	})
}

func checkWaybill(t *testing.T, w track.Waybill) {
	t.Helper()
	c, err := track.NormalCarrier(string(w.Carrier))
	n, err2 := track.NormalNumber(string(w.Number))
	if err != nil || err2 != nil || c != w.Carrier || n != w.Number {
		t.Errorf("a part is of %q %q", w.Carrier, w.Number)
	}
}

func FuzzKdniao(f *testing.F) { fuzz(f, kdniaoCode) }

func FuzzKuaidi100(f *testing.F) { fuzz(f, kuaidi100Code) }
