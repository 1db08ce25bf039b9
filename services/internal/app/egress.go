package app

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"github.com/posthaste/posthaste/services/internal/egress"
)

// Network replaces the network that callbacks go to: tests resolve names and
// connect without leaving the machine. The zero value is the real one.
type Network struct {
	Resolver egress.Resolver
	Dial     egress.Dial
}

// guard makes the judge of callbacks' targets.
func (e *Env) guard() *egress.Guard {
	c := e.Config.Egress
	var proxy *url.URL
	if c.Proxy != "" {
		proxy, _ = url.Parse(c.Proxy.Reveal()) // Validate looked at it
	}
	return egress.New(egress.Config{
		Policy: c.Policy, HTTP: c.HTTP, Allow: c.Allow, Tenants: c.Tenants, Deny: c.Deny, Proxy: proxy,
		Resolver: e.Network.Resolver, Dial: e.Network.Dial,
	})
}

// egressRoots are the authorities that callbacks' certificates may come from; nil
// for the system's.
func (e *Env) egressRoots() (*x509.CertPool, error) {
	file := e.Config.Egress.CA
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --egress-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--egress-ca %s has no certificate in PEM", file)
	}
	return pool, nil
}

// publishEgress tells receivers what they need for their allow-lists.
func (e *Env) publishEgress() {
	prefixes := e.Config.Egress.Addresses
	if prefixes == nil {
		prefixes = []netip.Prefix{}
	}
	body, err := json.Marshal(map[string]any{"prefixes": prefixes})
	if err != nil {
		return // prefixes always encode
	}
	e.HTTP.HandleFunc("GET /v1/egress", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(body)
	})
}
