package feeds_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/feeds"
)

const root = "../../.."

// The lines of docs/nats.md for the nats command line work, as a team's user.
func TestDocs_LinesForTheNATSCommandLineWork(t *testing.T) {
	t.Parallel()
	program, err := filepath.Abs(filepath.Join(root, ".bin/nats"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("the nats command line isn't there, so its lines in docs/nats.md are not tested: %v", err)
	}
	w := newWorld(t, t.TempDir(), feeds.Limits{})
	w.account("acme", nil)
	for r := uint64(1); r <= 10; r++ {
		if res := w.post("acme", r); res.Status == 0 {
			t.Fatal(res)
		}
	}
	_, _, creds := w.user("acme")
	text, err := os.ReadFile(filepath.Join(root, "docs/nats.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "nats ") {
			continue
		}
		ran++
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$0" `+strings.TrimPrefix(line, "nats "), program)
		cmd.Env = []string{"NATS_URL=nats://" + w.server.Addr(), "NATS_CREDS=" + creds, "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, "consumer next") && strings.Count(string(out), "psh_acme_") < 10 {
			t.Errorf("%s printed\n%s", line, out)
		}
	}
	if ran < 4 {
		t.Errorf("only %d lines are there", ran)
	}
}

type asyncAPI struct {
	AsyncAPI string `yaml:"asyncapi"`
	Info     struct{ Title, Version string }
	Channels map[string]struct {
		Address    string
		Parameters map[string]any
		Messages   map[string]map[string]string
	}
	Operations map[string]struct {
		Action   string
		Channel  map[string]string
		Messages []map[string]string
	}
	Components struct {
		Messages map[string]struct {
			Name        string
			ContentType string `yaml:"contentType"`
			Headers     struct {
				Required   []string
				Properties map[string]any
			}
			Payload struct {
				Schema map[string]string
			}
		}
	}
}

// docs/asyncapi.yaml is of the form that it says, every reference leads
// somewhere, and it says of subjects and headers what the code does.
func TestDocs_AsyncAPISaysWhatTheCodeDoes(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(root, "docs/asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	var tree any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" || doc.Info.Title == "" || doc.Info.Version == "" || len(doc.Operations) < 2 {
		t.Errorf("the head is %q %+v", doc.AsyncAPI, doc.Info)
	}
	for _, ref := range references(tree) {
		if path, ok := strings.CutPrefix(ref, "#/"); ok {
			at := tree
			for part := range strings.SplitSeq(path, "/") {
				m, _ := at.(map[string]any)
				if at = m[part]; at == nil {
					t.Errorf("%s leads nowhere", ref)
					break
				}
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "docs", ref)); err != nil {
			t.Errorf("%s leads nowhere", ref)
		}
	}
	braces := regexp.MustCompile(`\{(\w+)\}`)
	for name, c := range doc.Channels {
		for _, m := range braces.FindAllStringSubmatch(c.Address, -1) {
			if c.Parameters[m[1]] == nil {
				t.Errorf("the channel %s doesn't say what %s is", name, m[1])
			}
		}
		if len(c.Messages) == 0 {
			t.Errorf("the channel %s has no messages", name)
		}
	}
	for name, op := range doc.Operations {
		if op.Action != "receive" || op.Channel["$ref"] == "" {
			t.Errorf("the operation %s is %+v", name, op)
		}
	}
	fill := strings.NewReplacer("{endpoint}", "ep_1", "{carrier}", "sf", "{waybill}", "SF1", "{slot}", strings.Split(subject.Trace("sf", "SF1"), ".")[3])
	if got := fill.Replace(doc.Channels["feed"].Address); got != subject.Feed("ep_1", "sf", "SF1") {
		t.Errorf("the feed's subject is %s", got)
	}
	if got := fill.Replace(doc.Channels["trace"].Address); got != subject.Trace("sf", "SF1") {
		t.Errorf("the trace's subject is %s", got)
	}
	headers := doc.Components.Messages["push"].Headers
	for _, h := range []string{feeds.HeaderPushID, feeds.HeaderSchema, feeds.HeaderSubscription, feeds.HeaderRevision, feeds.HeaderAfterRevision, "Content-Type", "Nats-Msg-Id"} {
		if headers.Properties[h] == nil || !slices.Contains(headers.Required, h) {
			t.Errorf("the header %s isn't there", h)
		}
	}
}

func references(v any) (refs []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if s, ok := child.(string); ok && k == "$ref" {
				refs = append(refs, s)
			}
			refs = append(refs, references(child)...)
		}
	case []any:
		for _, child := range v {
			refs = append(refs, references(child)...)
		}
	}
	return refs
}
