package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// receiver is a team's callback: it verifies each push, keeps how far each
// waybill's chain has got, and shows what is new.
type receiver struct {
	show func(p payload.Push, news []payload.Event)

	mu      sync.Mutex
	parcels map[trace.ID]*parcel
	refused int
	changed chan struct{} // closed and made anew with every push
}

// parcel is what a receiver has of one waybill.
type parcel struct {
	chain webhook.Chain
	last  payload.Push
	gap   error
}

func newReceiver(show func(payload.Push, []payload.Event)) *receiver {
	return &receiver{show: show, parcels: map[trace.ID]*parcel{}, changed: make(chan struct{})}
}

// handler takes pushes signed with the secret.
func (r *receiver) handler(secret webhook.Secret) http.Handler {
	next := webhook.Handler(&webhook.Verifier{Secrets: []webhook.Secret{secret}}, r.take)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer := &answerWriter{ResponseWriter: w}
		next.ServeHTTP(answer, req)
		if answer.code >= http.StatusBadRequest {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused++
		}
	})
}

// answerWriter remembers the answer's code.
type answerWriter struct {
	http.ResponseWriter
	code int
}

func (w *answerWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// take is called with pushes that are verified.
func (r *receiver) take(_ context.Context, p payload.Push) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := trace.ID{CarrierCode: p.Waybill.CarrierCode, WaybillNumber: p.Waybill.WaybillNumber}
	have := r.parcels[id]
	if have == nil {
		have = &parcel{}
		r.parcels[id] = have
	}
	before, news := have.chain.Revision, have.chain.New(p)
	switch have.chain.Advance(p) {
	case webhook.Repeats:
		return nil
	case webhook.Gap:
		have.gap = fmt.Errorf("%s: a push begins after revision %d, and the last one ended at %d", id, p.AfterRevision, before)
		have.chain.Revision = p.Revision
	case webhook.Continues, webhook.Overlaps:
	}
	have.last = p
	r.show(p, news)
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// await waits until a waybill satisfies done, and returns it. It fails when
// the context ends before, or when the chain has a gap.
func (r *receiver) await(ctx context.Context, id trace.ID, done func(webhook.Chain, payload.Push) bool) (payload.Push, error) {
	for {
		r.mu.Lock()
		changed := r.changed
		var have parcel
		if p := r.parcels[id]; p != nil {
			have = *p
		}
		refused := r.refused
		r.mu.Unlock()
		if have.gap != nil {
			return have.last, have.gap
		}
		if done(have.chain, have.last) {
			return have.last, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return have.last, fmt.Errorf("wait for the callback of %s, of which revision %d is there (callbacks refused: %d): %w", id, have.chain.Revision, refused, context.Cause(ctx))
		}
	}
}

// serve listens on a free port of this machine. The returned function ends it.
func (r *receiver) serve(ctx context.Context, secret webhook.Secret) (url string, stop func() error, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for callbacks: %w", err)
	}
	server := &http.Server{Handler: r.handler(secret), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return "http://" + l.Addr().String() + "/posthaste", func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
