package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"code.dny.dev/ssrf"
)

// stub resolves from a table and counts. It is absolute about names.
type stub struct {
	answers map[string][]string
	asked   int
}

func (s *stub) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	s.asked++
	var out []netip.Addr
	for _, a := range s.answers[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// dials notes what is dialled and connects to nothing.
type dials []string

var errNoted = errors.New("noted")

func (d *dials) dial(_ context.Context, _, address string) (net.Conn, error) {
	*d = append(*d, address)
	return nil, errNoted
}

func TestParse_HasOneNormalForm(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://EXAMPLE.com:443/cb":                "https://example.com/cb",
		"https://example.com":                       "https://example.com/",
		"https://example.com./cb":                   "https://example.com/cb",
		"HTTP://example.com:80?x=1":                 "http://example.com/?x=1",
		"https://example.com/cb?x=%2F+1#frag":       "https://example.com/cb?x=%2F+1",
		"https://bücher.example/cb":                 "https://xn--bcher-kva.example/cb",
		"https://Ｅxample。com/":                      "https://example.com/",
		"https://[2606:4700:4700:0::1111]:8443/":    "https://[2606:4700:4700::1111]:8443/",
		"https://[::ffff:8.8.8.8]/":                 "https://8.8.8.8/",
		"https://８.８.８.８/":                          "https://8.8.8.8/",
		"https://example.com/包裹?q=包":                "https://example.com/%E5%8C%85%E8%A3%B9?q=%E5%8C%85",
		"https://example.com:8443/a/../b;c=d?a=b&a": "https://example.com:8443/a/../b;c=d?a=b&a",
	} {
		got, err := Parse(raw)
		if err != nil || got.String() != want {
			t.Errorf("%s is %s, %v; want %s", raw, got, err, want)
		}
		if again, err := Parse(want); err != nil || again != got {
			t.Errorf("%s isn't normal: %+v, %v", want, again, err)
		}
	}
}

func TestParse_RefusesWhatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "/cb", "//example.com/", "http:///cb", "http:127.0.0.1/", "http:/example.com/", "ftp://example.com/", "javascript:alert(1)", "file:///etc/passwd",
		"http://user@example.com/", "http://a@127.0.0.1:80@example.com/", "http://@example.com/", "http://example.com:0/", "http://example.com:99999/", "http://example.com:/",
		"http://example.com:080/", "http://example.com:+80/", "http://[::1", "http://[::1]x/", "http://[127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://2001:db8::1/",
		"http://127.1/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://2130706433/", "http://0/", "http://1.2.3/", "http://1.2.3.4.5/", "http://127.0.0.01/", "http://999.1.1.1/",
		"http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://ｌocalhost/", "http://nats:4222/", "http://example.com../", "http://.example.com/", "http://a..example.com/",
		"http://exa mple.com/", "http://example.com/\r\nX: 1", "http://example.com\\@127.0.0.1/", "http://example.com/\x00", "http://example.com/\u202e", "http://%31%32%37.0.0.1/", "http://example%2ecom/",
		"http://exa_mple.com/", "http://" + strings.Repeat("a", 64) + ".com/", "https://example.com/" + strings.Repeat("a", 2048), "http://example.com/%zz", "http://\xff.com/",
	} {
		if got, err := Parse(raw); !errors.Is(err, ErrRefused) {
			t.Errorf("%q is %+v, %v", raw, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://example.com/cb", "http://[::1]:80/", "http://１２７.1/", "https://a@b/", "https://bücher.example:8443/?#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Parse(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(got.String())
		if err != nil || u.Hostname() != got.Host || u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q became %q, which net/url reads as %#v, %v", raw, got, u, err)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Fatalf("%q became %q, and that %q, %v", raw, got, again, err)
		}
	})
}

var forbidden = []string{
	"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
	"192.0.0.8", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16",
	"::1", "::", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "64:ff9b::808:808",
	"2002:7f00:1::", "2002:808:808::", "2001::1", "2001:2::1", "2001:10::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "2600::5efe:7f00:1", "2600::200:5efe:808:808", "4000::1", "1fff::1",
}

