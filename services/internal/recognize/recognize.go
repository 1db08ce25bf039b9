package recognize

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Candidate is a carrier that a number may belong to.
type Candidate struct {
	Carrier track.Carrier
	// Confidence is how likely it is, of 100; all candidates' together are at
	// most 100.
	Confidence int
	// Checked says that the number passes a check digit of the carrier.
	Checked bool
	// Reasons are in words, the strongest first.
	Reasons []string
	// Needs are what the carrier asks for beside the number: "phone", the last
	// four digits of the sender's or the receiver's. Nil for nothing.
	Needs []string
}

// Rejection is a carrier whose form the number has, and whose check digit it
// fails: probably mistyped.
type Rejection struct {
	Carrier track.Carrier
	Reason  string
}

// Hints are what is known beside the number. The zero value is none.
type Hints struct {
	// Usual are carriers that whoever asks usually ships with. They go before
	// others as likely.
	Usual []track.Carrier
	// Answers are what was learned of numbers that begin alike: see [Shapes].
	Answers map[Shape][]Answer
}

// Answer is how many numbers of one shape turned out to be a carrier's.
type Answer struct {
	Carrier track.Carrier
	Count   int64
}

// Shape stands for numbers that begin alike and are equally long: "15:SF13".
type Shape string

// Shapes are those of a number, the narrower first. Nil for a number that is
// too short to learn from.
func Shapes(number string) []Shape {
	const narrow, wide = 4, 2
	number = forms(number)[0]
	if len(number) <= narrow {
		return nil
	}
	shape := func(n int) Shape { return Shape(fmt.Sprintf("%d:%s", len(number), number[:n])) }
	return []Shape{shape(narrow), shape(wide)}
}

const (
	// otherDigits and otherLetters are how usual numbers are of carriers that aren't
	// in the table, of digits alone and with a letter in front: letters in front are
	// a habit that many share.
	otherDigits, otherLetters = 1, 20
	// favour is how much likelier a usual carrier is.
	favour = 5
	// patience is how many answers weigh as much as the table.
	patience = 20
	// least is the confidence below which a carrier isn't named.
	least = 1
	// most is what is never exceeded: a form isn't proof.
	most = 99
)

// The bounds of [Sure].
const (
	sureConfidence = 80
	sureLead       = 4 // times the next
)

// Candidates ranks the carriers that a number may belong to, the likeliest
// first. It is empty when no form is known that fits. The number may be as
// typed: in lower case, full-width, with blanks or hyphens.
func Candidates(number string, hints Hints) []Candidate {
	c, _ := Explain(number, hints)
	return c
}

// Sure returns the carrier that is right with hardly a doubt, and whether there
// is one.
func Sure(candidates []Candidate) (track.Carrier, bool) {
	if len(candidates) == 0 || candidates[0].Confidence < sureConfidence {
		return "", false
	}
	if len(candidates) > 1 && candidates[0].Confidence < sureLead*candidates[1].Confidence {
		return "", false
	}
	return candidates[0].Carrier, true
}

// other is how usual a number is of a carrier that isn't in the table.
func other(number string) float64 {
	if n := forms(number)[0]; n != "" && only(n[0])&letters != 0 {
		return otherLetters
	}
	return otherDigits
}

// likelihood is what speaks for one carrier.
type likelihood struct {
	form    float64 // how usual, times how special the form is
	check   float64 // how much the check digit says
	checked bool
	best    float64 // of the form that gives the reason
	reasons []string
}

// Explain is [Candidates], and the carriers that a check digit ruled out.
func Explain(number string, hints Hints) ([]Candidate, []Rejection) {
	found, rejected := fitting(number)
	learned := learn(found, rejected, number, hints)
	total := other(number)
	weights := make(map[track.Carrier]float64, len(found))
	for carrier, l := range found {
		w := l.form * l.check
		if learned != nil {
			w = learned.prior(carrier) * l.check
		}
		if slices.Contains(hints.Usual, carrier) {
			w *= favour
			l.reasons = append(l.reasons, "one of the usual carriers")
		}
		weights[carrier] = w
	}
	if learned != nil {
		total = learned.rest
	}
	for _, w := range weights {
		total += w
	}
	var all []Candidate
	for _, carrier := range slices.Sorted(maps.Keys(found)) {
		l := found[carrier]
		c := Candidate{Carrier: carrier, Confidence: min(int(math.Round(100*weights[carrier]/total)), most), Checked: l.checked, Reasons: l.reasons, Needs: needs[carrier]}
		if c.Confidence >= least {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(weights[b.Carrier], weights[a.Carrier]))
	})
	var no []Rejection
	for _, carrier := range slices.Sorted(maps.Keys(rejected)) {
		if found[carrier] == nil {
			no = append(no, Rejection{carrier, rejected[carrier]})
		}
	}
	return all, no
}

