package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/pause"
)

// IsolationConfig says what to measure.
type IsolationConfig struct {
	Program string // the posthaste binary
	// Rate is the pushes per second of the healthy endpoint.
	Rate float64
	// Owed is how many waybills the hanging endpoint is owed.
	Owed int
	// Dead is how many endpoints die at once.
	Dead int
	// Length is how long latencies are measured, for each figure.
	Length time.Duration
	Data   string    // data folder; empty makes one and removes it
	Log    io.Writer // the program's log; nil discards it
}

// IsolationResult is the last line that the benchmark prints.
type IsolationResult struct {
	Bench  string           `json:"bench"`
	P99    IsolationP99     `json:"p99_ms"`
	Worst  float64          `json:"worst_ratio"`
	Added  float64          `json:"added_mb_per_million"`
	P50    IsolationP99     `json:"p50_ms"`
	Pushes map[string]int64 `json:"pushes"`
}

// IsolationP99 is in milliseconds, from accepted to acknowledged, of the healthy
// endpoint.
type IsolationP99 struct {
	Alone float64 `json:"alone"`
	Hang  float64 `json:"hang"`
	Dead  float64 `json:"dead1000"`
	Flood float64 `json:"flood"`
}

// isolation is a run of the benchmark.
type isolation struct {
	cfg     IsolationConfig
	say     func(format string, args ...any)
	rcv     remote
	prog    *program
	healthy *fleet
}

