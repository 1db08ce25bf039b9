package demo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/track"
)

// platform is Posthaste without streams: it merges what is posted and calls
// back. Its faults are what a show must not let pass.
type platform struct {
	t *testing.T
	// doubles makes a revision of a repeat, and skips loses the callback of a
	// revision.
	doubles bool
	skips   track.Revision

	mu     sync.Mutex
	url    string
	secret webhook.Secret
	traces map[trace.ID]*track.Trace
	subs   map[trace.ID]string

	cancelled int
}

func (p *platform) CreateEndpoint(_ context.Context, n client.NewEndpoint) (client.Endpoint, error) {
	secret, err := webhook.ParseSecret(string(n.Secret))
	p.url, p.secret = n.URL, secret
	return client.Endpoint{Name: "tenants/default/endpoints/ep_1"}, err
}

func (p *platform) CreateSubscriptions(_ context.Context, ns []client.NewSubscription) ([]client.SubscriptionResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range ns {
		p.subs[n.Waybill] = "sub_" + n.Waybill.WaybillNumber
	}
	return make([]client.SubscriptionResult, len(ns)), nil
}

func (p *platform) CancelSubscription(context.Context, string) (client.Subscription, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancelled++
	return client.Subscription{}, nil
}

// ServeHTTP takes what platforms push.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	source, field := kdniaoSource, "RequestData"
	if strings.Contains(r.URL.Path, kuaidi100Source) {
		source, field = kuaidi100Source, "param"
	}
	doc := []byte(r.PostFormValue(field))
	again, err := accounts.sign(source, doc, now)
	if body := r.PostForm.Encode(); err != nil || again.Path != r.URL.Path || string(again.Body) != body {
		p.t.Errorf("%s: wrong signature: %s", r.URL.Path, body)
	}
	_, _ = w.Write([]byte(`{"Success":true,"result":true}`))
	p.mu.Lock()
	defer p.mu.Unlock()
	s, _ := carrier.Lookup(source)
	parts, err := s.Split(doc)
	if err != nil {
		p.t.Error(err)
	}
	for _, part := range parts {
		report, err := s.Map(carrier.Raw{Waybill: track.Waybill{Carrier: part.Carrier, Number: part.Number}, Kind: s.Kind, Body: part.Body, Context: part.Context, ReceiveTime: now})
		if err != nil {
			p.t.Error(err)
		}
		id := trace.ID{CarrierCode: string(part.Carrier), WaybillNumber: string(part.Number)}
		next, changed := track.Merge(p.traces[id], report, now)
		if !changed && p.doubles {
			again := *next
			again.Revision++
			next, changed = &again, true
		}
		p.traces[id] = next
		if changed && next.Revision != p.skips {
			p.callback(r.Context(), id, next)
		}
	}
}

func (p *platform) callback(ctx context.Context, id trace.ID, t *track.Trace) {
	body := push.Render(push.Subscription{ID: p.subs[id]}, t, t.Revision-1)
	encoded := body.AppendJSON(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(encoded))
	if err != nil {
		p.t.Error(err)
		return
	}
	webhook.SetHeaders(req.Header, body.PushID, time.Now(), encoded, p.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if p.skips == 0 { // else the show may have ended
			p.t.Error(err)
		}
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		p.t.Errorf("a callback was answered with %s", resp.Status)
	}
}

// run plays a show on a platform and returns what it prints.
func (p *platform) run(t *testing.T, change func(*Config)) (string, error) {
	t.Helper()
	p.t, p.traces, p.subs = t, map[trace.ID]*track.Trace{}, map[trace.ID]string{}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	var out bytes.Buffer
	cfg := Config{
		Addresses: Addresses{HTTP: strings.TrimPrefix(server.URL, "http://"), GRPC: "127.0.0.1:9090", Ops: "127.0.0.1:9464", NATS: "127.0.0.1:4222"},
		Accounts:  accounts, Control: p, Out: &out, Now: func() time.Time { return now }, Once: true, Patience: time.Minute,
	}
	change(&cfg)
	err := Run(t.Context(), cfg)
	return out.String(), err
}

func TestShow_EndsWellWhenEveryCallbackCame(t *testing.T) {
	t.Parallel()
	p := new(platform)
	out, err := p.run(t, func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	if p.cancelled != 5 {
		t.Errorf("%d subscriptions are cancelled at the end", p.cancelled)
	}
	for _, want := range []string{"35 steps of 5 parcels", "silence", "丰巢智能柜取件", "东京", "+09:00", "退回", "■"} {
		if !strings.Contains(out, want) {
			t.Errorf("it doesn't say %q", want)
		}
	}
	if got := strings.Count(out, "← callback"); got != 35 {
		t.Errorf("%d callbacks are shown", got)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestShow_FailsWhenARepeatIsAChange(t *testing.T) {
	t.Parallel()
	if _, err := (&platform{doubles: true}).run(t, func(*Config) {}); err == nil || !strings.Contains(err.Error(), "revision") {
		t.Errorf("got %v", err)
	}
}

func TestShow_FailsWhenACallbackIsLost(t *testing.T) {
	t.Parallel()
	if _, err := (&platform{skips: 3}).run(t, func(c *Config) { c.Patience = time.Millisecond }); !errors.Is(err, errPatience) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Without --once the last step of one parcel is left, and the commands for it
// are printed before the show waits.
func TestShow_LeavesAStepToTheReader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := &platform{t: t, traces: map[trace.ID]*track.Trace{}, subs: map[trace.ID]string{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	out := &endsAt{text: "Ctrl-C", end: cancel}
	err := Run(ctx, Config{
		Addresses: Addresses{HTTP: strings.TrimPrefix(server.URL, "http://"), GRPC: "127.0.0.1:9090"}, Accounts: accounts, Control: p, Out: out,
		Now: func() time.Time { return now }, Patience: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`curl -sS 'http://[^']*/v1/sources/kdniao' .*RequestData=`,
		`\.bin/grpcurl -plaintext -d '\{"name":"waybills/jd-logistics/JDX\d+"\}' 127\.0\.0\.1:9090 posthaste\.tracking\.v1\.WaybillService/GetWaybill`,
		`34 steps of 5 parcels`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%s isn't in %s", want, out)
		}
	}
}

// endsAt calls end when a text was written.
type endsAt struct {
	bytes.Buffer
	text string
	end  func()
}

func (w *endsAt) Write(b []byte) (int, error) {
	n, err := w.Buffer.Write(b)
	if bytes.Contains(b, []byte(w.text)) {
		w.end()
	}
	return n, err
}
