package webhook

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
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

// The same text under Ed25519, as Svix, the scheme's first sender, publishes it.
const (
	vectorPrivateKey       = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	vectorSeed             = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
	vectorPublicKey        = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorEd25519Signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

// otherEd25519Signature has the right form.
var otherEd25519Signature = versionEd25519 + base64.StdEncoding.EncodeToString(make([]byte, 64))

func TestVerify_AcceptsWhatWasSignedAndNothingElse(t *testing.T) {
	t.Parallel()
	secret, old := mustParse(t, vectorSecret), mustParse(t, NewSecret())
	public, stranger := mustParsePrivate(t, vectorPrivateKey).Public(), mustParsePrivate(t, NewPrivateKey()).Public()
	now := time.Unix(vectorTime, 0)
	// What anyone can make: the signature with an empty key.
	mac := sum(Secret{}, vectorID, strconv.Itoa(vectorTime), []byte(vectorBody))
	nobodys := versionHMAC + base64.StdEncoding.EncodeToString(mac[:])
	// As signed by the published private key.
	asymmetric := set(HeaderSignature, vectorEd25519Signature)
	for _, tt := range []struct {
		name    string
		secrets []Secret
		keys    []PublicKey
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

		{name: "by Ed25519", keys: []PublicKey{public}, change: asymmetric},
		{name: "any public key will do", keys: []PublicKey{stranger, {}, public}, change: asymmetric},
		{name: "any scheme will do: v1 before", secrets: []Secret{old}, keys: []PublicKey{public}, change: set(HeaderSignature, vectorSignature+" "+vectorEd25519Signature)},
		{name: "any scheme will do: v1 alone", secrets: []Secret{secret}, keys: []PublicKey{stranger}},
		{name: "an unreadable signature before", keys: []PublicKey{public}, change: set(HeaderSignature, "v1a,%%% v1a,AAAA "+vectorEd25519Signature)},
		{name: "as many signatures before as are checked", keys: []PublicKey{public}, change: set(HeaderSignature, strings.Repeat(otherEd25519Signature+" ", maxEd25519Signatures-1)+vectorEd25519Signature)},

		{name: "by Ed25519, another body", keys: []PublicKey{public}, change: asymmetric, body: vectorBody + " ", want: ErrSignature},
		{name: "by Ed25519, another key", keys: []PublicKey{stranger}, change: asymmetric, want: ErrSignature},
		{name: "by Ed25519, only secrets to check with", secrets: []Secret{secret}, change: asymmetric, want: ErrSignature},
		{name: "by HMAC, only public keys to check with", keys: []PublicKey{public}, want: ErrSignature},
		{name: "by Ed25519, called v1", keys: []PublicKey{public}, change: set(HeaderSignature, "v1,"+vectorEd25519Signature[4:]), want: ErrSignature},
		{name: "by Ed25519, one bit changed", keys: []PublicKey{public}, change: set(HeaderSignature, "v1a,iNO3"+vectorEd25519Signature[8:]), want: ErrSignature},
		{name: "by Ed25519, too many signatures before", keys: []PublicKey{public}, change: set(HeaderSignature, strings.Repeat(otherEd25519Signature+" ", maxEd25519Signatures)+vectorEd25519Signature), want: ErrSignature},
		{name: "by Ed25519, too old", keys: []PublicKey{public}, change: asymmetric, now: now.Add(DefaultTolerance + time.Second), want: ErrTimestamp},
		{name: "only a zero public key", keys: []PublicKey{{}}, change: asymmetric, want: ErrNoSecret},

		{name: "another body", secrets: []Secret{secret}, body: vectorBody + " ", want: ErrSignature},
		{name: "another id", secrets: []Secret{secret}, change: set(HeaderID, "msg_other"), want: ErrSignature},
		{name: "another time", secrets: []Secret{secret}, change: set(HeaderTimestamp, strconv.Itoa(vectorTime+1)), want: ErrSignature},
		{name: "another secret", secrets: []Secret{old}, want: ErrSignature},
		{name: "another version", secrets: []Secret{secret}, change: set(HeaderSignature, "v2"+vectorSignature[2:]), want: ErrSignature},
		{name: "half a signature", secrets: []Secret{secret}, change: set(HeaderSignature, vectorSignature[:20]), want: ErrSignature},
		{name: "by nobody's key, a zero secret beside", secrets: []Secret{{}, secret}, change: set(HeaderSignature, nobodys), want: ErrSignature},
		{name: "unused bits set", secrets: []Secret{secret}, change: set(HeaderSignature, strings.TrimSuffix(vectorSignature, "E=")+"F="), want: ErrSignature},
		{name: "an empty signature", secrets: []Secret{secret}, change: set(HeaderSignature, "v1,"), want: ErrSignature},
		{name: "a signature in hexadecimal", secrets: []Secret{secret}, change: set(HeaderSignature, "v1,83484cf52b04f8e4cf253"), want: ErrSignature},
		{name: "separated by commas", secrets: []Secret{secret}, change: set(HeaderSignature, vectorSignature+","+vectorSignature), want: ErrSignature},
		{name: "too many signatures before", secrets: []Secret{secret}, change: func(h http.Header) {
			h.Set(HeaderSignature, strings.Repeat(Sign(old, "x", now, nil)+" ", maxMACs)+vectorSignature)
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
			v := Verifier{Secrets: tt.secrets, PublicKeys: tt.keys, Now: func() time.Time { return clock }}
			if err := v.Verify(h, []byte(body)); !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
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

// FuzzVerify looks for headers that a verifier takes and that weren't signed.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, strconv.Itoa(vectorTime), vectorSignature, vectorBody)
	f.Add(vectorID, strconv.Itoa(vectorTime), "v1,x "+vectorEd25519Signature, vectorBody)
	f.Add("", "-1", "v1, v1,= v1a,", "")
	f.Add("a b", "0", strings.Repeat("v1,AAAA v1a,AAAA ", 100), "\x00")
	secret, err := ParseSecret(vectorSecret)
	if err != nil {
		f.Fatal(err)
	}
	private, err := ParsePrivateKey(vectorPrivateKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signatures, body string) {
		v := Verifier{
			Secrets: []Secret{secret}, PublicKeys: []PublicKey{private.Public()},
			Now: func() time.Time { return time.Unix(vectorTime, 0) },
		}
		h := http.Header{HeaderID: {id}, HeaderTimestamp: {timestamp}, HeaderSignature: {signatures}}
		if v.Verify(h, []byte(body)) != nil {
			return
		}
		seconds, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil {
			t.Fatalf("timestamp %q is accepted: %v", timestamp, err)
		}
		mac, signature := Sign(secret, id, time.Unix(seconds, 0), []byte(body)), Sign(private, id, time.Unix(seconds, 0), []byte(body))
		for entry := range strings.FieldsSeq(signatures) {
			if entry == mac || entry == signature {
				return
			}
		}
		t.Fatalf("%q, %q, %q is accepted for %q, which has the signatures %s %s", id, timestamp, signatures, body, mac, signature)
	})
}

// FuzzParseSignatures holds the parser to its bounds, and to reading only what
// is there.
func FuzzParseSignatures(f *testing.F) {
	f.Add(vectorSignature + " " + vectorEd25519Signature)
	f.Add("v1a,v1,v1 ,\tv1,=")
	f.Add(strings.Repeat(vectorSignature+"  ", 20) + strings.Repeat(vectorEd25519Signature+"\r\n", 20))
	f.Fuzz(func(t *testing.T, header string) {
		e := parseSignatures(header)
		if len(e.macs) > maxMACs || len(e.ed25519) > maxEd25519Signatures {
			t.Fatalf("%d and %d entries are read", len(e.macs), len(e.ed25519))
		}
		there := strings.Fields(header)
		for _, mac := range e.macs {
			if entry := versionHMAC + base64.StdEncoding.EncodeToString(mac[:]); !slices.Contains(there, entry) {
				t.Fatalf("%s is read from %q", entry, header)
			}
		}
		for _, signature := range e.ed25519 {
			if entry := versionEd25519 + base64.StdEncoding.EncodeToString(signature[:]); !slices.Contains(there, entry) {
				t.Fatalf("%s is read from %q", entry, header)
			}
		}
	})
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) { h.Set(name, value) }
}
