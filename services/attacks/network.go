package attacks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"code.dny.dev/ssrf"
)

// network is the world of callbacks: names are resolved as a case says, and what is
// dialled is noted and led to the receiver.
type network struct {
	receiver *receiver
	// loopback says that the policy allows this machine's addresses.
	loopback bool
	guard    *ssrf.Guardian

	mu        sync.Mutex
	names     map[string][]string
	sequence  map[string][][]string
	hang      time.Duration
	delay     time.Duration
	fail      string
	asked     map[string]int
	dialled   []string
	forbidden []string
}

func newNetwork(r *receiver, loopback bool) *network {
	return &network{receiver: r, loopback: loopback, guard: ssrf.New(ssrf.WithAnyPort()), asked: map[string]int{}}
}

// play sets the name servers' answers for a case and forgets what was noted.
func (n *network) play(c *Case) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names, n.sequence, n.asked, n.dialled = c.DNS, c.DNSSequence, map[string]int{}, nil
	n.hang, n.delay, n.fail = 0, 0, ""
	b := &c.DNSBehaviour
	for _, key := range []string{"hang_s", "hang"} {
		if b.Has(key) {
			s, err := b.Number(key)
			if err != nil {
				return err
			}
			n.hang = time.Duration(s) * time.Second
		}
	}
	for key, unit := range map[string]time.Duration{"delay_s": time.Second, "delay_ms": time.Millisecond, "slow_s": time.Second} {
		if b.Has(key) {
			s, err := b.Number(key)
			if err != nil {
				return err
			}
			n.delay = time.Duration(s) * unit
		}
	}
	for _, key := range []string{"error", "rcode", "fail", "servfail", "nxdomain", "timeout", "refused"} {
		if b.Has(key) {
			n.fail = key + " " + b.Text(key)
		}
	}
	return nil
}

// LookupNetIP answers as the case says. It is asked for names with a final dot
// alone; others would go through search domains.
func (n *network) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	name, absolute := strings.CutSuffix(host, ".")
	n.mu.Lock()
	turn := n.asked[name]
	n.asked[name]++
	hang, delay, fail := n.hang, n.delay, n.fail
	answers, known := n.names[name]
	if seq := n.sequence[name]; len(seq) > 0 {
		answers, known = seq[min(turn, len(seq)-1)], true
	}
	names := n.names
	n.mu.Unlock()
	if !absolute {
		return nil, &net.DNSError{Err: "asked through search domains", Name: host}
	}
	if wait := max(hang, delay); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case says(fail, "timeout"):
		return nil, &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true}
	case fail != "" && !says(fail, "nxdomain"):
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	case fail != "" || !known || len(answers) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range answers {
		if alias, ok := strings.CutPrefix(a, "CNAME "); ok {
			answers = names[strings.TrimSuffix(alias, ".")]
			for _, target := range answers {
				addr, err := netip.ParseAddr(target)
				if err != nil {
					return nil, &net.DNSError{Err: "server misbehaving", Name: name}
				}
				out = append(out, addr)
			}
			continue
		}
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nil, &net.DNSError{Err: fmt.Sprintf("the case's answer %q is no address", a), Name: name}
		}
		out = append(out, addr)
	}
	return out, nil
}

// Dial notes an address. One that may be called is led to the receiver; one that
// may not is a hole in the product, and led nowhere.
func (n *network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	n.mu.Lock()
	n.dialled = append(n.dialled, address)
	bad := err != nil || !n.may(to.Addr())
	if bad {
		n.forbidden = append(n.forbidden, address)
	}
	n.mu.Unlock()
	if bad {
		return nil, fmt.Errorf("dial %s: the network of the tests leads nowhere", address)
	}
	if n.loopback && n.receiver.owns(address) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
	return n.receiver.connect(ctx, to)
}

// may is a judgement of its own, by another implementation than the product's.
func (n *network) may(a netip.Addr) bool {
	if n.loopback && a.Unmap().IsLoopback() {
		return true
	}
	kind := "tcp6"
	if a.Is4() {
		kind = "tcp4"
	}
	return n.guard.Safe(kind, netip.AddrPortFrom(a, 443).String(), nil) == nil
}

// dials are the addresses that were dialled since the case began.
func (n *network) dials() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialled)
}

// lookups says how often a name was asked for since it was last asked.
func (n *network) lookups(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name]
}

// breaches are the forbidden addresses that were dialled, once each.
func (n *network) breaches() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.forbidden
	n.forbidden = nil
	return out
}
