package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The published vector of Standard Webhooks.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestSign_AgreesWithThePublishedVector(t *testing.T) {
	t.Parallel()
	if got := Sign(mustParse(t, vectorSecret), vectorID, time.Unix(vectorTime, 0), []byte(vectorBody)); got != vectorSignature {
		t.Errorf("signature is %s, want %s", got, vectorSignature)
	}
}

func TestVerify_AcceptsWhatWasSignedAndNothingElse(t *testing.T) {
	t.Parallel()
	secret, old := mustParse(t, vectorSecret), mustParse(t, NewSecret())
	now := time.Unix(vectorTime, 0)
	for _, tt := range []struct {
		name    string
		secrets []Secret
		change  func(h http.Header)
		body    string
		now     time.Time
		want    error
	}{
		{name: "as signed", secrets: []Secret{secret}},
		{name: "at the edge of the tolerance", secrets: []Secret{secret}, now: now.Add(DefaultTolerance)},
		{name: "at the other edge", secrets: []Secret{secret}, now: now.Add(-DefaultTolerance)},
		{name: "any secret will do", secrets: []Secret{old, secret}},
		{name: "any signature will do", secrets: []Secret{old}, change: func(h http.Header) {
			h.Set(HeaderSignature, "v1a,b3RoZXI= "+vectorSignature+"  "+Sign(old, vectorID, now, []byte(vectorBody)))
		}},
		{name: "a zero secret beside", secrets: []Secret{{}, secret}},
		{name: "lower-case header names", secrets: []Secret{secret}, change: func(h http.Header) {
			for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
				v := h.Get(name)
				h.Del(name)
				h.Set(strings.ToLower(name), v)
			}
		}},

		{name: "another body", secrets: []Secret{secret}, body: vectorBody + " ", want: ErrSignature},
		{name: "another id", secrets: []Secret{secret}, change: set(HeaderID, "msg_other"), want: ErrSignature},
		{name: "another time", secrets: []Secret{secret}, change: set(HeaderTimestamp, strconv.Itoa(vectorTime+1)), want: ErrSignature},
		{name: "another secret", secrets: []Secret{old}, want: ErrSignature},
		{name: "another version", secrets: []Secret{secret}, change: set(HeaderSignature, "v2"+vectorSignature[2:]), want: ErrSignature},
		{name: "half a signature", secrets: []Secret{secret}, change: set(HeaderSignature, vectorSignature[:20]), want: ErrSignature},
		{name: "an empty signature", secrets: []Secret{secret}, change: set(HeaderSignature, "v1,"), want: ErrSignature},
		{name: "a signature in hexadecimal", secrets: []Secret{secret}, change: set(HeaderSignature, "v1,83484cf52b04f8e4cf253"), want: ErrSignature},
		{name: "separated by commas", secrets: []Secret{secret}, change: set(HeaderSignature, vectorSignature+","+vectorSignature), want: ErrSignature},
		{name: "too many signatures before", secrets: []Secret{secret}, change: func(h http.Header) {
			h.Set(HeaderSignature, strings.Repeat(Sign(old, "x", now, nil)+" ", maxSignatures)+vectorSignature)
		}, want: ErrSignature},

		{name: "too old", secrets: []Secret{secret}, now: now.Add(DefaultTolerance + time.Second), want: ErrTimestamp},
		{name: "in the future", secrets: []Secret{secret}, now: now.Add(-DefaultTolerance - time.Second), want: ErrTimestamp},
		{name: "too old and badly signed", secrets: []Secret{old}, now: now.Add(time.Hour), want: ErrSignature},

		{name: "no id", secrets: []Secret{secret}, change: set(HeaderID, ""), want: ErrHeader},
		{name: "no timestamp", secrets: []Secret{secret}, change: set(HeaderTimestamp, ""), want: ErrHeader},
		{name: "no signature", secrets: []Secret{secret}, change: set(HeaderSignature, ""), want: ErrHeader},
		{name: "an id with a full stop", secrets: []Secret{secret}, change: set(HeaderID, "msg.1614265330"), want: ErrHeader},
		{name: "a time in words", secrets: []Secret{secret}, change: set(HeaderTimestamp, "yesterday"), want: ErrHeader},
		{name: "a time with a sign", secrets: []Secret{secret}, change: set(HeaderTimestamp, "+"+strconv.Itoa(vectorTime)), want: ErrHeader},
		{name: "a time out of range", secrets: []Secret{secret}, change: set(HeaderTimestamp, "99999999999999999999"), want: ErrHeader},

		{name: "no secret", want: ErrNoSecret},
		{name: "only a zero secret", secrets: []Secret{{}}, want: ErrNoSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, clock := vectorBody, now
			if tt.body != "" {
				body = tt.body
			}
			if !tt.now.IsZero() {
				clock = tt.now
			}
			h := http.Header{}
			SetHeaders(h, vectorID, now, []byte(vectorBody), secret)
			if tt.change != nil {
				tt.change(h)
			}
			v := Verifier{Secrets: tt.secrets, Now: func() time.Time { return clock }}
			if err := v.Verify(h, []byte(body)); !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

func TestVerify_RotationNeedsNoDowntime(t *testing.T) {
	t.Parallel()
	old, fresh := mustParse(t, NewSecret()), mustParse(t, NewSecret())
	now := time.Unix(vectorTime, 0)
	h := http.Header{}
	SetHeaders(h, "psh_1_1", now, []byte("{}"), fresh, old)
	if got := len(strings.Fields(h.Get(HeaderSignature))); got != 2 {
		t.Fatalf("there are %d signatures, want 2", got)
	}
	for name, s := range map[string]Secret{"the old one": old, "the new one": fresh} {
		v := Verifier{Secrets: []Secret{s}, Now: func() time.Time { return now }}
		if err := v.Verify(h, []byte("{}")); err != nil {
			t.Errorf("a receiver that knows only %s: %v", name, err)
		}
	}
}

func TestVerify_ToleranceCanBeSet(t *testing.T) {
	t.Parallel()
	secret, signed := mustParse(t, NewSecret()), time.Unix(vectorTime, 0)
	h := http.Header{}
	SetHeaders(h, "psh_1_1", signed, nil, secret)
	v := Verifier{Secrets: []Secret{secret}, Tolerance: time.Hour, Now: func() time.Time { return signed.Add(time.Hour) }}
	if err := v.Verify(h, nil); err != nil {
		t.Error(err)
	}
	v.Tolerance--
	if err := v.Verify(h, nil); !errors.Is(err, ErrTimestamp) {
		t.Errorf("error is %v, want %v", err, ErrTimestamp)
	}
	v = Verifier{Secrets: []Secret{secret}} // the real clock is years later
	if err := v.Verify(h, nil); !errors.Is(err, ErrTimestamp) {
		t.Errorf("error is %v, want %v", err, ErrTimestamp)
	}
}

func TestParseSecret_TakesOneFormOnly(t *testing.T) {
	t.Parallel()
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa5}, n)) }
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"shortest", "whsec_" + encode(24), true},
		{"longest", "whsec_" + encode(64), true},
		{"made here", NewSecret(), true},
		{"too short", "whsec_" + encode(23), false},
		{"too long", "whsec_" + encode(65), false},
		{"nothing", "", false},
		{"no key", "whsec_", false},
		{"no prefix", encode(32), false},
		{"another prefix", "whsk_" + encode(32), false},
		{"not base64", "whsec_%%%notbase64", false},
		{"without padding", "whsec_" + strings.TrimRight(encode(32), "="), false},
		{"URL alphabet", "whsec_" + strings.Repeat("-_-_", 8), false},
		{"a line break", "whsec_" + encode(24)[:8] + "\n" + encode(24)[8:], false},
		{"blanks around", " whsec_" + encode(32), false},
		{"unused bits set", "whsec_" + strings.TrimRight(encode(25), "=")[:33] + "R==", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := ParseSecret(tt.text)
			if (err == nil) != tt.ok || s.IsZero() == tt.ok {
				t.Fatalf("ParseSecret gives %v, %v; want it accepted: %t", s.IsZero(), err, tt.ok)
			}
			if err != nil && len(tt.text) > 10 && strings.Contains(err.Error(), tt.text[6:]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestNewSecret_NeverRepeats(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		s := NewSecret()
		if seen[s] {
			t.Fatal("two secrets are equal")
		}
		seen[s] = true
	}
}

func TestSecret_IsNeverPrinted(t *testing.T) {
	t.Parallel()
	text := NewSecret()
	s := mustParse(t, text)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "inside", struct{ S Secret }{s})
	encoded, err := json.Marshal(map[string]any{"secret": s})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", s, s, s, s, s, s, s, []any{struct{ S Secret }{s}}) + log.String() + string(encoded)
	for _, form := range []string{text[6:], fmt.Sprintf("%d", s.key), hex.EncodeToString(s.key), string(s.key)} {
		if strings.Contains(all, form) {
			t.Errorf("the secret is in %q", all)
		}
	}
	if !strings.Contains(all, hidden) {
		t.Errorf("%q doesn't say that a secret is hidden", all)
	}
}

