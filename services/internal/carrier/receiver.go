package carrier

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what Chinese carriers sign with
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/posthaste/posthaste/services/internal/fault"
)

// Receiver is how a source's pushes are verified and answered.
type Receiver struct {
	// Verify finds who sent a push and what of it is the document. A refusal says
	// why it isn't taken.
	Verify func(r *Request) (Document, *Refusal)
	// Accept and Refuse answer in the source's own form.
	Accept func(doc Document, now time.Time) Answer
	Refuse func(doc Document, no *Refusal, now time.Time) Answer
	// NeedsAccount says that a push's path must name the account, because nothing
	// else does.
	NeedsAccount bool
	// AnyPath says that whatever follows the source's path is nothing's name.
	AnyPath bool
}

// Request is a push as it came.
type Request struct {
	// Accounts are the secrets of this source's accounts.
	Accounts map[string]string
	// Account and Key are what the path names; both may be empty.
	Account, Key string
	Header       func(name string) string
	Form         func() url.Values // the URL's parameters and the body's, the body's over the URL's
	Body         []byte
	Now          time.Time
}

// Document is a verified push: what of it says the traces, and who sent it.
type Document struct {
	Account string
	Text    []byte
	// Nothing says that there is nothing to take in, and all is well.
	Nothing bool
	// Echo is what the answer repeats.
	Echo string
}

// Refusal is why a push isn't taken in.
type Refusal struct {
	Status      int    // HTTP
	Reason      string // short, for metrics and the REJECTED stream
	Field       string
	Description string // for the source
	Record      bool   // whether it is worth a place in the REJECTED stream
}

// Answer is what a source is answered.
type Answer struct {
	Status      int // HTTP
	ContentType string
	Body        []byte
}

// HTTP's statuses that refusals have.
const (
	StatusOK            = 200
	StatusBadRequest    = 400
	StatusUnauthorized  = 401
	StatusNotFound      = 404
	StatusUnprocessable = 422
)

// unsigned is the refusal of a push of which it isn't known who sent it. It
// doesn't say which part is wrong.
func unsigned() *Refusal {
	return &Refusal{Status: StatusUnauthorized, Reason: "bad_signature", Description: "the signature or key is wrong"}
}

// missing is the refusal of a push without a field that it needs.
func missing(field string) *Refusal {
	return &Refusal{Status: StatusBadRequest, Reason: "bad_body", Field: field, Description: field + " is missing", Record: true}
}

// sentBy finds the account for which valid holds: the one that the path names,
// or the one that the push names, or any. An account without a secret takes
// unsigned pushes that name it in the path.
func (r *Request) sentBy(named string, valid func(secret string) bool) (string, *Refusal) {
	if r.Account != "" {
		secret, known := r.Accounts[r.Account]
		switch {
		case !known:
			return "", &Refusal{Status: StatusNotFound, Reason: "unknown_account", Description: "unknown account"}
		case secret == "" || valid(secret):
			return r.Account, nil
		}
		return "", unsigned()
	}
	if secret := r.Accounts[named]; secret != "" {
		if valid(secret) {
			return named, nil
		}
		return "", unsigned()
	}
	for _, account := range slices.Sorted(maps.Keys(r.Accounts)) {
		if secret := r.Accounts[account]; secret != "" && valid(secret) {
			return account, nil
		}
	}
	return "", unsigned()
}

// keyed reports whether a push brings the secret itself: as the key in its path,
// or as the URL's parameter "key".
func (r *Request) keyed(secret string) bool {
	return secret != "" && (same(r.Key, secret) || same(r.Form().Get("key"), secret))
}

// bears reports whether one of the headers is the secret, bare or behind
// "Bearer".
func (r *Request) bears(secret string, headers ...string) bool {
	for _, name := range headers {
		value := strings.TrimSpace(r.Header(name))
		if scheme, rest, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			value = strings.TrimSpace(rest)
		}
		if secret != "" && same(value, secret) {
			return true
		}
	}
	return false
}

