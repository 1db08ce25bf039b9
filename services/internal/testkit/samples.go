package testkit

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// SamplesDir is the folder of real payloads, which isn't part of the repository:
// POSTHASTE_SAMPLES, or ../shared/reference/samples beside it. Where it is
// absent the test is skipped, loudly.
func SamplesDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("POSTHASTE_SAMPLES")
	if dir == "" {
		root, err := repositoryRoot()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(root, "..", "shared", "reference", "samples")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		t.Skipf("SAMPLES FOLDER NOT PRESENT: %s; set POSTHASTE_SAMPLES to run this test on real payloads", dir)
	}
	return dir
}

// repositoryRoot is the folder of go.work, at or above the working folder.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work at or above the working folder")
		}
		dir = filepath.Dir(dir)
	}
}
