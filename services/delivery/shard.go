package delivery

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

// shard is one part of delivery while it is owned. All fields belong to the
// goroutine of run; others report by events.
type shard struct {
	*Service

	durable string
	slots   []subject.Slot
	lease   pg.Lease
	owned   context.Context // ends when the lease may pass on

	lanes     map[string]*lane
	dues      dues
	takenOver uint64 // messages up to here may have been worked on before
	settled   time.Time
	cancelled map[string]time.Time
	inFlight  int
	attempts  uint64 // made, for their ids
	commits   uint64 // done
	// unacknowledged messages were taken from the stream.
	unacknowledged int
	// sequence is the consumer's, of the message taken last.
	sequence uint64
	astray   uint64            // sequence when messages were seen to be astray; 0 for never
	epochs   map[uint32]uint64 // of shards of matching, the newest known
	stopping bool
	failed   error

	pending    *batch
	committing bool
	flushed    time.Time // when the last commit began
	refreshing bool
	stale      stale // what is to be read again

	told    chan struct{} // one token: there may be events to tell
	events  chan func()
	running sync.WaitGroup
}

func newShard(owned context.Context, s *Service, durable string, slots []subject.Slot, l pg.Lease) *shard {
	return &shard{
		Service: s, durable: durable, slots: slots, lease: l, owned: owned,
		lanes: map[string]*lane{}, cancelled: map[string]time.Time{}, pending: &batch{}, stale: stale{endpoints: map[string]bool{}}, told: make(chan struct{}, 1), events: make(chan func(), 1024),
	}
}

// send reports to the goroutine of run. After the lease is lost nobody listens.
func (s *shard) send(event func()) {
	select {
	case s.events <- event:
	case <-s.owned.Done():
	}
}

// run delivers until ctx ends, and then finishes what is in flight; or until the
// lease is lost.
func (s *shard) run(ctx context.Context, c consumer) error {
	defer s.running.Wait()
	// When this ends for another reason than a stop, nobody waits for what is under
	// way: it is void.
	var void context.CancelFunc
	s.owned, void = context.WithCancel(s.owned)
	defer void()
	ids, err := s.cfg.Store.OwedEndpoints(ctx, s.slots)
	if err != nil {
		return err
	}
	if err := s.lanesOf(ctx, ids, false); err != nil {
		return err
	}
	if s.epochs, err = s.cfg.Store.MatchEpochs(ctx); err != nil {
		return err
	}
	if s.takenOver, err = c.TakeOver(ctx); err != nil {
		return err
	}
	// A push that was rendered by whoever had the shard before may have gone
	// further than the orders that are still to come.
	s.settled = s.cfg.Now().Add(settleTime)
	fetching, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan []*stream.Received)
	s.running.Go(func() { s.fetch(fetching, c, batches) })
	s.running.Go(func() { s.look(fetching, c) })
	s.running.Go(func() { s.tell(fetching) })
	defer s.enlist(s)()
	return s.loop(ctx, batches)
}

func (s *shard) fetch(ctx context.Context, c consumer, batches chan<- []*stream.Received) {
	for {
		b, err := c.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.send(func() { s.failed = err })
			}
			return
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return
		}
	}
}

// settleTime after a take-over, orders are compared with what is acknowledged.
const settleTime = time.Minute

const lookInterval = 5 * time.Second

// look looks now and then whether messages got lost on their way to us: handed
// out by the server, and not here. A lost one in the middle is seen by its
// sequence, the last ones only so.
func (s *shard) look(ctx context.Context, c consumer) {
	for pause.For(ctx, lookInterval) == nil {
		lag, err := c.Lag(ctx)
		if err != nil {
			continue // the stream is away; its own alarms say so
		}
		s.send(func() {
			switch {
			case lag.AckPending == 0 || s.unacknowledged > 0 || s.stopping:
				s.astray = 0
			case s.astray == s.sequence+1:
				s.failed = errAstray
			default:
				s.astray = s.sequence + 1 // not 0
			}
		})
	}
}

// errAstray makes the shard begin anew, with a reset consumer.
var errAstray = errors.New("messages of the stream got lost on their way")

