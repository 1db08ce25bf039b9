package strict

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestJSON_TakesOneReadingAlone(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`{}`, `null`, `[1,{"a":1},{"a":2}]`, ` {"a":{"a":1}} `, `"x"`, `1e400`, `{"a":"{[[[["}`, strings.Repeat("[", 32) + strings.Repeat("]", 32)} {
		if err := JSON([]byte(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for _, doc := range []string{
		``, `{`, `{}{}`, `{} x`, `{"a":1,"a":2}`, `{"a":1,"A":2}`, `[{"x":{"b":1,"B":1}}]`, `{"a":1,}`, `{'a':1}`, "{\"a\":\"\xff\"}", "\xef\xbb\xbf{}",
		strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat(`{"a":`, 10000), `nul`, `{"a" 1}`, `]`,
	} {
		if err := JSON([]byte(doc)); err == nil {
			t.Errorf("%.60s is taken", doc)
		}
	}
}

func TestXML_TakesOneElementWithoutADocumentType(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`<r/>`, `<?xml version="1.0" encoding="GBK"?><r a="1"><v>x &amp; y</v></r>`, "<!-- c --><r/>\n"} {
		if err := XML([]byte(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for _, doc := range []string{
		``, `x`, `<r>`, `<r/><r/>`, `<r/>x`, `<!DOCTYPE r><r/>`, `<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><r/>`, `<!DOCTYPE r [<!ENTITY e "x">]><r>&e;</r>`, `<r>&e;</r>`,
		strings.Repeat("<r>", 65) + strings.Repeat("</r>", 65), "<r>\xff</r>", `<r a=1/>`,
	} {
		if err := XML([]byte(doc)); err == nil {
			t.Errorf("%.60s is taken", doc)
		}
	}
}

func TestText_LeavesWhatIsShown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"已签收": "已签收", "a\nb": "a b", "a\x00b": "ab", "\x1b[2J\x1b]0;x\a": "[2J]0;x", "a\u202eb": "ab", "\xff": "\uFFFD", "\u0085": " ", "👨\u200d👩": "👨\u200d👩",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// What carriers really send is taken.
func TestJSON_TakesRealDocuments(t *testing.T) {
	t.Parallel()
	n := 0
	err := filepath.WalkDir(testkit.SamplesDir(t), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		doc, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if doc = TrimBOM(doc); !json.Valid(doc) {
			return nil
		}
		n++
		if err := JSON(doc); err != nil {
			t.Logf("%s: %v", filepath.Base(path), err)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d documents, %v", n, err)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if JSON(doc) == nil && !json.Valid(doc) {
			t.Fatalf("%q is taken, and isn't JSON", doc)
		}
	})
}

func FuzzXML(f *testing.F) {
	f.Add([]byte(`<r><v a="1">x</v></r>`))
	f.Add([]byte(`<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>`))
	f.Fuzz(func(_ *testing.T, doc []byte) { _ = XML(doc) })
}
