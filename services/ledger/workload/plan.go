// Package workload makes parcels' journeys and subscribers out of a seed, and
// plays them against Posthaste as carriers, aggregators and teams would: at a
// rate of their own, whatever the answers.
package workload

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

// The sources.
const (
	Team      = "team"
	Kdniao    = "kdniao"
	Kuaidi100 = "kuaidi100"
)

// Config says how much to do.
type Config struct {
	Seed uint64
	// Load is how long operations begin for.
	Load time.Duration
	// Rate is reports of events a second.
	Rate float64
	// TroubleFrom is when endpoints begin to behave badly.
	TroubleFrom time.Duration
	// Classes are the endpoints.
	Classes []record.Class
	// Cancels is the share of subscriptions that are cancelled, Poison that of
	// journeys with something that must be refused; 0 means a few.
	Cancels, Poison float64
	// Orderly leaves out disorder, poison and churn; for tests of one thing.
	Orderly bool
}

// Plan is what is going to be done; the same for the same configuration.
type Plan struct {
	Config Config
	// Run begins every token.
	Run       string
	Endpoints []record.Endpoint
	Events    []record.Event
	Steps     []Step
}

// Step is one operation.
type Step struct {
	At   time.Duration
	Kind record.Kind
	// Waybill is an index of journeys, of an event or a subscription.
	Waybill int
	// Events are indexes within the journey, in the order of telling.
	Events []int
	Source string
	Poison string
	Repeat bool
	// Impatient says that it isn't tried again.
	Impatient bool
	Endpoint  int
	// Subscription is the key of a subscription in the plan.
	Subscription string
	Tail         time.Duration
}

// journey is one parcel's.
type journey struct {
	source, carrier, number string
	events                  []scripted
	first, last             time.Duration
}

// scripted is an event with what its source says of it.
type scripted struct {
	record.Event

	code string // Kdniao's or Kuaidi100's
	text string
	hint int
}

// timeout is the least that an endpoint may have.
const timeout = time.Second

// retryDelays are those of all endpoints: short, and never spent but where the
// attempts are limited.
var retryDelays = []time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second}

// deadAttempts are the most at an endpoint that is dead for good. It is tried one
// push at a time, so there must be few of them for the run to come to rest.
const deadAttempts = 3

// MixOf is the classes of n endpoints: mostly good ones, and each of the others.
func MixOf(n int) []record.Class {
	bad := []record.Class{record.Slow, record.Flapping, record.Healing, record.Doubling, record.Gone, record.Dead, record.Throttled}
	classes := make([]record.Class, 0, n)
	for i := range n {
		if i < len(bad) {
			classes = append(classes, bad[i])
		} else {
			classes = append(classes, record.Good)
		}
	}
	return classes
}

var tenants = []string{"ledger-a", "ledger-b", "ledger-c"}

// planner holds what a plan is made with.
type planner struct {
	*rand.Rand

	cfg      Config
	plan     *Plan
	journeys []journey
}

// New makes a plan, and what plays it.
func New(cfg Config) *Player {
	p := &planner{Rand: rand.New(rand.NewPCG(cfg.Seed, 0x1ed6e7)), cfg: cfg} //nolint:gosec // it has to replay
	p.plan = &Plan{Config: cfg, Run: "LG" + p.word(4)}
	p.endpoints()
	p.waybills()
	p.subscriptions()
	slices.SortStableFunc(p.plan.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return &Player{Plan: p.plan, journeys: p.journeys}
}

// Hash names a plan: the same hash is the same plan.
func (p *Plan) Hash() string {
	data, _ := json.Marshal(struct {
		Events []record.Event
		Steps  []Step
	}{p.Events, p.Steps}) // plain data
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

func (p *planner) word(n int) string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	var b strings.Builder
	for range n {
		b.WriteByte(letters[p.IntN(len(letters))])
	}
	return b.String()
}

func (p *planner) chance(share float64) bool { return !p.cfg.Orderly && p.Float64() < share }

// between is a moment of a span.
func (p *planner) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(p.Int64N(int64(to-from)))
}

func (p *planner) endpoints() {
	for i, c := range p.cfg.Classes {
		e := record.Endpoint{Index: i, Class: c, Tenant: tenants[i%len(tenants)], Delays: retryDelays, Timeout: timeout}
		switch c {
		case record.Dead:
			e.MaxAttempts, e.Delays = deadAttempts, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}
		case record.Slow:
			e.Timeout = 3 * time.Second
		case record.Throttled:
			e.Throttle = 2 * time.Second
		default:
		}
		p.plan.Endpoints = append(p.plan.Endpoints, e)
	}
}

