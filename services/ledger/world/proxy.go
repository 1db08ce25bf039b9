package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy stands between two who talk over TCP, and can be bad.
type Proxy struct {
	// Name is "from-to", and Addr where it listens.
	Name, Addr string

	mu     sync.Mutex
	p      *toxiproxy.Proxy
	toxics []string
	down   bool
}

// proxies makes proxies that share a server, which serves nothing.
type proxies struct{ server *toxiproxy.ApiServer }

func newProxies() proxies {
	return proxies{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

func (s proxies) start(name, upstream string) (*Proxy, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	p := &Proxy{Name: name, p: toxiproxy.NewProxy(s.server, name, listen, upstream)}
	if err := p.p.Start(); err != nil {
		return nil, fmt.Errorf("start proxy %s: %w", name, err)
	}
	p.Addr = p.p.Listen
	return p, nil
}

// Cut breaks all connections and takes no new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		p.p.Stop()
		p.down = true
	}
}

// BlackHole lets nothing through, and breaks nothing; oneWay lets the way to
// the server through.
func (p *Proxy) BlackHole(oneWay bool) error {
	streams := []string{"downstream", "upstream"}
	if oneWay {
		streams = streams[:1]
	}
	for _, s := range streams {
		if err := p.add("timeout", s, map[string]any{"timeout": 0}); err != nil {
			return err
		}
	}
	return nil
}

// Latency adds a delay each way, in milliseconds.
func (p *Proxy) Latency(ms, jitter int) error {
	for _, s := range []string{"downstream", "upstream"} {
		if err := p.add("latency", s, map[string]any{"latency": ms, "jitter": jitter}); err != nil {
			return err
		}
	}
	return nil
}

// Bandwidth bounds the way back, in KiB a second.
func (p *Proxy) Bandwidth(rate int) error {
	return p.add("bandwidth", "downstream", map[string]any{"rate": rate})
}

func (p *Proxy) add(kind, stream string, attributes map[string]any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := kind + "-" + stream
	data, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes})
	if err != nil {
		return err
	}
	if _, err := p.p.Toxics.AddToxicJson(bytes.NewReader(data)); err != nil {
		return fmt.Errorf("proxy %s: %s: %w", p.Name, name, err)
	}
	p.toxics = append(p.toxics, name)
	return nil
}

// Heal ends what it was bad with. Connections that a black hole held are broken:
// what vanished in it would be missing for ever.
func (p *Proxy) Heal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.toxics) > 0 && !p.down {
		p.p.Stop()
		p.down = true
	}
	p.p.Toxics.ResetToxics(context.Background())
	p.toxics = nil
	if !p.down {
		return nil
	}
	p.down = false
	if err := p.p.Start(); err != nil {
		return fmt.Errorf("heal proxy %s: %w", p.Name, err)
	}
	return nil
}

func (p *Proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		p.p.Stop()
		p.down = true
	}
}
