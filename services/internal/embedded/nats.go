package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/posthaste/posthaste/services/internal/fault"
)

const (
	// MaxPayload is the largest message the embedded server takes. The largest
	// that Posthaste makes is a push with a whole trace.
	MaxPayload = 8 << 20
	// maxMemory bounds memory streams, which Posthaste doesn't use.
	maxMemory = 64 << 20
)

// NATSConfig says how the embedded nats-server runs.
type NATSConfig struct {
	// Dir holds the streams. Made when missing. Required.
	Dir string
	// Listen is the address for clients outside the process, such as
	// "127.0.0.1:4222". Empty opens no port. Without Users there is no
	// authentication: whoever reaches the address reads and writes everything.
	Listen string
	// Users is a file in nats-server's form whose authorization block says who may
	// do what. Empty asks nobody. Connections inside the process may do everything.
	Users string
	// Operator makes the server ask everybody for credentials that its operator
	// stands behind, so that accounts can be made while it runs. Its keys are made
	// at the first start, in Dir. Not together with Users.
	Operator bool
	// MaxStore bounds the streams together, in bytes. 0 means three quarters of
	// what the disk can hold, streams that are there included; more than the
	// disk can hold is an error.
	MaxStore int64
	// MinFree is how much of the disk [NATS.Disk] says must stay free; 0 chooses.
	MinFree int64
	// Log receives what the server says; nil discards it.
	Log *slog.Logger
}

// minFree is how much of the disk must stay free, unless its twentieth part is
// less.
const minFree = 512 << 20

// NATS is a nats-server in this process, with JetStream on file storage and an
// fsync before every acknowledgement.
type NATS struct {
	server   *server.Server
	lock     *folderLock
	dir      string
	maxStore int64
	minFree  int64
	// inside is what connections within the process say who they are; nil when
	// nobody is asked.
	inside nats.Option
	// operator is nil unless there is one.
	operator *operator
	stop     sync.Once
}

// StartNATS starts a server and returns when it takes connections.
func StartNATS(ctx context.Context, cfg NATSConfig) (*NATS, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start nats-server: no data folder is given")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	maxStore, err := storeLimit(dir, cfg.MaxStore)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	log := newNATSLog(cfg.Log)
	opts := &server.Options{
		ServerName: "posthaste",
		NoSigs:     true, // signals are the program's business
		NoLog:      log == nil,
		MaxPayload: MaxPayload,

		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxStore,
		// Without it an acknowledged message can be lost to a power cut: the
		// server would sync every two minutes.
		SyncAlways: !fault.NoFsync,

		// Clients outside are told to go, and the wait for them is short: there
		// is no other server to go to.
		LameDuckDuration:    time.Second,
		LameDuckGracePeriod: 100 * time.Millisecond,
	}
	inside, err := addUsers(opts, cfg.Users)
	if err == nil && cfg.Operator && inside != nil {
		err = errors.New("users from a file and accounts of an operator can't be had together")
	}
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if err := listenOptions(ctx, opts, cfg.Listen); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	var op *operator
	if cfg.Operator {
		if op, err = addOperator(opts, dir); err != nil {
			lock.release()
			return nil, fmt.Errorf("start nats-server: %w", err)
		}
		inside = op.main
	}
	s, err := server.NewServer(opts)
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if log != nil {
		s.SetLoggerV2(log, log.debug(), false, false)
	}
	n := &NATS{server: s, lock: lock, inside: inside, operator: op, dir: dir, maxStore: maxStore, minFree: cfg.MinFree}
	if n.minFree == 0 {
		const part = 20
		n.minFree = min(minFree, maxStore/part)
	}
	if err := n.run(ctx); err != nil {
		_ = n.Stop(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start nats-server in %s: %w", dir, err)
	}
	return n, nil
}

// addUsers reads who may do what, and adds one who may do everything, whose
// password nobody outside the process learns.
func addUsers(opts *server.Options, file string) (inside nats.Option, err error) {
	if file == "" {
		return nil, nil
	}
	given, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the users of NATS: %w", err)
	}
	if len(given.Users)+len(given.Nkeys) == 0 || len(given.Accounts) > 0 {
		return nil, fmt.Errorf("read the users of NATS: %s must have an authorization block with users, and no accounts", file)
	}
	const name = "posthaste-inside"
	password := rand.Text()
	opts.Users = append(given.Users, &server.User{Username: name, Password: password})
	opts.Nkeys = given.Nkeys
	return nats.UserInfo(name, password), nil
}

