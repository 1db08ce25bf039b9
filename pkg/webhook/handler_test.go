package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
)

func body(after, revision uint64) []byte {
	p := payload.Push{
		Type: payload.TypeTraceUpdated, PushID: "psh_1_2", SubscriptionID: "sub_1", AfterRevision: after, Revision: revision,
		Events: []payload.Event{{ID: "old", Revision: 1}, {ID: "new", Revision: 2}},
	}
	return p.AppendJSON(nil)
}

func TestHandler_AnswersRightly(t *testing.T) {
	t.Parallel()
	secret := mustParse(t, NewSecret())
	now := time.Unix(vectorTime, 0)
	for _, tt := range []struct {
		name       string
		method     string
		body       string
		change     func(r *http.Request)
		handle     error
		secrets    []Secret
		want       int
		wantText   string
		wantHeader string // "Name: value"
		handled    bool
	}{
		{name: "a push", want: 204, handled: true},
		{name: "a handler's error", handle: errors.New("password is hunter2"), want: 500, wantText: "couldn't handle", handled: true},
		{name: "come again later", handle: RetryAfter(1500*time.Millisecond, errors.New("busy")), want: 503, wantHeader: "Retry-After: 2", handled: true},
		{name: "come again at once", handle: RetryAfter(0, errors.New("busy")), want: 503, wantHeader: "Retry-After: 1", handled: true},
		{name: "a GET", method: http.MethodGet, want: 405, wantHeader: "Allow: POST"},
		{name: "no signature", change: func(r *http.Request) { r.Header.Del(HeaderSignature) }, want: 400, wantText: "webhook-signature is missing"},
		{name: "a wrong signature", change: func(r *http.Request) { r.Header.Set(HeaderSignature, vectorSignature) }, want: 401, wantText: "signature doesn't match"},
		{name: "an old push", change: func(r *http.Request) {
			SetHeaders(r.Header, "psh_1_2", now.Add(-time.Hour), body(1, 2), secret)
		}, want: 401, wantText: "signed more than 5m0s ago"},
		{name: "no secret", secrets: []Secret{{}}, want: 500, wantText: "no secret"},
		{name: "not JSON", body: `{"type":`, want: 400, wantText: "decode push"},
		{name: "another type", body: `{"type":"trace.deleted"}`, want: 400, wantText: `type "trace.deleted" isn't known`},
		{name: "no id", body: `{"type":"trace.updated"}`, want: 400, wantText: "push_id"},
		{name: "an empty range", body: `{"type":"trace.updated","push_id":"psh_1_2","subscription_id":"sub_1","after_revision":2,"revision":2}`, want: 400, wantText: "after_revision 2"},
		{name: "announced as too large", change: func(r *http.Request) { r.ContentLength = MaxBody + 1 }, want: 413, wantText: "larger"},
		{name: "too large", change: func(r *http.Request) {
			r.ContentLength = -1
			r.Body = io.NopCloser(io.LimitReader(zeros{}, MaxBody+1))
		}, want: 413, wantText: "larger"},
		{name: "broken off", change: func(r *http.Request) { r.Body = io.NopCloser(&broken{}) }, want: 400, wantText: "broke off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := tt.body
			if text == "" {
				text = string(body(1, 2))
			}
			secrets := tt.secrets
			if secrets == nil {
				secrets = []Secret{secret}
			}
			method := tt.method
			if method == "" {
				method = http.MethodPost
			}
			r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(text))
			SetHeaders(r.Header, "psh_1_2", now, []byte(text), secret)
			if tt.change != nil {
				tt.change(r)
			}
			handled := false
			w := httptest.NewRecorder()
			Handler(&Verifier{Secrets: secrets, Now: func() time.Time { return now }}, func(_ context.Context, p payload.Push) error {
				handled = true
				if p.PushID != "psh_1_2" || p.Revision != 2 {
					t.Errorf("the handler got %+v", p)
				}
				return tt.handle
			}).ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("answer is %d %s, want %d", w.Code, w.Body, tt.want)
			}
			if !strings.Contains(w.Body.String(), tt.wantText) || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("answer is %q, want one with %q", w.Body, tt.wantText)
			}
			if name, value, ok := strings.Cut(tt.wantHeader, ": "); ok && w.Header().Get(name) != value {
				t.Errorf("header %s is %q, want %q", name, w.Header().Get(name), value)
			}
			if handled != tt.handled {
				t.Errorf("handled is %t, want %t", handled, tt.handled)
			}
		})
	}
}

func TestRetryAfter_OfNoErrorIsNone(t *testing.T) {
	t.Parallel()
	if err := RetryAfter(time.Second, nil); err != nil {
		t.Errorf("error is %v: the push would come again for ever", err)
	}
	if cause := errors.New("busy"); !errors.Is(RetryAfter(time.Second, cause), cause) {
		t.Error("the cause is lost")
	}
}

func TestDecode_IgnoresWhatComesLater(t *testing.T) {
	t.Parallel()
	later := strings.Replace(string(body(1, 2)), `{"type"`, `{"later":{"x":[1]},"type"`, 1)
	p, err := Decode([]byte(later))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Events) != 2 {
		t.Errorf("events are %v", p.Events)
	}
	if _, err := Decode([]byte(later + "{}")); err == nil {
		t.Error("two bodies in one are taken")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(body(1, 2))
	f.Add([]byte(`{"type":"trace.updated","trace":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err == nil && (p.Type != payload.TypeTraceUpdated || p.PushID == "" || p.AfterRevision >= p.Revision) {
			t.Fatalf("%q is taken as %+v", data, p)
		}
	})
}

func TestChain_TellsNewsFromRepeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		have            uint64
		after, revision uint64
		want            Link
		then            uint64
		news            int
	}{
		{"the first push", 0, 0, 2, Continues, 2, 2},
		{"the next", 1, 1, 2, Continues, 2, 1},
		{"the same again", 2, 1, 2, Repeats, 2, 0},
		{"an older one again", 5, 0, 2, Repeats, 5, 0},
		{"folded with one that came", 1, 0, 2, Overlaps, 2, 1},
		{"one is missing", 1, 2, 3, Gap, 1, 1},
		{"the first is missing", 0, 1, 2, Gap, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := Decode(body(tt.after, tt.revision))
			if err != nil {
				t.Fatal(err)
			}
			c := Chain{Revision: tt.have}
			if got := len(c.New(p)); got != tt.news {
				t.Errorf("%d events are new, want %d", got, tt.news)
			}
			if got := c.Link(p); got != tt.want || c.Revision != tt.have {
				t.Errorf("it %s and leaves revision %d, want that it %s", got, c.Revision, tt.want)
			}
			if got := c.Advance(p); got != tt.want || c.Revision != tt.then {
				t.Errorf("it %s and leaves revision %d, want %d", got, c.Revision, tt.then)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
