package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// lines makes a call whose answer is NDJSON.
func (l *locked) lines(method, path, key, body string) (status int, list []map[string]any) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+l.httpAddr+path, strings.NewReader(body))
	l.must(err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	l.must(err)
	defer func() { _ = resp.Body.Close() }()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		var m map[string]any
		l.must(json.Unmarshal(s.Bytes(), &m))
		list = append(list, m)
	}
	return resp.StatusCode, list
}

func TestBulk_ImportsAndExportsLines(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	writer := l.keys["acme/writer"]
	row := func(number string) string {
		return fmt.Sprintf(`{"subscription":{"endpoint":%q,"carrierCode":"sf","waybillNumber":%q}}`, l.endpoint, number)
	}
	body := strings.Join([]string{row("SFBULK1"), `{"subscription":`, "", row("SF BULK/2"), row("SFBULK3"), row("SFBULK1"), strings.Repeat("x", 70<<10), row("SFBULK4")}, "\n")
	const path = "/v1/tenants/acme/subscriptions:import?importId=march"
	names := map[float64]string{}
	for range 2 { // to send it once more is harmless
		status, list := l.lines("POST", path, writer, body)
		if status != http.StatusOK || len(list) != 8 {
			t.Fatalf("%d, %d lines: %v", status, len(list), list)
		}
		got := map[string]string{}
		for _, m := range list[:7] {
			var number int
			_, err := fmt.Sscan(fmt.Sprint(m["row"]), &number)
			l.must(err)
			name, _ := m["name"].(string)
			what := "subscribed"
			if e, ok := m["error"].(map[string]any); ok {
				what = fmt.Sprint(e["reason"], " ", e["field"])
			} else if before := names[float64(number)]; before != "" && before != name {
				t.Errorf("row %d is %s now, was %s", number, name, before)
			}
			names[float64(number)] = name
			got[strconv.Itoa(number)] = what
		}
		want := map[string]string{
			"1": "subscribed", "2": "INVALID_ROW <nil>", "4": "INVALID_ARGUMENT subscription.waybill_number", "5": "subscribed",
			"6": "RESOURCE_EXISTS <nil>", "7": "INVALID_ROW <nil>", "8": "subscribed",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("results are %v, want %v", got, want)
		}
		if last := list[7]; last["done"] != true || last["rowCount"] != 7.0 || last["subscribedCount"] != 3.0 || last["refusedCount"] != 4.0 || last["nextRow"] != 9.0 {
			t.Errorf("the totals are %v", last)
		}
	}
	_, list := l.lines("GET", "/v1/tenants/acme/subscriptions:export?states=SUBSCRIPTION_STATE_ACTIVE", l.keys["acme/reader"], "")
	found := 0
	for _, m := range list {
		if strings.HasPrefix(fmt.Sprint(m["waybillNumber"]), "SFBULK") {
			found++
		}
	}
	if found != 3 {
		t.Errorf("the export has %d of the 3: %v", found, list)
	}
	_, rest := l.lines("GET", "/v1/tenants/acme/subscriptions:export?states=SUBSCRIPTION_STATE_ACTIVE&after="+fmt.Sprint(list[0]["name"]), l.keys["acme/reader"], "")
	if len(rest) != len(list)-1 {
		t.Errorf("after the first come %d, want %d", len(rest), len(list)-1)
	}
}

func TestBulk_RefusesBeforeItBegins(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	for name, c := range map[string]struct {
		method, path, key string
		want              int
		reason            string
	}{
		"no import id":     {"POST", "/v1/tenants/acme/subscriptions:import", l.keys["acme/writer"], 400, "INVALID_ARGUMENT"},
		"a wrong row":      {"POST", "/v1/tenants/acme/subscriptions:import?importId=a&firstRow=0", l.keys["acme/writer"], 400, "INVALID_ARGUMENT"},
		"a reader":         {"POST", "/v1/tenants/acme/subscriptions:import?importId=a", l.keys["acme/reader"], 403, "PERMISSION_DENIED"},
		"another's":        {"POST", "/v1/tenants/acme/subscriptions:import?importId=a", l.keys["other/owner"], 404, "RESOURCE_NOT_FOUND"},
		"another's export": {"GET", "/v1/tenants/acme/subscriptions:export", l.keys["other/owner"], 404, "RESOURCE_NOT_FOUND"},
		"no key":           {"GET", "/v1/tenants/acme/subscriptions:export", "", 401, "UNAUTHENTICATED"},
		"no such state":    {"GET", "/v1/tenants/acme/subscriptions:export?states=gone", l.keys["acme/reader"], 400, "INVALID_ARGUMENT"},
	} {
		if a := l.http(c.method, c.path, c.key, `{}`); a.status != c.want || a.body["reason"] != c.reason {
			t.Errorf("%s: %d %v, want %d %s", name, a.status, a.body, c.want, c.reason)
		}
	}
}

// Whoever waits for the answer to a row before sending the next gets it.
func TestBulk_AnswersWhileRowsStillCome(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.httpAddr+"/v1/tenants/acme/subscriptions:import?importId=slow", body)
	l.must(err)
	req.Header.Set("Authorization", "Bearer "+l.keys["acme/writer"])
	resp, err := http.DefaultClient.Do(req)
	l.must(err)
	defer func() { _ = resp.Body.Close() }()
	answers := bufio.NewScanner(resp.Body)
	for i := range 3 {
		_, err := fmt.Fprintf(send, `{"subscription":{"endpoint":%q,"carrierCode":"sf","waybillNumber":"SFSLOW%d"}}`+"\n", l.endpoint, i)
		l.must(err)
		if !answers.Scan() || !strings.Contains(answers.Text(), `"name":"tenants/acme/subscriptions/`) {
			t.Fatalf("row %d is answered with %q", i+1, answers.Text())
		}
	}
	l.must(send.Close())
	if !answers.Scan() || !strings.Contains(answers.Text(), `"done":true`) {
		t.Errorf("the end is %q", answers.Text())
	}
}
