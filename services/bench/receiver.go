package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what a receiver has seen since its last reset.
type Stats struct {
	Pushes int64 `json:"pushes"`
	// First and Last are when the first and last push came.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// P50 and P99 are from the taking in of the newest event of a push to its
	// arrival here; zero unless latencies are measured.
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
	// Others came to the paths that behave badly, since the start.
	Others int64 `json:"others"`
}

// receiver answers 200 to every push at /push. It reads the whole body, as a
// real one does; it looks into it only while latencies are measured. At the other
// paths it behaves badly: /hang doesn't answer before the client has gone, /dying
// answers 200 until it is told to die and 500 from then on, and /flood answers 200.
// These are counted apart.
type receiver struct {
	dead        atomic.Bool
	others      atomic.Int64
	pushes      atomic.Int64
	first, last atomic.Int64
	measuring   atomic.Bool

	mu        sync.Mutex
	latencies []time.Duration
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	now := time.Now()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.pushes.Add(1) == 1 {
		r.first.Store(now.UnixNano())
	}
	r.last.Store(now.UnixNano())
	if r.measuring.Load() {
		if taken, ok := newestReceiveTime(body); ok {
			r.mu.Lock()
			r.latencies = append(r.latencies, now.Sub(taken))
			r.mu.Unlock()
		}
	}
	w.WriteHeader(http.StatusOK)
}

// other takes a push that isn't measured, and says whether it came whole.
func (r *receiver) other(w http.ResponseWriter, req *http.Request) bool {
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	r.others.Add(1)
	return true
}

func (r *receiver) hang(w http.ResponseWriter, req *http.Request) {
	if r.other(w, req) {
		<-req.Context().Done()
	}
}

func (r *receiver) dying(w http.ResponseWriter, req *http.Request) {
	if r.other(w, req) && r.dead.Load() {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (r *receiver) flood(w http.ResponseWriter, req *http.Request) { r.other(w, req) }

// newestReceiveTime finds the last "receive_time" of a push's events without
// decoding the body.
func newestReceiveTime(body []byte) (time.Time, bool) {
	var newest time.Time
	key := []byte(`"receive_time":"`)
	for {
		i := bytes.Index(body, key)
		if i < 0 {
			return newest, !newest.IsZero()
		}
		body = body[i+len(key):]
		end := bytes.IndexByte(body, '"')
		if end < 0 {
			return newest, !newest.IsZero()
		}
		if t, err := time.Parse(time.RFC3339Nano, string(body[:end])); err == nil && t.After(newest) {
			newest = t
		}
	}
}

func (r *receiver) reset(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.latencies = nil
	r.mu.Unlock()
	r.pushes.Store(0)
	r.first.Store(0)
	r.last.Store(0)
	r.measuring.Store(req.URL.Query().Get("latencies") == "true")
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) stats(w http.ResponseWriter, _ *http.Request) {
	s := Stats{Pushes: r.pushes.Load(), First: time.Unix(0, r.first.Load()), Last: time.Unix(0, r.last.Load()), Others: r.others.Load()}
	r.mu.Lock()
	l := slices.Clone(r.latencies)
	r.mu.Unlock()
	if len(l) > 0 {
		slices.Sort(l)
		s.P50, s.P99, s.Max = l[len(l)/2], l[len(l)*99/100], l[len(l)-1]
	}
	_ = json.NewEncoder(w).Encode(s)
}

// RunReceiver serves until ctx ends. It prints its address on out as its first
// line.
func RunReceiver(ctx context.Context, out io.Writer) error {
	r := &receiver{}
	mux := http.NewServeMux()
	mux.Handle("POST /push", r)
	mux.HandleFunc("POST /hang", r.hang)
	mux.HandleFunc("POST /dying", r.dying)
	mux.HandleFunc("POST /flood", r.flood)
	mux.HandleFunc("POST /die", func(http.ResponseWriter, *http.Request) { r.dead.Store(true) })
	mux.HandleFunc("POST /reset", r.reset)
	mux.HandleFunc("GET /stats", r.stats)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for pushes: %w", err)
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// remote is a receiver in another process.
type remote struct{ base string }

func (r remote) url(path string) string { return r.base + "/" + path }

// die makes what comes to /dying fail from now on.
func (r remote) die(ctx context.Context) error { return r.post(ctx, "die") }

func (r remote) post(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(path), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("tell the receiver to %s: %w", path, err)
	}
	return resp.Body.Close()
}

func (r remote) reset(ctx context.Context, latencies bool) error {
	return r.post(ctx, fmt.Sprintf("reset?latencies=%t", latencies))
}

func (r remote) stats(ctx context.Context) (Stats, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/stats", http.NoBody)
	if err != nil {
		return Stats{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Stats{}, fmt.Errorf("ask the receiver: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var s Stats
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return Stats{}, fmt.Errorf("read the receiver's answer: %w", err)
	}
	return s, nil
}

// self is the path of this program, for the processes it starts of itself.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
