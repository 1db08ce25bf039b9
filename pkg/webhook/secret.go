package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
)

const (
	secretPrefix = "whsec_"
	hidden       = secretPrefix + "***"

	// Sizes of a key, in bytes.
	minKey = 24
	maxKey = 64
	newKey = 32
)

// Secret is the key of an endpoint that Posthaste and the receiver share; it
// signs with HMAC-SHA256, entries of version "v1". It prints as "whsec_***", whatever the
// verb or logger. The zero value signs nothing and verifies nothing.
type Secret struct{ key []byte }

// NewSecret makes a random secret, in the form that [ParseSecret] reads.
func NewSecret() string {
	key := make([]byte, newKey)
	_, _ = rand.Read(key) // never fails: see crypto/rand
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseSecret reads a secret: "whsec_" and the base64 of 24 to 64 bytes. Its
// error doesn't repeat the secret.
func ParseSecret(text string) (Secret, error) {
	key, err := decodeKey(text, "secret", secretPrefix)
	if err != nil {
		return Secret{}, err
	}
	if len(key) < minKey || len(key) > maxKey {
		return Secret{}, fmt.Errorf("a secret has %d to %d bytes, this one has %d", minKey, maxKey, len(key))
	}
	return Secret{key: key}, nil
}

// decodeKey reads what stands after a prefix. Its error doesn't repeat the key.
func decodeKey(text, what, prefix string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("a %s begins with %s", what, prefix)
	}
	// Strict: one key has one form. Without it, line breaks and the unused bits of
	// the last character would be ignored.
	if strings.ContainsAny(encoded, "\r\n") {
		return nil, fmt.Errorf("a %s is one line", what)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		// Not wrapped: it would say which character is wrong where.
		return nil, fmt.Errorf("a %s is base64 after %s", what, prefix)
	}
	return key, nil
}

// IsZero reports whether s was never set.
func (s Secret) IsZero() bool { return len(s.key) == 0 }

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret.
func (Secret) GoString() string { return hidden }

// Format hides the secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (s Secret) appendSignatures(b []byte, id, timestamp string, body []byte) []byte {
	if s.IsZero() {
		return b
	}
	mac := sum(s, id, timestamp, body)
	return base64.StdEncoding.AppendEncode(append(b, versionHMAC...), mac[:])
}

func sum(secret Secret, id, timestamp string, body []byte) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, secret.key)
	_, _ = h.Write(appendHead(make([]byte, 0, 128), id, timestamp))
	_, _ = h.Write(body)
	h.Sum(mac[:0])
	return mac
}
