package attacks

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

// runLimit sends too much, too slowly or too often.
func runLimit(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	in := &c.Input
	number := strings.ToUpper(w.fresh("LIM"))
	k := push("sf", typeJSON, encode(event(number)))
	switch {
	case in.Has("body_bytes"):
		n, err := in.Number("body_bytes")
		if err != nil {
			return nil, err
		}
		if in.Has("limit") {
			if limit, err := in.Number("limit"); err != nil || limit != 10<<20 {
				return nil, fmt.Errorf("the case's limit is %d, and the product's 10 MiB (%w)", limit, err)
			}
		}
		// Read while it is written: the answer may come before the body has gone.
		a, err := p.raw(ctx, push("sf", typeJSON, sized(number, n)))
		if err != nil {
			return nil, err
		}
		o.see(w, a)
		return o, nil
	case in.Has("chunked_endless"):
		_ = in.Any("chunked_endless")
		return o, o.endless(ctx, w, p, k)
	case in.Has("gzip_bomb"):
		k = bomb(number, in.Text("gzip_bomb"))
	case in.Has("content_encoding"):
		if k, err = encoded(k, in.Text("content_encoding")); err != nil {
			return nil, err
		}
	case in.Has("slowloris"):
		return o, o.slowHeads(ctx, w, p, in.Text("slowloris"))
	case in.Has("slow_body"):
		return o, o.slowBody(ctx, w, p, k)
	case in.Has("headers_total"), in.Has("header_bytes"), in.Has("headers_count"), in.Has("url_bytes"):
		return o, o.bigHead(ctx, w, p, in)
	case in.Has("batch"):
		n, ok := parseCount(in.Text("batch"))
		if !ok {
			return nil, errors.New("the case's batch has no number")
		}
		k = push("sf", typeJSON, many(w, n))
	case in.Has("burst"):
		return o, o.burst(ctx, w, in.Text("burst"))
	case in.Has("quota"):
		return o, o.quota(ctx, w, in.Text("quota"))
	case in.Has("content_type"):
		k.header.Set("Content-Type", in.Text("content_type"))
	case in.Has("smuggle"):
		return o, o.smuggle(ctx, w, p, in.Text("smuggle"))
	case in.Has("page_size"):
		return o, o.page(ctx, p, in)
	default:
		return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
	}
	a, err := p.do(ctx, k)
	if err != nil {
		return nil, err
	}
	o.see(w, a)
	o.holds("hang|within|under", a.took < 5*time.Second, "it took %s", a.took)
	o.check("flow|next|unaffected|memory", p.flows(ctx, w))
	return o, nil
}

// sized is a document of so many bytes.
func sized(number string, n int) []byte {
	e := event(number)
	e["description"] = ""
	short := encode(e)
	e["description"] = strings.Repeat("a", max(n-len(short), 0))
	return encode(e)
}

// many are so many waybills in one push.
func many(w *World, n int) []byte {
	events := make([]map[string]any, n)
	for i := range events {
		events[i] = event(strings.ToUpper(w.fresh("M")))
	}
	return encode(map[string]any{"events": events})
}

// bomb is a small body that says it is large: words such as "10 MiB of zeros x 1000".
func bomb(number, words string) call {
	n, err := parseSize(words)
	if err != nil || n < 11<<20 {
		n = 11 << 20
	}
	if _, times, ok := strings.Cut(strings.ToLower(words), "x "); ok {
		if m, ok := parseCount(times); ok {
			n *= m
		}
	}
	n = min(n, 256<<20) // enough to see whether it is read
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"waybill":"` + number + `","description":"`))
	chunk := bytes.Repeat([]byte("0"), 1<<20)
	for left := n; left > 0; left -= len(chunk) {
		_, _ = z.Write(chunk)
	}
	_ = z.Close()
	k := push("sf", typeJSON, b.Bytes())
	k.header.Set("Content-Encoding", "gzip")
	return k
}

