package attacks_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/attacks"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func newWorld(t *testing.T) *attacks.World {
	t.Helper()
	search := testkit.PostgreSQLConfig("").Search
	w, err := attacks.NewWorld(t.Context(), attacks.Options{PGBin: search.Bin, PGFetched: search.Fetched, Root: filepath.Join("..", "..")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func run(t *testing.T, file string) map[string]error {
	t.Helper()
	cases, err := attacks.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]error{}
	s := attacks.Run(t.Context(), newWorld(t), cases, func(r attacks.Result) { results[r.Case.ID] = r.Err })
	if s.Attacks != len(cases) || s.Passed+len(s.Failed) != len(cases) {
		t.Errorf("the summary is %+v of %d cases", s, len(cases))
	}
	return results
}

// The cases of the threat model, read in place.
//
//nolint:paralleltest // each case measures the memory of the process
func TestAttacks_AreWithstood(t *testing.T) {
	file := filepath.Join(testkit.SamplesDir(t), "..", "attack-cases.yaml")
	if _, err := os.Stat(file); err != nil {
		t.Skipf("ATTACK CASES NOT PRESENT: %s", file)
	}
	for id, err := range run(t, file) {
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// Cases of our own, of which those whose ids begin with BAD expect what doesn't happen:
// a runner that can't fail proves nothing.
//
//nolint:paralleltest // each case measures the memory of the process
func TestAttacks_OurOwnAreWithstoodAndBadOnesFail(t *testing.T) {
	for id, err := range run(t, "testdata/cases.yaml") {
		if bad := strings.HasPrefix(id, "BAD"); bad != (err != nil) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
