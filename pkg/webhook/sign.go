package webhook

import (
	"errors"
	"net/http"
	"slices"
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

// What an entry of the webhook-signature header begins with.
const (
	versionHMAC    = "v1,"
	versionEd25519 = "v1a,"
)

// Signer makes the signatures of a push. A [Secret] and a [PrivateKey] are
// signers that make one, [Signers] makes one by each. No type outside this
// package is a signer.
type Signer interface {
	// IsZero reports whether there is no key to sign with.
	IsZero() bool
	// appendSignatures appends entries of the webhook-signature header, separated
	// by blanks; nothing without a key.
	appendSignatures(b []byte, id, timestamp string, body []byte) []byte
}

// Signers sign with each of several keys: the new one and the old one while a
// key is being rotated, or one of each scheme while receivers change over. What
// is zero among them is left out.
type Signers []Signer

// IsZero reports whether none of them has a key.
func (s Signers) IsZero() bool { return !slices.ContainsFunc(s, signs) }

func signs(s Signer) bool { return s != nil && !s.IsZero() }

func (s Signers) appendSignatures(b []byte, id, timestamp string, body []byte) []byte {
	first := len(b)
	for _, one := range s {
		if !signs(one) {
			continue
		}
		if len(b) > first {
			b = append(b, ' ')
		}
		b = one.appendSignatures(b, id, timestamp, body)
	}
	return b
}

// ParseSigner reads a key of either scheme by its prefix: a secret, see
// [ParseSecret], or a private key, see [ParsePrivateKey]. Its error doesn't
// repeat the key.
func ParseSigner(text string) (Signer, error) {
	switch {
	case strings.HasPrefix(text, secretPrefix):
		return ParseSecret(text)
	case strings.HasPrefix(text, privatePrefix):
		return ParsePrivateKey(text)
	case strings.HasPrefix(text, publicPrefix):
		return nil, errors.New("a key that begins with " + publicPrefix + " is public and can't sign")
	default:
		return nil, errors.New("a signing key begins with " + secretPrefix + " or " + privatePrefix)
	}
}

// Sign returns the signatures of a push sent at a time: the webhook-signature
// header, or an entry of it. The id must not contain a full stop, which
// separates the parts that are signed. It panics if the signer is zero, since
// anyone could make such a signature.
func Sign(signer Signer, id string, sent time.Time, body []byte) string {
	return sign(signer, id, strconv.FormatInt(sent.Unix(), 10), body)
}

// SetHeaders sets the three headers of a push sent at a time, signed by each
// signer. It panics if all of them are zero, since anyone could make such a
// signature.
func SetHeaders(h http.Header, id string, sent time.Time, body []byte, signers ...Signer) {
	timestamp := strconv.FormatInt(sent.Unix(), 10)
	h[HeaderID] = []string{id}
	h[HeaderTimestamp] = []string{timestamp}
	h[HeaderSignature] = []string{sign(Signers(signers), id, timestamp, body)}
}

func sign(signer Signer, id, timestamp string, body []byte) string {
	if !signs(signer) {
		panic("webhook: sign without a key")
	}
	return string(signer.appendSignatures(make([]byte, 0, 96), id, timestamp, body))
}

// appendHead appends what is signed before the body.
func appendHead(b []byte, id, timestamp string) []byte {
	b = append(b, id...)
	b = append(b, '.')
	b = append(b, timestamp...)
	return append(b, '.')
}
