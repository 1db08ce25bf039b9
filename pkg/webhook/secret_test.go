package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

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
	holdsItsTongue(t, mustParse(t, text), text, hidden)
}

func TestPrivateKey_IsNeverPrinted(t *testing.T) {
	t.Parallel()
	text := NewPrivateKey()
	holdsItsTongue(t, mustParsePrivate(t, text), text, hiddenPrivate)
}

func holdsItsTongue(t *testing.T, s any, text, hidden string) {
	t.Helper()
	_, encoded, _ := strings.Cut(text, "_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "inside", struct{ S any }{s})
	asJSON, err := json.Marshal(map[string]any{"key": s})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", s, s, s, s, s, s, s, []any{struct{ S any }{s}}) + log.String() + string(asJSON)
	for _, form := range []string{encoded, fmt.Sprintf("%d", key), hex.EncodeToString(key), string(key)} {
		if strings.Contains(all, form) {
			t.Errorf("the key is in %q", all)
		}
	}
	if !strings.Contains(all, hidden) {
		t.Errorf("%q doesn't say that a key is hidden", all)
	}
}

func TestParsePrivateKey_TakesBothFormsOnly(t *testing.T) {
	t.Parallel()
	whole := mustParsePrivate(t, vectorPrivateKey)
	if got := whole.Public().String(); got != vectorPublicKey {
		t.Errorf("the public key is %s, want %s", got, vectorPublicKey)
	}
	if seed := mustParsePrivate(t, vectorSeed); !seed.key.Equal(whole.key) {
		t.Error("the seed alone gives another key")
	}
	if made := mustParsePrivate(t, NewPrivateKey()); made.IsZero() || made.key.Equal(whole.key) {
		t.Error("a new key isn't new")
	}
	encode := func(b ...byte) string { return base64.StdEncoding.EncodeToString(b) }
	torn := append(bytes.Clone(whole.key[:32]), make([]byte, 32)...)
	for name, text := range map[string]string{
		"nothing": "", "no key": "whsk_", "no prefix": vectorPrivateKey[5:], "a secret": vectorSecret, "a public key": vectorPublicKey,
		"too short": "whsk_" + encode(whole.key[:31]...), "too long": "whsk_" + encode(append(bytes.Clone(whole.key), 0)...),
		"halves that don't belong together": "whsk_" + encode(torn...), "a line break": vectorPrivateKey[:30] + "\n" + vectorPrivateKey[30:],
		"without padding": strings.TrimRight(vectorPrivateKey, "="),
	} {
		k, err := ParsePrivateKey(text)
		if err == nil || !k.IsZero() {
			t.Errorf("%s is taken", name)
		}
		if err != nil && len(text) > 20 && strings.Contains(err.Error(), text[5:20]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestParsePublicKey_TakesOneFormOnly(t *testing.T) {
	t.Parallel()
	k, err := ParsePublicKey(vectorPublicKey)
	if err != nil || k.String() != vectorPublicKey || k.IsZero() {
		t.Errorf("got %v, %v", k, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "no key": "whpk_", "no prefix": vectorPublicKey[5:], "a private key": vectorPrivateKey, "a secret": vectorSecret,
		"too short": "whpk_" + base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize-1)),
		"zeros":     "whpk_" + base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize)),
	} {
		if k, err := ParsePublicKey(text); err == nil || !k.IsZero() || k.String() != "" {
			t.Errorf("%s is taken", name)
		}
	}
	if got := (PrivateKey{}).Public(); !got.IsZero() {
		t.Error("a zero private key has a public one")
	}
}

func TestParseSigner_KnowsTheSchemeByThePrefix(t *testing.T) {
	t.Parallel()
	s, err := ParseSigner(vectorSecret)
	if secret, ok := s.(Secret); err != nil || !ok || secret.IsZero() {
		t.Errorf("a secret: %v, %v", s, err)
	}
	s, err = ParseSigner(vectorPrivateKey)
	if private, ok := s.(PrivateKey); err != nil || !ok || private.IsZero() {
		t.Errorf("a private key: %v, %v", s, err)
	}
	for _, text := range []string{"", "whsec_short", "whsk_short", vectorPublicKey, "secret"} {
		if s, err := ParseSigner(text); err == nil {
			t.Errorf("%q is taken as %v", text, s)
		}
	}
}

func mustParse(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustParsePrivate(t *testing.T, text string) PrivateKey {
	t.Helper()
	k, err := ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
