package ingest

import (
	"crypto/md5" //nolint:gosec // what Kuaidi100 signs with
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// kuaidi100Face receives Kuaidi100's pushes: a form with param and sign. Its
// settings are salts by account; a push names no account, so the path does.
type kuaidi100Face struct{ salts map[string]string }

func (kuaidi100Face) code() string { return "kuaidi100" }

func (f kuaidi100Face) verify(r *http.Request, p params) (document, *refusal) {
	account := r.PathValue("account")
	salt, known := f.salts[account]
	if !known {
		return document{}, &refusal{status: http.StatusNotFound, reason: "unknown_account", description: "unknown account"}
	}
	doc := document{account: account}
	param := p.Get("param")
	if param == "" {
		return doc, &refusal{status: http.StatusBadRequest, reason: "bad_body", field: "param", description: "param is missing", record: true}
	}
	sign := p.Get("sign")
	// Without a salt in the subscription pushes are not signed.
	if unsigned := salt == "" && sign == ""; unsigned {
		doc.text = []byte(param)
		return doc, nil
	}
	for _, text := range decodings(param) {
		if subtle.ConstantTimeCompare([]byte(kuaidi100Sign(text, salt)), []byte(strings.ToUpper(strings.TrimSpace(sign)))) == 1 {
			doc.text = []byte(text)
			return doc, nil
		}
	}
	return doc, &refusal{status: http.StatusOK, reason: "bad_signature", field: "sign", description: "签名错误"}
}

// kuaidi100Sign is the upper-case hexadecimal MD5 of text and salt.
func kuaidi100Sign(text, salt string) string {
	sum := md5.Sum([]byte(text + salt)) //nolint:gosec // what Kuaidi100 signs with
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (kuaidi100Face) succeed(w http.ResponseWriter, _ document, _ time.Time) {
	answer(w, http.StatusOK, kuaidi100Answer{Result: true, ReturnCode: strconv.Itoa(http.StatusOK), Message: "成功"})
}

func (kuaidi100Face) refuse(w http.ResponseWriter, _ string, no refusal, _ time.Time) {
	status := no.status
	if status == http.StatusBadRequest {
		status = http.StatusOK
	}
	answer(w, status, kuaidi100Answer{ReturnCode: strconv.Itoa(http.StatusInternalServerError), Message: no.description})
}

type kuaidi100Answer struct {
	Result     bool   `json:"result"`
	ReturnCode string `json:"returnCode"`
	Message    string `json:"message"`
}
