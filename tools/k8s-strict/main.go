// Command k8s-strict checks manifests without a cluster. It renders every folder
// that has a kustomization.yaml, decodes each object as the API server would,
// refusing unknown and repeated fields, and checks what decoding can't see:
// selectors that select nothing, references to what isn't there, files that no
// kustomization names.
//
// Kinds that Kubernetes itself doesn't have are checked against their custom
// resource definitions, where those are given. One that has none is an error
// unless it is allowed by name.
//
//	k8s-strict [-crds FOLDER]… [-allow GROUP/KIND]… FOLDER
//	k8s-strict -programs FOLDER
//
// The second form writes, as JSON, the command line and the variables of every
// container that runs one of our programs.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kustomization = "kustomization.yaml"

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set is called for each time.
func (l *list) Set(text string) error {
	*l = append(*l, text)
	return nil
}

func main() {
	var crds, allowed list
	flag.Var(&crds, "crds", "folder of custom resource definitions")
	flag.Var(&allowed, "allow", "kind without a definition, as GROUP/KIND")
	programs := flag.Bool("programs", false, "write what programs are given")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: k8s-strict [-programs] [-crds FOLDER]… [-allow GROUP/KIND]… FOLDER")
		os.Exit(2)
	}
	if *programs {
		if err := writePrograms(os.Stdout, flag.Arg(0)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	kinds, err := readCRDs(crds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	counted, problems := checker{kinds, allowed}.check(flag.Arg(0))
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("k8s-strict: %d objects are right, %d of them by custom definitions; not checked for want of a definition: %d %v\n",
		counted.objects, counted.custom, counted.unchecked, allowed)
}

// checker knows kinds beside those of Kubernetes.
type checker struct {
	kinds   map[schema.GroupVersionKind]kind
	allowed []string
}

// counts are of objects.
type counts struct{ objects, custom, unchecked int }

// folders lists the folders below root that hold a kustomization.
func folders(root string) (out []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == kustomization {
			out = append(out, filepath.Dir(path))
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s holds no %s", root, kustomization)
	}
	return out, err
}

// check renders and checks every kustomization below root. Components are checked
// as parts of what uses them, and each must be used.
func (c checker) check(root string) (n counts, problems []string) {
	dirs, err := folders(root)
	if err != nil {
		return n, []string{err.Error()}
	}
	used := make(map[string]bool)
	var components []string
	for _, dir := range dirs {
		k, bad := unnamed(dir)
		problems = append(problems, bad...)
		for _, path := range append(slices.Clone(k.Components), k.Resources...) {
			used[filepath.Join(dir, path)] = true
		}
		if k.Kind == types.ComponentKind {
			components = append(components, dir)
		}
	}
	for _, dir := range dirs {
		if slices.Contains(components, dir) {
			if !used[dir] {
				problems = append(problems, dir+" is a component that nothing uses")
			}
			continue
		}
		objects, bad := c.render(dir, &n)
		if !used[dir] { // what others build on needn't be whole
			bad = append(bad, relations(objects)...)
		}
		for _, p := range bad {
			problems = append(problems, dir+": "+p)
		}
		n.objects += len(objects)
	}
	return n, problems
}

// unnamed checks a kustomization itself: its fields, and that every manifest
// beside it is part of it.
func unnamed(dir string) (k types.Kustomization, problems []string) {
	text, err := os.ReadFile(filepath.Join(dir, kustomization))
	if err != nil {
		return k, []string{err.Error()}
	}
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		return k, []string{filepath.Join(dir, kustomization) + ": " + err.Error()}
	}
	var named []string
	named = append(named, k.Resources...)
	for _, p := range k.Patches {
		named = append(named, p.Path)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return k, []string{err.Error()}
	}
	for _, f := range files {
		if base := filepath.Base(f); base != kustomization && !slices.Contains(named, base) {
			problems = append(problems, f+" is part of no kustomization")
		}
	}
	return k, problems
}

// render renders a kustomization and decodes its objects strictly.
func (c checker) render(dir string, n *counts) (objects []runtime.Object, problems []string) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, r := range resources.Resources() {
		bad := func(format string, args ...any) {
			problems = append(problems, r.GetKind()+" "+r.GetName()+": "+fmt.Sprintf(format, args...))
		}
		text, err := r.AsYAML()
		if err != nil {
			bad("%v", err)
			continue
		}
		object, _, err := decoder.Decode(text, nil, nil)
		switch {
		case err == nil:
			objects = append(objects, object)
		case runtime.IsNotRegisteredError(err):
			var fields map[string]any
			if err := utilyaml.Unmarshal(text, &fields); err != nil { // numbers as the API server has them
				bad("%v", err)
				continue
			}
			id := schema.GroupVersionKind{Group: r.GetGvk().Group, Version: r.GetGvk().Version, Kind: r.GetGvk().Kind}
			k, known := c.kinds[id]
			switch {
			case known:
				for _, p := range k.custom(fields) {
					bad("%s", p)
				}
				n.custom++
			case slices.Contains(c.allowed, id.Group+"/"+id.Kind):
				n.unchecked++
			default:
				bad("nobody knows %s", id)
			}
			objects = append(objects, &unstructured.Unstructured{Object: fields})
		default:
			bad("%v", strings.TrimSpace(err.Error()))
		}
	}
	return objects, problems
}