// eventsOf is how many events a journey has, on average.
const eventsOf = 7

func (p *planner) waybills() {
	count := max(int(p.cfg.Rate*p.cfg.Load.Seconds()/eventsOf), len(tenants))
	for i := range count {
		p.waybill(i)
	}
}

// script is what can happen, with each source's code.
var script = []struct{ status, team, kdniao, kuaidi100 string }{
	{"picked_up", "picked_up", "1", "1"},
	{"in_transit", "in_transit", "2", "0"},
	{"out_for_delivery", "out_for_delivery", "202", "5"},
	{"delivered", "delivered", "301", "301"},
}

func (p *planner) waybill(index int) {
	j := journey{source: Team, carrier: "sf-express", number: fmt.Sprintf("%sT%06d", p.plan.Run, index)}
	switch p.IntN(4) {
	case 0:
		j.source, j.carrier, j.number = Kdniao, "sf-express", fmt.Sprintf("SF%s%06d", p.plan.Run, index)
	case 1:
		j.source, j.carrier, j.number = Kuaidi100, "yto-express", fmt.Sprintf("YT%s%06d", p.plan.Run, index)
	}
	n := eventsOf - 3 + p.IntN(7)
	name := j.carrier + "/" + j.number
	// Event times lie in the past, minutes apart, so that the order of telling is
	// another matter.
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.FixedZone("CST", 8*3600)).Add(time.Duration(p.IntN(100_000)) * time.Second)
	for i := range n {
		s := script[1]
		switch {
		case i == 0:
			s = script[0]
		case i == n-1 && index%5 != 0: // some are under way at the end
			s = script[3]
		case i == n-2:
			s = script[2]
		}
		same := i > 1 && i < n-2 && p.chance(0.05)
		if !same {
			at = at.Add(time.Duration(60+p.IntN(7200)) * time.Second)
		}
		e := scripted{hint: i, Event: record.Event{
			Token: fmt.Sprintf("%s%04X-%04d", p.plan.Run, index, i), Waybill: name, Time: at, Status: s.status,
		}}
		e.code = map[string]string{Team: s.team, Kdniao: s.kdniao, Kuaidi100: s.kuaidi100}[j.source]
		if s.status == "in_transit" && j.source != Team && p.chance(0.02) {
			e.code, e.Status = "9977", "" // nobody knows it
		}
		e.text = p.text(e.Token, i)
		j.events = append(j.events, e)
	}
	if j.source == Team && n > 4 && p.chance(0.05) {
		// A correction of an event on the way.
		old := j.events[2]
		e := old
		e.Token, e.Replaces, e.hint = fmt.Sprintf("%s%04X-%04d", p.plan.Run, index, n), old.Token, old.hint
		e.text = p.text(e.Token, n)
		j.events = append(j.events, e)
	}
	p.tell(index, &j)
	for i := range j.events {
		p.plan.Events = append(p.plan.Events, j.events[i].Event)
	}
	p.journeys = append(p.journeys, j)
}

func (p *planner) text(token string, n int) string {
	switch {
	case p.chance(0.01):
		return "快件到达 " + token + " " + strings.Repeat("很长的说明，", 300)
	case p.chance(0.01):
		return "with \"quotes\" \\ and <tags> & " + token + " \u2028"
	default:
		return fmt.Sprintf("第%d站，快件到达【杭州转运中心】 %s", n, token)
	}
}

// tell plans when and in which order a journey is told, with all that goes wrong
// at real sources.
func (p *planner) tell(index int, j *journey) {
	load := p.cfg.Load
	j.first = p.between(0, load*8/10)
	life := min(load-j.first, p.between(load/6, load/2))
	at := j.first
	step := life / time.Duration(len(j.events)+1)
	order := make([]int, len(j.events))
	for i := range order {
		order[i] = i
	}
	for i := 1; i < len(order); i++ {
		if p.chance(0.05) && j.events[order[i]].Replaces == "" {
			order[i-1], order[i] = order[i], order[i-1] // told the wrong way round
		}
	}
	if len(order) > 4 && p.chance(0.1) {
		// One is told late, after the end.
		order = append(slices.Delete(order, 2, 3), order[2])
	}
	for i, n := range order {
		s := Step{At: at, Kind: record.KindEvent, Waybill: index, Source: j.source, Events: []int{n}, Impatient: p.chance(0.03)}
		if j.source != Team {
			// Platforms push the whole trace so far.
			s.Events = slices.Sorted(slices.Values(order[:i+1]))
		}
		p.plan.Steps = append(p.plan.Steps, s)
		switch {
		case p.chance(0.02): // twice at once
			p.plan.Steps = append(p.plan.Steps, s)
		case p.chance(0.1): // again later
			s.At, s.Repeat = s.At+p.between(time.Second, 10*time.Second), true
			p.plan.Steps = append(p.plan.Steps, s)
		}
		j.last = at
		at += step/2 + p.between(0, step)
	}
	if p.chance(cmp.Or(p.cfg.Poison, 0.04)) {
		p.poison(index, j)
	}
}

