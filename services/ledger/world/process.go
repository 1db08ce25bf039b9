package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/pause"
)

// Process is one program, started again whenever it ends, as an orchestrator
// would, unless it is held down.
type Process struct {
	Name string

	path string
	args []string
	env  []string
	ops  string // address of /readyz; empty when a TCP address says it
	dial string // address that takes connections when it is ready
	log  string

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{} // of cmd
	held   bool          // down on purpose
	exits  []Exit
	onExit func(Exit)
}

// Exit is an end of a process that nobody asked for.
type Exit struct {
	Name string
	At   time.Time
	Why  string
}

// restartPause is how long a process that ended by itself stays down.
const restartPause = 500 * time.Millisecond

// Start starts the process, if it is down.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	if p.cmd != nil {
		return nil
	}
	return p.startLocked()
}

func (p *Process) startLocked() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	//nolint:noctx // it is ended in several ways, none of them a context's
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	ended := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The parent-death signal follows the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
			p.exited(cmd, err)
		}
		_ = out.Close()
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.ended = cmd, ended
	return nil
}

func (p *Process) exited(cmd *exec.Cmd, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != cmd {
		return
	}
	p.cmd = nil
	if p.held {
		return
	}
	e := Exit{Name: p.Name, At: time.Now(), Why: "ended in order"}
	if err != nil {
		e.Why = err.Error()
	}
	p.exits = append(p.exits, e)
	if p.onExit != nil {
		go p.onExit(e)
	}
	time.AfterFunc(restartPause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.cmd == nil && !p.held {
			_ = p.startLocked() // or never: then the run doesn't come to rest, and says so
		}
	})
}

// Exits are the ends that nobody asked for.
func (p *Process) Exits() []Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exits
}

// Signal sends a signal, to nobody when it is down.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// Down ends the process by a signal, waits for its end and holds it down.
func (p *Process) Down(sig syscall.Signal) {
	p.mu.Lock()
	p.held = true
	cmd, ended := p.cmd, p.ended
	if cmd != nil {
		_ = cmd.Process.Signal(sig)
	}
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	if sig != syscall.SIGKILL {
		select {
		case <-ended:
		case <-time.After(40 * time.Second):
			_ = cmd.Process.Kill()
		}
	}
	<-ended
}

// SetEnv sets a variable for the next start.
func (p *Process) SetEnv(name, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	env := slices.DeleteFunc(slices.Clone(p.env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
	p.env = append(env, name+"="+value)
}

// PID is 0 when it is down.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Ready says whether it says so.
func (p *Process) Ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if p.ops == "" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.dial)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// AwaitReady waits until it is ready.
func (p *Process) AwaitReady(ctx context.Context) error {
	for !p.Ready(ctx) {
		if err := pause.For(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s isn't ready: %w\n%s", p.Name, err, tail(p.log))
		}
	}
	return nil
}

// tail is the end of a log.
func tail(path string) string {
	const most = 3 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	data, _ := io.ReadAll(f)
	return string(data)
}

// freeAddress is an address of this machine that nobody listens on now. The
// ports stay the same over restarts, so that everybody finds everybody again;
// they are below those that the system gives to connections, which could take
// one while it is down.
func freeAddress() (string, error) {
	const lowest, count = 20000, 12000
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(count))) //nolint:gosec // any will do
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue
		}
		return address, l.Close()
	}
	return "", errors.New("no free port was found")
}

var errNoProgram = errors.New("it isn't built; make build")

func program(dir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("program %s: %w", path, errNoProgram)
	}
	return path, nil
}
