package attacks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var noTime time.Time

var (
	longDigits = regexp.MustCompile(`[+＋]?[0-9０-９][0-9０-９ -]{8,}[0-9０-９]`)
	nameWords  = regexp.MustCompile(`(?:已由|快递员|签收人[:：]?|收件人[:：]?)\s*(\p{Han}{2,3})(?:\s|$|，|,|。|签)`)
)

// runPII reports events with personal data to a product that masks pushes.
func runPII(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	o := &Outcome{}
	in := &c.Input
	switch {
	case in.Has("description"):
		return o, o.masked(ctx, w, in.Text("description"))
	case in.Has("body"):
		_, _ = in.Text("log_level"), in.Text("body") // the product logs everything here
		return o, o.masked(ctx, w, "快件已由 张三丰 签收，电话 13812345678，取件码 8-2-4043")
	case in.Has("metrics"):
		_ = in.Text("metrics")
		return o, o.metrics(ctx, w)
	case in.Has("erase"):
		_ = in.Text("erase")
		return o, o.erase(ctx, w)
	case in.Has("age"):
		_ = in.Text("age")
		return o, o.age(ctx, w)
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// masking is a product whose pushes hide personal data.
func (w *World) masking(ctx context.Context) (*product, error) {
	if p, ok := w.products["masking"]; ok {
		return p, nil
	}
	p, err := w.start(ctx, "masking", "--egress-policy=lab", "--mask-pushes=*")
	if err == nil {
		w.products["masking"] = p
	}
	return p, err
}

// masked reports a text and looks at the push of it, and at everything that was logged.
func (o *Outcome) masked(ctx context.Context, w *World, text string) error {
	p, err := w.masking(ctx)
	if err != nil {
		return err
	}
	w.receiver.respond(nil)
	made, err := p.endpointTo(ctx, w, "/masked", nil)
	if err != nil {
		return err
	}
	defer p.forget(ctx, made.GetEndpoint().GetName())
	if _, err := p.subscribe(ctx, w, made.GetEndpoint().GetName(), text); err != nil {
		return err
	}
	came, err := w.receiver.await(ctx, 1)
	if err != nil {
		return err
	}
	body := string(came[0].Body)
	o.Detail = "the push is " + body
	hidden := true
	var left []string
	for _, number := range longDigits.FindAllString(text, -1) {
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= '０' && r <= '９' {
				return r
			}
			return -1
		}, number)
		if strings.Contains(body, number) || strings.Contains(body, digits) {
			hidden, left = false, append(left, number)
		}
	}
	for _, m := range nameWords.FindAllStringSubmatch(text, -1) {
		if strings.Contains(body, m[1]) {
			hidden, left = false, append(left, m[1])
		}
	}
	o.holds("no 11-digit|no full name|masked or|hidden|numbers masked|profile", hidden, "it holds %q", left)
	o.holds("^not masked|unchanged|kept as", strings.Contains(body, text), "it was changed")
	for _, number := range append(longDigits.FindAllString(text, -1), "13812345678") {
		if len(number) <= 13 && strings.Contains(w.Log.text(), number) {
			left = append(left, number)
			o.check("log line|span|telemetry", fmt.Errorf("the log holds %s", number))
		}
	}
	o.check("log line|span|telemetry", nil)
	return nil
}

// metrics looks for what doesn't belong into labels.
func (o *Outcome) metrics(ctx context.Context, w *World) error {
	if _, err := w.masking(ctx); err != nil {
		return err
	}
	for _, p := range w.products {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.at.Ops+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		var bad []string
		for line := range strings.Lines(string(text)) {
			_, labels, ok := strings.Cut(line, "{")
			labels, _, _ = strings.Cut(labels, "}")
			if ok && (says(labels, "http://", "https://", "ATK", "whsec_", "JSON", "GOOD") || fullPhone.MatchString(labels)) {
				bad = append(bad, strings.TrimSpace(line))
			}
		}
		o.holds("label|waybill|phone|secret|URL", len(bad) == 0, "%q", bad[:min(len(bad), 3)])
	}
	return nil
}
