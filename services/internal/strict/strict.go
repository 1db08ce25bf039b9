// Package strict looks at documents from outside before anything reads them: what
// two readers could read differently, or what costs out of proportion, is refused.
// It decides nothing about what a document means.
package strict

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Limits of documents.
const (
	MaxJSONDepth = 32
	MaxXMLDepth  = 64
	// MaxXMLNodes bounds elements and attributes of one document.
	MaxXMLNodes = 200_000
)

// JSON refuses a document that isn't exactly one JSON value in UTF-8, nests deeper
// than [MaxJSONDepth], or has two members of an object whose names differ in case at
// most: readers take one or the other. A byte order mark is not part of it, see
// [TrimBOM].
func JSON(doc []byte) error {
	if !utf8.Valid(doc) {
		return errors.New("the document is not UTF-8")
	}
	if err := jsonDepth(doc); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber() // a number that is out of float64's range is still one
	if err := jsonValue(d); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the document goes on after its end")
	}
	return nil
}

// jsonDepth looks at brackets alone, so that nothing recurses into a bomb.
func jsonDepth(doc []byte) error {
	depth, quoted, escaped := 0, false, false
	for _, c := range doc {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '[' || c == '{':
			if depth++; depth > MaxJSONDepth {
				return fmt.Errorf("the document nests deeper than %d", MaxJSONDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

func jsonValue(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return errors.New("the document is not JSON")
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		return nil
	}
	var names map[string]bool
	if open == '{' {
		names = make(map[string]bool, 8)
	}
	for d.More() {
		if names != nil {
			name, err := d.Token()
			if err != nil {
				return errors.New("the document is not JSON")
			}
			text, _ := name.(string)
			folded := strings.ToLower(text)
			if names[folded] {
				return fmt.Errorf("the document has %q twice in one object", short(text))
			}
			names[folded] = true
		}
		if err := jsonValue(d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("the document is not JSON")
	}
	return nil
}

func short(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// XML refuses a document in UTF-8 that isn't exactly one element, has a document
// type (and with it entities of its own), or nests deeper than [MaxXMLDepth].
func XML(doc []byte) error {
	if !utf8.Valid(doc) {
		return errors.New("the document is not UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // it is UTF-8 already
	depth, roots, nodes := 0, 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.New("the document is not XML")
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("the document has a document type, and none is taken")
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
			nodes += 1 + len(t.Attr)
			switch {
			case roots > 1:
				return errors.New("the document has more than one root")
			case depth > MaxXMLDepth:
				return fmt.Errorf("the document nests deeper than %d", MaxXMLDepth)
			case nodes > MaxXMLNodes:
				return fmt.Errorf("the document has more than %d elements and attributes", MaxXMLNodes)
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errors.New("the document has text outside its root")
			}
		}
	}
	if roots == 0 {
		return errors.New("the document has no element")
	}
	return nil
}

// TrimBOM takes a byte order mark off, which some senders write.
func TrimBOM(doc []byte) []byte { return bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf")) }

// Text is a text that can be stored, logged and shown: valid UTF-8, without controls and
// marks of direction. Blanks of other kinds become one.
func Text(s string) string {
	clean := utf8.ValidString(s)
	if clean {
		clean = strings.IndexFunc(s, func(r rune) bool { return unseen(r) || r == '\n' || r == '\t' || r == '\r' }) < 0
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r', r == 0x2028, r == 0x2029, r == 0x85:
			return ' '
		case unseen(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// unseen are C0 and C1 controls, and marks that turn or hide what is shown.
func unseen(r rune) bool {
	switch {
	case r < ' ', 0x7f <= r && r <= 0x9f, 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0xfeff:
		return true
	}
	return 0x200e <= r && r <= 0x200f || 0x206a <= r && r <= 0x206f || r == 0x061c || 0xfff9 <= r && r <= 0xfffb || 0xe0000 <= r && r <= 0xe007f
}
