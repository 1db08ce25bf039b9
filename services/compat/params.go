package compat

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

const (
	// maxBody is the largest request: a batch subscription has some hundred bytes
	// for each waybill.
	maxBody = 1 << 20
	// maxParts of a multipart form.
	maxParts = 100
)

var errTooLarge = errors.New("the request is larger than 1 MiB")

// params are a request's parameters, wherever its sender put them: in the URL,
// or in the body as a form, a multipart form or a JSON object. What the body
// looks like counts, not its content type: clients write all kinds there. Names
// are kept in lower case, since clients spell them both ways.
type params map[string][]string

// readParams reads a request. A value of the body stands before one of the URL,
// unless it is empty.
func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	p := params{}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, errTooLarge
		}
		return nil, err
	}
	kind, attributes, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch text := strings.TrimPrefix(strings.TrimSpace(string(body)), "\ufeff"); {
	case strings.HasPrefix(kind, "multipart/"):
		p.readMultipart(body, attributes["boundary"])
	case strings.HasPrefix(text, "{"):
		if o, err := parseObject(text); err == nil {
			for name, v := range o {
				p.add(name, written(v))
			}
			break
		}
		fallthrough
	default:
		p.readForm(text)
	}
	p.readForm(r.URL.RawQuery)
	return p, nil
}

func (p params) add(name, value string) {
	if value != "" {
		name = strings.ToLower(strings.TrimSpace(name))
		p[name] = append(p[name], value)
	}
}

// readForm reads name=value pairs; values stay encoded, since how often they are
// is the reader's to find out.
func (p params) readForm(form string) {
	for pair := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(pair, "=")
		p.add(decode(name, true), value)
	}
}

// readMultipart reads a multipart form; its values aren't encoded, and so are
// made to look as if they were.
func (p params) readMultipart(body []byte, boundary string) {
	parts := multipart.NewReader(strings.NewReader(string(body)), boundary)
	for range maxParts {
		part, err := parts.NextPart()
		if err != nil {
			return // what came before it counts
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return
		}
		p.add(part.FormName(), encoded.Replace(string(value)))
	}
}

var encoded = strings.NewReplacer("%", "%25", "+", "%2B", "&", "%26")

// text is a parameter decoded once, without blanks around it.
func (p params) text(name string) string {
	for _, v := range p[strings.ToLower(name)] {
		if v = strings.TrimSpace(decode(v, true)); v != "" {
			return v
		}
	}
	return ""
}

// spellings are what a parameter may have been before it was encoded: decoded
// once, as the documents have it; twice, as clients do that copied a demo which
// encodes before its form encoder does; and with a plus that was meant as one.
func (p params) spellings(name string) []string {
	var list []string
	add := func(s string) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, raw := range p[strings.ToLower(name)] {
		once, plus := decode(raw, true), decode(raw, false)
		add(once)
		add(decode(once, true))
		add(plus)
		add(decode(plus, false))
		add(raw)
	}
	return list
}

// decode takes percent-encoding away. An escape that is none stays as it is:
// some clients encode nothing.
func decode(s string, plus bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && plus:
			c = ' '
		case c == '%' && i+2 < len(s) && unhex(s[i+1]) < 16 && unhex(s[i+2]) < 16:
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unhex is a hexadecimal digit's value, 16 or more for what is none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	default:
		return 16
	}
}

// charsets are what a text's signature may be over: the bytes as they came, and, of
// Chinese, those of the other encoding. Some clients sign a text in the one and send
// it in the other.
func charsets(s string) []string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return []string{s}
	}
	if !utf8.ValidString(s) {
		return []string{s, utf8Of(s)}
	}
	if t, err := simplifiedchinese.GB18030.NewEncoder().String(s); err == nil {
		return []string{s, t}
	}
	return []string{s}
}

// utf8Of is a text in UTF-8. What isn't was written in GBK, as old programs on
// Chinese systems do. Signatures are over the bytes as they came.
func utf8Of(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	if t, err := simplifiedchinese.GB18030.NewDecoder().String(s); err == nil {
		return t
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
