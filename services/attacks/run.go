package attacks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// Summary is how a run ended; its JSON is the runner's last line.
type Summary struct {
	Attacks int      `json:"attacks"`
	Passed  int      `json:"passed"`
	Failed  []string `json:"failed"`
}

// Result is how one case ended; nil means that the attack was withstood.
type Result struct {
	Case Case
	Err  error
	Took time.Duration
}

// executor runs a group's case.
type executor func(ctx context.Context, w *World, c *Case) (*Outcome, error)

// groups are the executors, by group.
var groups = map[string]executor{
	"ssrf-literal": runURL,
	"url-syntax":   runURL,
	"ssrf-dns":     runURL,

	"json":         runJSON,
	"xml":          runXML,
	"carrier-auth": runCarrierAuth,
	"http-limit":   runLimit,
	"injection":    runInjection,

	"signature-out":   runSignature,
	"callback-answer": runCallback,

	"auth":  runAuth,
	"authz": runAuthz,
	"grpc":  runGRPC,
	"ops":   runOps,
	"pii":   runPII,
	"nats":  runNATS,
}

const (
	// caseTime is how long one case may take.
	caseTime = 90 * time.Second
	// maxGrowth is by how much memory may grow in one case.
	maxGrowth = 64 << 20
)

// Run runs cases one after another and tells of each.
func Run(ctx context.Context, w *World, cases []Case, tell func(Result)) Summary {
	s := Summary{Attacks: len(cases), Failed: []string{}}
	for i := range cases {
		began := time.Now()
		err := runCase(ctx, w, &cases[i])
		if err != nil {
			s.Failed = append(s.Failed, cases[i].ID)
		} else {
			s.Passed++
		}
		tell(Result{Case: cases[i], Err: err, Took: time.Since(began)})
	}
	return s
}

// runCase runs one case and looks at what must hold always.
func runCase(ctx context.Context, w *World, c *Case) (err error) {
	if c.broken != nil {
		return fmt.Errorf("the case can't be read: %w", c.broken)
	}
	run, ok := groups[c.Group]
	if !ok {
		return fmt.Errorf("group %q isn't one that the runner knows", c.Group)
	}
	ctx, cancel := context.WithTimeout(ctx, caseTime)
	defer cancel()
	w.Log.mark()
	before := liveMemory()
	o, err := run(ctx, w, c)
	if err != nil {
		return fmt.Errorf("the case can't be run: %w", err)
	}
	for _, m := range []*Map{&c.Input, &c.DNSBehaviour} {
		if err := m.rest(); err != nil {
			return fmt.Errorf("the case can't be run: %w", err)
		}
	}
	if grown := liveMemory() - before; grown > maxGrowth {
		o.problem("memory grew by %d MiB", grown>>20)
	}
	for _, leak := range w.Log.leaks(w.secrets()) {
		o.problem("the log holds %s", leak)
	}
	if err := w.alive(ctx); err != nil {
		o.problem("the next well-formed request fails: %w", err)
	}
	return o.judge(c.Expect)
}

// liveMemory is how much memory is in use.
func liveMemory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Print tells of a case in a line, and of a failure in more.
func Print(out io.Writer) func(Result) {
	return func(r Result) {
		word, detail := "pass", ""
		if r.Err != nil {
			word, detail = "FAIL", "\n       "+strings.ReplaceAll(r.Err.Error(), "\n", "\n       ")
		}
		_, _ = fmt.Fprintf(out, "%s %-9s %-16s %5.2fs  %s%s\n", word, r.Case.ID, r.Case.Group, r.Took.Seconds(), r.Case.Why, detail)
	}
}

// PrintSummary writes the last line.
func PrintSummary(out io.Writer, s Summary) {
	line, err := json.Marshal(s)
	if err != nil {
		return // it always encodes
	}
	_, _ = fmt.Fprintf(out, "%s\n", line)
}
