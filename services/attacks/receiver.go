package attacks

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// receiver is where callbacks arrive: one listener on loopback, which speaks TLS to
// whoever begins with it, with a certificate of the tests' authority for whatever
// name was asked for.
type receiver struct {
	listener net.Listener
	server   *http.Server
	ca       *x509.Certificate
	key      *ecdsa.PrivateKey

	mu       sync.Mutex
	dialled  map[string]netip.AddrPort // by the client's address: what was dialled
	requests []arrival
	answer   http.HandlerFunc
	arrived  chan struct{}
	// tls, if set, is what it says to who begins with TLS.
	tls *tls.Config
	// handshakes began since tls was set.
	handshakes int
}

// arrival is a request that came.
type arrival struct {
	Host   string
	SNI    string
	URI    string
	Header http.Header
	Body   []byte
	At     time.Time
}

func newReceiver(ctx context.Context) (*receiver, error) {
	r := &receiver{dialled: map[string]netip.AddrPort{}, arrived: make(chan struct{})}
	var err error
	if r.ca, r.key, err = newAuthority(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	if r.listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r.server = &http.Server{
		Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: time.Minute,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnState: r.state,
	}
	go func() { _ = r.server.Serve(&sniffing{r.listener, r}) }()
	return r, nil
}

func (r *receiver) close() { _ = r.server.Close() }

// port is the port that it listens on.
func (r *receiver) port() string {
	_, port, _ := net.SplitHostPort(r.listener.Addr().String())
	return port
}

func (r *receiver) owns(address string) bool { return address == r.listener.Addr().String() }

// connect leads a connection to an address here.
func (r *receiver) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	// Held until the address is noted: the receiver needs it for its certificate.
	r.mu.Lock()
	defer r.mu.Unlock()
	conn, err := d.DialContext(ctx, "tcp", r.listener.Addr().String())
	if err == nil {
		r.dialled[conn.LocalAddr().String()] = to
	}
	return conn, err
}

func (r *receiver) target(remote net.Addr) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dialled[remote.String()]
}

func (r *receiver) state(conn net.Conn, s http.ConnState) {
	if s == http.StateClosed {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.dialled, conn.RemoteAddr().String())
	}
}

// respond sets how requests are answered from now on and forgets what came.
func (r *receiver) respond(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer, r.requests = h, nil
}

// came is what has arrived.
func (r *receiver) came() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.requests)
}

// await waits until so many requests have arrived.
func (r *receiver) await(ctx context.Context, n int) ([]arrival, error) {
	for {
		r.mu.Lock()
		have, arrived := r.requests, r.arrived
		r.mu.Unlock()
		if len(have) >= n {
			return slices.Clip(have), nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return have, fmt.Errorf("the receiver got %d requests and not %d: %w", len(have), n, ctx.Err())
		}
	}
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 16<<20))
	if err != nil {
		return
	}
	a := arrival{Host: req.Host, URI: req.RequestURI, Header: req.Header.Clone(), Body: body, At: time.Now()}
	if req.TLS != nil {
		a.SNI = req.TLS.ServerName
	}
	r.mu.Lock()
	r.requests = append(r.requests, a)
	close(r.arrived)
	r.arrived = make(chan struct{})
	answer := r.answer
	r.mu.Unlock()
	// Each attempt connects anew, so that each is judged.
	w.Header().Set("Connection", "close")
	if answer == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	answer(w, req)
}

// certificate is one for a name or an address.
func (r *receiver) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hello.ServerName
	if name == "" {
		if to := r.target(hello.Conn.RemoteAddr()); to.IsValid() {
			name = to.Addr().String()
		} else {
			name = "127.0.0.1"
		}
	}
	return issue(r.ca, r.key, leaf(name))
}

func leaf(name string) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "posthaste attacks"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		t.DNSNames = []string{name}
	}
	return t
}

// issue signs a certificate; a nil authority signs with the key's own.
func issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, t *x509.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if ca == nil {
		ca, caKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func newAuthority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "posthaste attacks authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// pem is the authority's certificate.
func (r *receiver) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.ca.Raw})
}

// sniffing gives TLS connections to those who begin with a handshake.
type sniffing struct {
	net.Listener

	r *receiver
}

// Accept looks at the first byte when the connection is read, not before: nobody
// waits for a silent one.
func (l *sniffing) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		br := bufio.NewReader(conn)
		first, err := br.Peek(1)
		_ = conn.SetReadDeadline(time.Time{})
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			_ = conn.Close()
			continue
		}
		peeked := &peekedConn{conn, br}
		if first[0] == 0x16 {
			if special := l.r.speaks(); special != nil {
				return tls.Server(peeked, special), nil
			}
			return tls.Server(peeked, &tls.Config{GetCertificate: l.r.certificate, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}), nil
		}
		return peeked, nil
	}
}

// speak sets what is said to who begins with TLS; nil for the usual.
func (r *receiver) speak(cfg *tls.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tls, r.handshakes = cfg, 0
}

func (r *receiver) speaks() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handshakes++
	return r.tls
}

// tried is how many handshakes began since the last speak.
func (r *receiver) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handshakes
}

type peekedConn struct {
	net.Conn

	br *bufio.Reader
}

func (c *peekedConn) Read(p []byte) (int, error) { return c.br.Read(p) }
