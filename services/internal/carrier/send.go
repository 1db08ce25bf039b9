package carrier

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// Post is a push as a source would send it.
type Post struct {
	Path   string // below the HTTP server's address
	Header map[string]string
	Body   []byte
}

const (
	formContent = "application/x-www-form-urlencoded; charset=utf-8"
	jsonContent = "application/json"
	sourcesPath = "/v1/sources/"
)

// formFields are the fields of a source's form that hold the document.
var formFields = map[string]string{
	kdniaoCode: "RequestData", kuaidi100Code: "param", "sf": "content", "zto": "data", "yto": "logistics_interface", "sto": "content", "jtexpress": "bizContent",
}

// Document is the document in a form's body; anything else is taken as it is.
// Some senders encode the document once more than the form does.
func (s Source) Document(body []byte) []byte {
	plain := strings.TrimSpace(string(body))
	if plain == "" || plain[0] == '{' || plain[0] == '[' || plain[0] == '<' {
		return body
	}
	form, err := url.ParseQuery(plain)
	field := formFields[s.Code]
	if err != nil || field == "" || !form.Has(field) {
		return body
	}
	doc := form.Get(field)
	if strings.HasPrefix(doc, "%") {
		if again, err := url.QueryUnescape(doc); err == nil {
			doc = again
		}
	}
	return []byte(doc)
}

// Send signs a document and makes the push that its source would send, for
// demonstrations, simulators and tests. It is false for a source that doesn't
// push.
func (s Source) Send(doc []byte, account, secret string, now time.Time) (Post, bool) {
	if s.Push == nil {
		return Post{}, false
	}
	text, at := string(doc), strconv.FormatInt(now.Unix(), 10)
	p := Post{Path: sourcesPath + s.Code, Header: map[string]string{"Content-Type": jsonContent}, Body: doc}
	form := func(more ...string) {
		f := url.Values{formFields[s.Code]: {text}}
		for i := 0; i+1 < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		p.Header["Content-Type"], p.Body = formContent, []byte(f.Encode())
	}
	if !s.Push.AnyPath && s.Code != "zto" && s.Code != "yto" && s.Code != "jtexpress" {
		p.Path += "/" + url.PathEscape(account)
	}
	switch s.Code {
	case kdniaoCode:
		form("RequestType", "102", "EBusinessID", account, "DataSign", kdniaoSign(text, secret))
	case kuaidi100Code:
		form("sign", kuaidi100Sign(text, secret))
	case "sf":
		p.Path += "/" + url.PathEscape(secret)
		if form(); !isXML(doc) {
			p.Header["Content-Type"], p.Body = jsonContent, doc
		}
	case "zto":
		form("data_digest", md5Base64(text+secret), "company_id", account, "msg_type", "Traces")
	case "yto":
		form("data_digest", md5Base64(text+secret), "clientId", account, "type", "online")
	case "sto":
		form("data_digest", md5Base64(text+secret), "api_name", "STO_TRACE_PLATFORM_PUSH", "to_code", account)
	case "jtexpress":
		form()
		p.Header["apiAccount"], p.Header["digest"], p.Header["timestamp"] = account, md5Base64(text+secret), strconv.FormatInt(now.UnixMilli(), 10)
	case "17track":
		sum := sha256.Sum256([]byte(text + "/" + secret))
		p.Header["sign"] = hex.EncodeToString(sum[:])
	case "aftership":
		p.Header["aftership-hmac-sha256"] = macBase64(secret, doc)
	case "easypost":
		p.Header["X-Hmac-Signature"] = "hmac-sha256-hex=" + macHex(norm.NFKD.String(secret), doc)
	case "fedex":
		p.Header["fdx-signature"] = macBase64(secret, doc)
	case "usps":
		p.Header["X-Timestamp"], p.Header["X-HMAC"] = at, macBase64(secret, []byte(at), doc)
	case "shippo":
		p.Header["Shippo-Auth-Signature"] = "t=" + at + ",v1=" + macHex(secret, []byte(at+"."), doc)
	case "trackingmore": // its signature is part of the document
		p.Path += "/" + url.PathEscape(secret)
	default:
		p.Header["Authorization"] = "Bearer " + secret
	}
	return p, true
}
