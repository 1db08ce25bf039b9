package carrier

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// TestRemap_AgreesWithMap: what is mapped anew from the codes that are kept is
// what the document gives. A stored event of which the tables say the same isn't
// another.
func TestRemap_AgreesWithMap(t *testing.T) {
	t.Parallel()
	for _, s := range Sources() {
		names, err := filepath.Glob(filepath.Join("testdata", s.Code, "*.raw"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no documents of %s: %v", s.Code, err)
		}
		for _, name := range names {
			doc, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			parts, _ := s.Answer(doc, asked)
			for _, p := range parts {
				if p.Err != nil {
					continue
				}
				report, err := s.Map(Raw{Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: s.Kind, Body: p.Body, Context: p.Context, ReceiveTime: received})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range report.Events {
					e.Provenance.MappingVersion = "0"
					if anew, changed := Remap(e); changed {
						t.Errorf("%s: %q %q was %v %v and becomes %v %v", name, e.RawCode, e.RawSubCode, e.Status, e.Sub, anew.Status, anew.Sub)
					}
				}
			}
		}
	}
}

func TestRemap_MapsWhatWasUnknown(t *testing.T) {
	t.Parallel()
	e := track.Event{ID: "1", Kind: track.KindInfo, RawCode: "50", Provenance: track.Provenance{Source: "sf", MappingVersion: "1"}}
	anew, changed := Remap(e)
	if !changed || anew.Kind != track.KindEvent || anew.Sub != status.PickedUpCollected || anew.ID != e.ID || anew.Provenance.MappingVersion != MappingVersion {
		t.Errorf("it becomes %+v, %v", anew, changed)
	}
	if _, again := Remap(anew); again {
		t.Error("a second time makes another of it")
	}
	unknown := e
	unknown.RawCode = "99999"
	if _, changed := Remap(unknown); changed {
		t.Error("a code that nobody knows is mapped")
	}
}
