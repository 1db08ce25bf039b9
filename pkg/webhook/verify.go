package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
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
	// ErrSignature says that no signature is by one of the secrets.
	ErrSignature = errors.New("webhook signature doesn't match")
	// ErrNoSecret says that the verifier has no secret to check with.
	ErrNoSecret = errors.New("webhook verifier has no secret")
)

// DefaultTolerance is how far a push's timestamp may be from the receiver's
// clock.
const DefaultTolerance = 5 * time.Minute

// maxSignatures bounds the work of checking: at most three secrets of an
// endpoint are alive at once.
const maxSignatures = 16

// Verifier checks that pushes come from Posthaste. It may be used by several
// goroutines as long as it isn't changed.
type Verifier struct {
	// Secrets are those of the endpoint; any of them will do. Keep the old one
	// beside the new while a secret is being rotated.
	Secrets []Secret
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
	for _, s := range v.Secrets {
		if !s.IsZero() {
			return nil
		}
	}
	return ErrNoSecret
}

func (v *Verifier) signed(id, timestamp, signatures string, body []byte) bool {
	var given [][sha256.Size]byte
	for entry := range strings.FieldsSeq(signatures) {
		// Entries of other versions are for others to check.
		encoded, ok := strings.CutPrefix(entry, version)
		if !ok || len(given) == maxSignatures {
			continue
		}
		mac, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err == nil && len(mac) == sha256.Size {
			given = append(given, [sha256.Size]byte(mac))
		}
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
