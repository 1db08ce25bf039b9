package delivery

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/posthaste/posthaste/services/internal/callback"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/track"
)

// pushDestination names where pushes come from, in spans.
const pushDestination = "posthaste.v1.push.{slot}.{endpoint}"

// classNotAcknowledged is an answer of success without the word for it that a
// platform's format asks for.
const classNotAcknowledged = "not_acknowledged"

// begin makes an attempt beside the shard's goroutine.
func (s *shard) begin(l *lane, it *item) {
	l.inFlight++
	s.inFlight++
	l.queue(it.sub).current = it
	began := s.cfg.Now()
	format := l.settings.format
	out := format.Attempt(it.body, l.settings.url, l.settings.account)
	req := callback.Request{
		URL: out.URL, Tenant: it.tenant, Signer: l.settings.signer(began), PushID: push.ID(it.sub, it.revision), ContentType: out.ContentType, Body: out.Body,
		Timeout: l.settings.timeout, EndpointID: l.id, SubscriptionID: it.sub, Waybill: it.waybill, After: it.after, Revision: it.revision,
	}
	s.running.Go(func() {
		ctx, span := s.cfg.Messaging.Process(s.owned, it.header, pushDestination, s.durable,
			attribute.String("posthaste.push_id", req.PushID), attribute.Int("posthaste.attempt", it.attempts+1))
		res := s.cfg.Post.Post(ctx, req)
		if span.IsRecording() {
			span.SetAttributes(attribute.Int("http.response.status_code", res.Status), attribute.String("error.type", res.Class))
		}
		obs.End(span, nil)
		verdict := format.Judge(res.Status, res.Excerpt)
		if verdict == push.Again && res.Class == "" {
			res.Class, res.Error = classNotAcknowledged, "the endpoint answered "+strconv.Itoa(res.Status)+", and its body doesn't say success"
		}
		s.send(func() { s.ended(l, it, began, res, verdict) })
	})
}

// ended decides what becomes of a push after an attempt.
func (s *shard) ended(l *lane, it *item, began time.Time, res callback.Result, verdict push.Verdict) {
	l.inFlight--
	s.inFlight--
	q := l.queue(it.sub)
	q.inFlight, q.current = false, nil
	if it.first.IsZero() {
		it.first = began
	}
	s.attempts++
	a := pg.Attempt{
		ID:     "att_" + strconv.FormatInt(began.UnixMicro(), 36) + s.owner[:8] + strconv.FormatUint(s.attempts, 36),
		PushID: push.ID(it.sub, it.revision), SubscriptionID: it.sub, EndpointID: l.id, TenantID: it.tenant, Waybill: it.waybill,
		After: it.after, Revision: it.revision, Number: it.attempts + 1, Time: began, Took: res.Took,
		HTTPStatus: res.Status, Class: res.Class, Error: res.Error, Excerpt: res.Excerpt, Phases: pg.Phases(res.Phases),
	}
	switch verdict {
	case push.Acknowledged:
		a.Outcome = pg.AttemptAcknowledged
		s.acknowledged(l, it, began)
	case push.Gone:
		a.Outcome = pg.AttemptParked
		s.gone(l, it, &a)
	case push.Again:
		s.again(l, it, &a, res)
	}
	s.pending.outcomes.Attempts = append(s.pending.outcomes.Attempts, a)
	s.meters.attempt(s.owned, &a)
	// What waited behind it goes the same way.
	if len(q.waiting) > 0 {
		if l.direct(it.sub) {
			l.ready = append(l.ready, it.sub)
		} else {
			s.spill(l, it.sub, q)
		}
	}
	l.release(it.sub)
	s.pump(l)
	if l.again && !l.busy() && !l.reading {
		l.again = false
		s.dueAt(l, s.cfg.Now())
	}
}

func (s *shard) acknowledged(l *lane, it *item, began time.Time) {
	now := s.cfg.Now()
	s.pending.acknowledge(it.sub, it.revision)
	// With the push's own trace, which becomes the exemplar if it is sampled.
	ctx := obs.Extract(s.owned, it.header)
	s.meters.latency.Record(ctx, now.Sub(it.receive).Seconds())
	if it.msg != nil {
		s.meters.matched.Record(ctx, now.Sub(it.msg.Time).Seconds())
		s.pending.done = append(s.pending.done, it.msg)
	} else {
		s.pending.outcomes.Settle(it.sub, it.after, it.revision, now)
		s.change(l, it.sub, now)
		if it.owed <= it.revision {
			delete(l.owed, it.sub)
		}
		if newest := s.cover(l, it); it.owed < it.revision && newest < it.revision {
			l.covered[it.sub] = it.revision
		}
	}
	b := &l.breaker
	opened, probes, waited := b.opened, b.probes, now.Before(b.until)
	if b.succeed(began, now) {
		s.closed(l, opened, probes)
	}
	if b.open() {
		return
	}
	if l.limit < l.settings.max {
		l.limit = min(2*l.limit, l.settings.max)
	}
	if waited || !opened.IsZero() {
		s.pending.outcomes.Hasten(l.id, now)
		s.change(l, it.sub, now)
	}
}

