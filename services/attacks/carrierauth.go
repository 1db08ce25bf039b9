package attacks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
)

// runCarrierAuth sends pushes whose sender isn't who it says.
func runCarrierAuth(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	in := &c.Input
	number := strings.ToUpper(w.fresh("AUTH"))
	body := encode(event(number))
	switch {
	case in.Has("failures"):
		return o, o.guessing(ctx, w, p, in.Text("failures"))
	case in.Has("replay"):
		return o, o.replayed(ctx, w, p, in.Text("replay"))
	case in.Has("source_ip"):
		return o, o.fenced(ctx, w, p, in.Text("source_ip"))
	case in.Has("timestamp"):
		k, err := stamped(in.Text("timestamp"), body)
		if err != nil {
			return nil, err
		}
		return o, o.refusedPush(ctx, w, p, k, number)
	case in.Has("path_carrier"), in.Has("body_carrier"):
		path, inside := in.Text("path_carrier"), in.Text("body_carrier")
		e := event(number)
		e["carrier"] = inside
		k := push(path, typeJSON, encode(e))
		if carrierSecrets[path] == "" { // one that we have no secret of signs with its own
			k = signedAt(path, webhook.NewSecret(), typeJSON, encode(e), time.Now())
		}
		return o, o.refusedPush(ctx, w, p, k, number)
	case in.Has("sign"):
		words := in.Text("sign")
		if says(words, "hex") && says(words, "upper", "lower") {
			return o, o.hexCase(ctx, w, p)
		}
		return o, o.refusedPush(ctx, w, p, badlySigned(words, body), number)
	}
	return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
}

// badlySigned is a push whose signature is what some words say.
func badlySigned(words string, body []byte) call {
	k := push("sf", typeJSON, body)
	right := k.header.Get(webhook.HeaderSignature)
	value := strings.TrimPrefix(right, "v1,")
	set := func(v string) call {
		k.header.Set(webhook.HeaderSignature, v)
		return k
	}
	switch {
	case strings.TrimSpace(words) == "":
		return set(words)
	case says(words, "missing", "none", "absent"):
		k.header.Del(webhook.HeaderSignature)
		return k
	case says(words, "another carrier", "other carrier", "another tenant", "another account", "wrong secret", "wrong key"):
		return signedAt("sf", carrierSecrets["zto"], typeJSON, body, time.Now())
	case says(words, "first", "prefix"):
		n, ok := parseCount(words)
		if !ok || n >= len(value) {
			n = 8
		}
		return set("v1," + value[:n] + flipped(value[n:]))
	case says(words, "last", "suffix"):
		n, ok := parseCount(words)
		if !ok || n >= len(value) {
			n = 8
		}
		return set("v1," + flipped(value[:len(value)-n]) + value[len(value)-n:])
	case says(words, "truncat", "shorten", "half"):
		return set("v1," + value[:len(value)/2])
	case says(words, "re-encoded", "reencoded", "%20", "body changed", "altered", "body"):
		signed := []byte(strings.Replace(string(body), "on its way", "on%20its%20way", 1))
		k = push("sf", typeJSON, signed)
		k.body = []byte(strings.ReplaceAll(string(signed), "%20", "+"))
		return k
	case says(words, "empty secret", "empty key"):
		return set("v1," + macOfNothing(k))
	case says(words, "right", "valid", "correct"):
		if says(words, "upper", "lower", "case") {
			return set("v1," + swapCase(value))
		}
		return k
	}
	return set(words)
}

// macOfNothing signs a push with an empty key.
func macOfNothing(k call) string {
	h := hmac.New(sha256.New, nil)
	_, _ = fmt.Fprintf(h, "%s.%s.%s", k.header.Get(webhook.HeaderID), k.header.Get(webhook.HeaderTimestamp), k.body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// flipped is as long as a text and differs from it in every place.
func flipped(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '=':
			return r
		case 'A':
			return 'B'
		}
		return 'A'
	}, s)
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 32
		case 'A' <= r && r <= 'Z':
			return r + 32
		}
		return r
	}, s)
}

