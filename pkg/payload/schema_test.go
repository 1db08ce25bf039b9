package payload

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type node struct {
	Description string          `json:"description"`
	Required    []string        `json:"required"`
	Properties  map[string]node `json:"properties"`
	Ref         string          `json:"$ref"`
	AnyOf       []node          `json:"anyOf"`
	Items       *node           `json:"items"`
	Defs        map[string]node `json:"$defs"`
}

func TestSchema_NamesEveryFieldAndNoOther(t *testing.T) {
	t.Parallel()
	var root node
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	compare(t, root, used, "push", root, reflect.TypeFor[Push]())
	for name := range root.Defs {
		if !used[name] {
			t.Errorf("$defs/%s is used by nothing", name)
		}
	}
}

// compare checks one object of the schema against the struct it describes.
func compare(t *testing.T, root node, used map[string]bool, path string, n node, typ reflect.Type) {
	t.Helper()
	n = resolve(t, root, used, n)
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ = typ.Elem(); n.Items != nil {
			n = resolve(t, root, used, *n.Items)
		}
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		return
	}
	var names []string
	for _, f := range reflect.VisibleFields(typ) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
		p, ok := n.Properties[name]
		if !ok {
			t.Errorf("%s.%s isn't in the schema", path, name)
			continue
		}
		if p.Description == "" {
			t.Errorf("%s.%s has no description", path, name)
		}
		compare(t, root, used, path+"."+name, p, f.Type)
	}
	slices.Sort(names)
	if required := slices.Sorted(slices.Values(n.Required)); !slices.Equal(required, names) {
		t.Errorf("%s requires %v, want every field: %v", path, required, names)
	}
	for name := range n.Properties {
		if !slices.Contains(names, name) {
			t.Errorf("%s.%s is in the schema only", path, name)
		}
	}
}

func resolve(t *testing.T, root node, used map[string]bool, n node) node {
	t.Helper()
	if len(n.AnyOf) > 0 {
		n = n.AnyOf[0]
	}
	name, ok := strings.CutPrefix(n.Ref, "#/$defs/")
	if !ok {
		return n
	}
	used[name] = true
	def, ok := root.Defs[name]
	if !ok {
		t.Fatalf("%s isn't defined", n.Ref)
	}
	if def.Description == "" {
		t.Errorf("%s has no description", n.Ref)
	}
	return def
}
