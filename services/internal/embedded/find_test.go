package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

// fakePrograms makes a folder with programs that say a version.
func fakePrograms(t *testing.T, dir, postgres, initdb string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{"postgres": postgres, "initdb": initdb} {
		if says == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+says+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindPrograms_ChecksWhatItIsGiven(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ postgres, initdb, want string }{
		"both":               {`echo "postgres (PostgreSQL) 17.2 (Distribution)"`, `echo "initdb (PostgreSQL) 17.2 (Distribution)"`, ""},
		"beta":               {`echo "postgres (PostgreSQL) 19beta1"`, `echo "initdb (PostgreSQL) 19beta1"`, ""},
		"no initdb":          {`echo "postgres (PostgreSQL) 17.2"`, "", "no such file"},
		"a wrapper for none": {`echo "no cluster" >&2; exit 1`, `echo "initdb (PostgreSQL) 17.2"`, "exit status 1"},
		"something else":     {`echo "hello"`, `echo "initdb (PostgreSQL) 17.2"`, "is no version"},
		"two versions":       {`echo "postgres (PostgreSQL) 17.2"`, `echo "initdb (PostgreSQL) 16.1"`, "initdb is 16.1"},
		"too old":            {`echo "postgres (PostgreSQL) 9.6.24"`, `echo "initdb (PostgreSQL) 9.6.24"`, "too old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := fakePrograms(t, t.TempDir(), tt.postgres, tt.initdb)
			p, err := embedded.FindPrograms(t.Context(), embedded.Search{Bin: dir})
			switch {
			case tt.want == "" && (err != nil || p.Dir != dir || p.Major == 0):
				t.Errorf("got %+v, %v", p, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir)):
				t.Errorf("got %v, want an error with %q and the folder", err, tt.want)
			}
		})
	}
}

// Not parallel: it sets PATH.
func TestFindPrograms_LooksOnThePathFirstAndFollowsLinks(t *testing.T) {
	real := fakePrograms(t, filepath.Join(t.TempDir(), "real"), `echo "postgres (PostgreSQL) 99.1"`, `echo "initdb (PostgreSQL) 99.1"`)
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	p, err := embedded.FindPrograms(t.Context(), embedded.Search{})
	if err != nil || p.Dir != real || p.Major != 99 {
		t.Errorf("got %+v, %v; want the programs that the link on the PATH points to", p, err)
	}
}

// Not parallel: it sets PATH.
func TestFindPrograms_PrefersTheVersionOfTheData(t *testing.T) {
	onPath := fakePrograms(t, t.TempDir(), `echo "postgres (PostgreSQL) 99.1"`, `echo "initdb (PostgreSQL) 99.1"`)
	fetched := t.TempDir()
	fakePrograms(t, filepath.Join(fetched, "bin"), `echo "postgres (PostgreSQL) 98.1"`, `echo "initdb (PostgreSQL) 98.1"`)
	t.Setenv("PATH", onPath)
	for major, want := range map[int]int{98: 98, 99: 99, 97: 99, 0: 99} {
		p, err := embedded.FindPrograms(t.Context(), embedded.Search{Major: major, Fetched: fetched})
		if err != nil || p.Major != want {
			t.Errorf("wanted %d: got %+v, %v; want %d", major, p, err, want)
		}
	}
}

func TestErrNoPostgreSQL_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"apt-get install postgresql", "brew install postgresql", "hack/ensure-postgres", "POSTHASTE_PG_BIN", "POSTHASTE_DATABASE_URL"} {
		if !strings.Contains(embedded.ErrNoPostgreSQL.Error(), want) {
			t.Errorf("it doesn't name %s", want)
		}
	}
	if _, err := embedded.FindPrograms(t.Context(), embedded.Search{Bin: "/does/not/exist"}); err == nil || errors.Is(err, embedded.ErrNoPostgreSQL) {
		t.Errorf("got %v, want an error about the folder that was given", err)
	}
}