func (s *shard) loop(ctx context.Context, batches <-chan []*stream.Received) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	refresh := time.NewTicker(s.cfg.Refresh) // slow: it stands in for lost notifications
	defer refresh.Stop()
	stop := ctx.Done()
	for s.failed == nil {
		if s.stopping && s.inFlight == 0 && !s.committing && s.pending.empty() {
			return ctx.Err()
		}
		timer.Reset(min(s.untilDue(), s.untilFlush()))
		select {
		case b := <-batches:
			// Of what isn't taken because of a stop, nothing has begun: it comes again.
			if err := s.take(ctx, b); err != nil && ctx.Err() == nil {
				return err
			}
		case event := <-s.events:
			event()
			for more := true; more; {
				select {
				case event := <-s.events:
					event()
				default:
					more = false
				}
			}
		case <-timer.C:
			s.due()
		case <-refresh.C:
			s.stale.all = true
			s.refresh()
		case <-stop:
			s.stopping, stop, batches = true, nil, nil
		case <-s.owned.Done():
			return context.Cause(s.owned) //nolint:contextcheck // it ends with the lease
		}
		s.flush()
	}
	return s.failed
}

// take puts messages into their lanes.
func (s *shard) take(ctx context.Context, batch []*stream.Received) error {
	orders := make([]*item, 0, len(batch))
	var endpoints, doubtful []string
	of := make([]string, 0, len(batch))
	unsettled := s.cfg.Now().Before(s.settled)
	for _, m := range batch {
		// What is lost here comes again after what followed it: out of order.
		if m.Part == 0 {
			s.sequence++
		}
		if m.ConsumerSeq != s.sequence {
			return errAstray
		}
		s.unacknowledged++
		var o pipelinev1.PushOrder
		if err := proto.Unmarshal(m.Data, &o); err != nil || o.GetSubscriptionId() == "" || o.GetEndpointId() == "" || o.GetRevision() <= o.GetAfterRevision() {
			// Nobody writes such a message; kept, it would come for ever. The level of
			// its subscription shows what it was.
			s.meters.unreadable.Add(ctx, 1)
			s.cfg.Log.ErrorContext(ctx, "a push order can't be read and is passed over", "sequence", m.Seq, obs.KeyError, err)
			s.pending.done = append(s.pending.done, m)
			continue
		}
		orders = append(orders, &item{
			sub: o.GetSubscriptionId(), tenant: o.GetTenantId(), waybill: track.Waybill{Carrier: track.Carrier(o.GetCarrierCode()), Number: track.Number(o.GetWaybillNumber())},
			after: track.Revision(o.GetAfterRevision()), revision: track.Revision(o.GetRevision()), body: o.GetBody(), receive: o.GetReceiveTime().AsTime(),
			header: m.Header, msg: m,
		})
		of = append(of, o.GetEndpointId())
		if s.lanes[o.GetEndpointId()] == nil {
			endpoints = append(endpoints, o.GetEndpointId())
		}
		straggler := s.straggles(&o)
		orders[len(orders)-1].straggler = straggler
		if m.Seq <= s.takenOver || m.Redelivered || unsettled || straggler {
			doubtful = append(doubtful, o.GetSubscriptionId())
		}
	}
	if err := s.lanesOf(ctx, endpoints, true); err != nil {
		return err
	}
	done := map[string]track.Revision{}
	if len(doubtful) > 0 {
		err := s.insist(ctx, "read what is acknowledged", func(ctx context.Context) (err error) {
			done, err = s.cfg.Store.Acknowledgements(ctx, doubtful)
			return err
		})
		if err != nil {
			return err
		}
	}
	fault.Crash("deliver.taken")
	if err := s.sieve(ctx, orders, of); err != nil {
		return err
	}
	for i, it := range orders {
		l := s.lanes[of[i]]
		_, cancelled := s.cancelled[it.sub]
		switch covered := l.covered[it.sub]; {
		case it.straggler && max(l.queues[it.sub].newest(), s.pending.outcomes.Acknowledged[it.sub]) >= it.revision:
			// Its successor's is on its way, or just acknowledged.
			s.meters.stragglers.Add(ctx, 1)
			s.pending.done = append(s.pending.done, it.msg)
		case cancelled, it.revision <= done[it.sub], it.revision <= covered:
			if it.straggler {
				s.meters.stragglers.Add(ctx, 1)
			}
			if it.revision >= covered {
				delete(l.covered, it.sub)
			}
			s.pending.done = append(s.pending.done, it.msg)
		default:
			s.add(l, it)
		}
	}
	return nil
}

// straggles says whether an order was handed over by an instance that no longer
// owned its shard of matching, and didn't know: orders of its successor were here
// before, and this one is behind them. After a change of owners all orders are
// compared with what is acknowledged for a while, since a straggler's may have come
// first.
func (s *shard) straggles(o *pipelinev1.PushOrder) bool {
	known := s.epochs[o.GetMatchShard()]
	switch epoch := o.GetMatchEpoch(); {
	case epoch == 0 || epoch == known:
		return false
	case epoch < known:
		return true
	default:
		s.epochs[o.GetMatchShard()] = epoch
		if known != 0 {
			s.settled = s.cfg.Now().Add(settleTime)
		}
		return false
	}
}