// cover ends what waits of a subscription and came with an acknowledged push
// already: a row's push is rendered from the newest trace and goes further than
// the orders that were there when it began. It returns the newest revision of
// those.
func (s *shard) cover(l *lane, it *item) (newest track.Revision) {
	q := l.queue(it.sub)
	kept := q.waiting[:0]
	for _, w := range q.waiting {
		if w.revision > it.revision {
			kept = append(kept, w)
			continue
		}
		newest = max(newest, w.revision)
		l.waiting--
		if w.msg != nil {
			s.pending.done = append(s.pending.done, w.msg)
		}
	}
	q.waiting = kept
	return newest
}

// again records a failure and when the push is repeated, if ever.
func (s *shard) again(l *lane, it *item, a *pg.Attempt, res callback.Result) {
	now := s.cfg.Now()
	next, more := l.settings.retry.Next(a.Number, it.first, now, res.RetryAfter, s.cfg.Random())
	a.Outcome = pg.AttemptParked
	if more {
		a.Outcome, a.Next = pg.AttemptRetry, next
	}
	s.retry(l, it, a, reasonSpent)
	b := &l.breaker
	opens, probe := b.fail(a.Time, now, l.settings.threshold, res.Class, res.Status)
	switch {
	case opens, probe:
		b.until, l.limit = now.Add(s.probeDelay(l, res.RetryAfter)), 1
		if opens {
			s.opened(l)
		} else {
			s.health(l)
		}
		// Who has been away for as long as a push is tried has been tried for all.
		if span := l.settings.retry.Span(); probe && now.Sub(b.opened) > span {
			s.pending.outcomes.ParkSpent(l.place(), now.Add(-span), maxSpent, reasonSpent, now)
			s.pending.tells = true
			s.dueAt(l, b.until)
		}
	case b.open():
	case res.RetryAfter > 0:
		b.until, l.limit = now.Add(res.RetryAfter), 1
	case push.Slower(res.Status):
		l.limit = max(l.limit/2, 1)
		return
	default:
		return
	}
	if l.open || l.draining {
		s.hold(l)
	}
}

// maxSpent rows are parked at once of an endpoint that is away for good.
const maxSpent = 5000

// probeDelay is how long an endpoint whose breaker is open is left in peace.
func (s *shard) probeDelay(l *lane, asked time.Duration) time.Duration {
	d := l.settings.retry.Delay(l.breaker.probes + 1)
	d = min(max(d, minProbeDelay), maxProbeDelay)
	d += time.Duration(push.Jitter * s.cfg.Random() * float64(d))
	return max(d, asked)
}

// retry keeps a push in its subscription's row.
func (s *shard) retry(l *lane, it *item, a *pg.Attempt, reason string) {
	if _, cancelled := s.cancelled[it.sub]; cancelled {
		// It was cancelled during the attempt: a row would stay for ever.
		s.pending.outcomes.Drop(it.sub)
		s.change(l, it.sub, time.Time{})
	} else {
		s.pending.outcomes.Retry(a, l.slot(), it.receive, it.first, it.body, reason)
		s.change(l, it.sub, a.Next)
		if a.Next.IsZero() {
			s.pending.tells = true
		}
		s.owes(l, it.sub)
	}
	if it.msg != nil {
		s.pending.done = append(s.pending.done, it.msg)
	}
}

// gone parks all that an endpoint is owed: it said that it is no more.
func (s *shard) gone(l *lane, it *item, a *pg.Attempt) {
	s.retry(l, it, a, reasonGone)
	if l.settings.state == pg.EndpointDisabled {
		return // another attempt that was under way said so before
	}
	l.settings.state, l.settings.reason = pg.EndpointDisabled, reasonGone
	s.pending.outcomes.Gone = append(s.pending.outcomes.Gone, l.id)
	s.pending.gone = append(s.pending.gone, l)
	l.gone = true
	s.parkAll(l)
	s.hold(l)
	s.disabled(l)
}
