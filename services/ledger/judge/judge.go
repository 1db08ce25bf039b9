// Package judge decides from a record alone whether the promises held. It does
// no I/O: a run can be judged again, and a changed record shows that the judge
// can say no.
//
// Safety is judged over the whole run. Liveness is judged at its end, after all
// faults were healed and everything had time to come to rest; what hasn't is a
// violation, never a skip.
package judge

import (
	"fmt"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// Result is what an invariant came to.
type Result string

// The results.
const (
	Holds    Result = "holds"
	Violated Result = "violated"
	// Unjudged: the run has nothing to judge it by. The note says why.
	Unjudged Result = "not judged"
)

// Verdict is what is to be said of one invariant.
type Verdict struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Result Result `json:"result"`
	// Checked is how many facts were looked at, Violations how many were wrong, and
	// Examples the first of those, in words.
	Checked    int      `json:"checked"`
	Violations int      `json:"violations"`
	Examples   []string `json:"examples,omitempty"`
	Note       string   `json:"note,omitempty"`
	// Figures are numbers that the report shows.
	Figures map[string]float64 `json:"figures,omitempty"`
}

// maxExamples are kept of violations.
const maxExamples = 10

func (v *Verdict) violate(format string, args ...any) {
	v.Violations++
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

func (v *Verdict) figure(name string, n float64) {
	if v.Figures == nil {
		v.Figures = make(map[string]float64)
	}
	v.Figures[name] = n
}

// note adds a sentence.
func (v *Verdict) note(format string, args ...any) {
	if v.Note != "" {
		v.Note += "; "
	}
	v.Note += fmt.Sprintf(format, args...)
}

// unjudged says why there is nothing to judge by.
func (v *Verdict) unjudged(format string, args ...any) {
	v.Result = Unjudged
	v.note(format, args...)
}

// invariant is one of the list.
type invariant struct {
	id, title string
	judge     func(f *facts, v *Verdict)
}

// invariants is the list.
var invariants = []invariant{
	{"L1", "nothing accepted is lost", noLoss},
	{"L1n", "a durable reader on NATS misses nothing", noLossOnNATS},
	{"L2", "nothing is pushed that nobody reported, or to whom it isn't for", noPhantom},
	{"L3", "changes of a waybill come in order, one at a time", order},
	{"L4", "everybody who knows a waybill says the same of it", oneState},
	{"L5", "a repeat is the same push, and has a cause", honestRepeats},
	{"L6", "every push is signed, and freshly", signed},
	{"L7", "after a fault it recovers", recovers},
	{"L8", "retries keep their plan", retryPlan},
	{"L9", "every push is acknowledged, pending or parked", conservation},
	{"L10", "ranges chain without a gap, from the first to the newest", noGap},
	{"L11", "what is cancelled stops", cancelStops},
	{"L12", "one endpoint's trouble isn't another's", isolation},
	{"L13", "memory, files, goroutines and connections are bounded", bounded},
	{"L14", "an answer of success is true", honestAnswers},
	{"L15", "what has ended is cleaned up", cleanUp},
}

// Judge judges every invariant, in the order of the list.
func Judge(r *record.Run) []Verdict {
	f := gather(r)
	verdicts := make([]Verdict, len(invariants))
	for i, inv := range invariants {
		v := Verdict{ID: inv.id, Title: inv.title}
		inv.judge(f, &v)
		switch {
		case v.Violations > 0:
			v.Result = Violated
		case v.Result == "" && v.Checked == 0:
			v.unjudged("the run has nothing of it")
		case v.Result == "":
			v.Result = Holds
		}
		verdicts[i] = v
	}
	return verdicts
}
