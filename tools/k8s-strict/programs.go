package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/types"
)

// program is one container that runs one of our programs, as a test of the
// programs' own reads it.
type program struct {
	Folder   string            `json:"folder"`
	Workload string            `json:"workload"`
	Program  string            `json:"program"`
	Args     []string          `json:"args"`
	Env      map[string]string `json:"env"`
	// Secret are the variables whose values aren't in the manifests.
	Secret []string `json:"secret"`
	// Grace is terminationGracePeriodSeconds; 0 for a Job.
	Grace int64 `json:"grace"`
	// Probes are "startup http ops /healthz" and the like.
	Probes []string `json:"probes"`
	// Ports of the container by name.
	Ports map[string]int32 `json:"ports"`
}

// writePrograms writes those of every kustomization that is whole.
func writePrograms(w io.Writer, root string) error {
	dirs, err := folders(root)
	if err != nil {
		return err
	}
	var out []program
	for _, dir := range dirs {
		if k, _ := unnamed(dir); k.Kind == types.ComponentKind {
			continue
		}
		objects, _ := checker{}.render(dir, &counts{})
		out = append(out, programsOf(dir, objects)...)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(out)
}

func programsOf(dir string, objects []runtime.Object) (out []program) {
	maps, secrets := make(map[string]map[string]string), make(map[string][]string)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			maps[o.Name] = o.Data
		case *unstructured.Unstructured:
			if o.GetKind() != "ExternalSecret" {
				continue
			}
			name, _, _ := unstructured.NestedString(o.Object, "spec", "target", "name")
			data, _, _ := unstructured.NestedSlice(o.Object, "spec", "data")
			for _, d := range data {
				if fields, ok := d.(map[string]any); ok {
					secrets[name] = append(secrets[name], fmt.Sprint(fields["secretKey"]))
				}
			}
		}
	}
	for _, o := range objects {
		var name string
		var spec corev1.PodSpec
		grace := int64(30)
		switch o := o.(type) {
		case *appsv1.Deployment:
			name, spec = "Deployment "+o.Name, o.Spec.Template.Spec
		case *batchv1.Job:
			name, spec, grace = "Job "+o.Name, o.Spec.Template.Spec, 0
		default:
			continue
		}
		if spec.TerminationGracePeriodSeconds != nil {
			grace = *spec.TerminationGracePeriodSeconds
		}
		for _, c := range spec.Containers {
			if len(c.Command) == 0 || !strings.HasPrefix(c.Command[0], "/") {
				continue
			}
			p := program{
				Folder: dir, Workload: name, Program: path.Base(c.Command[0]), Args: append(c.Command[1:], c.Args...),
				Env: make(map[string]string), Grace: grace, Ports: make(map[string]int32),
			}
			for _, e := range c.EnvFrom {
				if e.ConfigMapRef != nil {
					for k, v := range maps[e.ConfigMapRef.Name] {
						p.Env[k] = v
					}
				}
				if e.SecretRef != nil {
					p.Secret = append(p.Secret, secrets[e.SecretRef.Name]...)
				}
			}
			for _, e := range c.Env {
				if e.ValueFrom == nil {
					p.Env[e.Name] = e.Value
				} else {
					p.Secret = append(p.Secret, e.Name)
				}
			}
			for _, port := range c.Ports {
				p.Ports[port.Name] = port.ContainerPort
			}
			for which, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "ready": c.ReadinessProbe, "live": c.LivenessProbe} {
				if probe != nil && probe.HTTPGet != nil {
					p.Probes = append(p.Probes, which+" http "+probe.HTTPGet.Port.String()+" "+probe.HTTPGet.Path)
				} else if probe != nil {
					p.Probes = append(p.Probes, which+" other")
				}
			}
			out = append(out, p)
		}
	}
	return out
}
