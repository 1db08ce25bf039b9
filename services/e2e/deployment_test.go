package e2e

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/embedded"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// The accounts of sources that every deployment knows.
const (
	kdniaoAccount = "1234567"
	kdniaoKey     = "e2e-app-key"
	kuaidiAccount = "team-a"
	kuaidiSalt    = "e2e-salt"
)

// deployment is Posthaste as processes, reached from outside only.
type deployment struct {
	// HTTP takes what sources push: "http://127.0.0.1:port".
	HTTP string
	// Reports, Control are gRPC clients of ingest and of the control plane; in
	// the all-in-one they are the same server.
	Reports, Control *client.Client

	t         *testing.T
	processes []*process
}

// deployments are the ways Posthaste is run; each test runs on all.
var deployments = map[string]func(*testing.T) *deployment{
	"all-in-one":    startAllInOne,
	"four services": startFourServices,
}

// onEach runs a test of a promise against every deployment.
func onEach(t *testing.T, test func(d *deployment)) {
	t.Helper()
	for name, start := range deployments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(start(t))
		})
	}
}

func startAllInOne(t *testing.T) *deployment {
	t.Helper()
	search := testkit.PostgreSQLConfig("").Search
	return newDeployment(t, &process{
		program: app.AllInOne,
		args:    []string{"--data=" + t.TempDir(), "--nats-listen=", "--nats-max-store=2GiB", "--pg-bin=" + search.Bin, "--pg-fetched=" + search.Fetched},
	})
}

func startFourServices(t *testing.T) *deployment {
	t.Helper()
	d, _ := startServices(t, 1)
	return d
}

// startServices starts so many instances of each service, on one NATS and one
// database. Clients are connected to the last of them.
func startServices(t *testing.T, instances int, args ...string) (*deployment, *pgxpool.Pool) {
	t.Helper()
	nats, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxStore: 2 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := nats.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	pool := testkit.PostgreSQL(t)
	database := pool.Config().ConnString()
	var processes []*process
	for _, program := range slices.Repeat([]string{app.Ingest, app.Normalizer, app.Subscription, app.Delivery}, instances) {
		processes = append(processes, &process{program: program, args: append([]string{
			"--nats-url=nats://" + nats.Addr(), "--database-url=" + database, "--database-volatile",
			"--stream-raw-max-bytes=256MiB", "--stream-trace-max-bytes=256MiB", "--stream-push-max-bytes=256MiB", "--stream-rejected-max-bytes=64MiB",
		}, args...)})
	}
	return newDeployment(t, processes...), pool
}

func newDeployment(t *testing.T, processes ...*process) *deployment {
	t.Helper()
	d := &deployment{t: t, processes: processes}
	t.Cleanup(d.end)
	d.Start()
	return d
}

// Start starts every process and waits until all are ready.
func (d *deployment) Start() {
	d.t.Helper()
	var wg sync.WaitGroup
	for _, p := range d.processes {
		wg.Go(func() { p.start(d.t) })
	}
	wg.Wait()
	if d.t.Failed() {
		d.t.FailNow()
	}
	d.connect()
}

// connect dials what the processes listen on, which changes with every start.
func (d *deployment) connect() {
	d.t.Helper()
	d.close()
	dial := func(address string) *client.Client {
		c, err := client.Dial("passthrough:///"+address, client.WithoutTLS(), client.WithCallTimeout(30*time.Second))
		if err != nil {
			d.t.Fatal(err)
		}
		return c
	}
	for _, p := range d.processes {
		switch p.program {
		case app.AllInOne:
			d.HTTP, d.Reports = "http://"+p.http, dial(p.grpc)
			d.Control = d.Reports
		case app.Ingest:
			if d.Reports != nil {
				_ = d.Reports.Close()
			}
			d.HTTP, d.Reports = "http://"+p.http, dial(p.grpc)
		case app.Subscription:
			if d.Control != nil {
				_ = d.Control.Close()
			}
			d.Control = dial(p.grpc)
		}
	}
}

func (d *deployment) close() {
	for _, c := range []*client.Client{d.Reports, d.Control} {
		if c != nil {
			_ = c.Close()
		}
	}
	d.Reports, d.Control = nil, nil
}

// Kill ends every process at once, as a power cut would from their side.
func (d *deployment) Kill() {
	d.t.Helper()
	for _, p := range d.processes {
		_ = p.cmd.Process.Kill()
	}
	for _, p := range d.processes {
		_ = p.wait() // killed
	}
}

// Stop asks every process to end, and fails the test if one doesn't do so well.
func (d *deployment) Stop() {
	d.t.Helper()
	for _, p := range d.processes {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			d.t.Errorf("stop %s: %v", p.program, err)
		}
	}
	for _, p := range d.processes {
		if err := p.wait(); err != nil {
			d.t.Errorf("%s didn't stop well: %v\n%s", p.program, err, p.log())
		}
	}
}

func (d *deployment) end() {
	d.close()
	for _, p := range d.processes {
		p.end(d.t)
	}
}

// process is one program, perhaps started several times.
type process struct {
	program string
	args    []string

	cmd             *exec.Cmd
	http, grpc, ops string
	ended           chan struct{}
	err             error

	mu    sync.Mutex
	lines []string
}

var addresses = regexp.MustCompile(`msg=ready .*http="?([^" ]*)"? grpc="?([^" ]*)"? ops="?([^" ]*)"? `)

func (p *process) arguments() []string {
	return append([]string{
		"--http-listen=127.0.0.1:0", "--auth=open", "--grpc-listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", "--egress-policy=lab",
		"--kdniao=" + kdniaoAccount + "=" + kdniaoKey, "--kuaidi100=" + kuaidiAccount + "=" + kuaidiSalt, "--trace-ratio=0",
	}, p.args...)
}

func (p *process) environ() []string {
	return append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "POSTHASTE_") }), programEnv+"="+p.program)
}

// start runs the program and waits for its word that it is ready.
func (p *process) start(t *testing.T) {
	t.Helper()
	//nolint:noctx // it is stopped by the test, in several ways
	p.cmd = exec.Command(os.Args[0], p.arguments()...)
	p.cmd.Env = p.environ()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := p.cmd.Start(); err != nil {
		t.Errorf("start %s: %v", p.program, err)
		return
	}
	ready := make(chan []string, 1)
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		p.read(stderr, ready)
		p.err = p.cmd.Wait()
	}()
	select {
	case at := <-ready:
		p.http, p.grpc, p.ops = at[1], at[2], at[3]
	case <-p.ended:
		t.Errorf("%s ended while starting: %v\n%s", p.program, p.err, p.log())
	case <-t.Context().Done():
		t.Errorf("%s wasn't ready when the test ended\n%s", p.program, p.log())
	}
}

func (p *process) read(r io.Reader, ready chan<- []string) {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		line := scan.Text()
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
		if at := addresses.FindStringSubmatch(line); at != nil {
			select {
			case ready <- at:
			default:
			}
		}
	}
}

func (p *process) wait() error {
	<-p.ended
	return p.err
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[max(0, len(p.lines)-40):], "\n")
}

// end stops the program at the end of the test, and shows what it said if the
// test failed.
func (p *process) end(t *testing.T) {
	t.Helper()
	if p.ended == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Errorf("%s didn't stop within a minute", p.program)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if t.Failed() {
		t.Logf("%s said:\n%s", p.program, p.log())
	}
}