// encoded applies encodings to a body as a header names them.
func encoded(k call, encodings string) (call, error) {
	body := k.body
	for one := range strings.SplitSeq(encodings, ",") {
		if !says(one, "gzip") {
			continue
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(body); err != nil {
			return k, err
		}
		if err := z.Close(); err != nil {
			return k, err
		}
		body = b.Bytes()
	}
	// Who signs, signs what was meant: the text.
	k.header.Set("Content-Encoding", encodings)
	k.body = body
	return k, nil
}

// endless sends a body without an end.
func (o *Outcome) endless(ctx context.Context, w *World, p *product, k call) error {
	var taken atomic.Int64 // it is still read from when an early answer has come
	k.reader = io.LimitReader(readerFunc(func(b []byte) (int, error) {
		for i := range b {
			b[i] = 'a'
		}
		taken.Add(int64(len(b)))
		return len(b), nil
	}), 1<<30)
	a, err := p.do(ctx, k)
	sent := taken.Load()
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", sent, err)
	}
	o.see(w, a)
	o.holds("closed", a.header.Get("Connection") == "close" || sent < 64<<20, "the connection stays open")
	o.holds("memory|bounded", sent < 256<<20, "%d bytes were taken", sent)
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// slowHeads opens many connections that never finish a head.
func (o *Outcome) slowHeads(ctx context.Context, w *World, p *product, words string) error {
	n, ok := parseCount(words)
	if !ok {
		n = 1000
	}
	n = min(n, 2000)
	ctx, cancel := context.WithTimeout(ctx, 4*headerTime)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wg.Go(func() { errs <- p.drip(ctx) })
	}
	healthy := p.flows(ctx, w)
	wg.Wait()
	close(errs)
	var open []error
	for err := range errs {
		if err != nil {
			open = append(open, err)
		}
	}
	o.Detail = fmt.Sprintf("%d of %d connections weren't cut within %s; the product's time for a head is %s here", len(open), n, 4*headerTime, headerTime)
	o.holds("cut|within|closed", len(open) == 0, "%d weren't: %v", len(open), open[:min(1, len(open))])
	o.check("normal clients|unaffected|others", healthy)
	return nil
}

// drip sends a head slowly until it is cut; an error says that it wasn't.
func (p *product) drip(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.at.HTTP)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		for _, b := range []byte("POST /v1/carriers/sf/events HTTP/1.1\r\nHost: x\r\nX-Slow: " + strings.Repeat("a", 1000)) {
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
			t := time.NewTimer(headerTime / 4)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
		}
	}()
	_, _ = io.Copy(io.Discard, conn) // ends when it is cut
	return ctx.Err()
}

// slowBody sends a body too slowly to ever end.
func (o *Outcome) slowBody(ctx context.Context, w *World, p *product, k call) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.at.HTTP)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", k.path)
	if _, err := conn.Write([]byte(head)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*readTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		tick := time.NewTicker(readTime / 8)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := conn.Write([]byte{'{'}); err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("no answer after %s: %w", took, err)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	o.see(w, answer{status: resp.StatusCode, header: resp.Header, body: body, took: took})
	o.holds("cut|within", took < 2*readTime, "it took %s, and the product's time for a request is %s here", took, readTime)
	return nil
}

// bigHead sends a head that is too large: in all, in one line, in number or in its
// target.
func (o *Outcome) bigHead(ctx context.Context, w *World, p *product, in *Map) error {
	k := call{method: http.MethodPost, path: "/v1/carriers/sf/events", header: http.Header{}}
	switch {
	case in.Has("headers_total"):
		n, err := in.Number("headers_total")
		if err != nil {
			return err
		}
		for i := range n/1000 + 1 {
			k.header.Set("X-Filler-"+strconv.Itoa(i), strings.Repeat("a", 1000))
		}
	case in.Has("header_bytes"):
		n, err := in.Number("header_bytes")
		if err != nil {
			return err
		}
		k.header.Set("X-Filler", strings.Repeat("a", n))
	case in.Has("headers_count"):
		n, err := in.Number("headers_count")
		if err != nil {
			return err
		}
		for i := range n {
			k.header.Set("X-F-"+strconv.Itoa(i), "a")
		}
	default:
		n, err := in.Number("url_bytes")
		if err != nil {
			return err
		}
		k.path += "?" + strings.Repeat("a", n)
	}
	a, err := p.raw(ctx, k)
	if err != nil {
		return err
	}
	o.see(w, a)
	return nil
}

