package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a push.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

const (
	secretPrefix = "whsec_"
	hidden       = secretPrefix + "***"
	version      = "v1,"

	// Sizes of a key, in bytes.
	minKey = 24
	maxKey = 64
	newKey = 32
)

// Secret is an endpoint's signing key. It prints as "whsec_***", whatever the
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
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return Secret{}, errors.New("a secret begins with " + secretPrefix)
	}
	// Strict: one secret has one form. Without it, line breaks and the unused bits
	// of the last character would be ignored.
	if strings.ContainsAny(encoded, "\r\n") {
		return Secret{}, errors.New("a secret is one line")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Secret{}, errors.New("a secret is base64 after " + secretPrefix)
	}
	if len(key) < minKey || len(key) > maxKey {
		return Secret{}, fmt.Errorf("a secret has %d to %d bytes, this one has %d", minKey, maxKey, len(key))
	}
	return Secret{key: key}, nil
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

// Sign returns the signature of a push sent at a time: one entry of the
// webhook-signature header. The id must not contain a full stop, which
// separates the parts that are signed. It panics if the secret is zero, since
// anyone could make such a signature.
func Sign(secret Secret, id string, sent time.Time, body []byte) string {
	if secret.IsZero() {
		panic("webhook: sign with a zero secret")
	}
	mac := sum(secret, id, strconv.FormatInt(sent.Unix(), 10), body)
	b := make([]byte, len(version), len(version)+base64.StdEncoding.EncodedLen(len(mac)))
	copy(b, version)
	return string(base64.StdEncoding.AppendEncode(b, mac[:]))
}

// SetHeaders sets the three headers of a push sent at a time, signed with each
// secret: the new and the old one while a secret is being rotated.
func SetHeaders(h http.Header, id string, sent time.Time, body []byte, secrets ...Secret) {
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		signatures[i] = Sign(s, id, sent, body)
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(sent.Unix(), 10))
	h.Set(HeaderSignature, strings.Join(signatures, " "))
}

func sum(secret Secret, id, timestamp string, body []byte) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, secret.key)
	head := make([]byte, 0, 128)
	head = append(head, id...)
	head = append(head, '.')
	head = append(head, timestamp...)
	head = append(head, '.')
	_, _ = h.Write(head)
	_, _ = h.Write(body)
	h.Sum(mac[:0])
	return mac
}
