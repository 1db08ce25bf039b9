package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"regexp"
	"strings"
	"time"
)

// A key is "pk_", its id, "_", 43 random characters of base 62 – 256 bits – and
// six more that are a CRC-32 of what is before them, so that scanners can tell a
// key that leaked from what only looks like one, without asking anybody.
const (
	keyPrefix    = "pk_"
	secretLength = 43
	sumLength    = 6
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var keyForm = regexp.MustCompile(`^pk_([0-9a-z]{16})_[0-9A-Za-z]{49}$`)

// ErrMalformed says that a text is no key, without asking anybody.
var ErrMalformed = errors.New("it doesn't have the form of a key")

// Hash is the SHA-256 of a key.
type Hash [sha256.Size]byte

// HashOf is the only form a key is kept in. 256 random bits need no slow hash.
func HashOf(key string) Hash { return sha256.Sum256([]byte(key)) }

// Equal compares in constant time.
func (h Hash) Equal(other []byte) bool { return subtle.ConstantTimeCompare(h[:], other) == 1 }

// keyIDs sort by time and have no characters that need care.
var keyIDs = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewKeyID makes an id that sorts by time: 48 bits of milliseconds, 32 random.
func NewKeyID(now time.Time) string {
	const timeBits = 16 // that Uint64 has more
	var b [10]byte
	_, _ = rand.Read(b[6:]) // never fails: see crypto/rand
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(now.UnixMilli())<<timeBits)
	copy(b[:6], t[:6])
	return keyIDs.EncodeToString(b[:])
}

// NewKey makes the secret text of a key: what its holder sends.
func NewKey(id string) string {
	var text strings.Builder
	text.WriteString(keyPrefix + id + "_")
	const even = 248 // the largest multiple of 62 in a byte: no character is likelier
	var b [1]byte
	for n := 0; n < secretLength; {
		if _, _ = rand.Read(b[:]); b[0] < even {
			text.WriteByte(base62[b[0]%62])
			n++
		}
	}
	return text.String() + checksum(text.String())
}

func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var out [sumLength]byte
	for i := range out {
		out[sumLength-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}

// KeyID is the id of a key's text, or [ErrMalformed].
func KeyID(key string) (string, error) {
	m := keyForm.FindStringSubmatch(key)
	if m == nil || checksum(key[:len(key)-sumLength]) != key[len(key)-sumLength:] {
		return "", ErrMalformed
	}
	return m[1], nil
}
