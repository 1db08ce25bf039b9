package carrier

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// text is a field that sources send as a string, a number, a boolean or null.
// Anything else in its place, such as a list, reads as empty: a field that
// isn't needed must not make a report unusable.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(clean(s))
	case len(b) == 0 || b[0] == '{' || b[0] == '[' || string(b) == "null":
		*t = ""
	default:
		*t = text(b)
	}
	return nil
}

func (t text) String() string { return strings.TrimSpace(string(t)) } // of XML it may have blanks around

// trimBOM drops what some senders put before the document.
func trimBOM(doc []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(doc), []byte("\xef\xbb\xbf")))
}

// isObject reports whether b is a JSON object, without reading it.
func isObject(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && b[0] == '{'
}

// decodeField names the field at or below path that err is about.
func decodeField(path string, err error) *FieldError {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if t.Field != "" {
			path += "." + t.Field
		}
		return &FieldError{path, "a JSON " + t.Value + " can't stand here"}
	}
	return &FieldError{path, "is not JSON: " + err.Error()}
}
