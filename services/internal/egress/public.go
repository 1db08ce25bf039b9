package egress

import "net/netip"

// notPublic are the entries of IANA's registries of special-purpose addresses
// that aren't globally reachable, multicast, and what has been public and means
// something else (6to4). Of IPv6 they are those within 2000::/3: nothing outside
// it is public, which covers loopback, link-local, unique-local, mapped,
// compatible and NAT64 addresses.
//
// Written out because net/netip's IsGlobalUnicast is true for many of them, and
// IsPrivate false.
var notPublic = prefixes(
	"0.0.0.0/8",       // this network; 0.0.0.0 reaches the own host on Linux
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by carriers' translators
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, metadata of clouds
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarking
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, broadcast

	"2001::/23",     // protocol assignments, with Teredo, which embeds IPv4
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which embeds IPv4
	"3fff::/20",     // documentation
)

// platform are addresses that look public, and are a cloud's own services.
var platform = prefixes("168.63.129.16/32")

var unicast6 = netip.MustParsePrefix("2000::/3")

// public says whether an address, unmapped and without a zone, is one that
// anybody on the internet could be asked to reach.
func public(a netip.Addr) bool {
	if !a.IsValid() || within(a, notPublic) || within(a, platform) {
		return false
	}
	return a.Is4() || unicast6.Contains(a) && !isatap(a)
}

// isatap says whether the interface part embeds an IPv4 address (RFC 5214), under
// whatever prefix.
func isatap(a netip.Addr) bool {
	b := a.As16()
	return b[8]&^0x03 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

func within(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}
