// Package id makes ids of resources.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// New makes an id that sorts by time: a UUID of version 7 in hexadecimal, after
// a prefix such as "ep_".
func New(prefix string, now time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	random := binary.BigEndian.Uint16(b[6:])
	const millisecond = 16 // bits below the time's 48
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli())<<millisecond|uint64(random))
	const version, variant = 0x70, 0x80
	b[6] = b[6]&0x0f | version
	b[8] = b[8]&0x3f | variant
	return prefix + hex.EncodeToString(b[:])
}
