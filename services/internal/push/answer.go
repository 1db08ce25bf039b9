package push

import (
	"encoding/json"
	"strings"
)

// says reports whether a receiver's answer has a true value under a name.
// Receivers are written by hand: names come with blanks around them and in any
// case, the value as a text, and a byte order mark before it all.
func says(body, name string) bool {
	body = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(body), "\ufeff"))
	var answer map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &answer) != nil {
		return false
	}
	for key, value := range answer {
		if !strings.EqualFold(strings.TrimSpace(key), name) {
			continue
		}
		text := string(value)
		if strings.HasPrefix(text, `"`) && json.Unmarshal(value, &text) != nil {
			return false
		}
		return strings.EqualFold(strings.TrimSpace(text), "true")
	}
	return false
}