func TestSign_RefusesAZeroSecret(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a zero secret signs: anyone could make that signature")
		}
	}()
	Sign(Secret{}, "psh_1_1", time.Unix(0, 0), nil)
}

// FuzzVerify looks for headers that a verifier takes and that weren't signed.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, strconv.Itoa(vectorTime), vectorSignature, vectorBody)
	f.Add("", "-1", "v1, v1,=", "")
	f.Add("a b", "0", strings.Repeat("v1,AAAA ", 100), "\x00")
	secret, err := ParseSecret(vectorSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signatures, body string) {
		v := Verifier{Secrets: []Secret{secret}, Now: func() time.Time { return time.Unix(vectorTime, 0) }}
		h := http.Header{HeaderID: {id}, HeaderTimestamp: {timestamp}, HeaderSignature: {signatures}}
		if v.Verify(h, []byte(body)) != nil {
			return
		}
		seconds, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil {
			t.Fatalf("timestamp %q is accepted: %v", timestamp, err)
		}
		want := Sign(secret, id, time.Unix(seconds, 0), []byte(body))
		for entry := range strings.FieldsSeq(signatures) {
			if entry == want {
				return
			}
		}
		t.Fatalf("%q, %q, %q is accepted for %q, which has the signature %s", id, timestamp, signatures, body, want)
	})
}

func BenchmarkSign(b *testing.B) {
	secret, err := ParseSecret(NewSecret())
	if err != nil {
		b.Fatal(err)
	}
	body, now := make([]byte, 2000), time.Unix(vectorTime, 0)
	b.ReportAllocs()
	for b.Loop() {
		Sign(secret, "psh_018f3c5e7b2a7c3d9e4f5a6b7c8d9e0f_7", now, body)
	}
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) { h.Set(name, value) }
}

func mustParse(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
