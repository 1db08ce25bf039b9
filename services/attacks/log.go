package attacks

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// recorder keeps what the product logs.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
	// from is where the present case's lines begin.
	from int
}

// Write keeps lines.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// mark begins a case.
func (r *recorder) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf.Reset()
	r.from = 0
}

// text is what was logged since the mark.
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// lines are those since the mark with a text.
func (r *recorder) lines(with string) []string {
	var out []string
	for line := range strings.Lines(r.text()) {
		if strings.Contains(line, with) {
			out = append(out, line)
		}
	}
	return out
}

var (
	stackTrace = regexp.MustCompile(`goroutine \d+ \[|\bpanic: |\.go:\d+ \+0x`)
	fullPhone  = regexp.MustCompile(`(?:^|[^\d])(1[3-9]\d{9})(?:[^\d]|$)`)
)

// leaks are what must never be logged or answered: secrets, whole phone numbers,
// stack traces.
func leaksIn(text string, secrets []string) []string {
	var out []string
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			out = append(out, "a secret of the tests")
		}
	}
	if m := stackTrace.FindString(text); m != "" {
		out = append(out, fmt.Sprintf("a stack trace (%q)", m))
	}
	if m := fullPhone.FindStringSubmatch(text); m != nil {
		out = append(out, "a whole phone number")
	}
	return out
}

func (r *recorder) leaks(secrets []string) []string { return leaksIn(r.text(), secrets) }
