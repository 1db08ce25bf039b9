// Package egress decides where callbacks may go, and connects there. A
// callback's URL comes from outside, so without it a tenant could make Posthaste
// call what only Posthaste reaches: the database, a cloud's metadata, the
// neighbours.
//
// There is one parser of URLs, [Parse], and one judge, [Guard]. It looks twice:
// when an endpoint is made or changed, so that its owner is told, and at every
// connection, where it decides. Then the name is resolved once, all its addresses
// are judged, and only those are dialled: a name that changes its address between
// a check and a call gains nothing.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// ErrRefused says that a target may not be called. Errors of this kind are words for
// the endpoint's owner, and name nothing that the owner didn't.
var ErrRefused = errors.New("callbacks may not go there")

// refusal is words that follow a field's name.
type refusal struct{ words string }

func (r refusal) Error() string        { return r.words }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// Resolver looks names up; a *[net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dial connects to an address, "93.184.216.34:443".
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Config says where callbacks may go.
type Config struct {
	// Policy is Production if it is empty.
	Policy Policy
	// HTTP allows http under [Production].
	HTTP bool
	// Allow opens addresses for all tenants, Tenants for one, by its id.
	Allow   Rules
	Tenants map[string]Rules
	// Deny closes addresses, whatever allows them.
	Deny []netip.Prefix
	// Proxy is an HTTP proxy that connections go through, by CONNECT to the address
	// that was judged; nil for none. It is the operator's and not judged itself.
	Proxy *url.URL
	// Resolver is that of the system if it is nil.
	Resolver Resolver
	// Dial is that of the system if it is nil. It sees only addresses that were
	// judged, or the proxy's.
	Dial Dial
}

// Guard judges targets and connects to them. Its zero value is not usable; see
// [New]. It is safe for concurrent use.
type Guard struct {
	cfg   Config
	allow Rules
}

// New makes a guard.
func New(cfg Config) *Guard {
	g := &Guard{cfg: cfg, allow: cfg.Allow}
	if cfg.Policy == Lab {
		g.allow = append(Rules{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}}, cfg.Allow...)
	}
	if g.cfg.Resolver == nil {
		g.cfg.Resolver = net.DefaultResolver
	}
	if g.cfg.Dial == nil {
		g.cfg.Dial = (&net.Dialer{KeepAlive: keepAlive}).DialContext
		if cfg.Proxy == nil {
			// The last wall: whatever was decided before, this sees what is dialled.
			g.cfg.Dial = (&net.Dialer{KeepAlive: keepAlive, ControlContext: g.control}).DialContext
		}
	}
	return g
}

const (
	keepAlive = 30 * time.Second
	// lookTime is how long a look-up may take while an endpoint's owner waits.
	lookTime = 2 * time.Second
)

// rules are those of a tenant, beside those of all.
func (g *Guard) rules(tenant string) Rules { return g.cfg.Tenants[tenant] }

// Private says whether a tenant has rules of its own, so that its connections
// mustn't serve others.
func (g *Guard) Private(tenant string) bool { return len(g.cfg.Tenants[tenant]) > 0 }

// Admit judges a target as far as that needs no look-up.
func (g *Guard) Admit(tenant string, t Target) error {
	if t.Scheme != "https" && g.cfg.Policy != Open && g.cfg.Policy != Lab && !g.cfg.HTTP {
		return refuse("must be https")
	}
	if t.Addr.IsValid() {
		return g.judge(tenant, t.Addr, t.Port)
	}
	if !g.cfg.Policy.port(t.Port) && !g.portOf(tenant, t) {
		return refuse("has port %d, which callbacks may not go to", t.Port)
	}
	return nil
}

// portOf says whether a port beside the policy's is open to some address. Port 80
// is http's own.
func (g *Guard) portOf(tenant string, t Target) bool {
	if t.Scheme == "http" && t.Port == 80 && g.cfg.HTTP {
		return true
	}
	return g.allow.opensPort(t.Port) || g.rules(tenant).opensPort(t.Port)
}

// judge decides about an address at a port.
func (g *Guard) judge(tenant string, a netip.Addr, port uint16) error {
	if a.Zone() != "" {
		return refuse("has an address with a zone")
	}
	a = a.Unmap()
	address, open := g.allow.verdict(a, port)
	own, ownOpen := g.rules(tenant).verdict(a, port)
	address, open = address || own, open || ownOpen
	switch {
	case within(a, g.cfg.Deny), !address && !public(a):
		return refuse("has an address that is not public and not allowed")
	case open, g.cfg.Policy.port(port), port == 80 && g.cfg.HTTP:
		return nil
	}
	return refuse("has port %d, which callbacks may not go to", port)
}

// Check judges a URL when its owner sets it, and gives its normal form. A name
// that can't be resolved now may be later, so that is a warning; one whose
// addresses may not be called is refused. An error is an [ErrRefused], in words that
// follow the field's name.
func (g *Guard) Check(ctx context.Context, tenant, raw string) (normal, warning string, err error) {
	t, err := Parse(raw)
	if err != nil {
		return "", "", err
	}
	if err := g.Admit(tenant, t); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	_, err = g.resolve(ctx, tenant, t.Host, t.Port)
	switch {
	case errors.Is(err, ErrRefused):
		return "", "", err
	case err != nil:
		warning = "the host's name can't be resolved now; pushes wait until it can"
	}
	return t.String(), warning, nil
}

// resolve looks a host up, once, and judges all that it gives: one address that may not be
// called spoils the others, since it tells what the name is for.
func (g *Guard) resolve(ctx context.Context, tenant, host string, port uint16) ([]netip.Addr, error) {
	addrs, err := g.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		if err := g.judge(tenant, a, port); err != nil {
			return nil, err
		}
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

func (g *Guard) lookup(ctx context.Context, host string) (addrs []netip.Addr, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.DNSStart != nil && hooks.DNSDone != nil {
		hooks.DNSStart(httptrace.DNSStartInfo{Host: host})
		defer func() { hooks.DNSDone(httptrace.DNSDoneInfo{Err: err}) }()
	}
	// The final dot keeps search domains out.
	addrs, err = g.cfg.Resolver.LookupNetIP(ctx, "ip", host+".")
	_, known := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil && len(addrs) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case err != nil && !known && ctx.Err() != nil:
		return nil, &net.DNSError{Err: "look-up ended", Name: host, IsTimeout: errors.Is(ctx.Err(), context.DeadlineExceeded), UnwrapErr: ctx.Err()}
	}
	return addrs, err
}

// Connect connects to "host:port" for a tenant: it resolves, judges, and tries the
// addresses in turn until the context ends.
func (g *Guard) Connect(ctx context.Context, tenant, network, address string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, refuse("is not host and port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, refuse("has a port that isn't a number")
	}
	addrs, err := g.resolve(ctx, tenant, host, uint16(port))
	if err != nil {
		return nil, fmt.Errorf("connect to a callback: %w", err)
	}
	ctx = context.WithValue(ctx, tenantKey{}, tenant)
	var first error
	for i, a := range addrs {
		conn, err := g.dial(ctx, network, netip.AddrPortFrom(a, uint16(port)), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// dial tries one address, with its share of the time that is left.
func (g *Guard) dial(ctx context.Context, network string, to netip.AddrPort, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	if g.cfg.Proxy != nil {
		return g.dialProxy(ctx, network, to)
	}
	return g.cfg.Dial(ctx, network, to.String())
}

type tenantKey struct{}

// control refuses an address before a packet is sent to it.
func (g *Guard) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse("is not an address and port")
	}
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return g.judge(tenant, to.Addr(), to.Port())
}
