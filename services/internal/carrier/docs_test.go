package carrier

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// docs/sources.md is made from the sources, so they can't drift. Run the test
// with -update to rewrite it.
func TestSources_AreDocumented(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "..", "docs", "sources.md")
	var want bytes.Buffer
	if err := WriteDocs(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, want.Bytes()) {
		t.Fatalf("%s is not what the sources say (%v); run: go test ./services/internal/carrier -run %s -update", path, err, t.Name())
	}
}