// A second implementation agrees on what is forbidden.
func TestGuard_RefusesWhatIsNotPublic(t *testing.T) {
	t.Parallel()
	second := ssrf.New(ssrf.WithAnyPort())
	g := New(Config{Policy: Open})
	for _, text := range forbidden {
		a := netip.MustParseAddr(text)
		if err := g.judge("", a, 443); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", a, err)
		}
		var d dials
		named := New(Config{Policy: Open, Dial: d.dial, Resolver: &stub{answers: map[string][]string{"x.example.": {"8.8.8.8", text}}}})
		if _, err := named.Connect(t.Context(), "", "tcp", "x.example:443"); !errors.Is(err, ErrRefused) || len(d) > 0 {
			t.Errorf("%s by name: %v, dialled %v", a, err, d)
		}
	}
	for _, text := range []string{"8.8.8.8", "172.32.0.1", "172.15.255.255", "100.128.0.1", "198.20.0.1", "100.63.255.255", "223.255.255.254", "2600::1", "2606:4700:4700::1111", "2a00:1450::1", "3ffe::1"} {
		a := netip.MustParseAddr(text)
		if err := g.judge("", a, 443); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		network := "tcp6"
		if a.Is4() {
			network = "tcp4"
		}
		if err := second.Safe(network, netip.AddrPortFrom(a, 443).String(), nil); err != nil {
			t.Errorf("the second implementation refuses %s: %v", a, err)
		}
	}
	if err := g.judge("", netip.MustParseAddr("fe80::1%eth0"), 443); !errors.Is(err, ErrRefused) {
		t.Errorf("a zone: %v", err)
	}
}

func TestGuard_DialsWhatItJudgedAndResolvesOnce(t *testing.T) {
	t.Parallel()
	var d dials
	s := &stub{answers: map[string][]string{"ok.example.": {"::ffff:93.184.216.34", "2600::1"}}}
	g := New(Config{Dial: d.dial, Resolver: s})
	if _, err := g.Connect(t.Context(), "", "tcp", "ok.example:443"); !errors.Is(err, errNoted) {
		t.Error(err)
	}
	if got := strings.Join(d, " "); got != "93.184.216.34:443 [2600::1]:443" || s.asked != 1 {
		t.Errorf("dialled %s after %d look-ups", got, s.asked)
	}
}

func TestGuard_HoldsToItsPolicy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg Config
		url string
		ok  bool
	}{
		{Config{}, "https://8.8.8.8/", true},
		{Config{}, "https://8.8.8.8:8443/", true},
		{Config{}, "https://8.8.8.8:9443/", false},
		{Config{}, "http://8.8.8.8/", false},
		{Config{HTTP: true}, "http://8.8.8.8/", true},
		{Config{HTTP: true}, "http://8.8.8.8:8080/", false},
		{Config{Policy: Open}, "http://8.8.8.8/", true},
		{Config{Policy: Open}, "http://8.8.8.8:22/", false},
		{Config{Policy: Open}, "http://8.8.8.8:5901/", false},
		{Config{Policy: Open}, "http://127.0.0.1:8080/", false},
		{Config{Policy: Lab}, "http://127.0.0.1:9000/", true},
		{Config{Policy: Lab}, "http://[::1]:9000/", true},
		{Config{Policy: Lab}, "http://127.0.0.1:6379/", false},
		{Config{Policy: Lab}, "http://10.0.0.1:9000/", false},
		{Config{Allow: rules("10.1.0.0/16")}, "https://10.1.2.3/", true},
		{Config{Allow: rules("10.1.0.0/16")}, "https://10.1.2.3:9000/", false},
		{Config{Allow: rules("10.1.0.0/16")}, "https://10.2.2.3/", false},
		{Config{Allow: rules("10.1.0.0/16:9000")}, "https://10.1.2.3:9000/", true},
		{Config{Allow: rules("10.1.0.0/16:9000")}, "https://10.1.2.3/", false},
		{Config{Allow: rules("10.1.0.0/16:9000")}, "https://8.8.8.8:9000/", false},
		{Config{Allow: rules("[fd00::/64]:8443")}, "https://[fd00::1]:8443/", true},
		{Config{Allow: rules("10.0.0.0/8"), Deny: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}, "https://10.9.0.1/", false},
		{Config{Deny: []netip.Prefix{netip.MustParsePrefix("8.8.8.0/24")}}, "https://8.8.8.8/", false},
		{Config{Allow: rules("168.63.129.16")}, "https://168.63.129.16/", true},
		{Config{Tenants: map[string]Rules{"a": rules("10.1.0.0/16")}}, "https://10.1.2.3/", true},
		{Config{Tenants: map[string]Rules{"b": rules("10.1.0.0/16")}}, "https://10.1.2.3/", false},
	} {
		_, _, err := New(tt.cfg).Check(t.Context(), "a", tt.url)
		if (err == nil) != tt.ok {
			t.Errorf("%+v: %s: %v", tt.cfg, tt.url, err)
		}
	}
}

