package attacks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/posthaste/posthaste/services/internal/app"
)

// runOps looks at what operators have: listeners, configuration, manifests, audit.
func runOps(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	o := &Outcome{}
	in := &c.Input
	switch {
	case in.Has("get"):
		p, err := w.product(ctx, "lab")
		if err != nil {
			return nil, err
		}
		path, _, _ := strings.Cut(in.Text("get"), " ")
		a, err := p.do(ctx, call{method: http.MethodGet, path: path})
		if err != nil {
			return nil, err
		}
		o.see(w, a)
		return o, nil
	case in.Has("config"):
		_ = in.Text("config")
		return o, o.config(ctx, w)
	case in.Has("manifest"):
		return o, o.manifests(w, in.Text("manifest"))
	case in.Has("audit"):
		return o, o.audited(ctx, w, in.Text("audit"))
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// config prints a configuration with secrets in every way there is.
func (o *Outcome) config(ctx context.Context, w *World) error {
	const secret = "attack-secret-5b1d77"
	var cfg struct{ app.Config }
	k, err := kong.New(&cfg, app.ParserOptions()...)
	if err != nil {
		return err
	}
	if _, err := k.Parse([]string{
		"--kdniao=1=" + secret, "--carrier=sf=" + secret, "--database-url=postgres://user:" + secret + "@127.0.0.1/x", "--nats-url=nats://user:" + secret + "@127.0.0.1:1", "--egress-proxy=http://user:" + secret + "@127.0.0.1:1",
	}); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := app.WriteConfig(&b, &cfg.Config); err != nil {
		return err
	}
	text := b.String() + fmt.Sprintf("%v %+v %#v", cfg.Config, cfg.Config, cfg.Config)
	o.holds(`\*\*\*|shown`, !strings.Contains(text, secret) && strings.Contains(b.String(), "***"), "the configuration is printed with the secret")
	// What a crash would print are stacks: they hold no values of secrets.
	p, err := w.product(ctx, "lab")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.at.Ops+"/debug/pprof/goroutine?debug=2", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	stacks, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	for _, s := range w.secrets() {
		if s != "" && bytes.Contains(stacks, []byte(s)) {
			o.problem("a dump of the stacks holds a secret")
		}
	}
	return nil
}

type object = map[string]any

// manifests looks at what is deployed on Kubernetes.
func (o *Outcome) manifests(w *World, words string) error {
	all, err := objects(filepath.Join(w.opts.Root, "deploy", "k8s", "base"))
	if err != nil {
		return err
	}
	digests, err := pinned(w.opts.Root, all)
	if err != nil {
		return err
	}
	if says(words, "NetworkPolicy") {
		o.networkPolicies(all)
		return nil
	}
	n := 0
	for _, one := range all {
		kind := fmt.Sprint(one["kind"])
		if kind != "Deployment" && kind != "StatefulSet" && kind != "Job" {
			continue
		}
		n++
		if err := restricted(one, digests); err != nil {
			o.check(".", fmt.Errorf("%s %v: %w", kind, at(one, "metadata", "name"), err))
		}
	}
	o.holds(".", n > 0, "there is none")
	return nil
}

// objects are those of all manifests in a folder.
func objects(folder string) ([]object, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no manifest is in %s: %w", folder, err)
	}
	var all []object
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		d := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var one object
			if err := d.Decode(&one); err != nil {
				if errors.Is(err, io.EOF) {
					break
				}
				return nil, fmt.Errorf("read %s: %w", f, err)
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// digest is what an image is pinned by.
var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// pinned are the images that a kustomization pins by digest: the base's own, or the
// production overlay's, which is what is deployed.
func pinned(root string, base []object) (map[string]bool, error) {
	lists := base
	overlays, err := filepath.Glob(filepath.Join(root, "deploy", "k8s", "overlays", "prod*"))
	if err != nil {
		return nil, err
	}
	for _, folder := range overlays {
		over, err := objects(folder)
		if err != nil {
			return nil, err
		}
		lists = append(lists, over...)
	}
	digests := map[string]bool{}
	for _, one := range lists {
		for _, image := range list(one["images"]) {
			m, _ := image.(object)
			if digest.MatchString(fmt.Sprint(m["digest"])) {
				digests[fmt.Sprint(m["name"])] = true
			}
		}
	}
	return digests, nil
}

func list(v any) []any { l, _ := v.([]any); return l }

// at follows keys into an object.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(object)
		v = m[k]
	}
	return v
}

// restricted says what is missing of a restricted pod.
func restricted(one object, digests map[string]bool) error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	spec := at(one, "spec", "template", "spec")
	need(at(spec, "securityContext", "runAsNonRoot") == true, "runAsNonRoot")
	need(at(spec, "securityContext", "seccompProfile", "type") == "RuntimeDefault", "seccomp RuntimeDefault")
	need(at(spec, "automountServiceAccountToken") == false, "no service-account token")
	for _, c := range append(list(at(spec, "containers")), list(at(spec, "initContainers"))...) {
		need(at(c, "securityContext", "readOnlyRootFilesystem") == true, "readOnlyRootFilesystem")
		need(at(c, "securityContext", "allowPrivilegeEscalation") == false, "no privilege escalation")
		need(slices.Contains(list(at(c, "securityContext", "capabilities", "drop")), any("ALL")), "all capabilities dropped")
		need(at(c, "resources", "limits", "memory") != nil, "limits")
		image := fmt.Sprint(at(c, "image"))
		need(strings.Contains(image, "@sha256:") || digests[strings.Split(image, ":")[0]], "image "+image+" by digest")
	}
	return errors.Join(errs...)
}

// internetUsers are those that may reach the internet: they call back, and ask
// carriers.
func internetUsers() []string { return []string{"delivery", "poller"} }

// components are those that a network policy is about.
func components(policy object) []string {
	const label = "app.kubernetes.io/component"
	if one := at(policy, "spec", "podSelector", "matchLabels", label); one != nil {
		return []string{fmt.Sprint(one)}
	}
	var all []string
	for _, e := range list(at(policy, "spec", "podSelector", "matchExpressions")) {
		if at(e, "key") == label && at(e, "operator") == "In" {
			for _, v := range list(at(e, "values")) {
				all = append(all, fmt.Sprint(v))
			}
		}
	}
	if all == nil {
		return []string{"every pod"}
	}
	return all
}

// networkPolicies looks for who may reach the internet.
func (o *Outcome) networkPolicies(all []object) {
	var out, denied []string
	excepted := map[string]bool{}
	for _, one := range all {
		if one["kind"] != "NetworkPolicy" {
			continue
		}
		name := fmt.Sprint(at(one, "metadata", "name"))
		types := list(at(one, "spec", "policyTypes"))
		if len(types) == 2 && at(one, "spec", "egress") == nil && at(one, "spec", "ingress") == nil {
			denied = append(denied, name)
		}
		for _, rule := range list(at(one, "spec", "egress")) {
			for _, to := range list(at(rule, "to")) {
				if at(to, "ipBlock") == nil {
					continue
				}
				out = append(out, components(one)...)
				for _, e := range list(at(to, "ipBlock", "except")) {
					excepted[fmt.Sprint(e)] = true
				}
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	missing := []string{}
	for _, p := range []string{"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "168.63.129.16/32"} {
		if !excepted[p] {
			missing = append(missing, p)
		}
	}
	o.holds("delivery|internet|nobody else", slices.Equal(out, internetUsers()) && len(denied) == 1 && len(missing) == 0, "addresses outside are open to %v, default-deny %v, not excepted %v", out, denied, missing)
}
