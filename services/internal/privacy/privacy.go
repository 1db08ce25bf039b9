// Package privacy hides personal data in texts: names, phone and identity numbers,
// codes for picking up, rooms, addresses of mail. It is pure, and it errs to one side: what
// may be a phone number is hidden, a waybill number isn't one.
//
// China's waybill standard GB/T 41833-2022 asks for at least one character of a
// name, six digits of a phone number, and the room.
package privacy

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const digit = `[0-9０-９]`

// The patterns of numbers. Go's have no look-around: what stands before and after is
// matched too, and kept.
var (
	mobile   = regexp.MustCompile(`(^|[^0-9０-９A-Za-z])((?:(?:\+|＋|00)?[8８][6６][-－ ]?)?[1１][3-9３-９]` + digit + `[-－ ]?` + digit + `{4}[-－ ]?` + digit + `{4})($|[^0-9０-９A-Za-z])`)
	landline = regexp.MustCompile(`(^|[^0-9０-９A-Za-z])((?:(?:\+|＋)[8８][6６][-－ ]?)?[（(]?[0０][1-9１-９]` + digit + `{1,2}[)）]?[-－ ]?[2-9２-９]` + digit + `{2,3}[-－ ]?` + digit + `{4})($|[^0-9０-９A-Za-z])`)
	abroad   = regexp.MustCompile(`(^|[^0-9A-Za-z])(\+[1-9](?:[-. ()]?[0-9]){8,13})($|[^0-9A-Za-z])`)
	identity = regexp.MustCompile(`(^|[^0-9A-Za-z])([1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx])($|[^0-9A-Za-z])`)
	mail     = regexp.MustCompile(`[A-Za-z0-9._%+-]+(@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)`)
	code     = regexp.MustCompile(`((?:取件码|取货码|提货码|提取码|验证码|开箱码|开柜码|取件密码|(?i:pick-?\s?up code|collection code|pin code|passcode|otp|pin))\s*(?:[:：]|是|为|(?i:is))?\s*[【\[“"]?\s*)([0-9A-Za-z][0-9A-Za-z-]{2,15})`)
	room     = regexp.MustCompile(`([0-9０-９]+)(号楼|栋|幢|单元|室)`)
)

// The patterns of names: a word that announces one, and what may stand between.
var (
	announced = regexp.MustCompile(`(签收人|收件人|收货人|收方|寄件人|发件人|寄方|代收人|代签收人|联系人|快递员|派件员|派送员|配送员|投递员|揽投员|揽收员|揽件员|收件员|业务员|快递小哥|骑手|司机)((?:姓名)?\s*(?:[:：]|是|为)?\s*[【\[（(“"]?\s*)`)
	signedBy  = regexp.MustCompile(`((?:已?由|被)\s*[【\[]?\s*)([\p{Han}·]{2,8}?)(\s*[】\]]?\s*(?:本人)?(?:代为?)?签收)`)
	english   = regexp.MustCompile(`((?i:signed (?:for )?by|received by|signature|signee|recipient|consignee|courier|driver)\s*:?\s+)([A-Z][A-Za-z.'-]*(?: [A-Z][A-Za-z.'-]*){0,3})`)
)

// Mask hides personal data in a text. keep are texts in which nothing is hidden, such as
// the waybill's number.
func Mask(s string, keep ...string) string {
	if s == "" || !suspicious(s) {
		return s
	}
	kept := map[string]string{}
	for i, k := range keep {
		if len(k) >= 4 && strings.Contains(s, k) {
			mark := "\x00" + string(rune('a'+i)) + "\x00"
			kept[mark] = k
			s = strings.ReplaceAll(s, k, mark)
		}
	}
	for _, p := range []*regexp.Regexp{identity, mobile, landline, abroad} {
		s = numbers(p, s)
	}
	s = code.ReplaceAllString(s, "${1}***")
	s = mail.ReplaceAllString(s, "***${1}")
	s = room.ReplaceAllString(s, "*${2}")
	s = names(s)
	for mark, k := range kept {
		s = strings.ReplaceAll(s, mark, k)
	}
	return s
}

// suspicious spares texts that can't hold any of it: most of what is logged.
func suspicious(s string) bool {
	digits := 0
	for _, r := range s {
		switch {
		case r >= utf8.RuneSelf, r == '@':
			return true
		case '0' <= r && r <= '9':
			if digits++; digits >= 3 {
				return true
			}
		}
	}
	return english.MatchString(s)
}

