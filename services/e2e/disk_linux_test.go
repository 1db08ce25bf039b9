package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
)

const mib = 1 << 20

// smallDisk mounts a disk of its own. Without the right to, the test is skipped,
// loudly.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("NOT RUN: a full disk can only be tested with the right to mount one; run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves so many bytes of a disk free, in a file that the returned function
// removes.
func fill(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := bytes.Repeat([]byte{1}, 64<<10)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		left := int64(st.Bavail)*st.Bsize - leave
		if left <= 0 {
			break
		}
		if _, err := f.Write(chunk[:min(left, int64(len(chunk)))]); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	}
}

// push posts a Kdniao push; it returns the status and what Retry-After says.
func (d *deployment) push(number string) (status int, retryAfter string) {
	d.t.Helper()
	form := kdniaoForm(kdniaoPush(number), kdniaoKey)
	resp, err := http.Post(d.HTTP+"/v1/sources/kdniao", "application/x-www-form-urlencoded", strings.NewReader(form.Encode())) //nolint:noctx // the server bounds it
	if err != nil {
		return 0, "" // it ended
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// pushUntil pushes waybills until the answer has a status, and returns the numbers
// of those that were accepted.
func (d *deployment) pushUntil(prefix string, status int) (accepted []string) {
	d.t.Helper()
	for i := 0; d.t.Context().Err() == nil; i++ {
		number := fmt.Sprint(prefix, i)
		got, again := d.push(number)
		if got == http.StatusOK {
			accepted = append(accepted, number)
		}
		if got == http.StatusServiceUnavailable && again == "" {
			d.t.Error("a 503 without Retry-After")
		}
		if got == status {
			return accepted
		}
	}
	d.t.Fatalf("the test ended before the answer was %d", status)
	return nil
}

// Before the disk is full, intake says come again and health says why; when there
// is room it goes on by itself. What was accepted arrives.
func TestPromise_AlmostFullDiskIsSaidAndNothingIsLost(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 400*mib)
	d, _ := startOnDatabase(t, dir, "--nats-max-store=200MiB", "--min-free=64MiB")
	c := d.callback(client.NewEndpoint{})
	if status, _ := d.push("SFROOM0"); status != http.StatusOK {
		t.Fatalf("with room the answer is %d", status)
	}
	empty := fill(t, dir, 32*mib)
	d.pushUntil("SFFULL", http.StatusServiceUnavailable)
	// The control plane goes on: it is ready, and says what isn't well.
	if status, body := d.get("/readyz"); status != http.StatusOK || !strings.Contains(body, "bytes left") {
		t.Errorf("health says %d: %s", status, body)
	}
	if r, err := d.Reports.ReportEvents(t.Context(), []client.ReportedEvent{moving("SFFULL", 1)}); err == nil {
		t.Errorf("over gRPC %d events were accepted", r.Accepted)
	}
	empty()
	d.arrive(c, append(d.pushUntil("SFAGAIN", http.StatusOK), "SFROOM0"))
}

// On a disk that is full in earnest nats-server gives no answers, and none when
// there is room again. Nothing is accepted that isn't on disk; the program ends
// itself when a start would heal it, and what was accepted arrives.
func TestPromise_FullDiskHealsByAStartAndNothingIsLost(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 300*mib)
	d, _ := startOnDatabase(t, dir, "--nats-max-store=200MiB", "--min-free=1KiB")
	c := d.callback(client.NewEndpoint{})
	empty := fill(t, dir, mib)
	accepted := d.pushUntil("SFENOSPC", http.StatusServiceUnavailable)
	empty()
	p := d.processes[0]
	select {
	case <-p.ended:
		if log := p.log(); p.err == nil || !strings.Contains(log, "start the program again") {
			t.Errorf("it ended with %v and said\n%s", p.err, log)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on although nothing can be written")
	}
	d.Start()
	if status, _ := d.push("SFHEALED"); status != http.StatusOK {
		t.Errorf("after the start the answer is %d", status)
	}
	d.arrive(c, append(accepted, "SFHEALED"))
}

// arrive subscribes waybills and waits until each is pushed.
func (d *deployment) arrive(c *callback, numbers []string) {
	d.t.Helper()
	d.subscribe(c, numbers...)
	missing := make(map[string]bool)
	for _, n := range numbers {
		missing[n] = true
	}
	for len(missing) > 0 {
		delete(missing, c.nextPush().Waybill.WaybillNumber)
	}
}

// get asks the ops server.
func (d *deployment) get(path string) (int, string) {
	d.t.Helper()
	u := url.URL{Scheme: "http", Host: d.processes[0].ops, Path: path}
	resp, err := http.Get(u.String()) //nolint:noctx // the server bounds it
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