// same compares secrets in constant time. An empty one is like nothing.
func same(got, want string) bool {
	return got != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 || fault.SignatureUnchecked
}

// signedForm finds the field of a form that a digest signs, whatever number of
// times it was URL-encoded.
func signedForm(given, digest string, sign func(text string) string) (string, bool) {
	for _, text := range decodings(given) {
		for _, d := range decodings(digest) {
			// A plus sign in an unescaped digest became a blank.
			if same(strings.ReplaceAll(strings.TrimSpace(d), " ", "+"), sign(text)) {
				return text, true
			}
		}
	}
	return "", false
}

// decodings are a value as the form gave it, and decoded once more.
func decodings(s string) []string {
	if again, err := url.QueryUnescape(s); err == nil && again != s {
		return []string{s, again}
	}
	return []string{s}
}

// md5Base64 is the base64 of a text's MD5.
func md5Base64(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // what Chinese carriers sign with
	return base64.StdEncoding.EncodeToString(sum[:])
}

// md5Hex is a text's MD5 in lower-case hexadecimal digits.
func md5Hex(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // what Chinese carriers sign with
	return hex.EncodeToString(sum[:])
}

// mac is the HMAC-SHA256 of the parts one after another.
func mac(secret string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, p := range parts {
		_, _ = h.Write(p) // it never fails
	}
	return h.Sum(nil)
}

func macBase64(secret string, parts ...[]byte) string {
	return base64.StdEncoding.EncodeToString(mac(secret, parts...))
}

func macHex(secret string, parts ...[]byte) string { return hex.EncodeToString(mac(secret, parts...)) }

// bodyDocument is the document of a source that posts it bare.
func bodyDocument(r *Request, valid func(secret string) bool) (Document, *Refusal) {
	account, no := r.sentBy("", valid)
	if no != nil {
		return Document{}, no
	}
	doc := Document{Account: account, Text: r.Body}
	if len(trimBOM(r.Body)) == 0 {
		return doc, missing("body")
	}
	return doc, nil
}

// utf8Text is a document of a source that also writes GBK, in UTF-8. What is
// neither is left as it is; it is refused later.
func utf8Text(doc []byte) []byte {
	if utf8.Valid(doc) {
		return doc
	}
	decoded, err := simplifiedchinese.GB18030.NewDecoder().Bytes(doc)
	if err != nil || strings.ContainsRune(string(decoded), utf8.RuneError) {
		return doc
	}
	return decoded
}

// answerJSON answers with JSON.
func answerJSON(status int, v any) Answer {
	body, err := json.Marshal(v)
	if err != nil { // none of ours fails
		status, body = 500, []byte(`{}`)
	}
	return Answer{Status: status, ContentType: "application/json;charset=utf-8", Body: body}
}

// answerXML answers with XML.
func answerXML(status int, v any) Answer {
	body, err := xml.Marshal(v)
	if err != nil { // none of ours fails
		status, body = 500, nil
	}
	return Answer{Status: status, ContentType: "text/xml;charset=utf-8", Body: body}
}

// byStatus is for sources that look at HTTP's status alone.
func byStatus(verify func(r *Request) (Document, *Refusal)) *Receiver {
	return &Receiver{
		Verify: verify,
		Accept: func(Document, time.Time) Answer { return answerJSON(StatusOK, struct{}{}) },
		Refuse: func(_ Document, no *Refusal, _ time.Time) Answer {
			return answerJSON(no.Status, map[string]string{"error": no.Description})
		},
	}
}

// fresh reports whether a moment in seconds or milliseconds since 1970 is within
// a window around now.
func fresh(now time.Time, given string, window time.Duration) bool {
	var n int64
	for _, c := range given {
		if c < '0' || c > '9' || len(given) > 13 {
			return false
		}
		n = n*10 + int64(c-'0')
	}
	at := time.Unix(n, 0)
	if len(given) == 13 {
		at = time.UnixMilli(n)
	}
	return given != "" && now.Sub(at).Abs() <= window
}
