package callback

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	pushID = "psh_1_2"
	body   = `{"type":"trace.updated"}`
	// patient is longer than any answer takes that comes at all.
	patient = time.Minute
	// hasty is for what never comes.
	hasty = 20 * time.Millisecond
	// token is what an owner may keep in a URL.
	token = "hunter2"
)

// newClient makes a client that may call this machine.
func newClient(t *testing.T, opts ...Option) *Client {
	t.Helper()
	c := NewClient(egress.New(egress.Config{Policy: egress.Lab}), time.Now, opts...)
	t.Cleanup(c.Close)
	return c
}

// within sets the time for an answer's body.
func within(d time.Duration) Option { return func(o *options) { o.bodyTime = d } }

// connecting sets the time for a connection, and for its handshake.
func connecting(d time.Duration) Option { return func(o *options) { o.connectTime = d } }

// newResolvingClient makes a client that may call this machine, and asks a name
// server of the test's.
func newResolvingClient(t *testing.T, r *net.Resolver, opts ...Option) *Client {
	t.Helper()
	c := NewClient(egress.New(egress.Config{Policy: egress.Lab, Resolver: r}), time.Now, opts...)
	t.Cleanup(c.Close)
	return c
}

// trusting sets whose certificates are taken.
func trusting(issuers ...*x509.Certificate) Option {
	pool := x509.NewCertPool()
	for _, c := range issuers {
		pool.AddCert(c)
	}
	return func(o *options) { o.roots = pool }
}

func newRequest(t testing.TB, url string, timeout time.Duration) Request {
	t.Helper()
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return Request{URL: url + "/callback?token=" + token, Signer: secret, PushID: pushID, Body: []byte(body), Timeout: timeout}
}

func post(t *testing.T, c *Client, r Request) Result {
	t.Helper()
	res := c.Post(t.Context(), r)
	checkWords(t, res)
	return res
}

// checkWords holds a result to what its owner may read, and to the classes that
// are documented.
func checkWords(t *testing.T, res Result) {
	t.Helper()
	if (res.Error == "") != (res.Class == "") {
		t.Errorf("class %q comes with the words %q", res.Class, res.Error)
	}
	if _, known := words[res.Class]; !known && res.Class != "" && !strings.HasPrefix(res.Class, "http_") {
		t.Errorf("class %q isn't documented", res.Class)
	}
	for _, ours := range []string{"127.0.0.1", "[::1]", "->", token, "\x00", "endpoint.test on"} {
		if strings.Contains(res.Error, ours) {
			t.Errorf("the error says %q: %s", ours, res.Error)
		}
	}
	if !utf8.ValidString(res.Error) || len(res.Error) > maxWords || !utf8.ValidString(res.Excerpt) || len(res.Excerpt) > maxExcerpt {
		t.Errorf("the texts are %q and %q", res.Error, res.Excerpt)
	}
	if res.Took <= 0 {
		t.Errorf("it took %s", res.Took)
	}
}

// listen serves connections on this machine, each until serve returns or the
// test ends.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() {
				serve(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// rawServer answers each request with bytes, and then closes the connection, or
// holds it until the client does.
func rawServer(t *testing.T, answer string, hold bool) (url string) {
	t.Helper()
	return "http://" + listen(t, func(conn net.Conn) {
		if !readRequest(conn) {
			return
		}
		if _, err := io.WriteString(conn, answer); err == nil && hold {
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

func readRequest(conn net.Conn) bool {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// The moments of an attempt at which its time can be up.
const (
	atLookup    = "lookup"
	atHandshake = "handshake"
	atWritten   = "written"
	atFirstByte = "first byte"
)

// lateContext is one whose deadline is a moment of the attempt, and so needs no
// clock.
type lateContext struct {
	context.Context
	once sync.Once
	done chan struct{}
}

func (c *lateContext) Done() <-chan struct{} { return c.done }

func (c *lateContext) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return c.Context.Err()
	}
}

func (c *lateContext) Value(key any) any { return c.Context.Value(key) }

func lateAfter(ctx context.Context, moment string) context.Context {
	c := &lateContext{Context: ctx, done: make(chan struct{})}
	at := func(m string) {
		if m == moment {
			c.once.Do(func() { close(c.done) })
		}
	}
	return httptrace.WithClientTrace(c, &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { at(atLookup) },
		TLSHandshakeStart:    func() { at(atHandshake) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { at(atWritten) },
		GotFirstResponseByte: func() { at(atFirstByte) },
	})
}

// certificate makes one for names, by an issuer; nil signs itself.
func certificate(t *testing.T, issuer *tls.Certificate, until time.Time, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, IsCA: issuer == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, parentKey := template, any(key)
	if issuer != nil {
		parent, parentKey = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// host is a name that nameServer knows. The dot keeps search lists out.
const host = "endpoint.test."

// Codes of name servers' answers, of RFC 1035, and one for those that give none.
const (
	found    = 0
	failing  = 2
	notFound = 3
	silent   = -1
)

// nameServer is a resolver that says that host is this machine, or answers with
// a code.
func nameServer(t *testing.T, code int) *net.Resolver {
	t.Helper()
	var (
		mu    sync.Mutex
		ended bool
		conns []net.Conn
		wg    sync.WaitGroup
	)
	t.Cleanup(func() {
		mu.Lock()
		ended = true
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return nil, errors.New("the test has ended")
		}
		client, server := net.Pipe() // no packets, so names are asked for as over TCP
		conns = append(conns, server)
		wg.Go(func() {
			var length [2]byte
			for {
				if _, err := io.ReadFull(server, length[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(server, query); err != nil {
					return
				}
				if code == silent {
					continue
				}
				answer := nameAnswer(query, code)
				_, _ = server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}
		})
		return client, nil
	}}
}

// nameAnswer answers a question for an IPv4 address with this machine, and says
// that there are no others.
func nameAnswer(query []byte, code int) []byte {
	const header, typeA = 12, 1
	end := header
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[header : end+5]
	count := 0
	if code == found && binary.BigEndian.Uint16(query[end+1:]) == typeA {
		count = 1
	}
	b := append([]byte{}, query[:2]...)
	b = append(b, 0x81, 0x80|byte(code), 0, 1, 0, byte(count), 0, 0, 0, 0)
	b = append(b, question...)
	if count == 1 {
		b = append(b, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
	}
	return b
}