// Isolation measures what others' trouble costs a healthy endpoint, and tells
// its story on out. The troubles come one after the other, and the healthy
// endpoint alone is measured before, between and after them: the machine's own
// noise is in both sides of the ratio.
func Isolation(ctx context.Context, cfg IsolationConfig, out io.Writer) (IsolationResult, error) {
	res := IsolationResult{Bench: "isolation", Pushes: map[string]int64{}}
	r := &isolation{cfg: cfg, say: func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }}
	var stop func()
	var err error
	if r.rcv, _, stop, err = startReceiver(ctx); err != nil {
		return res, err
	}
	defer stop()
	if r.prog, err = startProgram(ctx, cfg.Program, cfg.Data, cfg.Log); err != nil {
		return res, err
	}
	defer r.prog.stop()

	const waybills = 5000
	r.healthy = &fleet{tenant: "healthy", prefix: "SFH", waybills: waybills}
	if _, err := r.healthy.subscribe(ctx, r.prog.conn, r.rcv.url("push"), 1); err != nil {
		return res, err
	}
	if _, err := r.healthy.pace(ctx, r.prog.conn, 2*waybills/10, 10*time.Second); err != nil {
		return res, fmt.Errorf("warm up: %w", err)
	}
	steps := []struct {
		name     string
		p50, p99 *float64
		run      func(ctx context.Context, res *IsolationResult, measure func() error) error
	}{
		{"hang", &res.P50.Hang, &res.P99.Hang, r.hang},
		{"dead1000", &res.P50.Dead, &res.P99.Dead, r.dead},
		{"flood", &res.P50.Flood, &res.P99.Flood, r.flood},
	}
	var alone []Stats
	quiet := func() error {
		s, err := r.measure(ctx, "alone")
		alone = append(alone, s)
		return err
	}
	for _, step := range steps {
		if err := quiet(); err != nil {
			return res, err
		}
		err := step.run(ctx, &res, func() error {
			s, err := r.measure(ctx, step.name)
			*step.p50, *step.p99, res.Pushes[step.name] = milliseconds(s.P50), milliseconds(s.P99), s.Pushes
			return err
		})
		if err != nil {
			return res, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := quiet(); err != nil {
		return res, err
	}
	for _, s := range alone {
		res.P50.Alone += milliseconds(s.P50) / float64(len(alone))
		res.P99.Alone += milliseconds(s.P99) / float64(len(alone))
	}
	res.Worst = max(res.P99.Hang, res.P99.Dead, res.P99.Flood) / res.P99.Alone
	r.say("a healthy endpoint's p99: alone %.1f ms, beside one that hangs %.1f ms, %d dead %.1f ms, a flood %.1f ms; worst ratio %.2f",
		res.P99.Alone, res.P99.Hang, cfg.Dead, res.P99.Dead, res.P99.Flood, res.Worst)
	return res, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measure sends the healthy endpoint's events at the rate, open loop, and
// returns the latencies.
func (r *isolation) measure(ctx context.Context, name string) (Stats, error) {
	if err := r.rcv.reset(ctx, true); err != nil {
		return Stats{}, err
	}
	sent, err := r.healthy.pace(ctx, r.prog.conn, r.cfg.Rate, r.cfg.Length)
	if err != nil {
		return Stats{}, err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		s, err := r.rcv.stats(ctx)
		if err != nil {
			return s, err
		}
		// Changes of one waybill may come folded into one push.
		if time.Since(s.Last) > 2*time.Second || s.Pushes >= sent {
			r.say("%-9s %6d pushes, p50 %7.1f ms, p99 %7.1f ms, most %7.1f ms", name, s.Pushes, milliseconds(s.P50), milliseconds(s.P99), milliseconds(s.Max))
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, errors.New("the healthy endpoint's pushes have not ended after a minute")
		}
		_ = pause.For(ctx, 20*time.Millisecond)
	}
}

// hang has an endpoint that hangs until its time-out, and waybills without end
// that are owed to it.
func (r *isolation) hang(ctx context.Context, res *IsolationResult, measure func() error) error {
	const share = 5
	few := &fleet{tenant: "hanging", prefix: "SFE", waybills: max(r.cfg.Owed/share, 1)}
	many := &fleet{tenant: "hanging", prefix: "SFG", waybills: r.cfg.Owed}
	// The waybills are there before: what they take isn't what owing them takes.
	// Those of the few make buffers and caches grow to what they are at work, which
	// doesn't grow with what is owed.
	for _, f := range []*fleet{few, many} {
		if err := f.all(ctx, r.prog); err != nil {
			return err
		}
	}
	var names []string
	owed := 0
	var taken [2]int64
	for i, f := range []*fleet{few, many} {
		if err := r.settled(ctx, owed*9/10); err != nil {
			return err
		}
		made, err := f.subscribe(ctx, r.prog.conn, r.rcv.url("hang"), 1)
		if err != nil {
			return err
		}
		names, owed = append(names, made...), owed+f.waybills
		if err := r.settled(ctx, owed*9/10); err != nil {
			return err
		}
		if taken[i], err = r.memory(ctx); err != nil {
			return err
		}
	}
	added := taken[1] - taken[0]
	res.Added = float64(added) / (1 << 20) * 1e6 / float64(many.waybills)
	r.say("%d waybills more owed to an endpoint that hangs: %+.1f MiB of memory, %+.0f MiB for a million", many.waybills, float64(added)/(1<<20), res.Added)
	if err := measure(); err != nil {
		return err
	}
	return r.pause(ctx, names)
}

// all reports an event of each waybill.
func (f *fleet) all(ctx context.Context, prog *program) error {
	var unlimited atomic.Int64
	unlimited.Store(1 << 60)
	_, _, err := f.stream(ctx, prog.conn, 2, int64(f.waybills), 1, &unlimited)
	return err
}

// dead has endpoints that all die at once and whose waybills go on changing.
func (r *isolation) dead(ctx context.Context, _ *IsolationResult, measure func() error) error {
	f := &fleet{tenant: "dying", prefix: "SFD", waybills: 10 * r.cfg.Dead}
	names, err := f.subscribe(ctx, r.prog.conn, r.rcv.url("dying"), r.cfg.Dead)
	if err != nil {
		return err
	}
	if _, err := f.pace(ctx, r.prog.conn, float64(f.waybills)/10, 10*time.Second); err != nil {
		return err
	}
	if err := r.rcv.die(ctx); err != nil {
		return err
	}
	going, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		// A tenth of the healthy endpoint's rate: the trouble is that they are dead.
		_, err := f.pace(going, r.prog.conn, r.cfg.Rate/10, time.Hour)
		done <- err
	}()
	err = measure()
	stop()
	<-done //nolint:errcheck // it was stopped
	if err != nil {
		return err
	}
	return r.pause(ctx, names)
}

// flood has a tenant that reports as fast as it is let.
func (r *isolation) flood(ctx context.Context, _ *IsolationResult, measure func() error) error {
	const endpoints = 8
	f := &fleet{tenant: "flooding", prefix: "SFF", waybills: 20_000}
	if _, err := f.subscribe(ctx, r.prog.conn, r.rcv.url("flood"), endpoints); err != nil {
		return err
	}
	// Whoever floods is somebody else: a connection of its own.
	conn, err := r.prog.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	going, stop := context.WithCancel(ctx)
	defer stop()
	var unlimited atomic.Int64
	unlimited.Store(1 << 60)
	done := make(chan error, 1)
	go func() {
		// It begins while the healthy endpoint's events are on their way, as always.
		const streams, delay = 4, 500 * time.Millisecond
		if err := pause.For(going, delay); err != nil {
			done <- err
			return
		}
		_, _, err := f.stream(going, conn, streams, 1<<60, 1, &unlimited)
		done <- err
	}()
	sent, began := f.sent.Load(), time.Now()
	err = measure()
	took := time.Since(began)
	r.say("          the flood: %.0f events/s", float64(f.sent.Load()-sent)/took.Seconds())
	stop()
	<-done //nolint:errcheck // it was stopped
	if err != nil {
		return err
	}
	return r.settled(ctx, 0)
}

// pause holds endpoints, so that their trouble ends.
func (r *isolation) pause(ctx context.Context, names []string) error {
	eps := subscriptionv1.NewEndpointServiceClient(r.prog.conn)
	for _, name := range names {
		_, err := eps.UpdateEndpoint(ctx, &subscriptionv1.UpdateEndpointRequest{
			Endpoint:   &subscriptionv1.Endpoint{Name: name, State: subscriptionv1.EndpointState_ENDPOINT_STATE_PAUSED, Timeout: durationpb.New(time.Second)},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
		if err != nil {
			return fmt.Errorf("pause an endpoint: %w", err)
		}
	}
	return nil
}

// settled waits until so many pushes are owed, and nothing has moved for a
// while.
func (r *isolation) settled(ctx context.Context, owed int) error {
	deadline := time.Now().Add(10 * time.Minute)
	var last float64
	quiet := 0
	for {
		m, err := r.metrics(ctx)
		if err != nil {
			return err
		}
		moved := m["posthaste_normalizer_events_total"] + m["posthaste_subscription_pushes_total"] + m["posthaste_delivery_owed_total"] + m["posthaste_delivery_attempts_total"]
		if quiet++; moved-last > 10 {
			quiet = 0
		}
		last = moved
		if quiet >= 6 && m["posthaste_delivery_owed_total"] >= float64(owed) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not settled after 10 minutes: %.0f of %d are owed", m["posthaste_delivery_owed_total"], owed)
		}
		if err := pause.For(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

// metrics reads the program's metrics, each summed over its labels.
func (r *isolation) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := r.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	for _, m := range metricLine.FindAllStringSubmatch(text, -1) {
		if v, err := strconv.ParseFloat(m[2], 64); err == nil {
			sums[m[1]] += v
		}
	}
	return sums, nil
}

var metricLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{.*\})? ([0-9.e+-]+)$`)

// memory is what the program itself holds after a garbage collection, and its
// PostgreSQL beside the shared buffers, which are a fixed setting.
func (r *isolation) memory(ctx context.Context) (int64, error) {
	// A pool keeps what it has for two collections more.
	var text string
	var err error
	for range 3 {
		if text, err = r.get(ctx, "/debug/pprof/heap?gc=1&debug=1"); err != nil {
			return 0, err
		}
	}
	var heap int64
	for _, m := range heapLine.FindAllStringSubmatch(text, -1) {
		v, _ := strconv.ParseInt(m[1], 10, 64)
		heap += v
	}
	if heap == 0 {
		return 0, errors.New("the program's profile says nothing of its heap")
	}
	all, err := usageOf(r.prog.pid)
	if err != nil {
		return 0, err
	}
	self := proportional(r.prog.pid, "Pss_Anon:")
	r.say("          heap and stacks %.1f MiB, PostgreSQL's own %.1f MiB, resident in all %.0f MiB", float64(heap)/(1<<20), float64(all.own-self)/(1<<20), float64(all.rss)/(1<<20))
	return heap + all.own - self, nil
}

var heapLine = regexp.MustCompile(`(?m)^# (?:HeapAlloc = |Stack = )(\d+)`)

func (r *isolation) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.prog.ops+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the program for %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask the program for %s: %w", path, err)
	}
	return string(body), nil
}
