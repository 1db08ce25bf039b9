package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object of a client. Values are string, json.Number, bool,
// nil, object and []any.
type object map[string]any

var errNoObject = errors.New("it isn't a JSON object")

// parseObject reads a JSON object, and what passes for one in the platforms' own
// demos: names and texts in single quotes or none at all, commas before a
// closing bracket, line breaks within texts.
func parseObject(text string) (object, error) {
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(utf8Of(text)), "\ufeff"))
	if !strings.HasPrefix(text, "{") {
		return nil, errNoObject
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) == nil {
		return m, nil
	}
	l := lenient{text: text}
	v, ok := l.value(0)
	if o, isObject := v.(object); ok && isObject {
		return o, nil
	}
	return nil, errNoObject
}

// find is a field by one of its spellings, in any case; the first that is
// there and not null.
func (o object) find(names ...string) any {
	for _, name := range names {
		if v := o[name]; v != nil {
			return v
		}
	}
	for _, name := range names {
		for key, v := range o {
			if v != nil && strings.EqualFold(strings.TrimSpace(key), name) {
				return v
			}
		}
	}
	return nil
}

// text is a field's text, by one of its spellings; numbers and booleans as they
// are written. Of several the first that isn't empty.
func (o object) text(names ...string) string {
	for _, name := range names {
		if s := strings.TrimSpace(written(o.find(name))); s != "" {
			return s
		}
	}
	return ""
}

// object is a field that is an object, or a text that holds one; else an empty
// one.
func (o object) object(names ...string) object {
	switch v := o.find(names...).(type) {
	case map[string]any:
		return v
	case object:
		return v
	case string:
		if inner, err := parseObject(v); err == nil {
			return inner
		}
	}
	return object{}
}

// list is a field's elements; a single one may stand for itself.
func (o object) list(names ...string) []any {
	switch v := o.find(names...).(type) {
	case []any:
		return v
	case nil:
		return nil
	default:
		return []any{v}
	}
}

// yes says whether a switch is on: 1, "1" or true.
func (o object) yes(names ...string) bool {
	s := o.text(names...)
	return s == "1" || strings.EqualFold(s, "true")
}

func asObject(v any) object {
	switch v := v.(type) {
	case map[string]any:
		return v
	case object:
		return v
	}
	return nil
}

// written is a scalar's text; that of an object or a list its JSON.
func written(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
}

// maxDepth bounds the recursion.
const maxDepth = 32

// lenient reads what is nearly JSON.
type lenient struct {
	text string
	at   int
}

func (l *lenient) blank() {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
}

// next reports whether the next character is c, and passes it then.
func (l *lenient) next(c byte) bool {
	l.blank()
	if l.at < len(l.text) && l.text[l.at] == c {
		l.at++
		return true
	}
	return false
}

func (l *lenient) value(depth int) (v any, ok bool) {
	l.blank()
	switch {
	case l.at >= len(l.text) || depth > maxDepth:
		return nil, false
	case l.next('{'):
		return l.object(depth)
	case l.next('['):
		var list []any
		for !l.next(']') {
			v, ok := l.value(depth + 1)
			if !ok {
				return nil, false
			}
			list = append(list, v)
			if !l.next(',') && (l.at >= len(l.text) || l.text[l.at] != ']') {
				return nil, false
			}
		}
		return list, true
	case l.text[l.at] == '"' || l.text[l.at] == '\'':
		return l.quoted()
	}
	switch word := l.word(",]}"); word {
	case "":
		return nil, false
	case "null", "undefined", "None":
		return nil, true
	case "true", "True":
		return true, true
	case "false", "False":
		return false, true
	default:
		return word, true
	}
}

func (l *lenient) object(depth int) (v any, ok bool) {
	o := object{}
	for !l.next('}') {
		l.blank()
		if l.at >= len(l.text) {
			return nil, false
		}
		var name string
		if c := l.text[l.at]; c == '"' || c == '\'' {
			if name, ok = l.quoted(); !ok {
				return nil, false
			}
		} else if name = l.word(":,}"); name == "" {
			return nil, false
		}
		if !l.next(':') {
			return nil, false
		}
		if o[name], ok = l.value(depth + 1); !ok {
			return nil, false
		}
		if !l.next(',') && (l.at >= len(l.text) || l.text[l.at] != '}') {
			return nil, false
		}
	}
	return o, true
}

// word reads up to one of the characters that end it.
func (l *lenient) word(ends string) string {
	rest := l.text[l.at:]
	n := strings.IndexAny(rest, ends)
	if n < 0 {
		n = len(rest)
	}
	l.at += n
	return strings.TrimSpace(rest[:n])
}

// quoted reads a text in the quotes that it begins with.
func (l *lenient) quoted() (s string, ok bool) {
	quote := l.text[l.at]
	l.at++
	var b strings.Builder
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		switch c {
		case quote:
			return b.String(), true
		case '\\':
			if l.at >= len(l.text) {
				return "", false
			}
			l.escape(&b)
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

func (l *lenient) escape(b *strings.Builder) {
	c := l.text[l.at]
	l.at++
	switch c {
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'b', 'f':
	case 'u':
		const digits = 4
		if l.at+digits > len(l.text) {
			return
		}
		if n, err := strconv.ParseUint(l.text[l.at:l.at+digits], 16, 16); err == nil {
			l.at += digits
			b.WriteRune(l.surrogate(rune(n)))
		}
	default:
		b.WriteByte(c)
	}
}

// surrogate joins the second half of a character beyond 16 bits to its first.
func (l *lenient) surrogate(first rune) rune {
	const low, lowEnd, high, highEnd, digits = 0xDC00, 0xE000, 0xD800, 0xDC00, 4
	if first < high || first >= highEnd {
		return first
	}
	if rest := l.text[l.at:]; len(rest) >= digits+2 && strings.HasPrefix(rest, `\u`) {
		if n, err := strconv.ParseUint(rest[2:2+digits], 16, 16); err == nil && n >= low && n < lowEnd {
			l.at += digits + 2
			return (first-high)<<10 | rune(n-low) + 0x10000
		}
	}
	return utf8.RuneError
}
