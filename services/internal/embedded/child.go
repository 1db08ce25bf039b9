package embedded

import (
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// child is a process that ends with this one.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// startChild starts a process and waits for its end in a goroutine. On Linux the
// parent-death signal follows the thread that forked, not the process, so that
// goroutine keeps its thread for as long as the child lives.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	// A grandchild that outlives the child would hold its output open for ever.
	cmd.WaitDelay = 5 * time.Second
	started := make(chan error, 1)
	go c.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	if c.err = c.cmd.Start(); c.err != nil {
		started <- c.err
		return
	}
	started <- nil
	c.err = c.cmd.Wait()
}

// tail keeps the end of what a process prints, for the error message.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
