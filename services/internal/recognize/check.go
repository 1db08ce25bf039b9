package recognize

import "strings"

// check is a rule that tells right numbers from mistyped ones.
type check struct {
	name string
	// oneIn is how many random numbers there are for each that passes.
	oneIn float64
	pass  func(number string) bool
}

// serial is a rule about a serial number and the character after it.
type serial func(serial string, digit byte) bool

// from applies a rule to what follows the first skip characters.
func from(skip int, s serial) func(string) bool {
	return func(n string) bool { return s(n[skip:len(n)-1], n[len(n)-1]) }
}

// last applies a rule to the last n characters.
func last(count int, s serial) func(string) bool {
	return func(n string) bool { return s(n[len(n)-count:len(n)-1], n[len(n)-1]) }
}

// value counts letters as (ASCII − 3) mod 10, as UPS does; digits are
// themselves.
func value(c byte) int {
	if c >= '0' && c <= '9' {
		return int(c - '0')
	}
	return int(c-3) % 10
}

func is(digit byte, want int) bool { return digit == byte('0'+want) }

// mod10 weights the characters alternately from the first.
func mod10(first, second int) serial {
	return func(s string, digit byte) bool {
		sum := 0
		for i := range len(s) {
			weight := first
			if i%2 == 1 {
				weight = second
			}
			sum += weight * value(s[i])
		}
		return is(digit, (10-sum%10)%10)
	}
}

// gs1 weights the characters 3, 1, 3 … from the last, as all GS1 numbers do.
func gs1(s string, digit byte) bool {
	sum := 0
	for i := range len(s) {
		weight := 3
		if i%2 == 1 {
			weight = 1
		}
		sum += weight * value(s[len(s)-1-i])
	}
	return is(digit, (10-sum%10)%10)
}

// mod7 is the remainder of the whole serial number.
func mod7(s string, digit byte) bool {
	rest := 0
	for i := range len(s) {
		rest = (rest*10 + value(s[i])) % 7
	}
	return is(digit, rest)
}

// luhn doubles every other digit from the last and adds the digits of the
// products.
func luhn(s string, digit byte) bool {
	sum := 0
	for i := range len(s) {
		v := value(s[len(s)-1-i])
		if i%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return is(digit, (10-sum%10)%10)
}

// weighted11 is the weighted sum modulo 11, and 0 for 10.
func weighted11(weights ...int) serial {
	return func(s string, digit byte) bool {
		sum := 0
		for i := range len(s) {
			sum += weights[i%len(weights)] * value(s[i])
		}
		return is(digit, sum%11%10)
	}
}

// s10 is the rule of the Universal Postal Union, S10: eight digits, weighted.
func s10(s string, digit byte) bool {
	sum := 0
	for i, weight := range []int{8, 6, 4, 2, 3, 5, 9, 7} {
		sum += weight * value(s[i])
	}
	want := 11 - sum%11
	switch want {
	case 10:
		want = 0
	case 11:
		want = 5
	}
	return is(digit, want)
}

const alphabet36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// mod3736 is ISO 7064, MOD 37,36.
func mod3736(s string, digit byte) bool {
	const m = 36
	p := m
	for i := range len(s) {
		p = (p + strings.IndexByte(alphabet36, s[i])) % m
		if p == 0 {
			p = m
		}
		p = p * 2 % (m + 1)
	}
	return digit == alphabet36[(m+1-p)%m]
}

// The checks of the formats.
func checkMod10(pass func(string) bool) *check { return &check{"check digit, modulo 10", 10, pass} }
func checkMod7(pass func(string) bool) *check  { return &check{"check digit, modulo 7", 10, pass} }
func checkLuhn(pass func(string) bool) *check  { return &check{"check digit, Luhn", 10, pass} }
func checkMod11(pass func(string) bool) *check { return &check{"check digit, modulo 11", 10, pass} }
func checkISO(pass func(string) bool) *check   { return &check{"check character, ISO 7064", 36, pass} }

// checkS10 also wants the letters at the end to be a country that issues such
// numbers: about one in three pairs is.
func checkS10() *check {
	const inPairs = 3
	return &check{"check digit and country, S10", 10 * inPairs, func(n string) bool {
		_, known := posts()[n[len(n)-2:]]
		return known && s10(n[2:10], n[10])
	}}
}
