package attacks

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what platforms sign with
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// Carriers that push in Posthaste's own form, with their secrets.
var carrierSecrets = map[string]string{
	"sf":     "whsec_YXR0YWNrcy1zZi1zZWNyZXQtMDEyMzQ1Njc4OQ==",
	"zto":    "whsec_YXR0YWNrcy16dG8tc2VjcmV0LTAxMjM0NTY3ODk=",
	"fenced": "whsec_YXR0YWNrcy1mZW5jZWQtc2VjcmV0LTAxMjM0NTY3",
}

const (
	// fencedFrom are the addresses of the carrier "fenced"; proxy is who may speak for
	// them.
	fencedFrom = "198.51.100.0/24"
	proxy      = "127.0.0.9"
	// The product's time-outs, shorter than they usually are.
	headerTime = 2 * time.Second
	readTime   = 4 * time.Second
	failures   = 20
	window     = 4 * time.Second
)

// sourceFlags configure the product for what the cases send it.
func sourceFlags() []string {
	var carriers []string
	for code, secret := range carrierSecrets {
		carriers = append(carriers, code+"="+secret)
	}
	return []string{
		"--carrier=" + strings.Join(carriers, ";"), "--source-allow-from=carriers/fenced=" + fencedFrom, "--http-proxies=" + proxy + "/32",
		"--http-header-timeout=" + headerTime.String(), "--http-read-timeout=" + readTime.String(),
		"--source-failures=" + strconv.Itoa(failures), "--source-window=" + window.String(),
	}
}

// call is an HTTP request to the product.
type call struct {
	method, path string
	header       http.Header
	body         []byte
	// reader, if set, is the body, of unknown length.
	reader io.Reader
	// from is the address on loopback that it comes from.
	from string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// do sends a request on a connection of its own.
func (p *product) do(ctx context.Context, c call) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var body io.Reader = bytes.NewReader(c.body)
	if c.reader != nil {
		body = c.reader
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+p.at.HTTP+c.path, body)
	if err != nil {
		return answer{}, err
	}
	if c.header != nil {
		req.Header = c.header
	}
	d := &net.Dialer{}
	if c.from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
	}
	tr := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true, DisableCompression: true, ExpectContinueTimeout: time.Second}
	defer tr.CloseIdleConnections()
	began := time.Now()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return answer{took: time.Since(began)}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return answer{status: resp.StatusCode, header: resp.Header, body: text, took: time.Since(began)}, err
}

// push makes a signed push of a carrier.
func push(carrier, contentType string, body []byte) call {
	return signedAt(carrier, carrierSecrets[carrier], contentType, body, time.Now())
}

func signedAt(carrier, secret, contentType string, body []byte, at time.Time) call {
	h := http.Header{"Content-Type": {contentType}}
	if s, err := webhook.ParseSecret(secret); err == nil {
		webhook.SetHeaders(h, "attack-"+strconv.FormatInt(at.UnixNano(), 36), at, body, s)
	}
	return call{method: http.MethodPost, path: "/v1/carriers/" + carrier + "/events", header: h, body: body}
}

const typeJSON, typeXML = "application/json", "application/xml"

// event is a well-formed event of the carrier form.
func event(waybill string) map[string]any {
	return map[string]any{"waybill": waybill, "event_time": time.Now().Format(time.RFC3339), "status": "IN_TRANSIT", "description": "on its way"}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of text always encode
	}
	return b
}

// see notes an answer as a verdict, with what must hold of every answer.
func (o *Outcome) see(w *World, a answer) {
	o.saw("http:%d", a.status)
	o.Detail = fmt.Sprintf("answered %d after %s: %.200s", a.status, a.took.Round(time.Millisecond), a.body)
	if a.status >= 500 {
		o.problem("a fault: %d", a.status)
	}
	for _, leak := range leaksIn(string(a.body), w.secrets()) {
		o.problem("the answer holds %s", leak)
	}
}

// trace is the trace of a waybill, empty when there is none.
func (p *product) trace(ctx context.Context, carrier, number string) []*trackingv1.TraceEvent {
	resp, err := p.waybills.ListTraceEvents(ctx, &trackingv1.ListTraceEventsRequest{Parent: "waybills/" + carrier + "/" + number, PageSize: 100})
	if err != nil {
		return nil
	}
	return resp.GetEvents()
}

// awaitTrace waits for so many events of a waybill.
func (p *product) awaitTrace(ctx context.Context, carrier, number string, n int) (events []*trackingv1.TraceEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = await(ctx, "the trace of "+carrier+" "+number, func() (bool, error) {
		events = p.trace(ctx, carrier, number)
		return len(events) >= n, nil
	})
	return events, err
}

// flows says whether a new well-formed push of a carrier still becomes a trace.
func (p *product) flows(ctx context.Context, w *World) error {
	number := strings.ToUpper(w.fresh("FLOW"))
	a, err := p.do(ctx, push("zto", typeJSON, encode(event(number))))
	if err != nil || a.status != http.StatusOK {
		return fmt.Errorf("a well-formed push is answered %d (%w): %s", a.status, err, a.body)
	}
	_, err = p.awaitTrace(ctx, "zto", number, 1)
	return err
}

// The platforms' signatures, by their documents.
func kdniaoSign(text, key string, upper bool) string {
	sum := md5.Sum([]byte(text + key)) //nolint:gosec // what Kdniao signs with
	digits := hex.EncodeToString(sum[:])
	if upper {
		digits = strings.ToUpper(digits)
	}
	return base64.StdEncoding.EncodeToString([]byte(digits))
}

func kuaidiSign(text, salt string, upper bool) string {
	sum := md5.Sum([]byte(text + salt)) //nolint:gosec // what Kuaidi100 signs with
	digits := hex.EncodeToString(sum[:])
	if upper {
		digits = strings.ToUpper(digits)
	}
	return digits
}

func form(path string, fields map[string]string) call {
	v := url.Values{}
	for name, value := range fields {
		v.Set(name, value)
	}
	return call{method: http.MethodPost, path: path, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body: []byte(v.Encode())}
}
