package app

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

// parse parses a command line with nothing in the environment.
func parse(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	var c Config
	k, err := kong.New(&c, ParserOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(args)
	return c, err
}

// docs/configuration.md is made from the config structs, so they can't drift.
// Run the test with -update to rewrite it.
func TestConfig_IsDocumented(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- begin table -->\n", "<!-- end table -->"
	path := filepath.Join("..", "..", "..", "docs", "configuration.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no table between its marks", path)
	}
	var want bytes.Buffer
	if err := WriteTable(&want); err != nil {
		t.Fatal(err)
	}
	if have == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the structs say; run: go test ./services/internal/app -run %s -update", path, t.Name())
	}
	if err := os.WriteFile(path, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConfig_NamesTheFlagAndTheRule(t *testing.T) {
	t.Parallel()
	if _, err := parse(t); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for _, tt := range []struct{ arg, want string }{
		{"--shards=0", "--shards is 0 and must be from 1 to 64"},
		{"--trace-ratio=1.5", "--trace-ratio is 1.5"},
		{"--http-listen=8080", "--http-listen is \"8080\" and must be host:port"},
		{"--stream-replicas=2", "--stream-replicas is 2"},
		{"--stop-grace=-1s", "--stop-grace is -1s"},
		{"--stream-raw-max-age=1m", "--stream-raw-max-age is 1m0s"},
		{"--stream-raw-max-bytes=1GB", "--stream-raw-max-bytes"},
		{"--log-level=loud", "--log-level"},
		{"--log-format=xml", "--log-format"},
		{"--unknown=1", "--unknown"},
	} {
		if _, err := parse(t, tt.arg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.arg, err, tt.want)
		}
	}
}

func TestConfig_WarnsOfWhatIsUnwise(t *testing.T) {
	t.Parallel()
	c, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("the defaults are unwise: %v", w)
	}
	for arg, want := range map[string]string{
		"--nats-listen=0.0.0.0:4222": "--nats-listen", "--ops-listen=:9464": "--ops-listen", "--trace-ratio=1": "--trace-ratio", "--kuaidi100=a=": "no salt",
	} {
		c, err := parse(t, arg)
		if err != nil {
			t.Fatal(err)
		}
		if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
			t.Errorf("%s: warnings are %v", arg, w)
		}
	}
}

func TestConfig_NeverShowsSecrets(t *testing.T) {
	t.Parallel()
	c, err := parse(t, "--kdniao=1237100=swordfish;13=swordfish", "--kuaidi100=me=swordfish",
		"--database-url=postgres://me:swordfish@host/db?sslpassword=swordfish", "--nats-url=nats://swordfish@a:4222,nats://me:swordfish@b:4222")
	if err != nil {
		t.Fatal(err)
	}
	if c.Sources.Kdniao["1237100"].Reveal() != "swordfish" || !strings.Contains(c.Database.URL.Reveal(), "swordfish") {
		t.Fatalf("the secrets are lost: %v", c.Sources)
	}
	var shown bytes.Buffer
	if err := WriteConfig(&shown, &c); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("x", "config", c, "url", c.Database.URL, "key", c.Sources.Kdniao["13"])
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "config", c, "url", c.NATS.URL)
	for how, text := range map[string]string{
		"posthaste config": shown.String(), "JSON": string(asJSON), "a log": logged.String(),
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c), "%s": fmt.Sprintf("%s %s", c.NATS.URL, c.Sources.Kdniao),
	} {
		if strings.Contains(text, "swordfish") {
			t.Errorf("%s shows a secret: %s", how, text)
		}
	}
	for _, want := range []string{"POSTHASTE_KDNIAO=1237100=***;13=***\n", "POSTHASTE_KUAIDI100=me=***\n", "POSTHASTE_DATABASE_URL=postgres://me:***@host/db?sslpassword=***\n", "POSTHASTE_NATS_URL=nats://***@a:4222,nats://me:***@b:4222\n"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("posthaste config doesn't show %q: %s", want, shown.String())
		}
	}
	if got := SecretURL("host=x password=swordfish").String(); got != "***" {
		t.Errorf("a form that can't be taken apart shows %q", got)
	}
}

func TestEnvironment_RefusesVariablesThatNothingReads(t *testing.T) {
	t.Parallel()
	k, err := kong.New(&Config{}, ParserOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]bool{
		"PATH=/bin": true, "POSTHASTE_NATS_URL=nats://x": true, "POSTHASTE_DATA=x": true, "POSTHASTE_PG_BIN=x": true, "POSTHASTE_DATABASE_URL=x": true,
		"POSTHASTE_SAMPLES=x": true, "POSTHASTE_NATS_ULR=nats://x": false, "POSTHASTE_SHARD=1": false,
		// What Kubernetes sets for a Service named posthaste-ingest.
		"POSTHASTE_INGEST_SERVICE_HOST=10.0.0.1": true, "POSTHASTE_INGEST_SERVICE_PORT_GRPC=9090": true, "POSTHASTE_INGEST_PORT=tcp://10.0.0.1:80": true, "POSTHASTE_INGEST_PORT_80_TCP_ADDR=10.0.0.1": true,
	} {
		if err := checkEnvironment(k, []string{env}); (err == nil) != want {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestSize_ReadsAndWritesUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "512": 512, "1KiB": 1 << 10, "16GiB": 16 << 30, "3 MiB": 3 << 20, "2TiB": 2 << 40} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q: got %d, %v", text, s, err)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q is written as %q", text, s)
		}
	}
	for _, text := range []string{"", "x", "-1", "1GB", "1.5GiB", "9999999999TiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %d", text, s)
		}
	}
}
