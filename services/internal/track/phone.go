package track

import "strings"

// PhoneEnd is what carriers ask for and Posthaste keeps of a phone number: its last
// four digits. The number may be those alone, or whole with blanks and a prefix; ok
// says that it is one, of 4 to 20 digits.
func PhoneEnd(phone string) (end string, ok bool) {
	const most, kept = 20, 4
	var digits []rune
	for _, r := range phone {
		switch {
		case r >= '0' && r <= '9':
			digits = append(digits, r)
		case !strings.ContainsRune("+-() ", r):
			return "", false
		}
	}
	if len(digits) < kept || len(digits) > most {
		return "", false
	}
	return string(digits[len(digits)-kept:]), true
}
