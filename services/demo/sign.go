package demo

import (
	"crypto/md5" //nolint:gosec // it is what both platforms sign with
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// Accounts are those of the two platforms, as they would be at them.
type Accounts struct {
	// KdniaoID is the EBusinessID, and KdniaoKey the AppKey.
	KdniaoID, KdniaoKey string
	// Kuaidi100Name is the last part of the callback's path, and Kuaidi100Salt
	// that of the subscriptions.
	Kuaidi100Name, Kuaidi100Salt string
}

// NewAccounts makes accounts with secrets that nobody else knows.
func NewAccounts() Accounts {
	return Accounts{KdniaoID: "1237100", KdniaoKey: rand.Text(), Kuaidi100Name: "demo", Kuaidi100Salt: rand.Text()}
}

// post is a signed push: what is posted, and where to.
type post struct {
	path string
	form url.Values
}

// kdniao signs RequestData: the base64 of the lower-case hexadecimal MD5.
func (a Accounts) kdniao(data []byte) post {
	sign := base64.StdEncoding.EncodeToString([]byte(hexMD5(data, a.KdniaoKey)))
	return post{"/v1/sources/kdniao", url.Values{
		"RequestData": {string(data)}, "RequestType": {"102"}, "EBusinessID": {a.KdniaoID}, "DataSign": {sign},
	}}
}

// kuaidi100 signs param: the upper-case hexadecimal MD5.
func (a Accounts) kuaidi100(param []byte) post {
	sign := strings.ToUpper(hexMD5(param, a.Kuaidi100Salt))
	return post{"/v1/sources/kuaidi100/" + url.PathEscape(a.Kuaidi100Name), url.Values{"param": {string(param)}, "sign": {sign}}}
}

// sign makes the push of a source's document.
func (a Accounts) sign(source string, doc []byte) post {
	if source == kdniaoSource {
		return a.kdniao(doc)
	}
	return a.kuaidi100(doc)
}

func hexMD5(doc []byte, secret string) string {
	h := md5.New()      //nolint:gosec // it is what both platforms sign with
	_, _ = h.Write(doc) // a hash's Write never fails
	_, _ = h.Write([]byte(secret))
	return hex.EncodeToString(h.Sum(nil))
}
