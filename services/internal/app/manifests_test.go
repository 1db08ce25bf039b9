package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/posthaste/posthaste/services/internal/app"
)

// container is one that runs a program, as tools/k8s-strict -programs writes it.
type container struct {
	Folder, Workload, Program string
	Args                      []string
	Env                       map[string]string
	Secret                    []string
	Grace                     int64
	Probes                    []string
	Ports                     map[string]int32
}

// containers renders deploy/k8s.
func containers(t *testing.T) []container {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "-C", "../../../tools/k8s-strict", "run", ".", "-programs", "../../deploy/k8s")
	cmd.Env = append(helperEnviron(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("render deploy/k8s: %v", err)
	}
	var list []container
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// secrets stand for what isn't in the manifests.
var secrets = map[string]string{
	"POSTHASTE_DATABASE_URL":   "postgres://posthaste@database/posthaste",
	"POSTHASTE_KDNIAO":         "1237100=key",
	"POSTHASTE_KUAIDI100":      "main=salt",
	"POSTHASTE_SOURCE_ACCOUNT": "",
	"POSTHASTE_CARRIER":        "",
	"POSTHASTE_POLL_ACCOUNTS":  "kdniao=1237100,key",
}

// parse gives a container's variables and arguments to the parser of the programs.
func parse(c container) (cfg app.Config, err error) {
	k, err := kong.New(&cfg, append(app.ParserOptions(), kong.Exit(func(int) {}))...)
	if err != nil {
		return cfg, err
	}
	flags := make(map[string]*kong.Flag)
	for _, f := range k.Model.Flags {
		for _, name := range f.Envs {
			flags[name] = f
		}
	}
	env := maps.Clone(c.Env)
	for _, name := range c.Secret {
		value, known := secrets[name]
		if !known && strings.HasPrefix(name, "POSTHASTE_") {
			return cfg, fmt.Errorf("no program knows the secret variable %s", name)
		}
		env[name] = value
	}
	args := slices.Clone(c.Args)
	for name, value := range env {
		f, known := flags[name]
		switch {
		case !strings.HasPrefix(name, "POSTHASTE_"), value == "" && known:
		case !known:
			return cfg, fmt.Errorf("variable %s is not known", name)
		case f.IsBool() && value == "false":
			args = append(args, "--no-"+f.Name)
		case f.IsBool():
			args = append(args, "--"+f.Name)
		default:
			args = append(args, "--"+f.Name+"="+value)
		}
	}
	_, err = k.Parse(args)
	return cfg, err
}

// flush is what is left for writing out what waits when the grace is spent.
const flush = 15 * time.Second

// wrong says what of a container its program wouldn't take or serve.
func wrong(c container) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	servers := []string{app.Ingest, app.Subscription}
	if c.Program == app.AllInOne {
		if !slices.Equal(c.Args, []string{"migrate", "up"}) || !slices.Contains(c.Secret, "POSTHASTE_DATABASE_URL") {
			bad("arguments are %q: not the migration with its database", c.Args)
		}
		return problems
	}
	if !slices.Contains([]string{app.Ingest, app.Normalizer, app.Subscription, app.Delivery, app.Poller}, c.Program) {
		bad("there is no program %s", c.Program)
	}
	cfg, err := parse(c)
	if err != nil {
		bad("%v", err)
		return problems
	}
	if cfg.Database.URL == "" || cfg.NATS.URL == "" {
		bad("it isn't told where PostgreSQL and NATS are")
	}
	if len(cfg.NATS.Monitor) == 0 {
		bad("nobody checks that NATS syncs before it acknowledges")
	}
	if need := cfg.Stop.Delay + cfg.Stop.Grace + flush; time.Duration(c.Grace)*time.Second < need {
		bad("it is ended after %ds and may take %s to stop", c.Grace, need)
	}
	listens := map[string]string{"ops": cfg.Ops.Listen}
	if slices.Contains(servers, c.Program) {
		listens["http"], listens["grpc"] = cfg.HTTP.Listen, cfg.GRPC.Listen
	}
	for name, address := range listens {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host != "" || port != strconv.Itoa(int(c.Ports[name])) {
			bad("port %s is %d, and the program listens at %q", name, c.Ports[name], address)
		}
	}
	if len(c.Ports) != len(listens) {
		bad("ports are %v, and the program has %d", c.Ports, len(listens))
	}
	// What the ops server serves; see TestAllInOne_ServesTheProbes.
	slices.Sort(c.Probes)
	if want := []string{"live http ops /healthz", "ready http ops /readyz", "startup http ops /healthz"}; !slices.Equal(c.Probes, want) {
		bad("probes are %q, want %q", c.Probes, want)
	}
	return problems
}

