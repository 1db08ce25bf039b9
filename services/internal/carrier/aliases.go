package carrier

import (
	_ "embed"
	"strings"
	"sync"

	"github.com/posthaste/posthaste/services/internal/track"
)

// aliasesCSV has what aggregators and carriers call a carrier, in lower case and
// without anything but letters and digits, and Posthaste's code of it. Keys of
// 17TRACK, which are numbers, stand behind "17track:".
//
//go:embed aliases.csv
var aliasesCSV string

var aliases = sync.OnceValue(func() map[string]track.Carrier {
	names := map[string]track.Carrier{}
	for line := range strings.Lines(aliasesCSV) {
		if name, code, ok := strings.Cut(strings.TrimSpace(line), ","); ok {
			names[name] = track.Carrier(code)
		}
	}
	return names
})

// carrierNamed is Posthaste's code of what a source calls a carrier: the first
// of the names that is known. A carrier that nobody knows is kept by its first
// name, so that a new one is never refused. It is empty only when all are.
func carrierNamed(given ...string) track.Carrier {
	first := ""
	for _, name := range given {
		plain := plainName(name)
		if c, ok := aliases()[plain]; ok {
			return c
		}
		if first == "" {
			first = name
		}
	}
	return carrierOf("", first)
}

// plainName is a name in lower case, of letters and digits, but for the colon
// behind a source's code.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == ':':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return -1
	}, s)
}
