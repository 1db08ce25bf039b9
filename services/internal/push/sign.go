package push

import (
	"crypto/md5" //nolint:gosec // what both platforms sign with
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// SignKdniao is DataSign: the base64 of the lower-case hexadecimal MD5 of a
// document and the AppKey.
func SignKdniao(data, key string) string {
	return base64.StdEncoding.EncodeToString([]byte(hexMD5(data + key)))
}

// SignKuaidi100 is a push's sign: the upper-case hexadecimal MD5 of param and
// the salt. A query's is that of param, key and customer.
func SignKuaidi100(param, salt string) string { return strings.ToUpper(hexMD5(param + salt)) }

func hexMD5(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // what both platforms sign with
	return hex.EncodeToString(sum[:])
}
