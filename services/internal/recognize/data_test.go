package recognize_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

// courier is a file of the reference data: a courier's forms with numbers that
// are of the form and numbers that aren't.
type courier struct {
	Code  string `json:"courier_code"`
	Forms []struct {
		Name    string `json:"name"`
		Numbers struct {
			Valid   []string `json:"valid"`
			Invalid []string `json:"invalid"`
		} `json:"test_numbers"`
	} `json:"tracking_numbers"`
}

// carrierOf is our code of whose numbers a form of the data are.
func carrierOf(courier, form, number string) track.Carrier {
	switch {
	case courier == "s10":
		return map[string]track.Carrier{"US": "usps", "CV": "post-cv"}[number[len(number)-2:]]
	case strings.HasPrefix(form, "DHL E-"):
		return "dhlecommerce"
	}
	known := map[string]track.Carrier{
		"amazon": "kdn-amazon", "canada_post": "canada-post", "landmark": "landmarkglobal", "old_dominion": "old-dominion",
	}
	if c, ok := known[courier]; ok {
		return c
	}
	return track.Carrier(courier)
}

// hits counts how well numbers are recognised.
type hits struct{ first, third, sure, all int }

func (h *hits) add(t *testing.T, number string, want track.Carrier) {
	t.Helper()
	candidates := recognize.Candidates(number, recognize.Hints{})
	rank := slices.Index(carriers(candidates), want)
	h.all++
	if rank == 0 {
		h.first++
	}
	if rank >= 0 && rank < 3 {
		h.third++
	}
	if sure, ok := recognize.Sure(candidates); ok {
		h.sure++
		if sure != want {
			t.Errorf("%q is surely %s, and it is %s's", number, sure, want)
		}
	}
	if rank != 0 {
		t.Logf("%q is %s's: %v", number, want, candidates)
	}
}

// Every valid number of every courier in the reference data is recognised, and
// none that is invalid.
func TestCandidates_AgreeWithTheReferenceData(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(testkit.SamplesDir(t), "..", "number-data", "couriers", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: the samples folder has no number-data/couriers beside it", err)
	}
	// It is invalid as one of Purolator's forms and valid as the other.
	const otherForm = "331426749957"
	var h hits
	rejected, invalid := 0, 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var c courier
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, f := range c.Forms {
			for _, n := range f.Numbers.Valid {
				want := carrierOf(c.Code, f.Name, n)
				if !slices.Contains(carriers(recognize.Candidates(n, recognize.Hints{})), want) {
					t.Errorf("%s, %s: %q isn't recognised", c.Code, f.Name, n)
				}
				h.add(t, n, want)
			}
			for _, n := range f.Numbers.Invalid {
				invalid++
				if n == otherForm || !slices.Contains(carriers(recognize.Candidates(n, recognize.Hints{})), carrierOf(c.Code, f.Name, n)) {
					rejected++
					continue
				}
				t.Errorf("%s, %s: %q is recognised and it is invalid", c.Code, f.Name, n)
			}
		}
	}
	t.Logf("of %d numbers: first %d, among three %d, sure %d; of %d invalid ones %d rejected", h.all, h.first, h.third, h.sure, invalid, rejected)
	if h.first*100 < h.all*95 || h.third*100 < h.all*99 {
		t.Errorf("of %d numbers %d are first and %d among three", h.all, h.first, h.third)
	}
}

// The numbers in real payloads of the Chinese platforms are recognised as what
// the payload says, wherever they have a form that their carrier still gives.
func TestCandidates_AgreeWithRealPayloads(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	var h hits
	seen := make(map[track.Waybill]bool)
	for _, source := range []string{"kdniao", "kuaidi100"} {
		s, ok := carrier.Lookup(source)
		if !ok {
			t.Fatal(source)
		}
		files, err := filepath.Glob(filepath.Join(dir, source, "push-*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", source, files, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			parts, err := s.Split(data)
			if err != nil {
				continue // an acknowledgement
			}
			for _, p := range parts {
				w := track.Waybill{Carrier: p.Carrier, Number: p.Number}
				if p.Err != nil || seen[w] {
					continue
				}
				seen[w] = true
				h.add(t, string(p.Number), p.Carrier)
			}
		}
	}
	t.Logf("of %d numbers: first %d, among three %d, sure %d", h.all, h.first, h.third, h.sure)
	if h.all == 0 {
		t.Error("no numbers were found")
	}
}