// sieve asks which pushes to draining lanes have no row in their way.
func (s *shard) sieve(ctx context.Context, orders []*item, of []string) error {
	var subs []string
	for i, it := range orders {
		if s.lanes[of[i]].draining {
			subs = append(subs, it.sub)
		}
	}
	if len(subs) == 0 {
		return nil
	}
	var owed map[string]bool
	err := s.insist(ctx, "look for what is owed", func(ctx context.Context) (err error) {
		owed, err = s.cfg.Store.OwedAmong(ctx, subs)
		return err
	})
	if err != nil {
		return err
	}
	for i, it := range orders {
		it.clear = s.lanes[of[i]].draining && !owed[it.sub]
	}
	return nil
}

// lanesOf makes the lanes of endpoints that have none.
func (s *shard) lanesOf(ctx context.Context, ids []string, open bool) error {
	if len(ids) == 0 {
		return nil
	}
	var found map[string]pg.Endpoint
	var health map[string]pg.Health
	err := s.insist(ctx, "read endpoints", func(ctx context.Context) (err error) {
		if found, err = s.cfg.Store.Endpoints(ctx, ids); err != nil {
			return err
		}
		health, err = s.cfg.Store.Health(ctx, ids)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if s.lanes[id] != nil {
			continue
		}
		e, ok := found[id]
		s.newLane(id, e, ok, health[id], open)
	}
	return nil
}

// newLane makes the lane of an endpoint: open, or to begin with its rows.
func (s *shard) newLane(id string, e pg.Endpoint, found bool, h pg.Health, open bool) {
	l := newLane(id, open)
	l.settings = settingsOf(e, found, settings{}, s.cfg.Now(), s.cfg.RetryScale)
	l.limit = max(l.settings.max, 1)
	if !h.Opened.IsZero() {
		l.breaker = breaker{opened: h.Opened, probes: h.Probes, until: h.ProbeTime, failures: l.settings.threshold, class: h.Class, code: h.HTTPStatus}
		l.limit = 1
	}
	s.lanes[id] = l
	if !l.settings.enabled() || l.breaker.open() {
		s.hold(l)
	}
	if l.settings.state == pg.EndpointDisabled {
		s.parkAll(l) // it may have been disabled while nobody had the shard
	}
	if !open {
		s.dueAt(l, s.cfg.Now())
	}
}

// insist tries until it succeeds or the context ends.
func (s *shard) insist(ctx context.Context, what string, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		s.cfg.Log.WarnContext(ctx, "delivery waits for PostgreSQL", "to", what, obs.KeyError, err)
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
}

// add takes a push in: it begins, waits behind an older one of its subscription,
// or becomes a row.
func (s *shard) add(l *lane, it *item) {
	q := l.queue(it.sub)
	if it.clear && q.uncommitted == 0 && l.draining {
		q.clear = true
	}
	switch {
	case q.inFlight || len(q.waiting) > 0:
		q.waiting = append(q.waiting, it)
		l.waiting++
		if s.full(l) {
			s.hold(l)
		}
	case l.direct(it.sub) && !s.full(l):
		q.waiting = append(q.waiting, it)
		l.waiting++
		l.ready = append(l.ready, it.sub)
		s.pump(l)
	default:
		// A lane that is draining is full of rows now and then, and goes on.
		if l.open && s.full(l) {
			s.hold(l)
		}
		s.owe(l, it)
	}
}

// full says whether an open lane has more in memory than it may.
func (s *shard) full(l *lane) bool {
	return (l.open || l.draining) && (l.waiting >= maxWaiting || s.unacknowledged > crowded && l.waiting >= maxWaitingCrowded)
}

// owe makes a row of a push, or adds it to its subscription's row.
func (s *shard) owe(l *lane, it *item) {
	now := s.cfg.Now()
	l.freshen(it.sub)
	a := pg.Attempt{SubscriptionID: it.sub, EndpointID: l.id, TenantID: it.tenant, Waybill: it.waybill, After: it.after, Revision: it.revision}
	s.pending.outcomes.Owe(&a, l.slot(), it.receive, now)
	if l.settings.state == pg.EndpointDisabled {
		s.parkAll(l)
	}
	s.change(l, it.sub, now)
	s.owes(l, it.sub)
	if it.msg != nil {
		s.pending.done = append(s.pending.done, it.msg)
	}
	s.meters.owed.Add(s.owned, 1)
}

// owes notes that a subscription of an open lane has a row. A lane with more of
// them than are to be known here is no longer open.
func (s *shard) owes(l *lane, sub string) {
	if !l.open {
		return
	}
	l.owed[sub] = true
	if len(l.owed) > maxOwed {
		s.hold(l)
	}
}

func (s *shard) parkAll(l *lane) {
	if s.pending.park == nil {
		s.pending.park = map[*lane]bool{}
	}
	s.pending.park[l] = true
}

// hold sends all that comes to rows, and what waits and may go there.
func (s *shard) hold(l *lane) {
	l.open, l.draining, l.owed, l.ready, l.rows = false, false, map[string]bool{}, nil, nil
	for sub, q := range l.queues {
		if !q.inFlight {
			s.spill(l, sub, q)
		}
	}
	s.dueAt(l, s.cfg.Now())
}

// spill makes a row of what waits of one subscription. What came from its row is
// there already.
func (s *shard) spill(l *lane, sub string, q *queue) {
	waiting := q.waiting
	q.waiting = nil
	l.waiting -= len(waiting)
	for _, it := range waiting {
		if it.msg != nil {
			s.owe(l, it)
		} else if l.open {
			l.owed[sub] = true
		}
	}
	l.release(sub)
}

// next is the subscription whose turn it is. What is live goes before what came
// from rows, but for every fourth: neither waits for the other to end.
func (l *lane) next() string {
	const share = 4
	from := &l.ready
	if l.turn++; len(l.ready) == 0 || len(l.rows) > 0 && l.turn%share == 0 {
		from = &l.rows
	}
	sub := (*from)[0]
	*from = (*from)[1:]
	return sub
}

// pump begins what may begin.
func (s *shard) pump(l *lane) {
	for !s.stopping && len(l.ready)+len(l.rows) > 0 && l.inFlight < l.limit && l.settings.enabled() {
		sub := l.next()
		q := l.queues[sub]
		if q == nil || q.inFlight || len(q.waiting) == 0 {
			continue
		}
		it := q.waiting[0]
		q.waiting = q.waiting[1:]
		l.waiting--
		if _, cancelled := s.cancelled[sub]; cancelled {
			s.drop(l, it)
			if len(q.waiting) > 0 {
				l.ready = append(l.ready, sub)
			}
			l.release(sub)
			continue
		}
		if len(it.body) == 0 {
			// Too large for the stream: it is rendered from its row.
			s.owe(l, it)
			s.spill(l, sub, q)
			continue
		}
		q.inFlight = true
		s.begin(l, it)
	}
}

// drop ends a push whose subscription was cancelled.
func (s *shard) drop(l *lane, it *item) {
	if it.msg != nil {
		s.pending.done = append(s.pending.done, it.msg)
		return
	}
	s.pending.outcomes.Drop(it.sub)
	s.change(l, it.sub, time.Time{})
	delete(l.owed, it.sub)
}

// dues are lanes by the time at which their rows are to be read, each once.
type dues []*lane

// Len, Less, Swap, Push and Pop are heap's.
func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].nextDue.Before(d[j].nextDue) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heaped, d[j].heaped = i, j
}

