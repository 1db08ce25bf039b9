package subscription

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
)

// What a subscription's tier or filter doesn't want pushed now is held back: the
// row remembers up to which revision, and when it is to be looked at again. It is
// no copy of anything. The next push's range begins after the last pushed revision,
// and so brings what was held. A subscription doesn't end before.

// holds says whether a change is held back, and until when; zero says until
// something else is pushed.
func (p *pushes) holds(t *track.Trace, m *pg.Match) (due time.Time, held bool) {
	if m.Pace.Plain() {
		return time.Time{}, false
	}
	now := p.cfg.Now()
	push, due := m.Pace.Decide(t, pace.Seen{Revision: m.Pushed, State: m.State, Time: m.PushTime}, now, !now.Before(m.Ends))
	return due, !push
}

// hold notes that a subscription doesn't hear of a trace yet.
func (p *pushes) hold(id string, t *track.Trace, due time.Time) {
	p.note(t, pg.Pushed{ID: id, Held: t.Revision, Due: due})
	p.held++
}