// fitting finds the carriers with a form that fits.
func fitting(number string) (found map[track.Carrier]*likelihood, rejected map[track.Carrier]string) {
	found, rejected = make(map[track.Carrier]*likelihood), make(map[track.Carrier]string)
	for _, n := range forms(number) {
		for _, f := range byLength()[len(n)] {
			oneIn, ok := f.template.match(n)
			if !ok {
				continue
			}
			carrier := f.carrier
			if carrier == "" {
				carrier = issuer(n)
			}
			if f.check != nil && !f.check.pass(n) {
				rejected[carrier] = f.name + ", but its " + f.check.name + " doesn't hold"
				continue
			}
			add(found, carrier, &f, oneIn)
		}
	}
	return found, rejected
}

func add(found map[track.Carrier]*likelihood, carrier track.Carrier, f *form, oneIn float64) {
	l := found[carrier]
	if l == nil {
		l = &likelihood{check: 1}
		found[carrier] = l
	}
	weight, check := f.usual*oneIn, 1.0
	reasons := []string{f.name}
	if f.check != nil {
		check = f.check.oneIn
		reasons = append(reasons, f.check.name+" holds")
	}
	// Of several forms the likeliest counts alone: they are not independent.
	if weight*check > l.best {
		l.best, l.form, l.check, l.checked, l.reasons = weight*check, weight, check, f.check != nil, reasons
	}
}

// issuer is the post that gives numbers of a country; S10's check has refused
// countries that give none.
func issuer(number string) track.Carrier {
	country := number[len(number)-2:]
	if carrier, ok := posts()[country]; ok {
		return carrier
	}
	return track.Carrier("post-" + strings.ToLower(country))
}

// learned is what the answers make of the table's opinion.
type learned struct {
	priors map[track.Carrier]float64
	rest   float64
}

func (l *learned) prior(c track.Carrier) float64 { return l.priors[c] }

// learn mixes the table's opinion with the answers for numbers that begin alike,
// and adds carriers that only answers name. Nil when there are too few answers. A
// carrier whose check digit fails stays out, whatever was learned.
func learn(found map[track.Carrier]*likelihood, rejected map[track.Carrier]string, number string, hints Hints) *learned {
	for _, shape := range Shapes(number) {
		answers := hints.Answers[shape]
		var total int64
		for _, a := range answers {
			total += a.Count
		}
		if total < patience/2 {
			continue
		}
		sum := other(number)
		for _, l := range found {
			sum += l.form
		}
		m := &learned{priors: make(map[track.Carrier]float64, len(found)), rest: patience * other(number) / sum}
		for carrier, l := range found {
			m.priors[carrier] = patience * l.form / sum
		}
		for _, a := range answers {
			if found[a.Carrier] == nil {
				if _, no := rejected[a.Carrier]; no {
					continue
				}
				found[a.Carrier] = &likelihood{check: 1}
			}
			m.priors[a.Carrier] += float64(a.Count)
			l := found[a.Carrier]
			l.reasons = append(l.reasons, fmt.Sprintf("%d of %d numbers that begin alike were its", a.Count, total))
		}
		return m
	}
	return nil
}

// forms are the ways to read what was typed: without blanks and hyphens first,
// and with the hyphens, since some numbers have them.
func forms(number string) []string {
	plain := strings.Map(func(r rune) rune {
		const fullWidth = '！' - '!'
		if r >= '！' && r <= '～' {
			r -= fullWidth
		}
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, number)
	tight := strings.ReplaceAll(plain, "-", "")
	if tight == plain {
		return []string{plain}
	}
	return []string{tight, plain}
}
