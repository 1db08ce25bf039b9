package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func network(host string) string {
	if host[0] == '[' {
		return "tcp6"
	}
	return "tcp4"
}

func TestGuard_RefusesWhatIsNotPublic(t *testing.T) {
	t.Parallel()
	g := New(nil)
	for _, h := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1",
		"224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[::ffff:127.0.0.1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:db8::1]", "[ff02::1]", "[100::1]", "[::7f00:1]",
	} {
		if err := g.Control(network(h), h+":443", nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", h, err)
		}
	}
}

func TestGuard_LetsThroughWhatIsPublicOrAllowed(t *testing.T) {
	t.Parallel()
	g := New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")})
	for _, h := range []string{"127.0.0.1", "10.1.2.3", "[::1]", "8.8.8.8", "[2600::1]"} {
		if err := g.Control(network(h), h+":8443", nil); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	for _, h := range []string{"10.2.0.1", "192.168.0.1"} {
		if err := g.Control(network(h), h+":443", nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", h, err)
		}
	}
}