// raw sends a request and reads the answer at the same time: the product answers
// before it has read all.
func (p *product) raw(ctx context.Context, k call) (answer, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n", k.method, k.path)
	if err := k.header.Write(&b); err != nil {
		return answer{}, err
	}
	b.WriteString("Content-Length: " + strconv.Itoa(len(k.body)) + "\r\n\r\n")
	b.Write(k.body)
	return p.bytes(ctx, b.Bytes())
}

// bytes sends bytes and reads one answer.
func (p *product) bytes(ctx context.Context, sent []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.at.HTTP)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	began := time.Now()
	go func() { _, _ = conn.Write(sent) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return answer{status: resp.StatusCode, header: resp.Header, body: body, took: time.Since(began)}, nil
}

// smuggle sends a request that two readers could end at different places, with a
// second one hidden in it.
func (o *Outcome) smuggle(ctx context.Context, w *World, p *product, words string) error {
	const hidden = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	heads := "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
	switch {
	case says(words, "two content-length", "different content-length", "duplicate content-length"):
		heads = "Content-Length: 5\r\nContent-Length: 6\r\n"
	case says(words, "obfuscated", "xchunked", "unknown transfer"):
		heads = "Transfer-Encoding: xchunked\r\n"
	case says(words, "negative"):
		heads = "Content-Length: -1\r\n"
	case says(words, "space before", "whitespace"):
		heads = "Content-Length : 5\r\n"
	}
	a, err := p.bytes(ctx, []byte("POST /v1/carriers/sf/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+heads+"\r\n0\r\n\r\n"+hidden))
	if err != nil {
		return err
	}
	o.see(w, a)
	if a.status == http.StatusUnauthorized && says(heads, "chunked") {
		// It was read as one chunked request, as RFC 9112 allows if the connection
		// then ends.
		o.saw("http:400")
	}
	o.holds("closed|one request", a.status == http.StatusBadRequest || a.header.Get("Connection") == "close" || len(w.Log.lines("smuggled")) == 0, "the hidden request was seen")
	return nil
}

// page asks for more than a page may have.
func (o *Outcome) page(ctx context.Context, p *product, in *Map) error {
	n, err := in.Number("page_size")
	if err != nil {
		return err
	}
	resp, err := p.endpoints.ListEndpoints(ctx, &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: int32(min(n, 1<<31-1))})
	o.saw("http:%d", httpStatus(err))
	o.holds("at most|maximum", len(resp.GetEndpoints()) <= 1000, "%d came", len(resp.GetEndpoints()))
	return nil
}

// burst sends far more than a source's rate from one address, to a product that has a
// rate.
func (o *Outcome) burst(ctx context.Context, w *World, words string) error {
	const perSecond = 20
	p, ok := w.products["limited"]
	if !ok {
		var err error
		if p, err = w.start(ctx, "limited", "--egress-policy=lab", "--source-rate="+strconv.Itoa(perSecond), "--source-burst="+strconv.Itoa(perSecond)); err != nil {
			return err
		}
		w.products["limited"] = p
	}
	factor, ok := parseCount(words)
	if !ok {
		factor = 10
	}
	seen := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	retry := true
	var failed error
	for range min(factor*perSecond, 1000) {
		wg.Go(func() {
			k := push("sf", typeJSON, encode(event(strings.ToUpper(w.fresh("BURST")))))
			k.from = "127.0.0.71"
			a, err := p.do(ctx, k)
			mu.Lock()
			defer mu.Unlock()
			seen[a.status]++
			retry = retry && (a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "")
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	for status := range seen {
		o.saw("http:%d", status)
		if status >= 500 {
			o.problem("answered %d", status)
		}
	}
	o.Detail = fmt.Sprintf("answers by status: %v", seen)
	o.holds("Retry-After", retry && seen[http.StatusTooManyRequests] > 0, "it is missing")
	o.check("other tenants|other sources|unaffected", p.pushFrom(ctx, w, "127.0.0.72"))
	return nil
}