// Push adds a lane.
func (d *dues) Push(x any) {
	l, _ := x.(*lane)
	l.heaped = len(*d)
	*d = append(*d, l)
}

// Pop removes the last.
func (d *dues) Pop() any {
	old := *d
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	l.heaped = -1
	return l
}

// dueAt sees to it that a lane's rows are read at a time, or earlier.
func (s *shard) dueAt(l *lane, at time.Time) {
	switch {
	case l.heaped < 0:
		l.nextDue = at
		heap.Push(&s.dues, l)
	case at.Before(l.nextDue):
		l.nextDue = at
		heap.Fix(&s.dues, l.heaped)
	}
}

func (s *shard) untilDue() time.Duration {
	if len(s.dues) == 0 || s.stopping {
		return time.Hour
	}
	return max(s.dues[0].nextDue.Sub(s.cfg.Now()), 0)
}

// due reads the rows of lanes whose time has come.
func (s *shard) due() {
	now := s.cfg.Now()
	for len(s.dues) > 0 && !s.dues[0].nextDue.After(now) {
		l, _ := heap.Pop(&s.dues).(*lane)
		switch {
		case s.stopping, !l.settings.enabled():
			// It is looked at again when that changes.
		case l.reading:
			l.again = true
		case now.Before(l.breaker.until):
			s.dueAt(l, l.breaker.until)
		case l.busy():
			l.again = true
		default:
			s.read(l)
		}
	}
}

// readAgain is how soon rows are read that could not be worked on now.
const readAgain = 20 * time.Millisecond
