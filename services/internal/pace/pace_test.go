package pace_test

import (
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/track"
)

// trace is one at revision 5, with a state and an event of it in the last
// revision.
func trace(s status.Status, sub status.Sub, change ...func(*track.Trace)) *track.Trace {
	t := &track.Trace{
		Revision: 5, State: track.State{Status: s, Sub: sub, Terminal: status.Terminal(s, sub)},
		Events: []track.Event{{Kind: track.KindEvent, Revision: 5, Status: s, Sub: sub}},
	}
	for _, f := range change {
		f(t)
	}
	return t
}

func event(e track.Event) func(*track.Trace) {
	return func(t *track.Trace) { t.Events = []track.Event{e} }
}

func TestRule_DecidesWhatIsPushed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	seen := func(c pace.Code) pace.Seen { return pace.Seen{Revision: 4, State: c, Time: now.Add(-30 * time.Minute)} }
	departed := pace.Code(status.InTransitDeparted)
	all, milestone := pace.Rule{}, pace.Rule{Tier: pace.Milestone}
	hourly, quick := pace.Rule{Tier: pace.Digest, Interval: time.Hour}, pace.Rule{Tier: pace.Digest, Interval: 30 * time.Minute}
	exceptions := pace.Rule{Tier: pace.Realtime, Filter: []pace.Code{pace.CodeOf(status.Exception, 0)}}
	lost := pace.Rule{Filter: []pace.Code{pace.Code(status.ExceptionLost)}}
	both := pace.Rule{Tier: pace.Digest, Interval: time.Hour, Filter: exceptions.Filter}
	transit, delay := trace(status.InTransit, status.InTransitDeparted), trace(status.Exception, status.ExceptionDelayed)
	end := trace(status.Delivered, status.DeliveredRecipient)
	for name, c := range map[string]struct {
		rule  pace.Rule
		trace *track.Trace
		seen  pace.Seen
		last  bool
		push  bool
		due   time.Duration // after now; 0 for never
	}{
		"every change":                       {rule: all, trace: transit, seen: seen(departed), push: true},
		"a station is no milestone":          {rule: milestone, trace: transit, seen: seen(departed)},
		"nor is another sub-status":          {rule: milestone, trace: transit, seen: seen(pace.Code(status.InTransitArrived))},
		"a status is":                        {rule: milestone, trace: delay, seen: seen(departed), push: true},
		"so is the first state":              {rule: milestone, trace: transit, push: true},
		"so is what isn't known any more":    {rule: milestone, trace: transit, seen: seen(pace.Forgotten), push: true},
		"so is the end":                      {rule: milestone, trace: end, seen: seen(departed), push: true},
		"and that it wasn't the end":         {rule: milestone, trace: transit, seen: seen(pace.Code(status.DeliveredRecipient)), push: true},
		"what follows the end isn't":         {rule: milestone, trace: end, seen: seen(pace.Code(status.DeliveredRecipient))},
		"a digest's first push is at once":   {rule: hourly, trace: transit, push: true},
		"the next waits":                     {rule: hourly, trace: transit, seen: seen(departed), due: 30 * time.Minute},
		"even the end":                       {rule: hourly, trace: end, seen: seen(departed), due: 30 * time.Minute},
		"until it is due":                    {rule: quick, trace: transit, seen: seen(departed), push: true},
		"a filter takes what it names":       {rule: exceptions, trace: delay, seen: seen(departed), push: true},
		"and nothing else":                   {rule: exceptions, trace: transit, seen: seen(departed)},
		"not even at first":                  {rule: exceptions, trace: transit},
		"but that it is over":                {rule: exceptions, trace: transit, seen: seen(pace.Code(status.ExceptionDelayed)), push: true},
		"and the end":                        {rule: exceptions, trace: end, seen: seen(departed), push: true},
		"a sub-status is narrower":           {rule: lost, trace: delay, seen: seen(departed)},
		"an event that came and went counts": {rule: exceptions, trace: trace(status.InTransit, status.InTransitDeparted, event(track.Event{Kind: track.KindEvent, Revision: 5, Status: status.Exception})), seen: seen(departed), push: true},
		"one that was pushed doesn't":        {rule: exceptions, trace: trace(status.InTransit, status.InTransitDeparted, event(track.Event{Kind: track.KindEvent, Revision: 4, Status: status.Exception})), seen: seen(departed)},
		"nor one that was withdrawn":         {rule: exceptions, trace: trace(status.InTransit, status.InTransitDeparted, event(track.Event{Kind: track.KindEvent, Revision: 5, Status: status.Exception, VoidedBy: "v"})), seen: seen(departed)},
		"a filtered digest waits too":        {rule: both, trace: delay, seen: seen(departed), due: 30 * time.Minute},
		"and has no time for the rest":       {rule: both, trace: transit, seen: seen(departed)},
		"what was held goes out at the last": {rule: milestone, trace: transit, seen: seen(departed), last: true, push: true},
	} {
		push, due := c.rule.Decide(c.trace, c.seen, now, c.last)
		want := time.Time{}
		if c.due != 0 {
			want = now.Add(c.due)
		}
		if push != c.push || !due.Equal(want) {
			t.Errorf("%s: push %v, due %s; want %v, %s", name, push, due, c.push, want)
		}
	}
}
