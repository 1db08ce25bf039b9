package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant makes a copy of the base with one text replaced in one file.
func plant(t *testing.T, file, from, to string) string {
	t.Helper()
	const base = "../../deploy/k8s/base"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
		t.Fatal(err)
	}
	if file == "" {
		return dir
	}
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
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

func TestCheck_TakesTheBase(t *testing.T) {
	t.Parallel()
	objects, problems := check(plant(t, "", "", ""))
	if objects < 20 || len(problems) != 0 {
		t.Errorf("%d objects, problems: %v", objects, problems)
	}
}

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ file, from, to, want string }{
		"an unknown field":            {"ingest.yaml", "minReadySeconds", "minReadySecond", "unknown field"},
		"a field twice":               {"ingest.yaml", "replicas: 2", "replicas: 2\n  replicas: 3", "replicas"},
		"a wrong type":                {"ingest.yaml", "replicas: 2", "replicas: many", "Deployment ingest"},
		"an unknown kustomize field":  {"kustomization.yaml", "namespace: posthaste", "namespaces: posthaste", "unknown field"},
		"a file nobody names":         {"kustomization.yaml", "  - network.yaml\n", "", "network.yaml is part of no kustomization"},
		"a file that isn't there":     {"kustomization.yaml", "network.yaml", "networks.yaml", "networks.yaml"},
		"a selector for other pods":   {"ingest.yaml", "component: ingest\nspec:\n  selector:\n    app.kubernetes.io/component: ingest", "component: ingest\nspec:\n  selector:\n    app.kubernetes.io/component: intake", "Service ingest selects no pods"},
		"a port nobody has":           {"ingest.yaml", "targetPort: http", "targetPort: web", "no port named web"},
		"a secret nobody makes":       {"delivery.yaml", "posthaste-database", "posthaste-databse", "there is no Secret posthaste-databse"},
		"a budget for nobody":         {"disruption.yaml", "component: ingest", "component: intake", "PodDisruptionBudget ingest selects no pods"},
		"a rule for nobody":           {"network.yaml", "component: delivery", "component: deliver", "NetworkPolicy to-callbacks selects no pods"},
		"a root pod":                  {"delivery.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		"a writable container":        {"delivery.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "not locked down"},
		"a pod with a token":          {"delivery.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		"an image without a version":  {"nats.yaml", "nats:2.15.2-alpine", "nats", "without a version"},
		"a container without a limit": {"nats.yaml", "limits:\n              memory: 2Gi", "limits: {}", "no memory limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := check(plant(t, tt.file, tt.from, tt.to))
			if !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("problems are %q, want one with %q", problems, tt.want)
			}
		})
	}
}

func TestCheck_WantsSomethingToCheck(t *testing.T) {
	t.Parallel()
	if _, problems := check(t.TempDir()); len(problems) != 1 {
		t.Errorf("problems are %q", problems)
	}
}
