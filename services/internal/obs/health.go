package obs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// checkTimeout bounds one check. A neighbour that doesn't answer in this time is
// not there.
const checkTimeout = 2 * time.Second

// Check says whether something this process needs is there; nil means it is.
type Check func(ctx context.Context) error

// Health knows whether this process can do its work. It starts as not ready.
type Health struct {
	mu      sync.Mutex
	started bool   // it served once
	reason  string // why it doesn't serve, empty when it does
	checks  map[string]Check
	hints   map[string]bool // checks that don't decide
}

// NewHealth makes a Health that doesn't serve yet.
func NewHealth() *Health {
	return &Health{reason: "starting", checks: make(map[string]Check), hints: make(map[string]bool)}
}

// Register adds a check. The name is shown to operators.
func (h *Health) Register(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = check
}

// Hint adds a check that is shown and doesn't decide: of what is wrong, callers are
// told by answers of their own, while other work goes on.
func (h *Health) Hint(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name], h.hints[name] = check, true
}

// Serve declares the process ready, provided that its checks pass.
func (h *Health) Serve() { h.set("") }

// Drain declares the process not ready, for a reason such as "stopping".
func (h *Health) Drain(reason string) { h.set(reason) }

func (h *Health) set(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reason = reason
	h.started = h.started || reason == ""
}

// Started says whether the process has been ready to serve, now or before.
func (h *Health) Started() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.started
}

// Report is the state of the process at one moment.
type Report struct {
	Ready  bool          `json:"ready"`
	Reason string        `json:"reason,omitempty"`
	Checks []CheckResult `json:"checks"`
}

// CheckResult is the outcome of one check.
type CheckResult struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Took  string `json:"took"`
	// Hint says that it doesn't decide whether the process is ready.
	Hint bool `json:"hint,omitempty"`
}

// Err is nil when the report says ready, and else says why it doesn't.
func (r Report) Err() error {
	if r.Ready {
		return nil
	}
	if r.Reason != "" {
		return errors.New(r.Reason)
	}
	var bad []string
	for _, c := range r.Checks {
		if !c.OK && !c.Hint {
			bad = append(bad, c.Name+": "+c.Error)
		}
	}
	return errors.New(strings.Join(bad, "; "))
}

// Report runs the checks, all at once.
func (h *Health) Report(ctx context.Context) Report {
	h.mu.Lock()
	r := Report{Reason: h.reason, Checks: []CheckResult{}}
	names := make([]string, 0, len(h.checks))
	checks := make([]Check, 0, len(h.checks))
	for name := range h.checks {
		names = append(names, name)
	}
	slices.Sort(names)
	hints := make([]bool, 0, len(h.checks))
	for _, name := range names {
		checks, hints = append(checks, h.checks[name]), append(hints, h.hints[name])
	}
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r.Checks = make([]CheckResult, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			r.Checks[i] = run(ctx, name, checks[i])
			r.Checks[i].Hint = hints[i]
		})
	}
	wg.Wait()
	r.Ready = r.Reason == "" && !slices.ContainsFunc(r.Checks, func(c CheckResult) bool { return !c.OK && !c.Hint })
	return r
}

func run(ctx context.Context, name string, check Check) (res CheckResult) {
	began := time.Now()
	res.Name = name
	defer func() {
		if p := recover(); p != nil {
			res.OK, res.Error = false, fmt.Sprintf("the check itself failed: %v", p)
		}
		res.Took = time.Since(began).Round(time.Microsecond).String()
	}()
	if err := check(ctx); err != nil {
		res.Error = err.Error()
		return res
	}
	res.OK = true
	return res
}

// Watch calls f with every change between ready and not, and once at the
// beginning, until the context ends. It looks every interval.
func (h *Health) Watch(ctx context.Context, interval time.Duration, f func(Report)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := h.Report(ctx)
	f(last)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if r := h.Report(ctx); r.Ready != last.Ready && ctx.Err() == nil {
			f(r)
			last = r
		}
	}
}