// stamped is a push, well signed, of another time.
func stamped(words string, body []byte) (call, error) { //nolint:unparam // alike with its neighbours
	away := parseTime(words)
	k := push("sf", typeJSON, body)
	switch {
	case says(words, "missing"):
		k.header.Del(webhook.HeaderTimestamp)
		return k, nil
	case away == 0:
		k.header.Set(webhook.HeaderTimestamp, words) // not a time at all
		return k, nil
	case says(words, "ahead", "future", "later"):
		return signedAt("sf", carrierSecrets["sf"], typeJSON, body, time.Now().Add(away)), nil
	}
	return signedAt("sf", carrierSecrets["sf"], typeJSON, body, time.Now().Add(-away)), nil
}

// refusedPush sends a push and looks whether it had an effect; one that is refused
// must have none, and look like that of a stranger.
func (o *Outcome) refusedPush(ctx context.Context, w *World, p *product, k call, number string) error {
	a, err := p.do(ctx, k)
	if err != nil {
		return err
	}
	o.see(w, a)
	if a.status == http.StatusUnauthorized {
		stranger := signedAt("nobody", webhook.NewSecret(), typeJSON, k.body, time.Now())
		b, err := p.do(ctx, stranger)
		if err != nil {
			return err
		}
		if b.status != a.status || string(b.body) != string(a.body) {
			o.problem("a carrier that nobody knows is answered %d %s, and this %d %s", b.status, b.body, a.status, a.body)
		}
		o.check("constant-time|full-length|look alike|same answer", nil)
	}
	if err := p.flows(ctx, w); err != nil { // whatever the push did is done by now
		return err
	}
	for _, carrier := range []string{"sf", "zto"} {
		if n := len(p.trace(ctx, carrier, number)); n > 0 && a.status >= 400 {
			o.problem("the refused push is in the trace of %s", carrier)
		}
	}
	o.check("nothing stored|no effect", nil)
	return nil
}

// hexCase holds the platforms' faces to what their documents say about the case of
// digits.
func (o *Outcome) hexCase(ctx context.Context, w *World, p *product) error {
	for _, upper := range []bool{false, true} {
		number := strings.ToUpper(w.fresh("HEX"))
		data := string(encode(map[string]any{
			"EBusinessID": kdniaoAccount, "Count": "1", "PushTime": time.Now().Format(time.DateTime),
			"Data": []any{map[string]any{
				"ShipperCode": "SF", "LogisticCode": number, "Success": true, "State": "2",
				"Traces": []any{map[string]any{"AcceptTime": time.Now().Format(time.DateTime), "AcceptStation": "on its way", "Action": "2"}},
			}},
		}))
		a, err := p.do(ctx, form("/v1/sources/kdniao", map[string]string{"RequestData": data, "RequestType": "101", "DataSign": kdniaoSign(data, kdniaoKey, upper)}))
		if err != nil {
			return err
		}
		var said struct{ Success bool }
		if err := json.Unmarshal(a.body, &said); err != nil {
			return fmt.Errorf("Kdniao's face answered %q", a.body)
		}
		if said.Success == upper { // Kdniao's document: lower case
			o.problem("Kdniao's face: upper case %t, success %t", upper, said.Success)
		}
		param := string(encode(map[string]any{
			"status": "polling", "message": "", "lastResult": map[string]any{
				"message": "ok", "state": "0", "status": "200", "com": "shunfeng", "nu": number, "ischeck": "0",
				"data": []any{map[string]any{"context": "on its way", "time": time.Now().Format(time.DateTime), "ftime": time.Now().Format(time.DateTime)}},
			},
		}))
		b, err := p.do(ctx, form("/v1/sources/kuaidi100/"+kuaidiAccount, map[string]string{"param": param, "sign": kuaidiSign(param, kuaidiSalt, upper)}))
		if err != nil {
			return err
		}
		var heard struct{ Result bool }
		if err := json.Unmarshal(b.body, &heard); err != nil || !heard.Result { // its document: upper; both are in use
			o.problem("Kuaidi100's face: upper case %t answered %s", upper, b.body)
		}
		o.see(w, b)
	}
	o.check("as the profile says|documented", nil)
	return nil
}

