package app_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/services/internal/app"
)

const (
	repository = "../../../"
	monitoring = repository + "deploy/k8s/components/monitoring/"
)

// instruments are the names of the series of every instrument that the source of
// the services makes. A counter is exposed from its first count on, so a running
// program doesn't show those that count faults.
func instruments(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(repository+"services", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				inFunction(f.Body, names)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// maker is a function inside of another that makes instruments: counter("attempts", …).
type maker struct{ kind, prefix, unit string }

func inFunction(body *ast.BlockStmt, names map[string]bool) {
	makers := make(map[string]maker)
	within := "" // the maker whose body we are in
	var walk func(n ast.Node) bool
	walk = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if id, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Rhs) == 1 {
				if f, ok := n.Rhs[0].(*ast.FuncLit); ok {
					outer := within
					within = id.Name
					ast.Inspect(f.Body, walk)
					within = outer
					return false
				}
			}
		case *ast.CallExpr:
			if len(n.Args) == 0 {
				return true
			}
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				kind := instrument.FindString(f.Sel.Name)
				if kind == "" {
					return true
				}
				if name, ok := text(n.Args[0]); ok {
					series(names, kind, name, unit(n))
				} else if sum, ok := n.Args[0].(*ast.BinaryExpr); ok && within != "" {
					if prefix, ok := text(sum.X); ok {
						makers[within] = maker{kind, prefix, unit(n)}
					}
				}
			case *ast.Ident:
				if m, ok := makers[f.Name]; ok {
					if name, ok := text(n.Args[0]); ok {
						series(names, m.kind, m.prefix+name, unit(n)+m.unit)
					}
				}
			}
		}
		return true
	}
	ast.Inspect(body, walk)
}

var instrument = regexp.MustCompile(`^(Int64|Float64)(Observable)?(Counter|UpDownCounter|Gauge|Histogram)$`)

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// unit is that of a call that makes an instrument, as a suffix of its name.
func unit(call *ast.CallExpr) (suffix string) {
	ast.Inspect(call, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && c != call {
			if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "WithUnit" && len(c.Args) == 1 {
				u, _ := text(c.Args[0])
				suffix = map[string]string{"s": "_seconds", "By": "_bytes"}[u]
			}
		}
		return true
	})
	return suffix
}

func series(names map[string]bool, kind, name, unit string) {
	name = strings.TrimSuffix(name, unit) + unit
	switch {
	case strings.HasSuffix(kind, "Histogram"):
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			names[name+suffix] = true
		}
	case strings.HasSuffix(kind, "Counter") && !strings.HasSuffix(kind, "UpDownCounter"):
		names[strings.TrimSuffix(name, "_total")+"_total"] = true
	default:
		names[name] = true
	}
}

