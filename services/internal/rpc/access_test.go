package rpc_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	_ "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// Every RPC of every proto, and nothing else, is in the table, and the field
// that it names is there.
func TestAccess_IsSaidOfEveryRPC(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "posthaste.") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				name := string(s.FullName()) + "/" + string(m.Name())
				seen[name] = true
				checkAccess(t, name, m)
			}
		}
		return true
	})
	for _, m := range rpc.Methods() {
		if !seen[m] {
			t.Errorf("the table has %s, and there is no such RPC", m)
		}
	}
}

func checkAccess(t *testing.T, name string, m protoreflect.MethodDescriptor) {
	t.Helper()
	a, ok := rpc.AccessOf("/" + name)
	if !ok {
		t.Errorf("nobody has said who may call %s", name)
		return
	}
	if a.Scope == 0 {
		t.Errorf("%s needs no scope", name)
	}
	if a.Names == "" {
		return
	}
	d := m.Input()
	for part := range strings.SplitSeq(a.Names, ".") {
		var fd protoreflect.FieldDescriptor
		if d != nil {
			fd = d.Fields().ByName(protoreflect.Name(part))
		}
		if fd == nil {
			t.Errorf("%s has no field %s", name, a.Names)
			return
		}
		d = fd.Message()
	}
	if d != nil {
		t.Errorf("%s of %s is no text", a.Names, name)
	}
}
