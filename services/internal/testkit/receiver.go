package testkit

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Receiver is an HTTP server on this machine that records what it gets and
// answers as the test says. Without a word from the test it answers 200.
type Receiver struct {
	// URL is its address, "http://127.0.0.1:port".
	URL string

	t      testing.TB
	server *httptest.Server
	ended  chan struct{} // closed when the test ends: hanging answers give up

	mu       sync.Mutex
	requests []Request
	arrived  chan struct{} // closed and replaced at every arrival
	taken    int           // requests that Next has returned
	script   []Answer
	always   Answer
	on       map[string]Answer
}

// Request is a request as it was when its body had been read.
type Request struct {
	Method string
	Path   string // with the query
	Header http.Header
	Body   []byte
	// Gone is closed when the answer is complete or the client has gone.
	Gone <-chan struct{}
}

// NewReceiver starts a receiver that ends with the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	rc := &Receiver{t: t, ended: make(chan struct{}), arrived: make(chan struct{}), always: Status(http.StatusOK), on: make(map[string]Answer)}
	rc.server = httptest.NewServer(rc)
	rc.URL = rc.server.URL
	t.Cleanup(func() {
		close(rc.ended)
		rc.server.CloseClientConnections()
		rc.server.Close()
	})
	return rc
}

// Script says how the next requests are answered, one each, in the order of
// their arrival and whatever their path. Several calls add up.
func (rc *Receiver) Script(answers ...Answer) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.script = append(rc.script, answers...)
}

// Always says how requests are answered from now on that nothing else is said
// about, and returns how many arrived before: those get another answer.
func (rc *Receiver) Always(a Answer) (before int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.always = a
	return len(rc.requests)
}

// On says how requests to a path are answered when the script is empty.
func (rc *Receiver) On(path string, a Answer) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.on[path] = a
}

// Next waits for the next request that no call of Next has returned yet, in the
// order of arrival. It fails the test when the test's time is up.
func (rc *Receiver) Next() Request {
	rc.t.Helper()
	rc.mu.Lock()
	n := rc.taken
	rc.taken++
	rc.mu.Unlock()
	return rc.await(n + 1)[n]
}

// Await waits until n requests have arrived since the beginning, and returns the
// first n.
func (rc *Receiver) Await(n int) []Request {
	rc.t.Helper()
	return rc.await(n)
}

func (rc *Receiver) await(n int) []Request {
	rc.t.Helper()
	for {
		rc.mu.Lock()
		have, arrived := rc.requests, rc.arrived
		rc.mu.Unlock()
		if len(have) >= n {
			return have[:n:n]
		}
		select {
		case <-arrived:
		case <-rc.t.Context().Done():
			rc.t.Fatalf("the receiver got %d requests, and the test ended before request %d", len(have), n)
		}
	}
}

// Requests returns what has arrived so far.
func (rc *Receiver) Requests() []Request {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Clip(rc.requests)
}

// ServeHTTP records a request and answers it.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away while it sent
	}
	gone := make(chan struct{})
	defer close(gone)
	rc.answerTo(r, body, gone)(w, r, rc.ended)
}

// answerTo records the request and picks its answer, in one step: the script is
// used up in the order of the record.
func (rc *Receiver) answerTo(r *http.Request, body []byte, gone <-chan struct{}) Answer {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.requests = append(rc.requests, Request{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header.Clone(), Body: body, Gone: gone})
	close(rc.arrived)
	rc.arrived = make(chan struct{})
	if len(rc.script) > 0 {
		a := rc.script[0]
		rc.script = rc.script[1:]
		return a
	}
	if a, ok := rc.on[r.URL.Path]; ok {
		return a
	}
	return rc.always
}