// A port that a rule opens for some address isn't open for others by their name.
func TestGuard_JudgesThePortAgainWhenItKnowsTheAddress(t *testing.T) {
	t.Parallel()
	s := &stub{answers: map[string][]string{"in.example.": {"10.1.0.1"}, "out.example.": {"8.8.8.8"}}}
	g := New(Config{Allow: rules("10.1.0.0/16:9000"), Resolver: s})
	if _, _, err := g.Check(t.Context(), "", "https://in.example:9000/"); err != nil {
		t.Error(err)
	}
	if _, _, err := g.Check(t.Context(), "", "https://out.example:9000/"); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestGuard_WarnsOfANameThatCannotBeResolved(t *testing.T) {
	t.Parallel()
	normal, warning, err := New(Config{Resolver: &stub{}}).Check(t.Context(), "", "https://later.example/cb")
	if err != nil || warning == "" || normal != "https://later.example/cb" {
		t.Errorf("got %q, %q, %v", normal, warning, err)
	}
}

func TestGuard_GoesThroughAProxyToTheAddressItJudged(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	asked := make(chan string, 1)
	go func() {
		buf := make([]byte, 1024)
		n, _ := theirs.Read(buf)
		asked <- string(buf[:n])
		_, _ = theirs.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	}()
	var d dials
	proxy, _ := url.Parse("http://user:word@proxy.test:3129")
	g := New(Config{
		Proxy: proxy, Resolver: &stub{answers: map[string][]string{"ok.example.": {"93.184.216.34"}, "in.example.": {"10.0.0.1"}}},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, _ = d.dial(ctx, network, address)
			return ours, nil
		},
	})
	if _, err := g.Connect(t.Context(), "", "tcp", "in.example:443"); !errors.Is(err, ErrRefused) || len(d) > 0 {
		t.Errorf("a private address: %v, dialled %v", err, d)
	}
	conn, err := g.Connect(t.Context(), "", "tcp", "ok.example:443")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if head := <-asked; !strings.HasPrefix(head, "CONNECT 93.184.216.34:443 HTTP/1.1\r\n") || !strings.Contains(head, "Proxy-Authorization: Basic ") {
		t.Errorf("the proxy was asked %q", head)
	}
	if strings.Join(d, " ") != "proxy.test:3129" {
		t.Errorf("dialled %v", d)
	}
}

// The last wall is the real dialler's: even an address that came past the judge
// isn't dialled.
func TestGuard_ControlRefusesToo(t *testing.T) {
	t.Parallel()
	g := New(Config{Policy: Open})
	if err := g.control(t.Context(), "tcp4", "127.0.0.1:8080", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func rules(texts ...string) Rules {
	var out Rules
	for _, s := range texts {
		var r Rule
		if err := r.UnmarshalText([]byte(s)); err != nil {
			panic(err)
		}
		out = append(out, r)
	}
	return out
}

func TestRule_IsReadAndWritten(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"10.1.0.0/16", "10.1.0.0/16:8080", "fd00::/64", "[fd00::/64]:8080"} {
		if got := rules(s)[0].String(); got != s {
			t.Errorf("%s is written %s", s, got)
		}
	}
	for _, s := range []string{"", "10.1.0.0/33", "10.1.0.0/16:0", "10.1.0.0/16:x", "[fd00::/64", "::ffff:10.0.0.0/104", "name"} {
		var r Rule
		if err := r.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is %s", s, r)
		}
	}
	var several Rules
	if err := several.UnmarshalText([]byte("10.0.0.0/8, 192.168.0.0/16:443")); err != nil || len(several) != 2 {
		t.Errorf("%v, %v", several, err)
	}
}
