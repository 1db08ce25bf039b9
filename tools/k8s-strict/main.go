// Command k8s-strict checks manifests without a cluster. It renders every folder
// that has a kustomization.yaml, decodes each object as the API server would,
// refusing unknown and repeated fields, and checks what decoding can't see:
// selectors that select nothing, references to what isn't there, files that no
// kustomization names.
//
//	k8s-strict FOLDER
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kustomization = "kustomization.yaml"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: k8s-strict FOLDER")
		os.Exit(2)
	}
	objects, problems := check(os.Args[1])
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("k8s-strict: %d objects are right\n", objects)
}

// check renders and checks every kustomization below root.
func check(root string) (objects int, problems []string) {
	var folders []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == kustomization {
			folders = append(folders, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		return 0, []string{err.Error()}
	}
	if len(folders) == 0 {
		return 0, []string{root + " holds no " + kustomization}
	}
	for _, dir := range folders {
		problems = append(problems, unnamed(dir)...)
		list, bad := render(dir)
		for _, p := range append(bad, relations(list)...) {
			problems = append(problems, dir+": "+p)
		}
		objects += len(list)
	}
	return objects, problems
}

// unnamed checks a kustomization itself: its fields, and that every manifest
// beside it is part of it.
func unnamed(dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, kustomization))
	if err != nil {
		return []string{err.Error()}
	}
	var k types.Kustomization
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		return []string{filepath.Join(dir, kustomization) + ": " + err.Error()}
	}
	var named []string
	named = append(named, k.Resources...)
	for _, p := range k.Patches {
		named = append(named, p.Path)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	for _, f := range files {
		if base := filepath.Base(f); base != kustomization && !slices.Contains(named, base) {
			problems = append(problems, f+" is part of no kustomization")
		}
	}
	return problems
}

// render renders a kustomization and decodes its objects strictly. Kinds that
// Kubernetes itself doesn't have are passed over.
func render(dir string) (list []runtime.Object, problems []string) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", r.CurId(), err))
			continue
		}
		object, _, err := decoder.Decode(text, nil, nil)
		switch {
		case err == nil:
			list = append(list, object)
		case runtime.IsNotRegisteredError(err):
		default:
			problems = append(problems, fmt.Sprintf("%s %s: %v", r.GetKind(), r.GetName(), strings.TrimSpace(err.Error())))
		}
	}
	return list, problems
}
