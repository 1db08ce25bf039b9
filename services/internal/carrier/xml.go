package carrier

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a document, whoever signed it.
const (
	maxDepth    = 64
	maxElements = 200_000
)

// cutXML finds the elements of a name in a document that is UTF-8, each byte
// for byte. A document type, and with it any entity of its own, is refused, and
// so is one that nests too deep.
func cutXML(doc []byte, name string) ([][]byte, error) {
	d := newXML(doc)
	var found [][]byte
	depth, begin, inside, elements := 0, int64(0), 0, 0
	for {
		at := d.InputOffset()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("is not XML: %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, errors.New("a document type can't stand here")
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("nests deeper than %d", maxDepth)
			}
			if elements++; elements > maxElements {
				return nil, fmt.Errorf("has more than %d elements", maxElements)
			}
			if inside == 0 && t.Name.Local == name {
				begin, inside = at, depth
			}
		case xml.EndElement:
			if inside == depth {
				found, inside = append(found, doc[begin:d.InputOffset()]), 0
			}
			depth--
		}
	}
}

// readXML reads one element. What cutXML took can be read.
func readXML(element []byte, v any) error { return newXML(element).Decode(v) }

func newXML(doc []byte) *xml.Decoder {
	d := xml.NewDecoder(bytes.NewReader(doc))
	// Whatever the declaration says, the text was brought to UTF-8 before.
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	return d
}

// isXML reports whether a document looks like XML.
func isXML(doc []byte) bool { return bytes.HasPrefix(trimBOM(doc), []byte("<")) }

// clean is a text without what can't be stored or shown: NUL, and blanks around.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return strings.TrimSpace(s)
}

// deepJSON reports whether a JSON document nests deeper than it may.
func deepJSON(doc []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