var (
	// quoted and selectors are no names; what a function is applied to is none of its own.
	quoted    = regexp.MustCompile(`"[^"]*"`)
	selectors = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]`)
	grouping  = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word      = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	operators = []string{"and", "or", "unless", "bool", "offset", "m", "h", "d", "s", "e15"}
)

// metricsOf lists the names of metrics in an expression of PromQL.
func metricsOf(expr string) (names []string) {
	expr = quoted.ReplaceAllString(expr, "")
	expr = grouping.ReplaceAllString(selectors.ReplaceAllString(expr, ""), "")
	for _, at := range word.FindAllStringIndex(expr, -1) {
		name, rest := expr[at[0]:at[1]], strings.TrimSpace(expr[at[1]:])
		grouped := strings.HasPrefix(rest, "(")
		if grouped || slices.Contains(operators, name) || at[0] > 0 && strings.ContainsAny(expr[at[0]-1:at[0]], "0123456789.") {
			continue
		}
		if slices.Contains([]string{"sum", "max", "min", "count", "avg"}, name) {
			continue // sum by (…) (…)
		}
		names = append(names, name)
	}
	return names
}

// rule is an alert.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) (out []rule) {
	t.Helper()
	b, err := os.ReadFile(monitoring + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Spec struct{ Groups []struct{ Rules []rule } }
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, g := range doc.Spec.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// shown are expressions of everything that looks at metrics, by where they are.
func shown(t *testing.T) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	for _, r := range rules(t) {
		out[r.Alert] = append(out[r.Alert], r.Expr)
	}
	boards, err := filepath.Glob(monitoring + "dashboards/*.json")
	if err != nil || len(boards) < 4 {
		t.Fatalf("dashboards: %v, %v", boards, err)
	}
	for _, path := range boards {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(b, &board); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				out[filepath.Base(path)+": "+p.Title] = append(out[filepath.Base(path)+": "+p.Title], target.Expr)
			}
		}
	}
	b, err := os.ReadFile(repository + "deploy/k8s/components/keda/scaledobjects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range regexp.MustCompile(`query: (.*)`).FindAllStringSubmatch(string(b), -1) {
		out["scaledobjects.yaml"] = append(out["scaledobjects.yaml"], q[1])
	}
	return out
}

// scrape reads /metrics: the names of series with the labels that they have.
func scrape(t *testing.T, address string) map[string]string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(body)) {
		if name := word.FindString(line); name != "" && !strings.HasPrefix(line, "#") {
			out[name] += line
		}
	}
	return out
}

func TestMonitoring_LooksAtMetricsThatExist(t *testing.T) {
	t.Parallel()
	a := start(t, app.AllInOne, config(t, filepath.Join(t.TempDir(), "data")))
	conn, err := grpc.NewClient("passthrough:///"+a.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// Something of HTTP and gRPC has to be there to be measured.
	_, _ = ingestv1.NewIngestServiceClient(conn).ReportEvents(t.Context(), &ingestv1.ReportEventsRequest{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addresses().HTTP+"/v1/egress", nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()

	made, there := instruments(t), scrape(t, a.Addresses().Ops)
	ours := 0
	for name := range there {
		if strings.HasPrefix(name, "posthaste_") {
			ours++
			if !made[name] {
				t.Errorf("%s is exposed, and was not found in the source", name)
			}
		}
	}
	if ours < 5 {
		t.Errorf("only %d series of ours are exposed", ours)
	}
	places := shown(t)
	looked := 0
	for place, exprs := range places {
		for _, expr := range exprs {
			names := metricsOf(expr)
			if len(names) == 0 {
				t.Errorf("%s looks at nothing: %s", place, expr)
			}
			for _, name := range names {
				looked++
				if _, ok := there[name]; !ok && !made[name] && name != "up" { // Prometheus's own
					t.Errorf("%s looks at %s, which nobody exposes", place, name)
				}
			}
		}
	}
	if looked < 80 {
		t.Errorf("only %d names were looked at", looked)
	}
	for name, label := range map[string]string{
		"http_server_request_duration_seconds_count": "http_response_status_code=",
		"rpc_server_call_duration_seconds_count":     "rpc_response_status_code=",
	} {
		if !strings.Contains(there[name], label) {
			t.Errorf("%s has no label %s: %s", name, label, there[name])
		}
	}
}

func TestMetricsOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ expr, want string }{
		{`absent(up{component="x_y"} == 1)`, "up"},
		{`sum by (le, a) (rate(x_bucket{le="15.0"}[1h])) / on (a) sum(x_count) > 14.4 * 0.001`, "x_bucket x_count"},
		{`sum(x unless x offset 15m) > 0 or sum(increase(x[15m])) > 0`, "x x x"},
		{`histogram_quantile(0.5, sum by (le) (rate(y_bucket[$__rate_interval])))`, "y_bucket"},
		{`a{} / (b{} < 1e15) > 0.95`, "a b"},
	} {
		if got := strings.Join(metricsOf(tt.expr), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.expr, got, tt.want)
		}
	}
}

func TestAlerts_HaveAPromiseAndARunbook(t *testing.T) {
	t.Parallel()
	guarantees, err := os.ReadFile(repository + "docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[string]bool)
	list := rules(t)
	if len(list) < 20 {
		t.Errorf("there are only %d alerts", len(list))
	}
	for _, r := range list {
		page := r.Alert + ".md"
		pages[page] = true
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+page) {
			t.Errorf("%s: its runbook is %q", r.Alert, r.Annotations["runbook_url"])
		}
		number, promise, _ := strings.Cut(r.Annotations["promise"], " ")
		if !strings.Contains(string(guarantees), "| "+number+" | **"+promise+".**") {
			t.Errorf("%s: docs/guarantees.md has no promise %q", r.Alert, r.Annotations["promise"])
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" || r.Annotations["summary"] == "" || r.For == "" {
			t.Errorf("%s has no summary, or severity %q", r.Alert, s)
		}
		b, err := os.ReadFile(repository + "docs/runbooks/" + page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{"# " + r.Alert, "## Look at", "## Do"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s has no %q", page, want)
			}
		}
	}
	files, err := filepath.Glob(repository + "docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if base := filepath.Base(f); base != "README.md" && !pages[base] {
			t.Errorf("%s is of no alert", base)
		}
	}
}

// The release builds every program, with the flags of the images.
func TestRelease_BuildsWhatTheImagesHold(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(repository + ".goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var release struct {
		Version int
		Builds  []struct {
			ID, Dir, Main, Binary string
			Env, Flags, Ldflags   []string
		}
	}
	if err := yaml.Unmarshal(b, &release); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(repository + "hack/build-image")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`-ldflags "([^"]*)"`).FindSubmatch(script)
	if flags == nil {
		t.Fatal("hack/build-image has no -ldflags")
	}
	want := strings.ReplaceAll(string(flags[1]), "$version", "{{ .Tag }}")
	var ids []string
	for _, build := range release.Builds {
		ids = append(ids, build.ID)
		if build.Main != "./cmd/"+build.ID || build.Binary != build.ID || build.Dir != "services" {
			t.Errorf("%s builds %s of %s as %s", build.ID, build.Main, build.Dir, build.Binary)
		}
		if _, err := os.Stat(repository + "services/cmd/" + build.ID); err != nil {
			t.Error(err)
		}
		if !slices.Equal(build.Ldflags, []string{want}) || !slices.Equal(build.Flags, []string{"-trimpath", "-buildvcs=false"}) || !slices.Equal(build.Env, []string{"CGO_ENABLED=0"}) {
			t.Errorf("%s is built with %q %q %q", build.ID, build.Env, build.Flags, build.Ldflags)
		}
	}
	if programs := []string{"posthaste", "ingest", "normalizer", "subscription", "delivery", "poller"}; release.Version != 2 || !slices.Equal(ids, programs) {
		t.Errorf("version %d builds %q, want %q", release.Version, ids, programs)
	}
}
