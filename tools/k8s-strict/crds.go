package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// kind is what a custom resource definition says of one version of a kind.
type kind struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
}

// readCRDs reads the definitions in a folder and below. Of a definition that is
// there twice, the last counts.
func readCRDs(dirs []string) (map[schema.GroupVersionKind]kind, error) {
	kinds := make(map[schema.GroupVersionKind]kind)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
				return err
			}
			return readCRD(path, kinds)
		})
		if err != nil {
			return nil, err
		}
	}
	return kinds, nil
}

func readCRD(path string, kinds map[schema.GroupVersionKind]kind) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text)+1)
	for {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := documents.Decode(&crd); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if !v.Served || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
				continue
			}
			var internal apiextensions.JSONSchemaProps
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			structural, err := structuralschema.NewStructural(&internal)
			if err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			validator, _, err := validation.NewSchemaValidator(&internal)
			if err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			kinds[schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}] = kind{structural, validator}
		}
	}
}

// custom checks a custom resource against its definition: unknown fields, types,
// required fields, patterns, enumerations. Rules in CEL are the API server's.
func (k kind) custom(object map[string]any) (problems []string) {
	for _, e := range validation.ValidateCustomResource(nil, object, k.validator) {
		problems = append(problems, e.Error())
	}
	body := maps.Clone(object) // what every object has isn't in the schema
	for _, field := range []string{"apiVersion", "kind", "metadata"} {
		delete(body, field)
	}
	for _, field := range pruning.PruneWithOptions(body, k.structural, false, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		problems = append(problems, "unknown field "+field)
	}
	slices.Sort(problems)
	return problems
}
