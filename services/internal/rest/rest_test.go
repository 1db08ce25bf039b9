package rest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/rest"
)

func services() (names []string, methods map[string]bool) {
	methods = make(map[string]bool)
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			if !strings.HasPrefix(string(s.FullName()), "posthaste.") {
				continue
			}
			names = append(names, string(s.FullName()))
			for j := range s.Methods().Len() {
				methods[string(s.FullName())+"/"+string(s.Methods().Get(j).Name())] = true
			}
		}
		return true
	})
	return names, methods
}

// Every RPC has a path, or is said to be a stream.
func TestRoutes_AreThereForEveryRPC(t *testing.T) {
	t.Parallel()
	_, methods := services()
	for m := range methods {
		if !rest.Routed(m) {
			t.Errorf("%s has no path: add it to the table in services/internal/rest/routes.go", m)
		}
	}
}

// The document can be read, every reference in it leads somewhere, and every
// operation, message and field is described.
func TestDocument_DescribesEverything(t *testing.T) {
	t.Parallel()
	names, _ := services()
	b, err := rest.Document(names)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID, Summary, Description string }
		Components struct {
			Schemas map[string]struct {
				Description string
				Properties  map[string]struct{ Description string }
			}
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for path, item := range d.Paths {
		if strings.ContainsAny(path, "*=") {
			t.Errorf("the path %s is no path of OpenAPI", path)
		}
		for verb, op := range item {
			if op.Summary == "" || op.Description == "" || seen[op.OperationID] {
				t.Errorf("%s %s isn't described, or its id is another's: %q", verb, path, op.OperationID)
			}
			seen[op.OperationID] = true
		}
	}
	for name, s := range d.Components.Schemas {
		if s.Description == "" {
			t.Errorf("the schema %s isn't described: run make generate", name)
		}
		for field, p := range s.Properties {
			if p.Description == "" && name != "Problem" {
				t.Errorf("%s of %s isn't described: run make generate", field, name)
			}
		}
	}
	for _, part := range strings.Split(string(b), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if _, ok := d.Components.Schemas[name]; !ok {
			t.Errorf("a reference leads to %s, which isn't there", name)
		}
	}
}
