package testkit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// helperEnv makes the test binary run one test that dies half-way, see
// TestPostgreSQL_LeavesNothingBehind.
const helperEnv = "TESTKIT_TEST_HELPER"

func TestMain(m *testing.M) { testkit.Main(m) }

func TestNATS_IsTheTestsOwn(t *testing.T) {
	t.Parallel()
	a, b := testkit.NATS(t), testkit.NATS(t)
	sub, err := b.SubscribeSync("greeting")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish("greeting", []byte("from a")); err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("greeting", []byte("from b")); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != "from b" {
		t.Errorf("got %q: the servers are not apart", m.Data)
	}
}

func TestJetStream_HasTheStreams(t *testing.T) {
	t.Parallel()
	js := testkit.JetStream(t)
	ack, err := js.Publish(t.Context(), subject.Trace("sf", "SF1"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if ack.Sequence != 1 {
		t.Errorf("sequence is %d, want 1", ack.Sequence)
	}
}

func TestPostgreSQL_IsMigratedAndTheTestsOwn(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			pool := testkit.PostgreSQL(t)
			if _, err := pool.Exec(t.Context(), "CREATE TABLE mine (n int)"); err != nil {
				t.Fatal(err)
			}
			var tables int
			if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables); err != nil {
				t.Fatal(err)
			}
			if tables < 3 {
				t.Errorf("the database has %d tables: it is not migrated", tables)
			}
		})
	}
}

// A test process that is killed takes its server and its files along.
func TestPostgreSQL_LeavesNothingBehind(t *testing.T) {
	t.Parallel()
	if os.Getenv(helperEnv) != "" {
		pool := testkit.PostgreSQL(t)
		var data string
		if err := pool.QueryRow(t.Context(), "SHOW data_directory").Scan(&data); err != nil {
			t.Fatal(err)
		}
		fmt.Println("data", data)
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	data, ok := strings.CutPrefix(strings.TrimSpace(line), "data ")
	if err != nil || !ok {
		t.Fatalf("the helper said %q, %v", line, err)
	}
	if _, err := os.Stat(data); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	root := strings.TrimSuffix(data, "/postgres/data")
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-retry.C:
		case <-t.Context().Done():
			t.Fatalf("%s is still there", root)
		}
	}
}

func post(t *testing.T, client *http.Client, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Test", "yes")
	return client.Do(req)
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestReceiver_RecordsAndFollowsItsScript(t *testing.T) {
	t.Parallel()
	rc, client := testkit.NewReceiver(t), newClient(t)
	rc.Script(testkit.Status(http.StatusServiceUnavailable, "Retry-After: 7"), testkit.StatusBody(http.StatusTeapot, "short"))
	rc.On("/gone", testkit.Status(http.StatusGone))
	for i, tt := range []struct {
		path, retryAfter, body string
		code                   int
	}{
		{"/a?x=1", "7", "", http.StatusServiceUnavailable},
		{"/gone", "", "short", http.StatusTeapot},
		{"/gone", "", "", http.StatusGone},
		{"/a", "", "", http.StatusOK},
	} {
		resp, err := post(t, client, rc.URL+tt.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.code || resp.Header.Get("Retry-After") != tt.retryAfter || string(body) != tt.body {
			t.Errorf("answer %d: %d %q, %v", i, resp.StatusCode, body, err)
		}
		got := rc.Next()
		if got.Path != tt.path || string(got.Body) != "hello" || got.Header.Get("X-Test") != "yes" {
			t.Errorf("record %d: %+v", i, got)
		}
		<-got.Gone
	}
	if n := len(rc.Await(4)); n != 4 || len(rc.Requests()) != 4 {
		t.Errorf("got %d requests, want 4", n)
	}
}

func TestReceiver_HoldsUntilReleased(t *testing.T) {
	t.Parallel()
	rc, client := testkit.NewReceiver(t), newClient(t)
	held, release := testkit.Held(testkit.Status(http.StatusAccepted))
	rc.Script(held)
	answered := make(chan int, 1)
	go func() {
		resp, err := post(t, client, rc.URL)
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	rc.Next()
	select {
	case <-answered:
		t.Fatal("it answered before it was released")
	default:
	}
	release()
	release()
	if code := <-answered; code != http.StatusAccepted {
		t.Errorf("status is %d, want 202", code)
	}
}

func TestReceiver_Misbehaves(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer   testkit.Answer
		answered bool // a status arrives, and the body fails
	}{
		"reset":         {testkit.Reset(), false},
		"garbage":       {testkit.Garbage(), false},
		"hang":          {testkit.Hang(), false},
		"drip header":   {testkit.DripHeader(time.Millisecond), false},
		"reset in body": {testkit.ResetInBody(), true},
		"wrong length":  {testkit.WrongLength(), true},
		"drip body":     {testkit.DripBody(time.Millisecond), true},
		"endless":       {testkit.Endless(http.StatusOK), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc, client := testkit.NewReceiver(t), newClient(t)
			rc.Always(tt.answer)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				rc.Next()
				if !tt.answered {
					cancel() // for those that would hang
				}
			}()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, rc.URL, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if !tt.answered {
				if err == nil {
					t.Errorf("it answered %d", resp.StatusCode)
				}
				return
			}
			if err != nil {
				// A reset can overtake the answer.
				if name != "reset in body" {
					t.Error(err)
				}
				return
			}
			defer func() { _ = resp.Body.Close() }()
			_, err = io.CopyN(io.Discard, resp.Body, 50)
			if endless := name == "drip body" || name == "endless"; endless != (err == nil) {
				t.Errorf("reading 50 bytes gave %v", err)
			}
		})
	}
}