// poison plans something that must be refused, and take nothing with it.
func (p *planner) poison(index int, j *journey) {
	bad := j.events[1]
	bad.Token, bad.Bad = fmt.Sprintf("%s%04X-%04d", p.plan.Run, index, 9000+p.IntN(900)), true
	bad.Time = bad.Time.Add(time.Second)
	bad.text = p.text(bad.Token, 1)
	j.events = append(j.events, bad)
	s := Step{At: p.between(j.first, j.last), Kind: record.KindEvent, Waybill: index, Source: j.source, Events: []int{len(j.events) - 1}, Impatient: true}
	switch {
	case j.source == Team:
		s.Poison, s.Events = "field", append(s.Events, 0) // beside a good one
	case p.IntN(2) == 0:
		s.Poison = "signature"
	default:
		s.Poison = "garbage"
	}
	p.plan.Steps = append(p.plan.Steps, s)
}

// crowded is a waybill that every endpoint subscribes.
const crowded = 0

func (p *planner) subscriptions() {
	for i := range p.journeys {
		endpoints := p.Perm(len(p.plan.Endpoints))
		if i != crowded {
			endpoints = endpoints[:min(1+p.IntN(3), len(endpoints))]
		}
		for _, e := range endpoints {
			if p.cfg.Classes[e] == record.Dead && i != crowded && i%4 != 0 {
				continue // see deadAttempts
			}
			p.subscription(i, e)
		}
	}
	if p.cfg.Orderly || len(p.plan.Endpoints) < 3 {
		return
	}
	// Two endpoints change: one its secret, one its URL.
	half := p.cfg.Load / 2
	p.plan.Steps = append(p.plan.Steps,
		Step{At: p.between(half*8/10, half), Kind: record.KindRotate, Endpoint: len(p.plan.Endpoints) - 1},
		Step{At: p.between(half*8/10, half), Kind: record.KindMove, Endpoint: len(p.plan.Endpoints) - 2},
	)
}

func (p *planner) subscription(waybill, endpoint int) {
	j := &p.journeys[waybill]
	s := Step{
		Kind: record.KindSubscribe, Waybill: waybill, Endpoint: endpoint, Subscription: fmt.Sprintf("%s-%d-%d", p.plan.Run, waybill, endpoint),
		At: max(j.first-p.between(0, 3*time.Second), 0),
	}
	early := true
	switch {
	case p.chance(0.2):
		s.At, early = p.between(j.first, j.last), false
	case p.chance(0.1):
		s.At, early = p.between(j.last, p.cfg.Load), false
	}
	if early && p.chance(0.08) {
		s.Tail = time.Second
	}
	p.plan.Steps = append(p.plan.Steps, s)
	if p.chance(0.02) {
		p.plan.Steps = append(p.plan.Steps, s) // the same call twice at once
	}
	switch {
	case p.chance(cmp.Or(p.cfg.Cancels, 0.06)):
		cancel := s
		cancel.Kind, cancel.At = record.KindCancel, p.between(s.At+time.Second, p.cfg.Load)
		p.plan.Steps = append(p.plan.Steps, cancel)
		if p.chance(0.5) {
			again := s
			again.At, again.Subscription, again.Tail = p.between(cancel.At+2*time.Second, p.cfg.Load+2*time.Second), s.Subscription+"-again", 0
			p.plan.Steps = append(p.plan.Steps, again)
		}
	case s.Tail == 0 && p.chance(0.03):
		hold := s
		hold.Kind, hold.At = record.KindPause, p.between(s.At+time.Second, p.cfg.Load)
		on := hold
		on.Kind, on.At = record.KindResume, p.between(hold.At+time.Second, p.cfg.Load)
		p.plan.Steps = append(p.plan.Steps, hold, on)
	}
}
