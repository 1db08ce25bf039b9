package receivercheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// slow: connections that say half a request and then nothing must not keep others
// from being served, and must end by themselves.
func (c *checker) slow(ctx context.Context) {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	r := c.honest(c.next())
	var head strings.Builder
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.String(), nil)
	if err != nil {
		return
	}
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\n", req.URL.RequestURI(), req.URL.Host)
	_ = r.header.Write(&head)
	half := head.String()
	// Some stop within the head, some within the body.
	whole := half + "Content-Length: " + strconv.Itoa(len(r.body)) + "\r\n\r\n" + string(r.body[:len(r.body)/2])
	for i := range hanging {
		conn, err := c.open(ctx)
		if err != nil {
			break // it takes no more, and the push below shows whether that matters
		}
		conns = append(conns, conn)
		say := half
		if i%2 == 1 {
			say = whole
		}
		_, _ = io.WriteString(conn, say)
	}
	c.client.CloseIdleConnections()
	c.taken("push_beside_slow_connections", c.post(ctx, c.honest(c.next())), fmt.Sprintf("a push must be acknowledged while %d connections hang", hanging))

	began := c.now()
	var mu sync.Mutex
	open := 0
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		for _, conn := range conns {
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	for _, conn := range conns {
		wg.Go(func() {
			_ = conn.SetReadDeadline(began.Add(c.cfg.SlowTime))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				mu.Lock()
				open++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	a := answer{took: c.now().Sub(began)}
	if open == 0 || ctx.Err() != nil {
		c.add("slow_connections_end", OK, a, "")
		return
	}
	f := Finding{Check: "slow_connections_end", Verdict: Unwise, Milliseconds: a.took.Milliseconds(), Words: fmt.Sprintf(
		"%d of %d connections that said half a request were still open after %s: whoever opens many uses the receiver up; set time-outs for the head and the body", open, len(conns), c.cfg.SlowTime)}
	c.findings = append(c.findings, f)
	if c.cfg.Report != nil {
		c.cfg.Report(f)
	}
}

// open connects as a push would, without the pool.
func (c *checker) open(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.String(), nil)
	if err != nil {
		return nil, err
	}
	address := req.URL.Host
	if req.URL.Port() == "" {
		address = net.JoinHostPort(req.URL.Hostname(), map[string]string{"http": "80", "https": "443"}[req.URL.Scheme])
	}
	conn, err := c.cfg.Guard.Connect(ctx, "", "tcp", address)
	if err != nil || req.URL.Scheme != "https" {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.cfg.Roots, ServerName: req.URL.Hostname()})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}
