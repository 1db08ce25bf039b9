package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Why a push isn't accepted.
var (
	// ErrHeader says that a header is missing or malformed.
	ErrHeader = errors.New("webhook header is missing or malformed")
	// ErrTimestamp says that the push was signed too long ago, or in the future:
	// it may be a replay, or a clock is wrong.
	ErrTimestamp = errors.New("webhook timestamp is too far from the receiver's clock")
	// ErrSignature says that no signature is by one of the keys.
	ErrSignature = errors.New("webhook signature doesn't match")
	// ErrNoSecret says that the verifier has neither a secret nor a public key to
	// check with.
	ErrNoSecret = errors.New("webhook verifier has no secret")
)

// DefaultTolerance is how far a push's timestamp may be from the receiver's
// clock.
const DefaultTolerance = 5 * time.Minute

// At most three keys of an endpoint are alive at once. More entries than these
// of one scheme aren't looked at: they bound the work that a stranger can cause.
// To check by Ed25519 is dear, and each check reads the whole body.
const (
	maxMACs              = 16
	maxEd25519Signatures = 4
)

// Verifier checks that pushes come from Posthaste. It may be used by several
// goroutines as long as it isn't changed.
type Verifier struct {
	// Secrets and PublicKeys are those of the endpoint. One signature by any of
	// them will do: keep the old one beside the new while a key is being rotated.
	Secrets    []Secret
	PublicKeys []PublicKey
	// Tolerance is how far the timestamp may be from the clock, either way; 0
	// means [DefaultTolerance].
	Tolerance time.Duration
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Verify checks the headers against the body, which must be the bytes as they
// came, before anything parsed them. Its error is one of [ErrHeader],
// [ErrTimestamp], [ErrSignature] and [ErrNoSecret], with details that are safe
// to answer.
//
// A push that was verified may still be a repeat, or a replay within the
// tolerance: see [Chain].
func (v *Verifier) Verify(h http.Header, body []byte) error {
	if err := v.ready(); err != nil {
		return err
	}
	id, timestamp, signatures := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	switch {
	case id == "":
		return fmt.Errorf("%w: webhook-id is missing", ErrHeader)
	case timestamp == "":
		return fmt.Errorf("%w: webhook-timestamp is missing", ErrHeader)
	case signatures == "":
		return fmt.Errorf("%w: webhook-signature is missing", ErrHeader)
	case strings.Contains(id, "."):
		return fmt.Errorf("%w: webhook-id contains a full stop", ErrHeader)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return fmt.Errorf("%w: webhook-timestamp isn't a number of seconds", ErrHeader)
	}
	if !v.signed(id, timestamp, signatures, body) {
		return ErrSignature
	}
	// After the signature: who can't sign learns nothing of the clock.
	return v.fresh(time.Unix(seconds, 0))
}

func (v *Verifier) ready() error {
	if slices.ContainsFunc(v.Secrets, func(s Secret) bool { return !s.IsZero() }) ||
		slices.ContainsFunc(v.PublicKeys, func(k PublicKey) bool { return !k.IsZero() }) {
		return nil
	}
	return ErrNoSecret
}

func (v *Verifier) signed(id, timestamp, signatures string, body []byte) bool {
	given := parseSignatures(signatures)
	return v.signedBySecret(given.macs, id, timestamp, body) || v.signedByKey(given.ed25519, id, timestamp, body)
}

func (v *Verifier) signedBySecret(given [][sha256.Size]byte, id, timestamp string, body []byte) bool {
	if len(given) == 0 {
		return false
	}
	matches := false
	for _, s := range v.Secrets {
		if s.IsZero() {
			continue
		}
		want := sum(s, id, timestamp, body)
		for i := range given {
			// Not cut short: the time taken doesn't tell which secret matched.
			matches = hmac.Equal(given[i][:], want[:]) || matches
		}
	}
	return matches
}

// signedByKey works on nothing secret, so it may stop at the first match.
func (v *Verifier) signedByKey(given [][ed25519.SignatureSize]byte, id, timestamp string, body []byte) bool {
	if len(given) == 0 || len(v.PublicKeys) == 0 {
		return false
	}
	text := signedText(id, timestamp, body)
	for _, k := range v.PublicKeys {
		if k.IsZero() {
			continue
		}
		for i := range given {
			if ed25519.Verify(k.key, text, given[i][:]) {
				return true
			}
		}
	}
	return false
}

// entries are the signatures of a header, by scheme.
type entries struct {
	macs    [][sha256.Size]byte
	ed25519 [][ed25519.SignatureSize]byte
}

// parseSignatures reads the webhook-signature header. What it doesn't know or
// can't read it passes over: it may be for others, or of times to come.
func parseSignatures(header string) (e entries) {
	for entry := range strings.FieldsSeq(header) {
		switch {
		case strings.HasPrefix(entry, versionHMAC):
			if b := decodeSignature(entry[len(versionHMAC):], sha256.Size); b != nil && len(e.macs) < maxMACs {
				e.macs = append(e.macs, [sha256.Size]byte(b))
			}
		case strings.HasPrefix(entry, versionEd25519):
			if b := decodeSignature(entry[len(versionEd25519):], ed25519.SignatureSize); b != nil && len(e.ed25519) < maxEd25519Signatures {
				e.ed25519 = append(e.ed25519, [ed25519.SignatureSize]byte(b))
			}
		}
	}
	return e
}

// decodeSignature returns nil for what isn't the base64 of so many bytes.
func decodeSignature(encoded string, size int) []byte {
	if len(encoded) != base64.StdEncoding.EncodedLen(size) {
		return nil
	}
	// Strict: a signature has one form.
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) != size {
		return nil
	}
	return b
}

func (v *Verifier) fresh(signed time.Time) error {
	now, tolerance := time.Now, v.Tolerance
	if v.Now != nil {
		now = v.Now
	}
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	switch age := now().Sub(signed); {
	case age > tolerance:
		return fmt.Errorf("%w: it was signed more than %s ago", ErrTimestamp, tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: it was signed more than %s in the future", ErrTimestamp, tolerance)
	}
	return nil
}