// numbers hides the second group of every match. Matches share the character between
// them, so it goes on until there is none.
func numbers(p *regexp.Regexp, s string) string {
	for range 8 {
		next := p.ReplaceAllStringFunc(s, func(m string) string {
			g := p.FindStringSubmatch(m)
			return g[1] + Phone(g[2]) + g[3]
		})
		if next == s {
			return s
		}
		s = next
	}
	return s
}

// Phone hides a number: all digits but those before the last eight, and the last two.
func Phone(s string) string {
	n := 0
	for _, r := range s {
		if unicode.IsDigit(r) || r == 'X' || r == 'x' {
			n++
		}
	}
	first, i := max(min(n-8, 5), 0), 0
	return strings.Map(func(r rune) rune {
		if !unicode.IsDigit(r) && r != 'X' && r != 'x' {
			return r
		}
		i++
		if i <= first || i > n-2 && n > 4 {
			return r
		}
		return '*'
	}, s)
}

// Name hides a name but its first character.
func Name(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || anonymous(s) {
		return s
	}
	words := strings.Split(s, " ")
	for i, w := range words {
		first, size := utf8.DecodeRuneInString(w)
		switch n := utf8.RuneCountInString(w[size:]); {
		case w == "":
		case n == 0:
			words[i] = "*"
		default:
			words[i] = string(first) + strings.Repeat("*", n)
		}
	}
	return strings.Join(words, " ")
}

// nobody are who signs without being somebody.
var nobody = []string{"本人", "家人", "前台", "门卫", "物业", "保安", "收发室", "驿站", "快递柜", "丰巢", "菜鸟", "代收点", "代理点", "超市", "门口", "单位", "同事", "朋友", "他人", "亲友", "邻居", "便利店", "自提", "客户", "收件人", "签收人", "服务站", "网点", "前臺", "柜", "店"}

func anonymous(s string) bool {
	for _, n := range nobody {
		if strings.Contains(s, n) {
			return true
		}
	}
	return false
}

func names(s string) string {
	s = signedBy.ReplaceAllStringFunc(s, func(m string) string {
		g := signedBy.FindStringSubmatch(m)
		return g[1] + Name(g[2]) + g[3]
	})
	s = english.ReplaceAllStringFunc(s, func(m string) string {
		g := english.FindStringSubmatch(m)
		return g[1] + Name(g[2])
	})
	var b strings.Builder
	for {
		at := announced.FindStringSubmatchIndex(s)
		if at == nil {
			b.WriteString(s)
			return b.String()
		}
		sure := at[5] > at[4] && strings.ContainsAny(s[at[4]:at[5]], ":：是为【[（(“\"")
		b.WriteString(s[:at[1]])
		s = s[at[1]:]
		n := nameAt(s, sure)
		b.WriteString(Name(s[:n]))
		s = s[n:]
	}
}

// surnames are the usual ones; those of two characters come first.
const (
	compound = "欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 司徒 令狐 夏侯 南宫"
	surnames = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐沿梅莫庄辛管祝左涂谷祁时舒耿牟卜詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边"
)

// follow are words that a name ends before.
var follow = []string{"电话", "手机", "联系", "正在", "已", "将", "为您", "签收", "派", "送", "揽", "取", "收", "上门", "会", "即", "请", "于", "在", "工号"}

// nameAt is how many bytes of a name a text begins with, 0 for none. sure says that
// a name was announced by a colon or a bracket.
func nameAt(s string, sure bool) int {
	runes := []rune(s)
	if len(runes) == 0 {
		return 0
	}
	if !unicode.Is(unicode.Han, runes[0]) {
		if sure && unicode.IsUpper(runes[0]) {
			return len(word(s))
		}
		return 0
	}
	least := 1
	if len(runes) > 1 && strings.Contains(compound, string(runes[:2])) {
		least = 2
	} else if !strings.ContainsRune(surnames, runes[0]) && !sure {
		return 0
	}
	n := least
	for n < min(len(runes), 4) && (unicode.Is(unicode.Han, runes[n]) || runes[n] == '·') && !begins(string(runes[n:])) {
		n++
	}
	if !sure && n == 4 && least == 1 && len(runes) > 4 && unicode.Is(unicode.Han, runes[4]) {
		n = 3 // the sentence goes on
	}
	return len(string(runes[:n]))
}

func begins(s string) bool {
	for _, f := range follow {
		if strings.HasPrefix(s, f) {
			return true
		}
	}
	return false
}

var words = regexp.MustCompile(`^[A-Z][A-Za-z.'-]*(?: [A-Z][A-Za-z.'-]*){0,3}`)

func word(s string) string { return words.FindString(s) }
