package track

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
)

// Limits of a waybill number and of a carrier's code, in characters.
const (
	minNumber, maxNumber   = 4, 64
	minCarrier, maxCarrier = 2, 40
)

// NormalNumber is a waybill number as it is kept: upper case, without blanks, 4
// to 64 characters of 0–9, A–Z, '-' and '_'. Its error says what is wrong, for the caller
// who sent it.
func NormalNumber(s string) (Number, error) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		switch {
		case r == ' ', r == '\t', r == 0xa0, r == 0x3000:
			continue
		case 'a' <= r && r <= 'z':
			r += 'A' - 'a'
		case '0' <= r && r <= '9', 'A' <= r && r <= 'Z', r == '-', r == '_':
		default:
			return "", errors.New("must consist of digits, the letters A to Z, '-' and '_'")
		}
		b = append(b, byte(r))
	}
	if len(b) < minNumber || len(b) > maxNumber {
		return "", errors.New("must have 4 to 64 characters beside blanks")
	}
	return Number(b), nil
}

// NormalCarrier is a carrier's code as it is kept: lower case, 2 to 40
// characters of a–z, 0–9, '-' and '_'.
func NormalCarrier(s string) (Carrier, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) < minCarrier || len(s) > maxCarrier {
		return "", errors.New("must have 2 to 40 characters")
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", errors.New("must consist of a–z, 0–9, '-' and '_'")
		}
	}
	return Carrier(s), nil
}

// IDParts are what an event's id is derived from.
type IDParts struct {
	Waybill Waybill
	// SourceID is the source's own stable id of the event. When it is given,
	// what follows has no part in the id.
	SourceID string
	// Time, Code, Location and Text are as the source gave them.
	Time, Code, Location, Text string
}

// idBytes of a hash are enough: 2^64 events until two are likely to collide, and
// they would have to be of one waybill.
const idBytes = 16

// DeriveID makes an id that is the same for every repeat of the same report: 32
// hexadecimal digits.
func DeriveID(p IDParts) EventID {
	b := make([]byte, 0, 512)
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	add(string(p.Waybill.Carrier))
	add(string(p.Waybill.Number))
	add(p.SourceID)
	if p.SourceID == "" {
		add(p.Time)
		add(p.Code)
		add(p.Location)
		add(p.Text)
	}
	sum := sha256.Sum256(b)
	return EventID(hex.EncodeToString(sum[:idBytes]))
}
