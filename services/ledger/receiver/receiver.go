// Package receiver is the endpoints of a run: one HTTP server in the ledger's
// own process, which nothing breaks, with an endpoint for each number in the
// path. It writes down every push before it is done with it.
package receiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/ledger/record"
)

// Token finds tokens in texts.
var Token = regexp.MustCompile(`LG[A-Z0-9]{4}[0-9A-F]{4,5}-[0-9]{4}`)

// Server is the endpoints.
type Server struct {
	out       *record.Writer
	endpoints []*endpoint
	server    *http.Server
	listener  net.Listener
	served    chan struct{}

	// trouble, healing and gone are when endpoints begin to behave badly, when those
	// that heal do, and when those that go are gone; nanoseconds of the run.
	trouble, healing, gone atomic.Int64
	healed                 atomic.Bool
}

// endpoint is one of them.
type endpoint struct {
	record.Endpoint

	mu        sync.Mutex
	verifiers []webhook.Verifier
	seen      map[string]int // copies of a push, by id
}

// Start listens; the classes come with [Server.Play].
func Start(out *record.Writer) (*Server, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{out: out, listener: l, served: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /e/{endpoint}/{path}", s.receive)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(l) // until it is closed
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends it.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.served
	return err
}

// Play says which endpoints there are. Call it before the first push.
func (s *Server) Play(endpoints []record.Endpoint) {
	for _, e := range endpoints {
		s.endpoints = append(s.endpoints, &endpoint{Endpoint: e, seen: make(map[string]int)})
	}
}

// Schedule says when what begins, by the run's clock.
func (s *Server) Schedule(trouble, gone, healing time.Duration) {
	s.trouble.Store(int64(trouble))
	s.gone.Store(int64(gone))
	s.healing.Store(int64(healing))
}

// Heal makes every endpoint a good one.
func (s *Server) Heal() { s.healed.Store(true) }

// AddSecret adds a secret that pushes of an endpoint may be signed with.
func (s *Server) AddSecret(index int, secret string) {
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		return // then nothing verifies, and the judge says so
	}
	e := s.endpoints[index]
	e.mu.Lock()
	defer e.mu.Unlock()
	// Freshness is the judge's: it knows of clocks that were stepped.
	e.verifiers = append(e.verifiers, webhook.Verifier{Secrets: []webhook.Secret{key}, Tolerance: 1000 * time.Hour})
}

func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.Atoi(r.PathValue("endpoint"))
	if err != nil || index < 0 || index >= len(s.endpoints) {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return // half a push is none
	}
	e := s.endpoints[index]
	p := e.read(r, body)
	p.Endpoint, p.Path, p.Received = index, r.PathValue("path"), s.out.Now()
	e.mu.Lock()
	e.seen[p.ID]++
	copies := e.seen[p.ID]
	e.mu.Unlock()
	s.answer(w, r, e, copies, &p)
	p.Answered = s.out.Now()
	s.out.Push(p)
}

// read takes a push apart. What can't be read is empty.
func (e *endpoint) read(r *http.Request, body []byte) record.Push {
	sum := sha256.Sum256(body)
	p := record.Push{ID: r.Header.Get(webhook.HeaderID), Body: hex.EncodeToString(sum[:12])}
	p.Timestamp, _ = strconv.ParseInt(r.Header.Get(webhook.HeaderTimestamp), 10, 64)
	p.Signed = time.Since(time.Unix(p.Timestamp, 0))
	e.mu.Lock()
	verifiers := e.verifiers
	e.mu.Unlock()
	for i := range verifiers {
		if verifiers[i].Verify(r.Header, body) == nil {
			p.Key = i + 1
			break
		}
	}
	var push payload.Push
	if json.Unmarshal(body, &push) != nil {
		return p
	}
	p.Subscription, p.Tenant, p.After, p.Revision = push.SubscriptionID, push.TenantID, push.AfterRevision, push.Revision
	p.Waybill = push.Waybill.CarrierCode + "/" + push.Waybill.WaybillNumber
	p.Status, p.EventCount = push.Waybill.Status, push.Waybill.EventCount
	for i := range push.Events {
		p.Events = append(p.Events, push.Events[i].ID)
		p.Tokens = append(p.Tokens, Token.FindAllString(push.Events[i].Text, -1)...)
	}
	return p
}

// dice is the same for the same push and copy, 0 to 99.
func dice(id string, copies int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id + "/" + strconv.Itoa(copies)))
	return int(h.Sum32() % 100)
}

const (
	flapPeriod = 3 * time.Second
	lateBy     = 700 * time.Millisecond
)

// answer behaves as the endpoint's class does.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, e *endpoint, copies int, p *record.Push) {
	at := p.Received
	class := e.Class
	if s.healed.Load() || at < time.Duration(s.trouble.Load()) {
		class = record.Good
	}
	roll := dice(p.ID, copies)
	say := func(status int) {
		if r.Context().Err() != nil {
			p.Left = true
		}
		p.Answer = status
		w.WriteHeader(status)
		if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			p.Left = true
		}
	}
	switch class {
	case record.Slow:
		sleep(r.Context(), time.Duration(100+7*roll)*time.Millisecond)
		say(http.StatusOK)
	case record.Flapping:
		if at/flapPeriod%2 == 1 {
			say(http.StatusServiceUnavailable)
			return
		}
		say(http.StatusOK)
	case record.Healing:
		if at < time.Duration(s.healing.Load()) {
			say(http.StatusInternalServerError)
			return
		}
		say(http.StatusOK)
	case record.Doubling:
		switch {
		case copies == 1 && roll < 15:
			// Taken and answered, too late for who sent it.
			sleep(context.WithoutCancel(r.Context()), e.Timeout+lateBy)
			p.Late, p.Answer = true, http.StatusOK
		case copies == 1 && roll < 30:
			// Taken, and then the connection breaks.
			p.Late, p.Answer = true, http.StatusOK
			reset(w)
		default:
			say(http.StatusOK)
		}
	case record.Gone:
		if at >= time.Duration(s.gone.Load()) {
			say(http.StatusGone)
			return
		}
		say(http.StatusOK)
	case record.Dead:
		switch {
		case roll < 70:
			say(http.StatusInternalServerError)
		case roll < 90:
			reset(w)
		default:
			<-r.Context().Done() // hangs until the client goes
			p.Left = true
		}
	case record.Throttled:
		if roll < 10 {
			p.RetryAfter = e.Throttle
			w.Header().Set("Retry-After", strconv.Itoa(int(e.Throttle/time.Second)))
			say(http.StatusTooManyRequests)
			return
		}
		say(http.StatusOK)
	default:
		say(http.StatusOK)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// reset breaks the connection without a word.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
