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
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
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
	files, err := filepath.Glob(filepath.Join(w.opts.Root, "deploy", "k8s", "base", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no manifest is there: %w", err)
	}
	var all []object
	digests := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		d := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var one object
			if err := d.Decode(&one); err != nil {
				if errors.Is(err, io.EOF) {
					break
				}
				return fmt.Errorf("read %s: %w", f, err)
			}
			all = append(all, one)
			for _, image := range list(one["images"]) {
				m, _ := image.(object)
				digests[fmt.Sprint(m["name"])] = m["digest"] != nil
			}
		}
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

// audited does what some words say, and looks for its records.
func (o *Outcome) audited(ctx context.Context, w *World, words string) error {
	l, err := w.locked(ctx)
	if err != nil {
		return err
	}
	owner := as(ctx, l.keys[tenantA+"/owner"])
	made, err := l.endpoints.CreateEndpoint(owner, &subscriptionv1.CreateEndpointRequest{Parent: tenantA, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + "/audit"}})
	if err != nil {
		return err
	}
	w.own = append(w.own, made.GetEndpoint().GetSecret())
	number := w.fresh("AUD")
	sub, err := l.subs.CreateSubscription(owner, &subscriptionv1.CreateSubscriptionRequest{Parent: tenantA, Subscription: &subscriptionv1.Subscription{Endpoint: made.GetEndpoint().GetName(), CarrierCode: "ups", WaybillNumber: number}})
	if err != nil {
		return err
	}
	var objects []string
	for action := range strings.SplitSeq(words, ",") {
		switch {
		case says(action, "key"):
			k, err := l.newKey(ctx, w, noTime)
			if err != nil {
				return err
			}
			objects = append(objects, k.GetKey().GetName())
		case says(action, "rotate"):
			r, err := l.endpoints.RotateSecret(owner, &subscriptionv1.RotateSecretRequest{Name: made.GetEndpoint().GetName()})
			if err != nil {
				return err
			}
			w.own = append(w.own, r.GetEndpoint().GetSecret())
			objects = append(objects, made.GetEndpoint().GetName())
		case says(action, "delete", "cancel"):
			if _, err := l.subs.CancelSubscription(owner, &subscriptionv1.CancelSubscriptionRequest{Name: sub.GetSubscription().GetName()}); err != nil {
				return err
			}
			objects = append(objects, sub.GetSubscription().GetName())
		case says(action, "replay", "resend"):
			continue // looked for by its name below
		case says(action, "erase"):
			o.check("record", errors.New("the product can't erase a waybill yet"))
		}
	}
	events, err := l.audit.ListAuditEvents(owner, &tenantv1.ListAuditEventsRequest{Parent: tenantA, PageSize: 1000})
	if err != nil {
		return err
	}
	text := fmt.Sprint(events)
	for _, name := range objects {
		o.holds("record|who|append", strings.Contains(text, name), "nothing is noted of %s", name)
	}
	for _, leak := range leaksIn(text, w.secrets()) {
		o.problem("the audit log holds %s", leak)
	}
	return nil
}
