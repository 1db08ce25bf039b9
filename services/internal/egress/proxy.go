package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// maxProxyHead bounds what a proxy answers.
const maxProxyHead = 16 << 10

// dialProxy asks the proxy for a tunnel to an address that was judged. The proxy
// gets the address and not the name, so that it can't resolve it to another.
func (g *Guard) dialProxy(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	p := g.cfg.Proxy
	port := p.Port()
	if port == "" {
		port = "3128"
	}
	conn, err := g.cfg.Dial(ctx, network, net.JoinHostPort(p.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("connect to the egress proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = tunnel(conn, p, to)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("ask the egress proxy for a connection: %w", err)
	}
	return conn, nil
}

func tunnel(conn net.Conn, p *url.URL, to netip.AddrPort) error {
	head := "CONNECT " + to.String() + " HTTP/1.1\r\nHost: " + to.String() + "\r\n"
	if p.User != nil {
		password, _ := p.User.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := conn.Write([]byte(head + "\r\n")); err != nil {
		return err
	}
	// Nothing comes after the head before we speak, so nothing is lost with the
	// reader.
	resp, err := http.ReadResponse(bufio.NewReader(&capped{conn, maxProxyHead}), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the egress proxy answered %d", resp.StatusCode)
	}
	return nil
}

// capped reads at most so much.
type capped struct {
	conn net.Conn
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the egress proxy's answer has more than %d bytes", maxProxyHead)
	}
	n, err := c.conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
