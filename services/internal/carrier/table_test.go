package carrier

import (
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/track"
)

func TestTables_CanBeReadAndAreOfSources(t *testing.T) {
	t.Parallel()
	files, err := tables.ReadDir("tables")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		code := strings.TrimSuffix(f.Name(), ".csv")
		if _, ok := Lookup(code); !ok {
			t.Errorf("%s is of no source", f.Name())
		}
		table, err := readTable("tables/" + f.Name())
		if err != nil {
			t.Error(err)
		}
		for c, m := range table {
			if !m.sub.Valid() || m.sub == 0 || c.code == "" {
				t.Errorf("%s: %s is %v", f.Name(), c, m)
			}
		}
	}
}

// TestSources_HaveTheirFacts: who sets a source up must find all of it.
func TestSources_HaveTheirFacts(t *testing.T) {
	t.Parallel()
	for i, s := range Sources() {
		if i > 0 && Sources()[i-1].Code >= s.Code {
			t.Errorf("%s is out of order, or there twice", s.Code)
		}
		f := s.Facts
		if f.Name == "" || f.Reports == "" || f.Times == "" {
			t.Errorf("%s lacks facts: %+v", s.Code, f)
		}
		if pushes := s.Push != nil; pushes != (f.Verify != "") || pushes != (f.Answer != "") || pushes != (f.Account != "") {
			t.Errorf("%s pushes: %v, and its facts are %+v", s.Code, pushes, f)
		}
		if polled := s.Kind == track.SourceCarrierPoll; polled == (s.Push != nil) {
			t.Errorf("%s is of kind %d", s.Code, s.Kind)
		}
	}
}

func TestAliases_AreOfCarriers(t *testing.T) {
	t.Parallel()
	for name, c := range aliases() {
		if name == "name" {
			continue
		}
		if plainName(name) != name {
			t.Errorf("%q can never be found", name)
		}
		if n, err := track.NormalCarrier(string(c)); err != nil || n != c {
			t.Errorf("%q is the carrier %q: %v", name, c, err)
		}
	}
	for given, want := range map[string]track.Carrier{"USPS": "usps", "us-post": "usps", "SF Express": "sf-express", "Brand New": "brand-new", "": ""} {
		if got := carrierNamed(given); got != want {
			t.Errorf("%q is %q, want %q", given, got, want)
		}
	}
}
