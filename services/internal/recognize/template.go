package recognize

import (
	"fmt"
	"strconv"
	"strings"
)

// A template says which characters stand where in numbers of one length: a set
// for each place.
type template []set

// set is the characters that may stand in one place, as a bit for each of 0–9,
// A–Z and '-'.
type set uint64

const (
	digits  set = 1<<10 - 1
	letters set = (1<<26 - 1) << 10
	hyphen  set = 1 << 36
)

// only is the set of one character; empty for what no number has.
func only(c byte) set {
	switch {
	case c >= '0' && c <= '9':
		return 1 << (c - '0')
	case c >= 'A' && c <= 'Z':
		return 1 << (10 + c - 'A')
	case c == '-':
		return hyphen
	}
	return 0
}

func (s set) len() float64 {
	n := 0
	for ; s != 0; s &= s - 1 {
		n++
	}
	return float64(n)
}

// kind is all characters of a character's kind.
func kind(c byte) set {
	switch s := only(c); {
	case s&digits != 0:
		return digits
	case s&letters != 0:
		return letters
	default:
		return s
	}
}

// match says whether a number fits, and how special that is: of so many random
// numbers that have digits and letters in the same places, one fits.
func (t template) match(number string) (oneIn float64, ok bool) {
	if len(number) != len(t) {
		return 0, false
	}
	oneIn = 1
	for i, allowed := range t {
		if allowed&only(number[i]) == 0 {
			return 0, false
		}
		all := kind(number[i])
		oneIn *= all.len() / (allowed & all).len()
	}
	return oneIn, true
}

// parse reads the pattern of a format and gives a template for each length and
// alternative:
//
//	A–Z 0–9 -   themselves
//	#  @  *     a digit, a letter, either
//	[73-9]      one of these
//	(SF|ZT)     one of these, at most once in a pattern
//	{13} {9,12} after any of them but a group: so many of it
//
// It panics on anything else: patterns are constants.
func parse(pattern string) []template {
	before, group, found := strings.Cut(pattern, "(")
	if !found {
		return sequence(before)
	}
	group, after, found := strings.Cut(group, ")")
	if !found {
		panic("recognize: no end of a group in " + pattern)
	}
	var all []template
	for alternative := range strings.SplitSeq(group, "|") {
		all = append(all, sequence(before+alternative+after)...)
	}
	return all
}

func sequence(pattern string) []template {
	all := []template{nil}
	for rest := pattern; rest != ""; {
		var one set
		one, rest = next(rest)
		least, most := 1, 1
		if counts, after, ok := strings.Cut(rest, "}"); ok && strings.HasPrefix(rest, "{") {
			rest = after
			low, high, several := strings.Cut(counts[1:], ",")
			least = count(low)
			if most = least; several {
				most = count(high)
			}
		}
		all = repeat(all, one, least, most)
	}
	return all
}

// next reads the set at the beginning of a pattern.
func next(pattern string) (one set, rest string) {
	switch c := pattern[0]; c {
	case '#':
		return digits, pattern[1:]
	case '@':
		return letters, pattern[1:]
	case '*':
		return digits | letters, pattern[1:]
	case '[':
		class, rest, ok := strings.Cut(pattern[1:], "]")
		if !ok {
			panic("recognize: no end of a class in " + pattern)
		}
		return classOf(class), rest
	default:
		if only(c) == 0 {
			panic(fmt.Sprintf("recognize: %q in %s", c, pattern))
		}
		return only(c), pattern[1:]
	}
}

func classOf(class string) (one set) {
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			for c := class[i]; c <= class[i+2]; c++ {
				one |= only(c)
			}
			i += 2
			continue
		}
		one |= only(class[i])
	}
	return one
}

func repeat(all []template, one set, least, most int) []template {
	var longer []template
	for _, t := range all {
		for n := least; n <= most; n++ {
			u := append(template(nil), t...)
			for range n {
				u = append(u, one)
			}
			longer = append(longer, u)
		}
	}
	return longer
}

func count(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("recognize: " + err.Error())
	}
	return n
}
