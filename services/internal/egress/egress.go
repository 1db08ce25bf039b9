// Package egress decides which addresses callbacks may go to. A callback's URL
// comes from outside, so without it a tenant could make Posthaste call what only
// Posthaste reaches: the database, a cloud's metadata, the neighbours.
//
// It looks at the address that is dialled, after names were resolved, so a name
// that changes its address between a check and a call gains nothing.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused says that an address is neither public nor allowed.
var ErrRefused = errors.New("the address is not public and not allowed by --egress-allow")

// Guard checks addresses. Its zero value is not usable; see [New].
type Guard struct{ guard *ssrf.Guardian }

// azureMetadata is a cloud's metadata host on a public address.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// New makes a guard that lets through public addresses, and those of allow.
func New(allow []netip.Prefix) *Guard {
	var v4, v6 []netip.Prefix
	denied := []netip.Prefix{azureMetadata}
	for _, p := range allow {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
		if p.Contains(azureMetadata.Addr()) {
			denied = nil
		}
	}
	return &Guard{guard: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...), ssrf.WithDeniedV4Prefixes(denied...))}
}

// Control is for net.Dialer: it refuses an address with [ErrRefused] before a
// packet is sent to it.
func (g *Guard) Control(network, address string, c syscall.RawConn) error {
	if err := g.guard.Safe(network, address, c); err != nil {
		return fmt.Errorf("dial %s: %w", address, ErrRefused)
	}
	return nil
}