func TestManifests_FitThePrograms(t *testing.T) {
	t.Parallel()
	list := containers(t)
	seen := make(map[string]int)
	for _, c := range list {
		seen[c.Folder[strings.LastIndex(c.Folder, "/")+1:]+" "+c.Program]++
		if c.Folder[strings.LastIndex(c.Folder, "/")+1:] == "base" {
			continue // it isn't whole
		}
		for _, p := range wrong(c) {
			t.Errorf("%s, %s: %s", c.Folder, c.Workload, p)
		}
	}
	for _, overlay := range []string{"dev", "production"} {
		for _, program := range []string{app.Ingest, app.Normalizer, app.Subscription, app.Delivery, app.Poller, app.AllInOne} {
			if seen[overlay+" "+program] != 1 {
				t.Errorf("%s has %d workloads of %s", overlay, seen[overlay+" "+program], program)
			}
		}
	}
}

func TestManifests_WhatIsWrongIsSeen(t *testing.T) {
	t.Parallel()
	good := func() container {
		return container{
			Program: app.Ingest, Secret: []string{"POSTHASTE_DATABASE_URL"}, Grace: 75,
			Env: map[string]string{
				"POSTHASTE_NATS_URL": "nats://nats:4222", "POSTHASTE_NATS_MONITOR": "http://nats:8222", "POSTHASTE_STOP_GRACE": "40s", "POSTHASTE_STOP_DELAY": "5s",
				"POSTHASTE_OPS_LISTEN": ":9464", "POSTHASTE_GRPC_LISTEN": ":9090", "POSTHASTE_HTTP_LISTEN": ":8080",
			},
			Probes: []string{"startup http ops /healthz", "ready http ops /readyz", "live http ops /healthz"},
			Ports:  map[string]int32{"ops": 9464, "grpc": 9090, "http": 8080},
		}
	}
	if p := wrong(good()); len(p) != 0 {
		t.Fatalf("a good one is called wrong: %q", p)
	}
	for name, tt := range map[string]struct {
		spoil func(*container)
		want  string
	}{
		"a variable's typo":      {func(c *container) { c.Env["POSTHASTE_STOP_GRACES"] = "1s" }, "not known"},
		"a variable's value":     {func(c *container) { c.Env["POSTHASTE_STOP_GRACE"] = "long" }, "stop-grace"},
		"a rule between values":  {func(c *container) { c.Env["POSTHASTE_TLS_CERT"] = "/tls.crt" }, "--tls-key"},
		"an unknown secret":      {func(c *container) { c.Secret = append(c.Secret, "POSTHASTE_KDNAIO") }, "POSTHASTE_KDNAIO"},
		"an unknown flag":        {func(c *container) { c.Args = []string{"--fast"} }, "--fast"},
		"no database":            {func(c *container) { c.Secret = nil }, "PostgreSQL"},
		"too little time to end": {func(c *container) { c.Grace = 30 }, "to stop"},
		"a port elsewhere":       {func(c *container) { c.Env["POSTHASTE_HTTP_LISTEN"] = ":8081" }, "port http"},
		"a probe of a neighbour": {func(c *container) { c.Probes[2] = "live http ops /readyz" }, "probes"},
		"another program":        {func(c *container) { c.Program = "intake" }, "no program"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			tt.spoil(&c)
			if p := strings.Join(wrong(c), "\n"); !strings.Contains(p, tt.want) {
				t.Errorf("problems are %q, want %q among them", p, tt.want)
			}
		})
	}
}
