package ingest

import (
	"crypto/md5" //nolint:gosec // what Kdniao signs with
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
)

// kdniaoFace receives Kdniao's pushes 101 and 102: a form with RequestData,
// RequestType and DataSign. Its settings are AppKeys by EBusinessID.
type kdniaoFace struct{ keys map[string]string }

const kdniaoPayout = "107" // tells of money, not of parcels

func (kdniaoFace) code() string { return "kdniao" }

func (f kdniaoFace) verify(_ *http.Request, p params) (document, *refusal) {
	data, sign := p.Get("RequestData"), p.Get("DataSign")
	if data == "" {
		return document{}, &refusal{status: http.StatusOK, reason: "bad_body", field: "RequestData", description: "RequestData is missing", record: true}
	}
	// Some clients encode twice; what verifies is what was meant.
	for _, text := range decodings(data) {
		account := kdniaoAccount(text, p.Get("EBusinessID"))
		key, known := f.keys[account]
		if !known {
			continue
		}
		for _, s := range decodings(sign) {
			if subtle.ConstantTimeCompare([]byte(kdniaoSign(text, key)), []byte(strings.TrimSpace(s))) == 1 || fault.SignatureUnchecked {
				return document{account: account, text: []byte(text), nothing: p.Get("RequestType") == kdniaoPayout}, nil
			}
		}
	}
	return document{}, &refusal{status: http.StatusOK, reason: "bad_signature", field: "DataSign", description: "非法参数[请核实ID和key是否正确]"}
}

// kdniaoSign is the base64 of the lower-case hexadecimal MD5 of text and key.
func kdniaoSign(text, key string) string {
	sum := md5.Sum([]byte(text + key)) //nolint:gosec // what Kdniao signs with
	return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
}

// decodings are a value as the form gave it, and decoded once more.
func decodings(s string) []string {
	if again, err := url.QueryUnescape(s); err == nil && again != s {
		return []string{s, again}
	}
	return []string{s}
}

// kdniaoAccount is the EBusinessID that a document names; a parameter stands in
// when it names none.
func kdniaoAccount(text, parameter string) string {
	var head struct {
		EBusinessID json.RawMessage
	}
	if json.Unmarshal([]byte(text), &head) == nil {
		if id := strings.Trim(string(head.EBusinessID), `" `); id != "" && id != "null" {
			return id
		}
	}
	return parameter
}

func (kdniaoFace) succeed(w http.ResponseWriter, doc document, now time.Time) {
	answer(w, http.StatusOK, kdniaoAnswer{EBusinessID: doc.account, UpdateTime: chinaTime(now), Success: true})
}

// refuse answers 200 as Kdniao does, unless HTTP itself has something to say.
func (kdniaoFace) refuse(w http.ResponseWriter, account string, no refusal, now time.Time) {
	status := no.status
	if status == http.StatusBadRequest {
		status = http.StatusOK
	}
	answer(w, status, kdniaoAnswer{EBusinessID: account, UpdateTime: chinaTime(now), Reason: no.description})
}

type kdniaoAnswer struct {
	EBusinessID string
	UpdateTime  string
	Success     bool
	Reason      string
}

var china = time.FixedZone("CST", 8*60*60)

func chinaTime(t time.Time) string { return t.In(china).Format(time.DateTime) }
