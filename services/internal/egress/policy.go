package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Policy is a set of rules for schemes and ports. All of them take public
// addresses alone, beside what is allowed by name.
type Policy string

// The policies.
const (
	// Production takes https at the ports 443 and 8443.
	Production Policy = "production"
	// Open also takes http, and every port from 80 on that isn't a well-known
	// service's other than HTTP.
	Open Policy = "open"
	// Lab is Open, with this machine's loopback addresses allowed: for tests and
	// trying out.
	Lab Policy = "lab"
)

// others are ports from 80 on whose protocols aren't HTTP, or are the inside of a
// cluster. A POST to one of them could do harm.
var others = map[uint16]bool{
	110: true, 111: true, 119: true, 135: true, 139: true, 143: true, 389: true, 445: true, 465: true, 587: true, 636: true, 993: true, 995: true,
	1433: true, 1521: true, 2049: true, 2375: true, 2376: true, 2379: true, 2380: true, 3306: true, 3389: true, 4222: true, 5432: true, 5672: true,
	6379: true, 6443: true, 7946: true, 8222: true, 9042: true, 9092: true, 9200: true, 10250: true, 11211: true, 27017: true,
}

// port says whether a policy takes a port.
func (p Policy) port(n uint16) bool {
	if p != Open && p != Lab {
		return n == 443 || n == 8443
	}
	switch {
	case n < 80, others[n]:
		return false
	case 5900 <= n && n <= 5999, 6666 <= n && n <= 6669: // VNC, IRC
		return false
	}
	return true
}

// Rule allows addresses that aren't public: "10.1.0.0/16" at the policy's ports,
// "10.1.0.0/16:8080" or "[fd00::/64]:8080" at that port, whatever the policy says of
// it. A single address needs no length.
type Rule struct {
	Prefix netip.Prefix
	Port   uint16 // 0 for the policy's
}

// UnmarshalText reads a rule.
func (r *Rule) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	prefix, port := s, ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var found bool
		if prefix, port, found = strings.Cut(inner, "]:"); !found {
			prefix, found = strings.CutSuffix(inner, "]")
			if !found {
				return fmt.Errorf("%q has a bracket that isn't closed", s)
			}
		}
	} else if strings.Count(s, ":") == 1 {
		prefix, port, _ = strings.Cut(s, ":")
	}
	p, err := parsePrefix(prefix)
	if err != nil {
		return fmt.Errorf("%q is not a rule such as 10.1.0.0/16 or 10.1.0.0/16:8080", s)
	}
	*r = Rule{Prefix: p}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q has a port that isn't from 1 to 65535", s)
		}
		r.Port = uint16(n)
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is IPv4 written as IPv6", s)
	}
	return p.Masked(), nil
}

// MarshalText writes a rule as it is read.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String writes a rule as it is read.
func (r Rule) String() string {
	if r.Port == 0 {
		return r.Prefix.String()
	}
	if r.Prefix.Addr().Is6() {
		return "[" + r.Prefix.String() + "]:" + strconv.Itoa(int(r.Port))
	}
	return r.Prefix.String() + ":" + strconv.Itoa(int(r.Port))
}

// Rules are several, separated by commas.
type Rules []Rule

// UnmarshalText reads rules.
func (rs *Rules) UnmarshalText(text []byte) error {
	*rs = nil
	for part := range strings.SplitSeq(string(text), ",") {
		var r Rule
		if err := r.UnmarshalText([]byte(part)); err != nil {
			return err
		}
		*rs = append(*rs, r)
	}
	return nil
}

// MarshalText writes rules as they are read.
func (rs Rules) MarshalText() ([]byte, error) {
	texts := make([]string, len(rs))
	for i, r := range rs {
		texts[i] = r.String()
	}
	return []byte(strings.Join(texts, ",")), nil
}

// verdict is what some rules say of an address at a port.
func (rs Rules) verdict(a netip.Addr, port uint16) (address, portToo bool) {
	for _, r := range rs {
		if !r.Prefix.Contains(a) {
			continue
		}
		switch r.Port {
		case 0:
			address = true
		case port:
			return true, true
		}
	}
	return address, false
}

// opensPort says whether any rule is about a port: a name that is only known to
// have it is looked at when it is resolved.
func (rs Rules) opensPort(port uint16) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Port == port })
}