func listenOptions(ctx context.Context, opts *server.Options, listen string) error {
	if listen == "" {
		opts.DontListen = true
		return nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", listen, err)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("listen address %q: port is not a number up to 65535", listen)
	}
	opts.Host, opts.Port = host, int(p)
	if p == 0 {
		opts.Port = server.RANDOM_PORT
	}
	// The server would only log that the port is taken; this says it to the caller.
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	return l.Close()
}

// run starts the server and waits until it is ready. Start blocks while streams
// are read back, which can take long; a context that ends first gives up.
func (n *NATS) run(ctx context.Context) error {
	started := make(chan struct{})
	go func() {
		defer close(started)
		n.server.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		return ctx.Err()
	}
	for !n.server.ReadyForConnections(10 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !n.server.Running() {
			return errors.New("it stopped by itself; its log says why")
		}
	}
	if !n.server.JetStreamEnabled() {
		return errors.New("JetStream could not be enabled; the server's log says why")
	}
	return nil
}

// Connect makes a connection inside the process, without a port.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{nats.InProcessServer(n.server), nats.Name("posthaste")}, opts...)
	if n.inside != nil {
		opts = append(opts, n.inside)
	}
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded nats-server: %w", err)
	}
	return nc, nil
}

// Addr is the address clients outside reach, empty when there is none.
func (n *NATS) Addr() string {
	if a, ok := n.server.Addr().(*net.TCPAddr); ok && a != nil {
		return a.String()
	}
	return ""
}

// MaxStore is how many bytes the streams can hold together. A stream's own
// limit is reserved from it when the stream is made.
func (n *NATS) MaxStore() int64 { return n.maxStore }

// Disk tells how many bytes are free, and how many must stay free: on a full disk
// the server gives no answers any more until it is started anew.
func (n *NATS) Disk() (free, least int64, err error) {
	if free, err = diskFree(n.dir); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", n.dir, err)
	}
	return free, n.minFree, nil
}

// Health is nil when the server says that it can do all it should.
func (n *NATS) Health() error {
	h := n.server.Healthz(&server.HealthzOptions{Details: true})
	if h.StatusCode == 0 || h.StatusCode == http.StatusOK {
		return nil
	}
	errs := []error{fmt.Errorf("nats-server is %s", h.Status)}
	if h.Error != "" {
		errs = append(errs, errors.New(h.Error))
	}
	for _, e := range h.Errors {
		errs = append(errs, errors.New(e.Error))
	}
	return errors.Join(errs...)
}

// Stop ends the server: clients are told, streams are closed, files are synced.
// What comes after is harmless: the folder is as a kill would leave it, or
// better. Stopping twice is one stop.
func (n *NATS) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.stop.Do(func() {
			if n.server.Addr() != nil {
				n.server.LameDuckShutdown()
			}
			n.server.Shutdown()
			n.server.WaitForShutdown()
			n.lock.release()
		})
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop nats-server: %w", ctx.Err())
	}
}

// storeLimit decides how much the streams may take.
func storeLimit(dir string, want int64) (int64, error) {
	free, err := diskFree(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	used, err := folderSize(dir)
	if err != nil {
		return 0, err
	}
	room := free + used
	switch {
	case want < 0:
		return 0, fmt.Errorf("max store is %d and must not be negative", want)
	case want > room:
		return 0, fmt.Errorf("max store is %d bytes, and the disk of %s holds %d at most", want, dir, room)
	case want > 0:
		return want, nil
	case room/4*3 <= 0:
		return 0, fmt.Errorf("the disk of %s is full", dir)
	}
	return room / 4 * 3, nil
}

func folderSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return size, nil
}
