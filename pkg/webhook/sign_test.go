package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSign_AgreesWithThePublishedVectors(t *testing.T) {
	t.Parallel()
	secret, private := mustParse(t, vectorSecret), mustParsePrivate(t, vectorPrivateKey)
	for _, tt := range []struct {
		name   string
		signer Signer
		want   string
	}{
		{"HMAC-SHA256", secret, vectorSignature},
		{"Ed25519", private, vectorEd25519Signature},
		{"Ed25519 by the seed", mustParsePrivate(t, vectorSeed), vectorEd25519Signature},
		{"both", Signers{secret, private}, vectorSignature + " " + vectorEd25519Signature},
		{"both, the other way", Signers{private, secret}, vectorEd25519Signature + " " + vectorSignature},
		{"with zeros between", Signers{nil, Secret{}, secret, PrivateKey{}, Signers{}, private, nil}, vectorSignature + " " + vectorEd25519Signature},
		{"lists in lists", Signers{Signers{secret}, Signers{Signers{private}}}, vectorSignature + " " + vectorEd25519Signature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Sign(tt.signer, vectorID, time.Unix(vectorTime, 0), []byte(vectorBody)); got != tt.want {
				t.Errorf("signature is %s, want %s", got, tt.want)
			}
			if tt.signer.IsZero() {
				t.Error("it is zero and signs")
			}
		})
	}
}

// A receiver changes its key whenever it likes while both are alive.
func TestSetHeaders_RotationNeedsNoDowntime(t *testing.T) {
	t.Parallel()
	old, fresh := mustParse(t, NewSecret()), mustParse(t, NewSecret())
	oldKey, freshKey := mustParsePrivate(t, NewPrivateKey()), mustParsePrivate(t, NewPrivateKey())
	now := time.Unix(vectorTime, 0)
	h := http.Header{}
	SetHeaders(h, "psh_1_1", now, []byte("{}"), fresh, old, Signers{freshKey, oldKey})
	if got := len(strings.Fields(h.Get(HeaderSignature))); got != 4 || h.Get(HeaderID) != "psh_1_1" || h.Get(HeaderTimestamp) != strconv.Itoa(vectorTime) {
		t.Fatalf("there are %d signatures, want 4: %v", got, h)
	}
	for name, v := range map[string]Verifier{
		"the old secret": {Secrets: []Secret{old}}, "the new secret": {Secrets: []Secret{fresh}},
		"the old key": {PublicKeys: []PublicKey{oldKey.Public()}}, "the new key": {PublicKeys: []PublicKey{freshKey.Public()}},
		"all": {Secrets: []Secret{old, fresh}, PublicKeys: []PublicKey{oldKey.Public(), freshKey.Public()}},
	} {
		v.Now = func() time.Time { return now }
		if err := v.Verify(h, []byte("{}")); err != nil {
			t.Errorf("a receiver that knows only %s: %v", name, err)
		}
	}
}

func TestSign_RefusesToSignWithoutAKey(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Signer{
		"nil": nil, "a zero secret": Secret{}, "a zero private key": PrivateKey{}, "no signers": Signers(nil), "zero signers": Signers{nil, Secret{}, PrivateKey{}, Signers{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it signs: anyone could make that signature")
				}
			}()
			if s != nil && !s.IsZero() {
				t.Error("it isn't zero")
			}
			Sign(s, "psh_1_1", time.Unix(0, 0), nil)
		})
	}
}

func BenchmarkSign(b *testing.B) {
	secret, err := ParseSigner(NewSecret())
	if err != nil {
		b.Fatal(err)
	}
	private, err := ParseSigner(NewPrivateKey())
	if err != nil {
		b.Fatal(err)
	}
	body, now := make([]byte, 2000), time.Unix(vectorTime, 0)
	for name, s := range map[string]Signer{"hmac": secret, "ed25519": private} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Sign(s, "psh_018f3c5e7b2a7c3d9e4f5a6b7c8d9e0f_7", now, body)
			}
		})
	}
}
