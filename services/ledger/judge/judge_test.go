package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/ledger/record"
)

const ms = time.Millisecond

// builder makes the record of a run in which everything went well.
type builder struct {
	run  record.Run
	subs map[string]*record.Subscription
	ways map[string]*record.Waybill
}

// good is a run of half a minute: events of 150 waybills, an endpoint that fails
// now and then, one that was away for a while, cancellations and poison.
func good() *record.Run {
	b := &builder{subs: map[string]*record.Subscription{}, ways: map[string]*record.Waybill{}}
	b.run.Meta = record.Meta{
		Profile: "test", Run: "LGTEST", TroubleFrom: 10 * time.Second, CalmUntil: 35 * time.Second, LoadEnd: 35 * time.Second, End: 60 * time.Second,
		Durables: []string{"ledger-reader"},
	}
	delays := []time.Duration{300 * ms, 700 * ms}
	for i, c := range []record.Class{record.Good, record.Good, record.Flapping, record.Healing} {
		tenant := "a"
		if i == 2 {
			tenant = "b"
		}
		b.run.Meta.Endpoints = append(b.run.Meta.Endpoints, record.Endpoint{Index: i, Class: c, Tenant: tenant, Delays: delays, Timeout: time.Second})
	}
	for i := range 150 {
		endpoint := i % 3
		if i == 100 {
			endpoint = 3
		}
		b.waybill(i, endpoint)
	}
	b.finish()
	return &b.run
}

func (b *builder) waybill(i, endpoint int) {
	name := fmt.Sprintf("sf-express/W%04d", i)
	sub := fmt.Sprintf("sub_%04d", i)
	start := 4*time.Second + time.Duration(i)*100*ms
	b.run.Ops = append(b.run.Ops, record.Op{
		Kind: record.KindSubscribe, Endpoint: endpoint, Waybill: name, Subscription: sub, Begin: start - 500*ms, End: start - 400*ms, Outcome: record.OK, Status: "made",
	})
	s := &record.Subscription{ID: sub, Endpoint: endpoint, Waybill: name, State: "active"}
	w := &record.State{LastTime: "t"}
	b.subs[sub], b.ways[name] = s, &record.Waybill{Waybill: name, Stream: w, GRPC: w, SQL: w}
	cancelled := i%25 == 24
	for k, status := range []string{"picked_up", "in_transit", "delivered"} {
		token := fmt.Sprintf("LGTEST%04X-%04d", i, k)
		at := start + time.Duration(k)*3*time.Second
		b.run.Events = append(b.run.Events, record.Event{Token: token, Waybill: name, Time: time.Unix(int64(k)*1000, 0), Status: status})
		b.run.Ops = append(b.run.Ops, record.Op{Kind: record.KindEvent, Endpoint: -1, Waybill: name, Tokens: []string{token}, Begin: at, End: at + 10*ms, Outcome: record.OK})
		b.run.Follows = append(b.run.Follows, record.Follow{At: at + 20*ms, Waybill: name, Revision: uint64(k + 1), Tokens: []string{token}})
		w.Revision, w.Status, w.EventCount, w.Tokens = uint64(k+1), status, k+1, append(w.Tokens, token)
		b.push(record.Push{
			Endpoint: endpoint, Path: "a", ID: fmt.Sprintf("psh_%04d_%d", i, k+1), Key: 1, Subscription: sub, Tenant: b.run.Meta.Endpoints[endpoint].Tenant,
			Waybill: name, After: uint64(k), Revision: uint64(k + 1), Status: status, EventCount: k + 1, Tokens: []string{token}, Body: "b" + token,
		}, at+50*ms, i*7+k)
		s.Pushed, s.Acknowledged = uint64(k+1), uint64(k+1)
	}
	if cancelled {
		b.run.Ops = append(b.run.Ops, record.Op{Kind: record.KindCancel, Endpoint: endpoint, Subscription: sub, Begin: start + 8*time.Second, End: start + 8*time.Second + 10*ms, Outcome: record.OK})
		s.State = "cancelled"
	}
	if i == 7 {
		token := fmt.Sprintf("LGTEST%04X-9000", i)
		b.run.Events = append(b.run.Events, record.Event{Token: token, Waybill: name, Bad: true})
		b.run.Ops = append(b.run.Ops, record.Op{Kind: record.KindEvent, Endpoint: -1, Waybill: name, Tokens: []string{token}, Poison: "field", Begin: start, End: start + ms, Outcome: record.Fail})
	}
}

// push lets an endpoint get a push: a flapping one refuses some at first, and the
// one that heals refuses all but the last try.
func (b *builder) push(p record.Push, at time.Duration, dice int) {
	tries := 1
	switch p.Endpoint {
	case 2:
		tries = 1 + dice%2
	case 3:
		tries = 3
	}
	for try := range tries {
		p.Received, p.Answered, p.Answer = at, at+2*ms, 200
		p.Timestamp = int64(at / time.Second)
		if try < tries-1 {
			p.Answer = 503
		}
		b.run.Pushes = append(b.run.Pushes, p)
		at += 1000 * ms
	}
}

func (b *builder) finish() {
	for at := time.Second; at < b.run.Meta.End; at += time.Second {
		b.run.Samples = append(b.run.Samples, record.Sample{At: at, Program: "delivery", FDs: 20, Goroutines: 50, RSS: 1 << 26}, record.Sample{At: at, Backends: 8})
	}
	for _, phase := range []string{"quiesced", "healed"} {
		f := record.Final{Phase: phase, Quiesced: true, At: b.run.Meta.End, Consumers: []string{"delivery-push-0", "ledger-reader"}}
		for _, w := range b.ways {
			f.Waybills = append(f.Waybills, *w)
			f.Raw = append(f.Raw, w.Stream.Tokens...)
		}
		for _, s := range b.subs {
			f.Subscriptions = append(f.Subscriptions, *s)
		}
		b.run.Finals = append(b.run.Finals, f)
	}
}

