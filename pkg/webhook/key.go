package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

const (
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
	hiddenPrivate = privatePrefix + "***"
)

// PrivateKey is the key of an endpoint that Posthaste alone has; it signs with
// Ed25519, entries of version "v1a". The receiver checks with the [PublicKey]
// and can't sign, so what leaks there forges nothing. It prints as "whsk_***",
// whatever the verb or logger. The zero value signs nothing.
type PrivateKey struct{ key ed25519.PrivateKey }

// PublicKey checks what its [PrivateKey] signed. It is no secret. The zero value
// verifies nothing.
type PublicKey struct{ key ed25519.PublicKey }

// NewPrivateKey makes a random private key, in the form that [ParsePrivateKey]
// reads.
func NewPrivateKey() string {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // never: see crypto/rand
	}
	return privatePrefix + base64.StdEncoding.EncodeToString(key)
}

// ParsePrivateKey reads a private key: "whsk_" and the base64 of 64 bytes, the
// seed and the public key, or of the seed's 32 bytes alone. Standard Webhooks
// leaves open which of them it is, and both are in use. Its error doesn't repeat
// the key.
func ParsePrivateKey(text string) (PrivateKey, error) {
	b, err := decodeKey(text, "private key", privatePrefix)
	if err != nil {
		return PrivateKey{}, err
	}
	switch len(b) {
	case ed25519.SeedSize:
		return PrivateKey{key: ed25519.NewKeyFromSeed(b)}, nil
	case ed25519.PrivateKeySize:
		// Two signatures of one text, made with two public halves, reveal the key.
		key := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
		if !key.Equal(ed25519.PrivateKey(b)) {
			return PrivateKey{}, errors.New("the two halves of a private key belong together, these don't")
		}
		return PrivateKey{key: key}, nil
	default:
		return PrivateKey{}, fmt.Errorf("a private key has %d or %d bytes, this one has %d", ed25519.PrivateKeySize, ed25519.SeedSize, len(b))
	}
}

// Public is what the receiver checks with.
func (k PrivateKey) Public() PublicKey {
	if k.IsZero() {
		return PublicKey{}
	}
	return PublicKey{key: ed25519.PublicKey(k.key[ed25519.SeedSize:])}
}

// IsZero reports whether k was never set.
func (k PrivateKey) IsZero() bool { return len(k.key) == 0 }

// String hides the key.
func (PrivateKey) String() string { return hiddenPrivate }

// GoString hides the key.
func (PrivateKey) GoString() string { return hiddenPrivate }

// Format hides the key, whatever the verb.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hiddenPrivate)) }

// LogValue hides the key.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(hiddenPrivate) }

// MarshalText hides the key from encoders.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(hiddenPrivate), nil }

func (k PrivateKey) appendSignatures(b []byte, id, timestamp string, body []byte) []byte {
	if k.IsZero() {
		return b
	}
	return base64.StdEncoding.AppendEncode(append(b, versionEd25519...), ed25519.Sign(k.key, signedText(id, timestamp, body)))
}

// signedText is all of what is signed, since Ed25519 reads it twice.
func signedText(id, timestamp string, body []byte) []byte {
	text := make([]byte, 0, len(id)+len(timestamp)+2+len(body))
	return append(appendHead(text, id, timestamp), body...)
}

// ParsePublicKey reads a public key: "whpk_" and the base64 of 32 bytes.
func ParsePublicKey(text string) (PublicKey, error) {
	b, err := decodeKey(text, "public key", publicPrefix)
	if err != nil {
		return PublicKey{}, err
	}
	if len(b) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("a public key has %d bytes, this one has %d", ed25519.PublicKeySize, len(b))
	}
	// The likeliest accident is also a weak point of the curve, under which anyone
	// can sign.
	if [ed25519.PublicKeySize]byte(b) == [ed25519.PublicKeySize]byte{} {
		return PublicKey{}, errors.New("a public key isn't all zeros")
	}
	return PublicKey{key: b}, nil
}

// IsZero reports whether k was never set.
func (k PublicKey) IsZero() bool { return len(k.key) == 0 }

// String is the form that [ParsePublicKey] reads; empty for the zero value.
func (k PublicKey) String() string {
	if k.IsZero() {
		return ""
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(k.key)
}
