package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

type answer struct {
	status int
	kind   string
	id     string
	body   map[string]any
}

// http makes a call over HTTP/JSON.
func (l *locked) http(method, path, key, body string, header ...string) answer {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+l.httpAddr+path, strings.NewReader(body))
	l.must(err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	l.must(err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	l.must(err)
	a := answer{status: resp.StatusCode, kind: resp.Header.Get("Content-Type"), id: resp.Header.Get("X-Request-Id")}
	if err := json.Unmarshal(b, &a.body); err != nil {
		l.t.Errorf("%s %s is answered with %d %q", method, path, resp.StatusCode, b)
	}
	return a
}

func TestREST_AnswersAsGRPCDoes(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	reader, writer, owner := l.keys["acme/reader"], l.keys["acme/writer"], l.keys["acme/owner"]
	theirs := l.keys["other/owner"]
	for name, c := range map[string]struct {
		method, path, key, body string
		header                  []string
		want                    int
		reason                  string
	}{
		"read":                    {"GET", "/v1/" + l.endpoint, reader, "", nil, 200, ""},
		"by x-api-key":            {"GET", "/v1/" + l.endpoint, "", "", []string{"X-Api-Key", reader}, 200, ""},
		"a waybill":               {"GET", "/v1/" + l.waybill, reader, "", nil, 200, ""},
		"its events":              {"GET", "/v1/" + l.waybill + "/events", reader, "", nil, 200, ""},
		"a list":                  {"GET", "/v1/tenants/acme/subscriptions?pageSize=1", reader, "", nil, 200, ""},
		"pause":                   {"POST", "/v1/" + l.subscription + ":pause", writer, "{}", nil, 200, ""},
		"an owner's audit":        {"GET", "/v1/tenants/acme/auditEvents", owner, "", nil, 200, ""},
		"platform keys, an admin": {"GET", "/v1/platform/keys", l.admin, "", nil, 200, ""},
		"no key":                  {"GET", "/v1/" + l.endpoint, "", "", nil, 401, "UNAUTHENTICATED"},
		"a key in the URL":        {"GET", "/v1/" + l.endpoint + "?key=" + reader, "", "", nil, 401, "UNAUTHENTICATED"},
		"a wrong key":             {"GET", "/v1/" + l.endpoint, reader[:len(reader)-1] + "!", "", nil, 401, "UNAUTHENTICATED"},
		"two keys":                {"GET", "/v1/" + l.endpoint, reader, "", []string{"Authorization", "Bearer " + theirs}, 401, "UNAUTHENTICATED"},
		"a reader that writes":    {"POST", "/v1/" + l.subscription + ":cancel", reader, "{}", nil, 403, "PERMISSION_DENIED"},
		"an owner that operates":  {"GET", "/v1/tenants", owner, "", nil, 403, "PERMISSION_DENIED"},
		"another's":               {"GET", "/v1/" + l.subscription, theirs, "", nil, 404, "RESOURCE_NOT_FOUND"},
		"another's, deleted":      {"DELETE", "/v1/" + l.endpoint, theirs, "", nil, 404, "RESOURCE_NOT_FOUND"},
		"another's waybill":       {"GET", "/v1/" + l.waybill, theirs, "", nil, 404, "RESOURCE_NOT_FOUND"},
		"a method in the header":  {"GET", "/v1/" + l.endpoint, reader, "", []string{"X-HTTP-Method-Override", "DELETE"}, 200, ""},
		"an invalid field":        {"POST", "/v1/tenants/acme/endpoints", writer, `{"url":"nonsense"}`, nil, 400, "INVALID_ARGUMENT"},
		"an unknown field":        {"POST", "/v1/tenants/acme/endpoints", writer, `{"tenant_id":"other"}`, nil, 400, "INVALID_ARGUMENT"},
		"no JSON":                 {"POST", "/v1/tenants/acme/endpoints", writer, `{`, nil, 400, "INVALID_ARGUMENT"},
		"an unknown parameter":    {"GET", "/v1/tenants/acme/subscriptions?tenantId=other", reader, "", nil, 400, "INVALID_ARGUMENT"},
		"a wrong method":          {"PUT", "/v1/" + l.endpoint, writer, "{}", nil, 405, ""},
		"no such path":            {"GET", "/v1/nothing/here", reader, "", nil, 404, ""},
		"too large":               {"POST", "/v1/tenants/acme/endpoints", writer, `{"url":"` + strings.Repeat("a", 5<<20) + `"}`, nil, 429, ""},
	} {
		a := l.http(c.method, c.path, c.key, c.body, c.header...)
		reason, _ := a.body["reason"].(string)
		if a.status != c.want || reason != c.reason {
			t.Errorf("%s: %d %v, want %d %s", name, a.status, a.body, c.want, c.reason)
		}
		if a.status >= 400 && (a.kind != "application/problem+json" || a.body["detail"] == "" || a.body["detail"] == nil) {
			t.Errorf("%s: the error is no problem: %s %v", name, a.kind, a.body)
		}
		if c.reason != "" && a.status > 401 && a.id == "" {
			t.Errorf("%s: the call has no id", name)
		}
	}
	bad := l.http("POST", "/v1/tenants/acme/endpoints", writer, `{"url":"nonsense"}`)
	list, _ := bad.body["violations"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["field"] != "endpoint.url" { //nolint:errcheck,forcetypeassert // it fails the test
		t.Errorf("the field at fault isn't named: %v", bad.body)
	}
}

// curlLines are the shell block of docs/api.md.
var curlLines = regexp.MustCompile("(?s)```sh\n(.*?)```")

func TestREST_TheExamplesInTheDocumentWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("this test needs curl: install it")
	}
	b, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	m := curlLines.FindSubmatch(b)
	if m == nil {
		t.Fatal("docs/api.md has no examples")
	}
	l := newLocked(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", string(m[1]))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "POSTHASTE=http://"+l.httpAddr, "TENANT=acme", "KEY="+l.keys["acme/writer"], "REPORTER_KEY="+l.keys["acme/reporter"], "no_proxy=*")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the examples fail: %v\n%s", err, out)
	}
	for _, want := range []string{`"secret"`, `"order"`, `"acceptedCount"`, "ENDPOINT_STATE_PAUSED", "sf"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the examples don't show %s:\n%s", want, out)
		}
	}
}
