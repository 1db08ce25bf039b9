package carrier

import (
	"regexp"
	"unicode"

	"github.com/posthaste/posthaste/services/internal/track"
)

var (
	courierText = regexp.MustCompile(`(?:快递员|派件员|派送员|投递员|揽投员|揽收员|业务员)(?:姓名)?[:：]?\s*[【\[]?(\p{Han}[\p{Han}·]{0,7}?)[】\]]?\s*[（(，,;；]?\s*(?:联系)?(?:电话|手机)?[:：]?\s*(1\d{10})(?:\D|$)`)
	signerText  = regexp.MustCompile(`签收人(?:[:：]|是|为)\s*[【\[]?([^\s，,。；;、：:（）()【】\[\]]{1,20})`)
)

// courierIn finds a courier's name and mobile number where a text tells both.
func courierIn(s string) track.Person {
	m := courierText.FindStringSubmatch(s)
	if m == nil {
		return track.Person{}
	}
	return track.Person{Name: m[1], Phone: m[2]}
}

// signerIn finds who signed where a text tells it.
func signerIn(s string) string {
	m := signerText.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	return m[1]
}

// languageOf tells Chinese; both platforms carry other languages untold.
func languageOf(s string) string {
	for _, r := range s {
		if unicode.Is(unicode.Han, r) {
			return "zh"
		}
	}
	return ""
}
