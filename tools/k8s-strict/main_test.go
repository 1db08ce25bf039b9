package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const manifests = "../../deploy/k8s"

// plant makes a copy of the manifests with one text replaced in one file.
func plant(t *testing.T, file, from, to string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	if file == "" {
		return dir
	}
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s doesn't contain %q any more", file, from)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// definitions are read once; hack/verify-k8s says where they are.
var definitions = sync.OnceValues(func() (checker, error) {
	dirs := strings.Fields(os.Getenv("CRDS"))
	if len(dirs) == 0 {
		return checker{}, errors.New("run this by hack/verify-k8s, which says in CRDS where custom resource definitions are")
	}
	kinds, err := readCRDs(dirs)
	return checker{kinds, []string{"postgresql.cnpg.io/Cluster"}}, err
})

func check(t *testing.T, dir string) (counts, []string) {
	t.Helper()
	c, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	return c.check(dir)
}

func TestCheck_TakesTheManifests(t *testing.T) {
	t.Parallel()
	n, problems := check(t, manifests)
	if n.objects < 100 || n.custom < 15 || n.unchecked != 1 || len(problems) != 0 {
		t.Errorf("%+v, problems: %v", n, problems)
	}
}

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const base, components = "base/", "components/"
	for name, tt := range map[string]struct{ file, from, to, want string }{
		"an unknown field":            {base + "ingest.yaml", "minReadySeconds", "minReadySecond", "unknown field"},
		"a field twice":               {base + "ingest.yaml", "replicas: 2", "replicas: 2\n  replicas: 3", "replicas"},
		"a wrong type":                {base + "ingest.yaml", "replicas: 2", "replicas: many", "Deployment ingest"},
		"an unknown kustomize field":  {base + "kustomization.yaml", "namespace: posthaste", "namespaces: posthaste", "unknown field"},
		"a file nobody names":         {base + "kustomization.yaml", "  - network.yaml\n", "", "network.yaml is part of no kustomization"},
		"a file that isn't there":     {base + "kustomization.yaml", "network.yaml", "networks.yaml", "networks.yaml"},
		"a component nobody uses":     {"overlays/production/kustomization.yaml", "  - ../../components/keda\n", "", "a component that nothing uses"},
		"a selector for other pods":   {base + "ingest.yaml", "component: ingest\nspec:\n  selector:\n    app.kubernetes.io/component: ingest", "component: ingest\nspec:\n  selector:\n    app.kubernetes.io/component: intake", "Service ingest selects no pods"},
		"a port nobody has":           {base + "ingest.yaml", "targetPort: http", "targetPort: web", "no port named web"},
		"a Service's port twice":      {base + "subscription.yaml", "    - name: http\n      port: 8080", "    - name: grpc\n      port: 8080", "is there twice"},
		"a container's port twice":    {base + "subscription.yaml", "            - name: http", "            - name: grpc", "port grpc twice"},
		"a secret nobody makes":       {base + "delivery.yaml", "posthaste-database-app", "posthaste-databse-app", "there is no Secret posthaste-databse-app"},
		"a budget for nobody":         {base + "disruption.yaml", "component: ingest", "component: intake", "PodDisruptionBudget ingest selects no pods"},
		"a rule for nobody":           {base + "network.yaml", "component: delivery", "component: deliver", "NetworkPolicy to-callbacks selects no pods"},
		"a root pod":                  {base + "delivery.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		"a writable container":        {base + "delivery.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "not locked down"},
		"a pod with a token":          {base + "delivery.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		"an image without a version":  {components + "nats/nats.yaml", "nats:2.15.2-alpine", "nats", "without a version"},
		"a container without a limit": {components + "nats/nats.yaml", "limits:\n              memory: 2Gi", "limits: {}", "no memory limit"},
		"a custom resource's typo":    {components + "keda/scaledobjects.yaml", "pollingInterval", "pollInterval", "unknown field spec.pollInterval"},
		"a custom resource's type":    {components + "keda/scaledobjects.yaml", "maxReplicaCount: 8", "maxReplicaCount: eight", "spec.maxReplicaCount"},
		"a custom resource's lack":    {components + "keda/scaledobjects.yaml", "  triggers:\n    - type: prometheus\n", "  triggers:\n    - name: prometheus\n", "spec.triggers[0].type"},
		"a custom resource's choice":  {components + "gateway/gateway.yaml", "mode: Terminate", "mode: End", "spec.listeners[0].tls.mode"},
		"a kind nobody knows":         {components + "keda/scaledobjects.yaml", "kind: ScaledObject", "kind: ScalingObject", "nobody knows keda.sh/v1alpha1, Kind=ScalingObject"},
		"a scaler of nothing":         {components + "keda/scaledobjects.yaml", "    name: normalizer\n  minReplica", "    name: normaliser\n  minReplica", "there is no Deployment normaliser"},
		"a route to nowhere":          {components + "gateway/routes.yaml", "{name: subscription, port: 8080}", "{name: subscription, port: 80}", "there is no Service subscription with port 80"},
		"a monitor of nobody":         {components + "monitoring/podmonitor.yaml", "part-of: posthaste\n  pod", "part-of: posthast\n  pod", "it selects no pods"},
		"a certificate nobody makes":  {components + "gateway/gateway.yaml", "secretName: posthaste-edge", "secretName: posthaste-edges", "there is no Secret posthaste-edge"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := check(t, plant(t, tt.file, tt.from, tt.to))
			if !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("problems are %q, want one with %q", problems, tt.want)
			}
		})
	}
}

func TestCheck_WantsSomethingToCheck(t *testing.T) {
	t.Parallel()
	if _, problems := check(t, t.TempDir()); len(problems) != 1 {
		t.Errorf("problems are %q", problems)
	}
}
