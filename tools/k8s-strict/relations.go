package main

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

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
		if len(w.template.Spec.Containers) == 0 {
			continue // an operator makes the pods
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
		case *autoscalingv2.HorizontalPodAutoscaler:
			if t := o.Spec.ScaleTargetRef.Kind + " " + o.Spec.ScaleTargetRef.Name; !have[t] {
				bad("HorizontalPodAutoscaler %s scales %s, which isn't there", o.Name, t)
			}
		case *unstructured.Unstructured:
			for _, p := range custom(o, list, workloads, have) {
				bad("%s %s: %s", o.GetKind(), o.GetName(), p)
			}
		}
	}
	return problems
}

func collect(list []runtime.Object) (workloads []workload, have map[string]bool) {
	have = make(map[string]bool)
	for _, o := range list {
		switch o := o.(type) {
		case *appsv1.Deployment:
			workloads = append(workloads, workload{"Deployment " + o.Name, o.Spec.Selector, o.Spec.Template})
			have["Deployment "+o.Name] = true
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
		case *unstructured.Unstructured:
			made, database := makes(o)
			for _, name := range made {
				have["Secret "+name] = true
			}
			if database != nil {
				workloads = append(workloads, *database)
			}
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
	names, numbers := make(map[string]bool), make(map[string]bool)
	for _, p := range s.Spec.Ports {
		number := fmt.Sprint(p.Port, p.Protocol)
		if names[p.Name] || numbers[number] {
			problems = append(problems, fmt.Sprintf("Service %s: port %s is there twice", s.Name, p.Name))
		}
		names[p.Name], numbers[number] = true, true
	}
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
			if e.SecretRef != nil && (e.SecretRef.Optional == nil || !*e.SecretRef.Optional) {
				refs = append(refs, "Secret "+e.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				refs = append(refs, "Secret "+e.ValueFrom.SecretKeyRef.Name)
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
		ports := make(map[string]bool)
		for _, p := range c.Ports {
			if ports[p.Name] {
				problems = append(problems, "container "+c.Name+" has port "+p.Name+" twice")
			}
			ports[p.Name] = true
		}
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

// makes names the Secrets that an operator makes of a custom resource, and the
// pods of a database.
func makes(o *unstructured.Unstructured) (secrets []string, database *workload) {
	text := func(path ...string) string {
		s, _, _ := unstructured.NestedString(o.Object, path...)
		return s
	}
	switch o.GroupVersionKind().GroupKind().String() {
	case "Certificate.cert-manager.io":
		secrets = []string{text("spec", "secretName")}
	case "ExternalSecret.external-secrets.io":
		secrets = []string{text("spec", "target", "name")}
	case "Cluster.postgresql.cnpg.io":
		secrets = []string{o.GetName() + "-app"}
		database = &workload{name: "Cluster " + o.GetName()}
		database.template.Labels = map[string]string{"cnpg.io/cluster": o.GetName()}
	}
	return secrets, database
}

// custom checks what a custom resource says of others.
func custom(o *unstructured.Unstructured, list []runtime.Object, workloads []workload, have map[string]bool) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch o.GetKind() {
	case "ScaledObject":
		if name, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name"); !have["Deployment "+name] {
			bad("there is no Deployment %s", name)
		}
	case "PodMonitor":
		fields, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
		if !selects(&metav1.LabelSelector{MatchLabels: fields}, workloads) {
			bad("it selects no pods")
		}
	case "HTTPRoute", "GRPCRoute":
		rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "rules")
		for _, r := range rules {
			rule, _ := r.(map[string]any)
			refs, _, _ := unstructured.NestedSlice(rule, "backendRefs")
			for _, b := range refs {
				ref, _ := b.(map[string]any)
				if !hasServicePort(list, fmt.Sprint(ref["name"]), fmt.Sprint(ref["port"])) {
					bad("there is no Service %v with port %v", ref["name"], ref["port"])
				}
			}
		}
	case "Gateway":
		listeners, _, _ := unstructured.NestedSlice(o.Object, "spec", "listeners")
		for _, l := range listeners {
			listener, _ := l.(map[string]any)
			refs, _, _ := unstructured.NestedSlice(listener, "tls", "certificateRefs")
			for _, c := range refs {
				if ref, _ := c.(map[string]any); !have["Secret "+fmt.Sprint(ref["name"])] {
					bad("there is no Secret %v", ref["name"])
				}
			}
		}
	}
	return problems
}

func hasServicePort(list []runtime.Object, name, port string) bool {
	for _, o := range list {
		if s, ok := o.(*corev1.Service); ok && s.Name == name {
			for _, p := range s.Spec.Ports {
				if fmt.Sprint(p.Port) == port {
					return true
				}
			}
		}
	}
	return false
}
