package carrier

import (
	"net/url"
	"strings"
	"testing"
)

// TestSend_IsTakenIn: what is sent as a source would send it is verified, and
// the document comes out as it went in.
func TestSend_IsTakenIn(t *testing.T) {
	t.Parallel()
	for _, s := range Sources() {
		doc := []byte(`{"a":"贝+b"}`)
		if s.Code == "yto" {
			doc = []byte(`<UpdateInfo>贝+b</UpdateInfo>`)
		}
		p, pushes := s.Send(doc, "shop", "a secret/+=", received)
		if pushes != (s.Push != nil) {
			t.Errorf("%s pushes: %v", s.Code, pushes)
		}
		if !pushes {
			continue
		}
		form, _ := url.ParseQuery(string(p.Body))
		r := Request{
			Accounts: map[string]string{"shop": "a secret/+=", "other": "x"}, Header: func(name string) string { return p.Header[name] },
			Form: func() url.Values { return form }, Body: p.Body, Now: received,
		}
		parts := strings.Split(strings.TrimPrefix(p.Path, sourcesPath+s.Code), "/")
		for i, to := range []*string{&r.Account, &r.Key} {
			if len(parts) > i+1 {
				*to, _ = url.PathUnescape(parts[i+1])
			}
		}
		got, no := s.Push.Verify(&r)
		if no != nil || got.Account != "shop" || string(got.Text) != string(doc) {
			t.Errorf("%s: %+v, %+v", s.Code, got, no)
		}
		if string(s.Document(p.Body)) != string(doc) {
			t.Errorf("%s: the document in %s is %s", s.Code, p.Body, s.Document(p.Body))
		}
	}
}