func TestJudge_AGoodRunHolds(t *testing.T) {
	t.Parallel()
	for _, v := range Judge(good()) {
		if v.Result == Violated {
			t.Errorf("%s is violated: %v", v.ID, v.Examples)
		}
		if v.Result == Holds && v.Checked == 0 {
			t.Errorf("%s holds, and nothing was looked at", v.ID)
		}
	}
}

// Every change that makes a good record a bad one is seen.
func TestJudge_SeesEveryMutant(t *testing.T) {
	t.Parallel()
	mutants := Mutants()
	if len(mutants) < 15 {
		t.Fatalf("there are %d mutants", len(mutants))
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.Name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if why := m.Try(good()); why != "" {
				t.Error(why)
			}
		})
	}
}

// A mutant changes a copy.
func TestJudge_MutantsLeaveTheRecordAlone(t *testing.T) {
	t.Parallel()
	r := good()
	for _, m := range Mutants() {
		m.Try(r)
	}
	for _, v := range Judge(r) {
		if v.Result == Violated {
			t.Errorf("after all mutants %s is violated: %v", v.ID, v.Examples)
		}
	}
}

// verdict judges a changed good run by one invariant.
func verdict(id string, change func(r *record.Run)) Verdict {
	r := good()
	change(r)
	for _, v := range Judge(r) {
		if v.ID == id {
			return v
		}
	}
	return Verdict{}
}

func TestJudge_TellsWhatAFaultExplains(t *testing.T) {
	t.Parallel()
	// A push that was acknowledged comes again.
	again := func(r *record.Run) {
		p := r.Pushes[0]
		p.Received, p.Answered, p.Timestamp = p.Received+8*time.Second, p.Answered+8*time.Second, p.Timestamp+8
		r.Pushes = append(r.Pushes, p)
	}
	faulty := func(targets ...string) func(r *record.Run) {
		return func(r *record.Run) {
			again(r)
			at := r.Pushes[0].Received + 500*ms
			r.Faults = append(r.Faults, record.Fault{ID: 1, Kind: record.FaultKill, Targets: targets, Begin: at, End: at + time.Second})
		}
	}
	for name, test := range map[string]struct {
		change func(r *record.Run)
		want   Result
	}{
		"nothing was the matter":     {again, Violated},
		"delivery was killed":        {faulty("delivery"), Holds},
		"its connection broke":       {faulty("delivery-postgres"), Holds},
		"ingest was killed":          {faulty("ingest"), Violated},
		"the normalizer was stopped": {faulty("normalizer"), Violated},
		"everything was killed":      {faulty("all"), Holds},
	} {
		if v := verdict("L5", test.change); v.Result != test.want {
			t.Errorf("%s: L5 %s, want %s: %v", name, v.Result, test.want, v.Examples)
		}
	}
}

func TestJudge_TellsUnknownOutcomes(t *testing.T) {
	t.Parallel()
	set := func(o record.Outcome) func(r *record.Run) {
		return func(r *record.Run) {
			for i := range r.Ops {
				if r.Ops[i].Kind == record.KindEvent && r.Ops[i].Waybill == "sf-express/W0003" {
					r.Ops[i].Outcome = o
				}
			}
		}
	}
	// What has no answer may appear; what was refused may not.
	if v := verdict("L2", set(record.Unknown)); v.Result != Holds {
		t.Errorf("events without an answer: L2 %s: %v", v.Result, v.Examples)
	}
	if v := verdict("L2", set(record.Fail)); v.Result != Violated {
		t.Errorf("events that were refused: L2 %s", v.Result)
	}
	// Nor is it missed when it doesn't.
	gone := func(r *record.Run) {
		set(record.Unknown)(r)
		dropped := r.Pushes[:0]
		for _, p := range r.Pushes {
			if p.Waybill != "sf-express/W0003" {
				dropped = append(dropped, p)
			}
		}
		r.Pushes = dropped
	}
	if v := verdict("L1", gone); v.Result != Holds {
		t.Errorf("events without an answer or a push: L1 %s: %v", v.Result, v.Examples)
	}
}

// What can't be judged is said, and isn't a pass.
func TestJudge_SaysWhatItCantJudge(t *testing.T) {
	t.Parallel()
	if v := verdict("L1n", func(r *record.Run) { r.Meta.Durables = nil }); v.Result != Unjudged || v.Note == "" {
		t.Errorf("without a reader L1n %s (%q)", v.Result, v.Note)
	}
	if v := verdict("L12", func(r *record.Run) { r.Meta.TroubleFrom = 0 }); v.Result != Unjudged || v.Note == "" {
		t.Errorf("without a calm time L12 %s (%q)", v.Result, v.Note)
	}
	for _, id := range []string{"L1", "L4", "L9", "L14", "L15"} {
		if v := verdict(id, func(r *record.Run) { r.Finals = nil }); v.Result != Violated {
			t.Errorf("without an end state %s %s", id, v.Result)
		}
	}
}

func TestJudge_RestIsPartOfThePromise(t *testing.T) {
	t.Parallel()
	restless := func(r *record.Run) { r.Finals[1].Quiesced, r.Finals[1].Unsettled = false, "a push came just now" }
	for _, id := range []string{"L7", "L9"} {
		if v := verdict(id, restless); v.Result != Violated {
			t.Errorf("a run that doesn't come to rest: %s %s", id, v.Result)
		}
	}
}
