package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/posthaste/posthaste/services/internal/pause"
)

// PipelineConfig says what to measure.
type PipelineConfig struct {
	Program   string // the posthaste binary
	Waybills  int
	Endpoints int
	Events    int64 // in the throughput phase
	Window    int64 // most events accepted and not yet pushed
	Streams   int
	Half      time.Duration // length of the half-rate phase
	Bare      time.Duration // length of the bare client's run
	Data      string        // data folder; empty makes one and removes it
	Log       io.Writer     // the program's log; nil discards it
}

// PipelineResult is the last line that the benchmark prints.
type PipelineResult struct {
	Bench        string  `json:"bench"`
	Accepted     float64 `json:"accepted_per_s"`
	Acknowledged float64 `json:"acknowledged_per_s"`
	Bare         float64 `json:"bare_per_s"`
	Ratio        float64 `json:"ratio"`
	CPU          float64 `json:"cpu_s_per_1k"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	RSS          float64 `json:"rss_mb"`
}

// Pipeline runs the benchmark and tells its story on out.
func Pipeline(ctx context.Context, cfg PipelineConfig, out io.Writer) (PipelineResult, error) {
	res := PipelineResult{Bench: "pipeline"}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }

	rcv, receiverPID, stopReceiver, err := startReceiver(ctx)
	if err != nil {
		return res, err
	}
	defer stopReceiver()
	prog, err := startProgram(ctx, cfg.Program, cfg.Data, cfg.Log)
	if err != nil {
		return res, err
	}
	defer prog.stop()

	a, b := &fleet{prefix: "SFA", waybills: cfg.Waybills}, &fleet{prefix: "SFB", waybills: cfg.Waybills}
	for _, f := range []*fleet{a, b} {
		if _, err := f.subscribe(ctx, prog.conn, rcv.url("push"), cfg.Endpoints); err != nil {
			return res, err
		}
	}
	say("%d waybills with a subscription each, twice over, on %d endpoints", cfg.Waybills, cfg.Endpoints)

	// Warm up: connections, caches, the first event of every waybill.
	if _, err := throughput(ctx, a, prog.conn, rcv, cfg, int64(cfg.Waybills)); err != nil {
		return res, fmt.Errorf("warm up: %w", err)
	}
	bare, err := runBare(ctx, rcv, sampleBody(a), cfg.Bare)
	if err != nil {
		return res, err
	}

	before, err := allUsage(prog.pid, receiverPID)
	if err != nil {
		return res, err
	}
	run, err := throughput(ctx, a, prog.conn, rcv, cfg, cfg.Events)
	if err != nil {
		return res, err
	}
	after, err := allUsage(prog.pid, receiverPID)
	if err != nil {
		return res, err
	}
	again, err := runBare(ctx, rcv, sampleBody(a), cfg.Bare)
	if err != nil {
		return res, err
	}

	res.Accepted = float64(run.accepted) / run.acceptTime.Seconds()
	res.Acknowledged = float64(run.pushes) / run.pushTime.Seconds()
	res.Bare = (bare + again) / 2
	res.Ratio = res.Acknowledged / res.Bare
	thousands := float64(run.pushes) / 1000
	var total time.Duration
	for i, part := range []string{"posthaste", "receiver", "load"} {
		cpu := after[i].cpu - before[i].cpu
		total += cpu
		say("  CPU %-10s %6.3f s per 1,000 pushes", part, cpu.Seconds()/thousands)
	}
	res.CPU = total.Seconds() / thousands
	say("%d events accepted, %d pushes acknowledged in %.1f s", run.accepted, run.pushes, run.pushTime.Seconds())
	say("  accepted     %8.0f /s", res.Accepted)
	say("  acknowledged %8.0f /s", res.Acknowledged)
	say("  bare limit   %8.0f /s (before %.0f, after %.0f)", res.Bare, bare, again)
	say("  ratio        %8.3f", res.Ratio)

	if err := rcv.reset(ctx, true); err != nil {
		return res, err
	}
	sent, err := b.pace(ctx, prog.conn, res.Acknowledged/2, cfg.Half)
	if err != nil {
		return res, fmt.Errorf("half rate: %w", err)
	}
	stats, err := settle(ctx, rcv)
	if err != nil {
		return res, fmt.Errorf("half rate: %w", err)
	}
	res.P50, res.P99 = float64(stats.P50.Microseconds())/1000, float64(stats.P99.Microseconds())/1000
	say("at half rate (%.0f/s, %d events, %d pushes): p50 %.1f ms, p99 %.1f ms, most %.1f ms from accepted to acknowledged",
		res.Acknowledged/2, sent, stats.Pushes, res.P50, res.P99, float64(stats.Max.Microseconds())/1000)
	end, err := usageOf(prog.pid)
	if err != nil {
		return res, err
	}
	res.RSS = float64(end.rss) / (1 << 20)
	say("memory of posthaste and its PostgreSQL: %.0f MiB", res.RSS)
	return res, nil
}

type outcome struct {
	accepted, pushes     int64
	acceptTime, pushTime time.Duration
}

// throughput sends events as fast as the window lets it and waits for the last
// push.
func throughput(ctx context.Context, f *fleet, conn *grpc.ClientConn, rcv remote, cfg PipelineConfig, events int64) (outcome, error) {
	var o outcome
	if err := rcv.reset(ctx, false); err != nil {
		return o, err
	}
	var got atomic.Int64
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for watch.Err() == nil {
			if s, err := rcv.stats(watch); err == nil {
				got.Store(s.Pushes)
			}
			_ = pause.For(watch, 10*time.Millisecond)
		}
	}()
	start := time.Now()
	var err error
	if o.accepted, o.acceptTime, err = f.stream(ctx, conn, cfg.Streams, events, cfg.Window, &got); err != nil {
		return o, err
	}
	stats, err := settle(ctx, rcv)
	if err != nil {
		return o, err
	}
	o.pushes, o.pushTime = stats.Pushes, stats.Last.Sub(start)
	return o, nil
}

// settle waits until no push has come for two seconds.
func settle(ctx context.Context, rcv remote) (Stats, error) {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		s, err := rcv.stats(ctx)
		if err != nil {
			return s, err
		}
		if s.Pushes > 0 && time.Since(s.Last) > 2*time.Second {
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("pushes have not ended after 2 minutes: %d so far", s.Pushes)
		}
		_ = pause.For(ctx, 50*time.Millisecond)
	}
}

func allUsage(program, receiver int) ([3]usage, error) {
	var all [3]usage
	for i, pid := range []int{program, receiver, os.Getpid()} {
		u, err := usageOf(pid)
		if err != nil {
			return all, err
		}
		all[i] = u
	}
	// The others are children of this process.
	all[2].cpu -= all[0].cpu + all[1].cpu
	return all, nil
}

// sampleBody is a body of the size that a push of the fleet has.
func sampleBody(f *fleet) []byte {
	e := f.event(0)
	event := map[string]any{
		"id": strings.Repeat("a", 32), "kind": "event", "event_time": e.GetEventTime(), "status": "in_transit", "sub_status": "in_transit.departed",
		"text": e.GetText(), "language": "zh", "location": e.GetLocation(), "attributes": e.GetAttributes(), "raw_code": e.GetRawCode(),
	}
	body, _ := json.Marshal(map[string]any{
		"type": "trace.updated", "push_id": "psh_bare", "metadata": map[string]string{"order_id": "ORDER-00000001"},
		"waybill": map[string]any{"carrier_code": e.GetCarrierCode(), "waybill_number": e.GetWaybillNumber(), "status": "in_transit", "padding": strings.Repeat(".", 500)},
		"events":  []any{event},
	})
	return body
}

func startReceiver(ctx context.Context) (remote, int, func(), error) {
	path, err := self()
	if err != nil {
		return remote{}, 0, nil, err
	}
	cmd := exec.CommandContext(ctx, path, "receiver")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return remote{}, 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return remote{}, 0, nil, fmt.Errorf("start the receiver: %w", err)
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		stop()
		return remote{}, 0, nil, fmt.Errorf("start the receiver: %w", err)
	}
	return remote{base: "http://" + strings.TrimSpace(line)}, cmd.Process.Pid, stop, nil
}

func runBare(ctx context.Context, rcv remote, body []byte, length time.Duration) (float64, error) {
	path, err := self()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, path, "bare", "--url", rcv.url("push"), "--length", length.String())
	cmd.Stdin = bytes.NewReader(body)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("run the bare client: %w", err)
	}
	var r BareResult
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("read the bare client's result: %w", err)
	}
	return float64(r.Requests) / r.Elapsed.Seconds(), nil
}

// program is the all-in-one under test, a process of its own.
type program struct {
	pid  int
	grpc string // "host:port"
	ops  string // "http://host:port" of metrics and profiles
	conn *grpc.ClientConn
	stop func()
}

// startProgram starts the all-in-one on a data folder, or on one of its own that
// is removed at the end. The log may be nil.
func startProgram(ctx context.Context, binary, data string, log io.Writer) (*program, error) {
	temporary := data == ""
	if temporary {
		dir, err := os.MkdirTemp("", "posthaste-bench-")
		if err != nil {
			return nil, err
		}
		data = dir
	}
	ports, err := freePorts(ctx, 4)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "serve", "--data", data)
	cmd.Env = append(os.Environ(),
		"POSTHASTE_HTTP_LISTEN="+ports[0], "POSTHASTE_GRPC_LISTEN="+ports[1],
		"POSTHASTE_OPS_LISTEN="+ports[2], "POSTHASTE_NATS_LISTEN="+ports[3],
		"POSTHASTE_EGRESS_POLICY=lab",
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	p := &program{pid: cmd.Process.Pid, ops: "http://" + ports[2]}
	p.stop = func() {
		if p.conn != nil {
			_ = p.conn.Close()
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if temporary {
			_ = os.RemoveAll(data)
		}
	}
	if err := waitReady(ctx, p.ops+"/readyz", ended); err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	p.grpc = ports[1]
	if p.conn, err = p.dial(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// dial makes a connection beside the usual one.
func (p *program) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func waitReady(ctx context.Context, url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return errors.New("it ended at once; see --log")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func freePorts(ctx context.Context, n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}
