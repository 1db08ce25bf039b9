package carrier

import (
	_ "embed"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/posthaste/posthaste/services/internal/track"
)

// codesCSV has a line for each carrier: Posthaste's code, Kdniao's, Kuaidi100's.
//
//go:embed codes.csv
var codesCSV string

// maxCarrier is how long Posthaste's code of a carrier can be.
const maxCarrier = 40

// codeTables maps each source's codes in lower case to Posthaste's.
var codeTables = sync.OnceValue(func() map[string]map[string]track.Carrier {
	kdniao, kuaidi100 := map[string]track.Carrier{}, map[string]track.Carrier{}
	first := true
	for line := range strings.Lines(codesCSV) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if first || len(fields) != 3 {
			first = false
			continue
		}
		for i, table := range []map[string]track.Carrier{kdniao, kuaidi100} {
			code := strings.ToLower(fields[i+1])
			if _, taken := table[code]; code != "" && !taken { // the first is the commoner
				table[code] = track.Carrier(fields[0])
			}
		}
	}
	return map[string]map[string]track.Carrier{kdniaoCode: kdniao, kuaidi100Code: kuaidi100}
})

// carrierOf is Posthaste's code of what a source calls a carrier. A code that
// no table knows is kept in lower case, so that a new carrier is never refused.
// It is empty only when the source's code is.
func carrierOf(source, code string) track.Carrier {
	code = strings.ToLower(strings.TrimSpace(code))
	if c, ok := codeTables()[source][code]; ok {
		return c
	}
	var b strings.Builder
	for _, r := range code {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		case r < 0x80:
			b.WriteByte('-')
		default:
			b.WriteString(hex.EncodeToString([]byte(string(r))))
		}
	}
	plain := b.String()
	if len(plain) == 1 {
		plain = "carrier-" + plain
	}
	return track.Carrier(plain[:min(len(plain), maxCarrier)])
}

// waybillOf reads a waybill's identity. It returns the name of the field that
// is wrong: carrierField or numberField.
func waybillOf(source, carrierField, carrier, numberField, number string) (track.Waybill, *FieldError) {
	c := carrierOf(source, carrier)
	if c == "" {
		return track.Waybill{}, &FieldError{carrierField, "is empty"}
	}
	c, err := track.NormalCarrier(string(c))
	if err != nil {
		return track.Waybill{}, &FieldError{carrierField, err.Error()}
	}
	if strings.TrimSpace(number) == "" {
		return track.Waybill{Carrier: c}, &FieldError{numberField, "is empty"}
	}
	n, err := track.NormalNumber(number)
	if err != nil {
		return track.Waybill{Carrier: c}, &FieldError{numberField, err.Error()}
	}
	return track.Waybill{Carrier: c, Number: n}, nil
}
