package egress

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURL is how many characters a callback's URL may have.
const maxURL = 2048

// Target is a callback's URL taken apart, in normal form: scheme and host in
// lower case, the host in ASCII without a final dot, no default port, no
// fragment, path and query as they were given. Two URLs are the same endpoint if
// their targets are equal.
type Target struct {
	Scheme string // "https" or "http"
	Host   string // a name, or an address without brackets
	// Addr is the host when it is an address; otherwise it isn't valid.
	Addr netip.Addr
	Port uint16 // never 0
	// rest is the path, never empty, and the query with its question mark.
	rest string
}

// String is the URL to store and to post to.
func (t Target) String() string {
	host := t.Host
	if t.Addr.Is6() {
		host = "[" + host + "]"
	}
	if t.Port != defaultPort(t.Scheme) {
		host += ":" + strconv.Itoa(int(t.Port))
	}
	return t.Scheme + "://" + host + t.rest
}

func defaultPort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// Parse takes a callback's URL apart. It is the only parser of them: what it
// can't read in exactly one way, it refuses, with words that come after
// the field's name. Whether the target may be called is [Guard]'s matter.
func Parse(raw string) (Target, error) {
	switch {
	case raw == "":
		return Target{}, refuse("is required")
	case utf8.RuneCountInString(raw) > maxURL:
		return Target{}, refuse("must have at most %d characters", maxURL)
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unusable):
		return Target{}, refuse("must have no blanks, backslashes and control characters")
	}
	scheme, rest, found := strings.Cut(raw, "://")
	t := Target{Scheme: strings.ToLower(scheme)}
	if !found || t.Scheme != "http" && t.Scheme != "https" {
		return Target{}, refuse("must be an absolute http or https URL")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.Contains(authority, "@") {
		return Target{}, refuse("must hold no user and password")
	}
	if err := t.setAuthority(authority); err != nil {
		return Target{}, err
	}
	tail, _, _ = strings.Cut(tail, "#")
	if !strings.HasPrefix(tail, "/") {
		tail = "/" + tail
	}
	t.rest = escape(tail)
	if len(t.String()) > maxURL { // names and escapes grow
		return Target{}, refuse("must have at most %d characters in its ASCII form", maxURL)
	}
	// What is left to say about escapes is net/url's, which is what posts.
	if u, err := url.Parse(t.String()); err != nil || u.Hostname() != t.Host {
		return Target{}, refuse("is not a URL")
	}
	return t, nil
}

// unusable are characters that parsers, logs and terminals disagree about.
func unusable(r rune) bool {
	switch {
	case r <= ' ', r == '\\', 0x7f <= r && r <= 0xa0:
		return true
	case r == 0x2028, r == 0x2029, 0x200b <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f, r == 0xfeff:
		return true // separators, invisible and directional marks
	}
	return 0x2000 <= r && r <= 0x200a || r == 0x3000 // blanks of other widths
}

func (t *Target) setAuthority(authority string) error {
	t.Port = defaultPort(t.Scheme)
	host, port := authority, ""
	if inner, bracketed := strings.CutPrefix(authority, "["); bracketed {
		address, after, closed := strings.Cut(inner, "]")
		if !closed || after != "" && after[0] != ':' {
			return refuse("has an address whose bracket isn't closed")
		}
		a, err := netip.ParseAddr(address)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return refuse("has no IPv6 address, without a zone, in its brackets")
		}
		t.Addr = a.Unmap()
		t.Host, port = t.Addr.String(), after
	} else {
		if i := strings.IndexByte(authority, ':'); i >= 0 {
			host, port = authority[:i], authority[i:]
		}
		if err := t.setName(host); err != nil {
			return err
		}
	}
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port[1:], 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port[1:] {
		return refuse("has a port that isn't a number from 1 to 65535")
	}
	t.Port = uint16(n)
	return nil
}

// names is the IDNA profile for look-ups, held to the lengths of DNS.
var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// setName takes a host that isn't in brackets. What a C library would read as an
// address, 127.1 or 0x7f000001, is neither a name nor an address here: which it
// is mustn't depend on how we were built.
func (t *Target) setName(host string) error {
	if host == "" {
		return refuse("has no host")
	}
	if strings.Contains(host, "%") {
		return refuse("has a host with escapes")
	}
	ascii, err := names.ToASCII(host)
	if err != nil {
		// A final dot is legal, and too long for VerifyDNSLength.
		trimmed, mapped := strings.CutSuffix(toDots(host), ".")
		if !mapped {
			return refuse("has a host that isn't a name of the internet")
		}
		if ascii, err = names.ToASCII(trimmed); err != nil {
			return refuse("has a host that isn't a name of the internet")
		}
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if a, err := netip.ParseAddr(ascii); err == nil && a.Is4() {
		t.Addr, t.Host = a, ascii
		return nil
	}
	labels := strings.Split(ascii, ".")
	last := labels[len(labels)-1]
	switch {
	case last == "" || '0' <= last[0] && last[0] <= '9':
		return refuse("has a host that is neither a name nor a plainly written address")
	case last == "localhost" || last == "localdomain":
		return refuse("must not be this machine")
	case len(labels) == 1:
		return refuse("has a host without a domain: a name of one label means another host on every network")
	}
	t.Host = ascii
	return nil
}

// toDots writes the other dots of IDNA as the ASCII one.
func toDots(host string) string {
	return strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(host)
}

// escape writes what isn't ASCII as escapes, and leaves all else as it is.
func escape(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
