package carrier

import (
	_ "embed"
	"encoding/csv"
	"strings"
	"sync"
	"unicode"

	"github.com/posthaste/posthaste/services/internal/track"
)

// The platforms whose codes [CodeOf] and [Named] know.
const (
	PlatformKdniao    = kdniaoCode
	PlatformKuaidi100 = kuaidi100Code
)

// namesCSV has a line for each carrier of codes.csv: its names.
//
//go:embed names.csv
var namesCSV string

type names struct{ chinese, english string }

var nameTable = sync.OnceValue(func() map[track.Carrier]names {
	rows, err := csv.NewReader(strings.NewReader(namesCSV)).ReadAll()
	if err != nil {
		panic("carrier: names.csv: " + err.Error()) // a test reads it
	}
	table := make(map[track.Carrier]names, len(rows))
	for _, r := range rows[1:] {
		table[track.Carrier(r[0])] = names{r[1], r[2]}
	}
	return table
})

// ownCodes maps Posthaste's codes to each platform's.
var ownCodes = sync.OnceValue(func() map[string]map[track.Carrier]string {
	kdniao, kuaidi100 := map[track.Carrier]string{}, map[track.Carrier]string{}
	first := true
	for line := range strings.Lines(codesCSV) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if first || len(fields) < 3 {
			first = false
			continue
		}
		for i, table := range []map[track.Carrier]string{kdniao, kuaidi100} {
			c := track.Carrier(fields[0])
			if _, taken := table[c]; fields[i+1] != "" && !taken {
				table[c] = fields[i+1]
			}
		}
	}
	return map[string]map[track.Carrier]string{kdniaoCode: kdniao, kuaidi100Code: kuaidi100}
})

// CodeOf is a platform's code of a carrier. One that the platform doesn't have
// keeps Posthaste's, in the platform's case, so that it is never empty.
func CodeOf(platform string, c track.Carrier) string {
	if code, ok := ownCodes()[platform][c]; ok {
		return code
	}
	if platform == kdniaoCode {
		return strings.ToUpper(string(c))
	}
	return string(c)
}

// Named finds the carrier that a platform calls by a code, in any case. The
// other platform's code, and Posthaste's own, are understood too where they
// aren't another carrier's: clients mix them up.
func Named(platform, code string) (c track.Carrier, known bool) {
	code = strings.ToLower(strings.TrimSpace(code))
	other := kuaidi100Code
	if platform == kuaidi100Code {
		other = kdniaoCode
	}
	for _, p := range []string{platform, other} {
		if c, ok := codeTables()[p][code]; ok {
			return c, true
		}
	}
	c = track.Carrier(code)
	_, known = nameTable()[c]
	return c, known
}

// Names are a carrier's in Chinese and English. Where there is none in English
// it is made of the carrier's code; an unknown carrier's are both made so.
func Names(c track.Carrier) (chinese, english string) {
	n, ok := nameTable()[c]
	if !ok {
		n.chinese = titled(c)
	}
	if n.english == "" {
		n.english = n.chinese
		if strings.ContainsFunc(n.chinese, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			n.english = titled(c)
		}
	}
	return n.chinese, n.english
}

// titled makes a name of a code: "yto-express" is "Yto Express".
func titled(c track.Carrier) string {
	words := strings.FieldsFunc(string(c), func(r rune) bool { return r == '-' || r == '_' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

// KdniaoMeaning is what Kdniao's StateEx or Action means; ok is false for a code
// that no rule knows.
func KdniaoMeaning(code string) (m Meaning, ok bool) {
	r, ok := kdniaoStateEx[code]
	return Meaning{r.status, r.sub}, ok
}

// Kuaidi100Meaning is what Kuaidi100's statusCode means; ok is false for a code
// that no rule knows.
func Kuaidi100Meaning(code string) (m Meaning, ok bool) {
	r, ok := kuaidi100Rules[code]
	return Meaning{r.status, r.sub}, ok
}

// KdniaoCodes lists the codes that [KdniaoMeaning] knows, Kuaidi100Codes those
// of [Kuaidi100Meaning], in no order.
func KdniaoCodes() []string { return codesOf(kdniaoStateEx) }

// Kuaidi100Codes is documented with [KdniaoCodes].
func Kuaidi100Codes() []string { return codesOf(kuaidi100Rules) }

func codesOf(rules map[string]rule) []string {
	list := make([]string, 0, len(rules))
	for code := range rules {
		list = append(list, code)
	}
	return list
}