// replayed sends a push twice, the second time as it would come minutes later.
func (o *Outcome) replayed(ctx context.Context, w *World, p *product, words string) error {
	endpoint, _, err := p.createEndpoint(ctx, "http://127.0.0.1:"+w.receiver.port()+"/replay")
	if err != nil {
		return err
	}
	defer p.forget(ctx, endpoint.GetName())
	w.receiver.respond(nil)
	number := strings.ToUpper(w.fresh("RPL"))
	if _, err := p.subscribeTo(ctx, endpoint.GetName(), "sf", number); err != nil {
		return err
	}
	// To the product it is as old as it would be then.
	k := signedAt("sf", carrierSecrets["sf"], typeJSON, encode(event(number)), time.Now().Add(-parseTime(words)))
	first, err := p.do(ctx, k)
	if err != nil || first.status != http.StatusOK {
		return fmt.Errorf("the first push is answered %d (%w): %s", first.status, err, first.body)
	}
	if _, err := w.receiver.await(ctx, 1); err != nil {
		return err
	}
	second, err := p.do(ctx, k)
	if err != nil {
		return err
	}
	o.see(w, second)
	// What comes after it comes after all that it led to.
	if err := p.reportTo(ctx, "sf", number, "another event"); err != nil {
		return err
	}
	came, err := w.receiver.await(ctx, 2)
	if err != nil {
		return err
	}
	events := p.trace(ctx, "sf", number)
	o.holds("second change|change", len(events) == 2, "the trace has %d events", len(events))
	o.holds("second push|push", len(came) == 2, "%d pushes came", len(came))
	return nil
}

// fenced sends a push of a carrier whose addresses are listed.
func (o *Outcome) fenced(ctx context.Context, w *World, p *product, words string) error {
	number := strings.ToUpper(w.fresh("FENCE"))
	send := func(from, forwarded string) (answer, error) {
		k := push("fenced", typeJSON, encode(event(number)))
		if forwarded != "" {
			k.header.Set("X-Forwarded-For", forwarded)
		}
		k.from = from
		return p.do(ctx, k)
	}
	const inside, outside = "198.51.100.7", "203.0.113.9"
	from, forwarded := "", inside
	switch {
	case says(words, "from a configured proxy", "trusted proxy", "through a proxy"):
		from = proxy
		if says(words, "outside") {
			forwarded = outside
		}
		if says(words, "rightmost", "chain", "prepend", "appended") {
			forwarded = inside + ", " + outside
		}
	case !says(words, "forwarded", "xff"):
		forwarded = ""
	}
	a, err := send(from, forwarded)
	if err != nil {
		return err
	}
	o.see(w, a)
	// Whatever the case says, the fence must have a gate, and only that.
	for _, t := range []struct {
		from, forwarded string
		want            int
	}{{proxy, inside, 200}, {proxy, inside + ", " + outside, 403}, {"", inside, 403}, {"", "", 403}} {
		b, err := send(t.from, t.forwarded)
		if err == nil && b.status != t.want {
			err = fmt.Errorf("from %q, forwarded for %q: answered %d and not %d", t.from, t.forwarded, b.status, t.want)
		}
		o.check("forwarded|proxies|proxy", err)
	}
	return nil
}

// guessing sends many wrong signatures from one address.
func (o *Outcome) guessing(ctx context.Context, w *World, p *product, words string) error {
	n, ok := parseCount(words)
	if !ok {
		return fmt.Errorf("%q has no number", words)
	}
	n = min(n, 2000)
	const from = "127.0.0.66"
	number := strings.ToUpper(w.fresh("GUESS"))
	body := encode(event(number))
	w.Log.mark()
	seen := map[int]int{}
	for range n {
		k := signedAt("sf", webhook.NewSecret(), typeJSON, body, time.Now())
		k.from = from
		a, err := p.do(ctx, k)
		if err != nil {
			return err
		}
		seen[a.status]++
		switch a.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		default:
			o.problem("a wrong signature is answered %d", a.status)
		}
	}
	for status := range seen {
		o.saw("http:%d", status)
	}
	o.Detail = fmt.Sprintf("answers by status: %v", seen)
	if n > failures && seen[http.StatusTooManyRequests] == 0 {
		o.problem("nobody was told to slow down in %d tries", n)
	}
	o.check("other sources|unaffected", p.pushFrom(ctx, w, "127.0.0.67"))
	lines := len(w.Log.lines("a signature or account is wrong"))
	o.holds("audit line|one line|not "+strconv.Itoa(n), lines >= 1 && lines <= 3, "%d lines were logged", lines)
	return nil
}

// pushFrom sends a good push from an address.
func (p *product) pushFrom(ctx context.Context, w *World, from string) error {
	k := push("sf", typeJSON, encode(event(strings.ToUpper(w.fresh("OTHER")))))
	k.from = from
	a, err := p.do(ctx, k)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("a good push from %s is answered %d: %s", from, a.status, a.body)
	}
	return err
}
