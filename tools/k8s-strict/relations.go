package main

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// external are the Secrets that a deployer makes.
var external = []string{"posthaste-database", "posthaste-sources"}

// workload is a pod template and who makes pods of it.
type workload struct {
	name     string
	selector *metav1.LabelSelector // nil for a Job
	template corev1.PodTemplateSpec
}

// relations checks what one object says of others.
func relations(list []runtime.Object) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	workloads, have := collect(list)
	for _, w := range workloads {
		if w.selector != nil && !selects(w.selector, []workload{w}) {
			bad("%s: its selector doesn't match its own pods", w.name)
		}
		for _, r := range references(w.template.Spec) {
			if !have[r] {
				bad("%s: there is no %s", w.name, r)
			}
		}
		for _, p := range hardening(w.template.Spec) {
			bad("%s: %s", w.name, p)
		}
	}
	for _, o := range list {
		switch o := o.(type) {
		case *corev1.Service:
			problems = append(problems, service(o, workloads)...)
		case *policyv1.PodDisruptionBudget:
			if !selects(o.Spec.Selector, workloads) {
				bad("PodDisruptionBudget %s selects no pods", o.Name)
			}
		case *networkingv1.NetworkPolicy:
			if !selects(&o.Spec.PodSelector, workloads) {
				bad("NetworkPolicy %s selects no pods", o.Name)
			}
		}
	}
	return problems
}

func collect(list []runtime.Object) (workloads []workload, have map[string]bool) {
	have = make(map[string]bool)
	for _, name := range external {
		have["Secret "+name] = true
	}
	for _, o := range list {
		switch o := o.(type) {
		case *appsv1.Deployment:
			workloads = append(workloads, workload{"Deployment " + o.Name, o.Spec.Selector, o.Spec.Template})
		case *appsv1.StatefulSet:
			workloads = append(workloads, workload{"StatefulSet " + o.Name, o.Spec.Selector, o.Spec.Template})
		case *batchv1.Job:
			workloads = append(workloads, workload{"Job " + o.Name, nil, o.Spec.Template})
		case *corev1.ConfigMap:
			have["ConfigMap "+o.Name] = true
		case *corev1.Secret:
			have["Secret "+o.Name] = true
		case *corev1.ServiceAccount:
			have["ServiceAccount "+o.Name] = true
		}
	}
	return workloads, have
}

func selects(selector *metav1.LabelSelector, workloads []workload) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false
	}
	for _, w := range workloads {
		if s.Matches(labels.Set(w.template.Labels)) {
			return true
		}
	}
	return false
}

// service checks that a Service finds pods, and its ports in them.
func service(s *corev1.Service, workloads []workload) (problems []string) {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	found := false
	for _, w := range workloads {
		if !selector.Matches(labels.Set(w.template.Labels)) {
			continue
		}
		found = true
		for _, p := range s.Spec.Ports {
			if name := p.TargetPort.StrVal; name != "" && !hasPort(w.template.Spec, name) {
				problems = append(problems, fmt.Sprintf("Service %s: %s has no port named %s", s.Name, w.name, name))
			}
		}
	}
	if !found {
		problems = append(problems, fmt.Sprintf("Service %s selects no pods", s.Name))
	}
	return problems
}

func hasPort(spec corev1.PodSpec, name string) bool {
	for _, c := range spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return true
			}
		}
	}
	return false
}

// references lists the objects that a pod needs, as "Kind name".
func references(spec corev1.PodSpec) (refs []string) {
	if spec.ServiceAccountName != "" {
		refs = append(refs, "ServiceAccount "+spec.ServiceAccountName)
	}
	for _, v := range spec.Volumes {
		if v.ConfigMap != nil {
			refs = append(refs, "ConfigMap "+v.ConfigMap.Name)
		}
		if v.Secret != nil {
			refs = append(refs, "Secret "+v.Secret.SecretName)
		}
	}
	for _, c := range spec.Containers {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				refs = append(refs, "ConfigMap "+e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				refs = append(refs, "Secret "+e.SecretRef.Name)
			}
		}
	}
	return refs
}

// hardening checks what Pod Security's restricted level and our own rules ask of
// every pod.
func hardening(spec corev1.PodSpec) (problems []string) {
	pod := spec.SecurityContext
	if pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot || pod.SeccompProfile == nil {
		problems = append(problems, "the pod may run as root or without seccomp")
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		problems = append(problems, "the pod gets a token for the Kubernetes API")
	}
	for _, c := range spec.Containers {
		sc := c.SecurityContext
		if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem ||
			sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
			sc.Capabilities == nil || len(sc.Capabilities.Drop) != 1 || sc.Capabilities.Drop[0] != "ALL" {
			problems = append(problems, "container "+c.Name+" is not locked down")
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			problems = append(problems, "container "+c.Name+" has no memory limit or no CPU request")
		}
		if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
			problems = append(problems, "container "+c.Name+" has an image without a version")
		}
	}
	return problems
}
