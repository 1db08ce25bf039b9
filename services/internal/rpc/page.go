package rpc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Sizes of a page.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
)

const (
	pageTokenVersion = 1
	filterHashSize   = 8
)

// PageSize is how many items a page has: 0 asks for the default, too many give
// the maximum.
func PageSize(requested int32) (int, error) {
	switch {
	case requested < 0:
		return 0, Invalid("page_size", "must not be negative")
	case requested == 0:
		return DefaultPageSize, nil
	}
	return min(int(requested), MaxPageSize), nil
}

// FilterHash names what a list shows: the method and all that selects and
// orders its items. A page token is good for one filter only.
func FilterHash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return string(h.Sum(nil)[:filterHashSize])
}

// EncodePageToken makes an opaque token that continues a list after the item
// with this key. The token is no secret and no credential: whoever makes one up
// sees what the list shows anyway.
func EncodePageToken(filterHash string, key ...string) string {
	b := append([]byte{pageTokenVersion}, filterHash...)
	for _, k := range key {
		b = binary.AppendUvarint(b, uint64(len(k)))
		b = append(b, k...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// DecodePageToken returns the key, of n parts, of a token made for the same
// filter; nil for an empty token, which asks for the first page. Its error is
// for the caller.
func DecodePageToken(token, filterHash string, n int) ([]string, error) {
	if token == "" {
		return nil, nil
	}
	invalid := func(why string) error {
		return Invalid("page_token", why).WithReason(ReasonPageTokenInvalid)
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 1+filterHashSize || b[0] != pageTokenVersion {
		return nil, invalid("is not a token that a list gave")
	}
	if string(b[1:1+filterHashSize]) != filterHash {
		return nil, invalid("belongs to another list, or to other filters")
	}
	b = b[1+filterHashSize:]
	key := make([]string, 0, n)
	for len(b) > 0 {
		size, used := binary.Uvarint(b)
		if used <= 0 || size > uint64(len(b)-used) {
			return nil, invalid("is damaged")
		}
		key = append(key, string(b[used:used+int(size)]))
		b = b[used+int(size):]
	}
	if len(key) != n {
		return nil, invalid(fmt.Sprintf("has %d parts and must have %d", len(key), n))
	}
	return key, nil
}
