package attacks

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Outcome is what was seen.
type Outcome struct {
	// Seen are the verdicts that what was seen amounts to, such as "http:400" or
	// "reject_url".
	Seen []string
	// Detail is what was seen, in words.
	Detail string
	facts  []fact
	// problems fail the case whatever it expects.
	problems []error
}

// fact is something that was looked at, and the lines of checks that it answers.
type fact struct {
	about *regexp.Regexp
	err   error
}

// saw adds a verdict.
func (o *Outcome) saw(format string, args ...any) {
	o.Seen = append(o.Seen, fmt.Sprintf(format, args...))
}

// check says of the lines of checks that match about whether they hold: nil for yes.
func (o *Outcome) check(about string, err error) {
	o.facts = append(o.facts, fact{regexp.MustCompile("(?i)" + about), err})
}

// holds is [Outcome.check] with a condition.
func (o *Outcome) holds(about string, ok bool, format string, args ...any) {
	var err error
	if !ok {
		err = fmt.Errorf(format, args...)
	}
	o.check(about, err)
}

// problem fails the case.
func (o *Outcome) problem(format string, args ...any) {
	o.problems = append(o.problems, fmt.Errorf(format, args...))
}

// judge compares what was seen with what was expected.
func (o *Outcome) judge(want Expect) error {
	errs := o.problems
	if !o.matches(want.Verdict) {
		errs = append(errs, fmt.Errorf("expected %s, saw %s", want.Verdict, strings.Join(o.Seen, ", ")))
	}
	for _, line := range want.Checks {
		known := false
		for _, f := range o.facts {
			if !f.about.MatchString(line) {
				continue
			}
			known = true
			if f.err != nil {
				errs = append(errs, fmt.Errorf("check %q: %w", line, f.err))
			}
		}
		if !known {
			errs = append(errs, fmt.Errorf("check %q isn't one that the runner knows how to look at for this group", line))
		}
	}
	if len(errs) > 0 && o.Detail != "" {
		errs = append(errs, errors.New(o.Detail))
	}
	return errors.Join(errs...)
}

// matches says whether a verdict was seen. A list after a colon is a choice.
func (o *Outcome) matches(want string) bool {
	if want == "see checks" {
		return true
	}
	kind, list, choice := strings.Cut(want, ":")
	for _, seen := range o.Seen {
		if seen == want {
			return true
		}
		if seenKind, value, _ := strings.Cut(seen, ":"); choice && seenKind == kind {
			for one := range strings.SplitSeq(list, ",") {
				if strings.TrimSpace(one) == value {
					return true
				}
			}
		}
	}
	return false
}
