package embedded

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// outputGrace is how long what a child printed may take to be read after its
// end. A grandchild that outlives it would hold the pipe open for ever.
const outputGrace = 5 * time.Second

// child is a process that ends with this one.
type child struct {
	cmd    *exec.Cmd
	output io.Writer
	done   chan struct{} // closed when it has ended and its output is read
	err    error         // how it ended; read after done
}

// startChild starts a process, gives what it prints to output, and waits for its
// end in a goroutine. On Linux the parent-death signal follows the thread that
// forked, not the process, so that goroutine keeps its thread for as long as the
// child lives.
func startChild(cmd *exec.Cmd, output io.Writer) (*child, error) {
	c := &child{cmd: cmd, output: output, done: make(chan struct{})}
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
	r, w, err := os.Pipe()
	if err != nil {
		started <- err
		return
	}
	defer func() { _ = r.Close() }()
	c.cmd.Stdout, c.cmd.Stderr = w, w
	err = c.cmd.Start()
	_ = w.Close()
	started <- err
	if err != nil {
		return
	}
	copied := make(chan struct{})
	go c.copyOutput(r, copied)
	c.err = c.cmd.Wait()
	select {
	case <-copied:
	case <-time.After(outputGrace):
		_ = r.Close()
		<-copied
	}
}

func (c *child) copyOutput(r io.Reader, copied chan<- struct{}) {
	defer close(copied)
	_, _ = io.Copy(c.output, r) // ends with the pipe
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
