package callback

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Phases are the parts of an attempt. What didn't happen is 0; what began and
// didn't end is counted to the end of the attempt. Name lookup, connecting and
// the handshake are those of the attempt's own connection: they are 0 when it was
// made for another attempt that then took one that had become free.
type Phases struct {
	DNS     time.Duration // the name's lookup
	Connect time.Duration // the TCP connection
	TLS     time.Duration // the handshake
	// FirstByte is from when the request was written to the answer's first byte. An
	// answer that came sooner than the writing was noted is counted from when it
	// began.
	FirstByte time.Duration
	// Reused says that the connection was there already.
	Reused bool
}

// watcher is the context of an attempt; it notes when its phases begin and end.
// The connection may outlive the attempt and be made in the background, so the
// notes are atomic.
type watcher struct {
	context.Context
	began time.Time
	now   func() time.Time
	hooks httptrace.ClientTrace

	// Since began; 0 for not yet.
	dns, dnsDone, connect, connectDone, tls, tlsDone, conn, wrote, firstByte atomic.Int64

	reused atomic.Bool
}

type watcherKey struct{}

func watch(ctx context.Context, began time.Time, now func() time.Time) *watcher {
	w := &watcher{Context: ctx, began: began, now: now}
	w.hooks = httptrace.ClientTrace{
		GotConn:              w.gotConn,
		WroteRequest:         w.wroteRequest,
		GotFirstResponseByte: func() { w.note(&w.firstByte) },
		TLSHandshakeStart:    func() { w.note(&w.tls) },
		TLSHandshakeDone:     w.handshakeDone,
	}
	return w
}

// Value gives the watcher to [Client.dial], without a context more.
func (w *watcher) Value(key any) any {
	if _, ok := key.(watcherKey); ok {
		return w
	}
	return w.Context.Value(key)
}

// dial is where the hooks of lookups and connections are set: a request that
// finds a connection doesn't pay for them.
func (c *Client) dial(ctx context.Context, tenant, network, address string) (net.Conn, error) {
	if w, ok := ctx.Value(watcherKey{}).(*watcher); ok {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			DNSStart:     func(httptrace.DNSStartInfo) { w.note(&w.dns) },
			DNSDone:      func(httptrace.DNSDoneInfo) { w.note(&w.dnsDone) },
			ConnectStart: func(string, string) { w.note(&w.connect) },
			ConnectDone: func(_, _ string, err error) {
				if err == nil { // several addresses may be tried
					w.note(&w.connectDone)
				}
			},
		})
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.connectTime)
	defer cancel()
	return c.guard.Connect(ctx, tenant, network, address)
}

// note keeps the first time at which something happened.
func (w *watcher) note(at *atomic.Int64) { at.CompareAndSwap(0, w.tick()) }

func (w *watcher) tick() int64 { return max(int64(w.now().Sub(w.began)), 1) }

func (w *watcher) gotConn(info httptrace.GotConnInfo) {
	w.reused.Store(info.Reused)
	w.conn.Store(w.tick()) // the last, if a used connection was found dead
}

func (w *watcher) handshakeDone(tls.ConnectionState, error) { w.note(&w.tlsDone) }

func (w *watcher) wroteRequest(info httptrace.WroteRequestInfo) {
	if info.Err == nil {
		w.wrote.Store(w.tick())
	}
}

// phases are the notes of an attempt that took so long.
func (w *watcher) phases(took time.Duration) (p Phases) {
	between := func(begin, end *atomic.Int64) time.Duration {
		b, e := begin.Load(), end.Load()
		switch {
		case b == 0:
			return 0
		case e == 0:
			e = int64(took)
		}
		return time.Duration(max(e-b, 1))
	}
	begin := &w.wrote
	if at, first := w.wrote.Load(), w.firstByte.Load(); first > 0 && (at == 0 || at > first) {
		begin = &w.conn
	}
	p.FirstByte = between(begin, &w.firstByte)
	if p.Reused = w.reused.Load(); p.Reused {
		return p // what was begun for this attempt serves others
	}
	p.DNS, p.Connect, p.TLS = between(&w.dns, &w.dnsDone), between(&w.connect, &w.connectDone), between(&w.tls, &w.tlsDone)
	return p
}

// late is the class of a time-out: what the attempt was waiting for.
func (w *watcher) late() string {
	pending := func(begin, end *atomic.Int64) bool { return begin.Load() > 0 && end.Load() == 0 }
	switch {
	case w.firstByte.Load() > 0:
		return classHeadSlow
	case w.conn.Load() > 0:
		return classTimeout
	case pending(&w.tls, &w.tlsDone):
		return classTLSTimeout
	case pending(&w.connect, &w.connectDone):
		return classConnectTimeout
	case pending(&w.dns, &w.dnsDone):
		return classDNSTimeout
	default:
		return classTimeout
	}
}
