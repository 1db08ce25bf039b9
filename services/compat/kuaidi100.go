package compat

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

// The paths that code names.
const (
	kuaidi100Subscribe = "/poll"
	kuaidi100Query     = "/poll/query.do"
	kuaidi100Recognise = "/autonumber/auto"
	kuaidi100Old       = "/api"
)

func (s *Service) kuaidi100Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		kuaidi100Subscribe: s.kuaidi100(s.subscribeKuaidi100),
		// Maps aren't drawn; what they are beside is the same.
		"/pollmap":               s.kuaidi100(s.subscribeKuaidi100),
		kuaidi100Query:           s.kuaidi100(s.queryKuaidi100),
		"/poll/synquery.do":      s.kuaidi100(s.queryKuaidi100),
		"/synquery":              s.kuaidi100(s.queryKuaidi100),
		kuaidi100Old:             s.kuaidi100(s.queryKuaidi100Old),
		"/poll/maptrack.do":      s.kuaidi100(s.queryKuaidi100Map),
		kuaidi100Recognise:       s.kuaidi100(s.recogniseKuaidi100),
		"/autonumber/autoComNum": s.kuaidi100(s.recogniseKuaidi100Web),
		"/stdio/queryTrace":      s.kuaidi100(s.queryKuaidi100Text),
	}
}

// kuaidi100Answer is the answer to a subscription, and every refusal.
type kuaidi100Answer struct {
	Result     bool   `json:"result"`
	ReturnCode string `json:"returnCode"`
	Message    string `json:"message"`
}

// The codes that both calls share, and those of a subscription.
var (
	kuaidi100OK         = kuaidi100Answer{true, "200", "提交成功"}
	kuaidi100Fault      = kuaidi100Answer{false, "500", "服务器错误"}
	kuaidi100Duplicate  = kuaidi100Answer{false, "501", "重复订阅"}
	kuaidi100Stranger   = kuaidi100Answer{false, "600", "您不是合法的订阅者（即授权Key出错）"}
	kuaidi100BadData    = kuaidi100Answer{false, "700", "订阅方的订阅数据存在错误"}
	kuaidi100NotCarried = kuaidi100Answer{false, "702", "识别不到该单号对应的快递公司"}
	// A spent quota and an expired key are one code.
	kuaidi100Spent = kuaidi100Answer{false, "601", "KEY已过期"}
)

// Those of a query.
var (
	kuaidi100Incomplete  = kuaidi100Answer{false, "400", "提交的数据不完整，或者贵公司没授权"}
	kuaidi100NoCompany   = kuaidi100Answer{false, "400", "找不到对应公司"}
	kuaidi100NeedsPhone  = kuaidi100Answer{false, "408", "快递公司参数异常：验证码错误"}
	kuaidi100NoResult    = kuaidi100Answer{false, "500", "查询无结果，请隔段时间再查"}
	kuaidi100ServerFault = kuaidi100Answer{false, "501", "服务器错误"}
	kuaidi100Busy        = kuaidi100Answer{false, "502", "服务器繁忙"}
	kuaidi100BadSign     = kuaidi100Answer{false, "503", "验证签名失败"}
)

// Those of a recognition.
var (
	kuaidi100KeyWrong   = kuaidi100Answer{false, "601", "KEY已过期"}
	kuaidi100KeyMissing = kuaidi100Answer{false, "701", "KEY不能为空"}
)

// because is a refusal that says more of why.
func (a kuaidi100Answer) because(why string) kuaidi100Answer {
	a.Message += "：" + why
	return a
}

// kuaidi100 reads a request's parameters and writes the answer, with the status
// 200 whatever it is, as Kuaidi100's.
func (s *Service) kuaidi100(serve func(ctx context.Context, p params) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := readParams(w, r)
		if err != nil {
			answer(w, kuaidi100BadData.because(err.Error()))
			return
		}
		switch out := serve(r.Context(), p).(type) {
		case string:
			w.Header().Set("Content-Type", "text/plain;charset=utf-8")
			w.Header().Set("Content-Length", strconv.Itoa(len(out)))
			_, _ = w.Write([]byte(out))
		default:
			answer(w, out)
		}
	}
}

// Limits of a number that Kuaidi100 takes.
const minKuaidi100, maxKuaidi100 = 6, 32

// kuaidi100Number reads a number, and says whether Kuaidi100 would take it.
func kuaidi100Number(text string) (track.Number, bool) {
	n, err := track.NormalNumber(text)
	length := utf8.RuneCountInString(string(n))
	return n, err == nil && length >= minKuaidi100 && length <= maxKuaidi100
}

// subscribeKuaidi100 is /poll: param names the account by its key alone.
func (s *Service) subscribeKuaidi100(ctx context.Context, p params) any {
	param, err := firstObject(p.spellings("param"))
	if err != nil {
		return kuaidi100BadData.because("param")
	}
	account, err := s.accountOfKey(ctx, push.Kuaidi100, firstText(param.text("key"), p.text("key")))
	if err == nil {
		err = s.admit(ctx, &account)
	}
	if err != nil {
		return s.refuseKuaidi100(ctx, err, kuaidi100Stranger)
	}
	more := param.object("parameters")
	terms := kuaidi100Terms(param, more)
	number, ok := kuaidi100Number(terms.Number)
	if !ok {
		return kuaidi100BadData.because("number")
	}
	w := wish{account: &account, waybill: track.Waybill{Number: number}}
	w.callback, terms.Query = splitCallback(firstText(more.text("callbackurl", "callbackUrl"), param.text("callbackurl")))
	w.phone, _ = track.PhoneEnd(terms.Phone)
	if no := s.carrierKuaidi100(ctx, &w, &terms); no != nil {
		return *no
	}
	w.terms = terms
	if err := s.follow(ctx, w); err != nil {
		return s.refuseKuaidi100(ctx, err, kuaidi100Stranger)
	}
	return kuaidi100OK
}

// carrierKuaidi100 finds the carrier of a subscription: the company's, or, with
// autoCom, the one that has told of the number, or else the likeliest. As Kuaidi100
// does, it is corrected later when it proves wrong: when it was recognised, or the
// number has surely the form of another's.
func (s *Service) carrierKuaidi100(ctx context.Context, w *wish, terms *push.Kuaidi100Terms) *kuaidi100Answer {
	known := false
	if terms.Company != "" {
		w.waybill.Carrier, known = carrier.Named(carrier.PlatformKuaidi100, terms.Company)
	}
	if !known && !terms.AutoCom {
		return new(kuaidi100BadData.because("company"))
	}
	candidates := s.cfg.Candidates(ctx, string(w.waybill.Number))
	if known {
		if c, sure := recognize.Sure(candidates); !sure || c == w.waybill.Carrier {
			return nil
		}
	} else {
		found, _, err := s.find(ctx, "", w.waybill.Number)
		if err != nil {
			return new(s.refuseKuaidi100(ctx, err, kuaidi100Stranger))
		}
		if found.Carrier == "" {
			return &kuaidi100NotCarried
		}
		w.waybill, w.how = found, pg.CarrierRecognized
		terms.Company, terms.Recognized = "", carrier.CodeOf(carrier.PlatformKuaidi100, found.Carrier)
	}
	w.others = []track.Carrier{}
	for _, c := range candidates {
		if c.Carrier != w.waybill.Carrier && len(w.others) < maxCandidates {
			w.others = append(w.others, c.Carrier)
		}
	}
	return nil
}

// refuseKuaidi100 says in the codes of a subscription why a call isn't served;
// stranger is the answer to one whose key is nobody's.
func (s *Service) refuseKuaidi100(ctx context.Context, err error, stranger kuaidi100Answer) kuaidi100Answer {
	switch {
	case errors.Is(err, pg.ErrNoAccount):
		return stranger
	case errors.Is(err, errSpent):
		return kuaidi100Spent
	case errors.Is(err, errFollowed):
		return kuaidi100Duplicate
	case errors.Is(err, errCallback):
		return kuaidi100BadData.because("callbackurl, " + err.Error())
	case errors.Is(err, errBusy):
		return kuaidi100Fault
	}
	s.away(ctx, err)
	return kuaidi100Fault
}

func kuaidi100Terms(param, more object) push.Kuaidi100Terms {
	t := push.Kuaidi100Terms{
		Company: param.text("company", "com"), Number: param.text("number", "num", "nu"), From: param.text("from"), To: param.text("to"),
		Phone: firstText(more.text("phone", "mobiletelephone"), param.text("phone")), Level: level(firstText(more.text("resultv2"), param.text("resultv2"))),
		AutoCom: more.yes("autoCom"), InterCom: more.yes("interCom"),
		LowerSign: strings.EqualFold(more.text("signCase"), "lower"),
	}
	// Present, even empty, it asks for a signature.
	if salt, ok := more.find("salt").(string); ok {
		t.Salt = &salt
	} else if v := more.find("salt"); v != nil {
		t.Salt = new(written(v))
	}
	return t
}

// level is resultv2, 0 when it makes no sense.
func level(text string) int {
	const most = 99
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0
	}
	return n
}

// firstObject is the first spelling that is a JSON object.
func firstObject(spellings []string) (object, error) {
	for _, s := range spellings {
		if o, err := parseObject(s); err == nil {
			return o, nil
		}
	}
	return nil, errNoObject
}

func firstText(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// verifyKuaidi100 finds the account by customer, and the spelling of param that
// its signature is of.
func (s *Service) verifyKuaidi100(ctx context.Context, p params) (object, *kuaidi100Answer) {
	documents, sign := p.spellings("param"), p.text("sign")
	if len(documents) == 0 || p.text("customer") == "" || sign == "" {
		return nil, &kuaidi100Incomplete
	}
	account, err := s.account(ctx, push.Kuaidi100, p.text("customer"))
	if err != nil && !errors.Is(err, pg.ErrNoAccount) {
		return nil, s.unqueriedKuaidi100(ctx, err)
	}
	for _, d := range documents {
		if err != nil || !signedKuaidi100(d, &account, sign) {
			continue
		}
		param, err := parseObject(d)
		if err != nil {
			return nil, &kuaidi100Incomplete
		}
		if err := s.admit(ctx, &account); err != nil {
			return nil, s.unqueriedKuaidi100(ctx, err)
		}
		return param, nil
	}
	return nil, &kuaidi100BadSign
}

func signedKuaidi100(document string, a *pg.PlatformAccount, sign string) bool {
	return slices.ContainsFunc(charsets(document), func(d string) bool {
		want := push.SignKuaidi100(d, a.Key+a.ID)
		return subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToUpper(sign))) == 1
	})
}

// unqueriedKuaidi100 says in the codes of a query why it isn't served.
func (s *Service) unqueriedKuaidi100(ctx context.Context, err error) *kuaidi100Answer {
	switch {
	case errors.Is(err, errSpent):
		return &kuaidi100Spent
	case errors.Is(err, errBusy):
		return &kuaidi100Busy
	}
	s.away(ctx, err)
	return &kuaidi100ServerFault
}

func (s *Service) queryKuaidi100(ctx context.Context, p params) any {
	param, no := s.verifyKuaidi100(ctx, p)
	if no != nil {
		return *no
	}
	terms := push.Kuaidi100Terms{
		Company: param.text("com", "company"), Number: param.text("num", "number", "nu"), From: param.text("from"), To: param.text("to"),
		Phone: param.text("phone", "mobiletelephone"), Level: level(param.text("resultv2")),
	}
	r, no := s.resultKuaidi100(ctx, terms)
	if no != nil {
		return *no
	}
	if strings.EqualFold(param.text("order"), "asc") {
		slices.Reverse(r.Data)
	}
	return r
}

// resultKuaidi100 reads a trace. Without a company, or with "auto", the number
// tells.
func (s *Service) resultKuaidi100(ctx context.Context, terms push.Kuaidi100Terms) (push.Kuaidi100Result, *kuaidi100Answer) {
	var c track.Carrier
	if strings.EqualFold(terms.Company, "auto") {
		terms.Company = ""
	} else {
		var known bool
		if c, known = carrier.Named(carrier.PlatformKuaidi100, terms.Company); !known {
			return push.Kuaidi100Result{}, &kuaidi100NoCompany
		}
	}
	number, ok := kuaidi100Number(terms.Number)
	if !ok {
		return push.Kuaidi100Result{}, &kuaidi100Incomplete
	}
	phone, _ := track.PhoneEnd(terms.Phone)
	w, t, err := s.look(ctx, c, number, phone)
	switch {
	case err != nil:
		return push.Kuaidi100Result{}, s.unqueriedKuaidi100(ctx, err)
	case w.Carrier == "":
		return push.Kuaidi100Result{}, &kuaidi100NoCompany
	}
	r := push.Kuaidi100ResultOf(terms, w, t)
	switch {
	case len(r.Data) > 0:
		return r, nil
	case terms.Phone == "" && asksForPhone(w.Carrier):
		return r, &kuaidi100NeedsPhone
	default:
		return r, &kuaidi100NoResult
	}
}

// kuaidi100Map is a query's answer beside which there would be a map.
type kuaidi100Map struct {
	push.Kuaidi100Result
	TrailURL   string  `json:"trailUrl"`
	RemainTime *string `json:"remainTime"`
}

func (s *Service) queryKuaidi100Map(ctx context.Context, p params) any {
	out := s.queryKuaidi100(ctx, p)
	if r, ok := out.(push.Kuaidi100Result); ok {
		return kuaidi100Map{Kuaidi100Result: r}
	}
	return out
}

// queryKuaidi100Text is the tool servers' query: a line for each node.
func (s *Service) queryKuaidi100Text(ctx context.Context, p params) any {
	if no := s.keyKuaidi100(ctx, p.text("key")); no != nil {
		return no.Message
	}
	r, no := s.resultKuaidi100(ctx, push.Kuaidi100Terms{Company: "auto", Number: firstText(p.text("kuaidiNum"), p.text("num")), Phone: p.text("phone")})
	if no != nil {
		return no.Message
	}
	var b strings.Builder
	for _, n := range r.Data {
		b.WriteString(n.Time + " " + n.Context + "\n")
	}
	return b.String()
}

// queryKuaidi100Old is the query of before customers were signed for: who calls is
// said by the key, which is called id.
func (s *Service) queryKuaidi100Old(ctx context.Context, p params) any {
	if no := s.keyKuaidi100(ctx, firstText(p.text("id"), p.text("key"))); no != nil {
		return kuaidi100Before{Message: no.Message, Status: "2", State: "0", Data: []push.Kuaidi100Node{}}
	}
	r, no := s.resultKuaidi100(ctx, push.Kuaidi100Terms{Company: p.text("com"), Number: p.text("nu"), Phone: p.text("phone")})
	out := kuaidi100Before{Message: r.Message, Nu: r.Nu, Ischeck: r.Ischeck, Com: r.Com, Status: "1", State: r.State, Data: r.Data}
	if no != nil {
		out.Message, out.Status, out.State, out.Data = no.Message, "0", "0", []push.Kuaidi100Node{}
	}
	if strings.EqualFold(p.text("order"), "asc") {
		slices.Reverse(out.Data)
	}
	return out
}

// kuaidi100Before is the answer to the old query, whose status is 1 for a trace, 0
// for none yet, and 2 for a call that isn't served.
type kuaidi100Before struct {
	Message string               `json:"message"`
	Nu      string               `json:"nu"`
	Ischeck string               `json:"ischeck"`
	Com     string               `json:"com"`
	Status  string               `json:"status"`
	State   string               `json:"state"`
	Data    []push.Kuaidi100Node `json:"data"`
}

// keyKuaidi100 checks the key of a call that says who it is by nothing else.
func (s *Service) keyKuaidi100(ctx context.Context, key string) *kuaidi100Answer {
	if key == "" {
		return &kuaidi100KeyMissing
	}
	account, err := s.accountOfKey(ctx, push.Kuaidi100, key)
	if err == nil {
		err = s.admit(ctx, &account)
	}
	if err != nil {
		return new(s.refuseKuaidi100(ctx, err, kuaidi100KeyWrong))
	}
	return nil
}

// kuaidi100Candidate is a carrier that a number may belong to.
type kuaidi100Candidate struct {
	LengthPre int    `json:"lengthPre"`
	ComCode   string `json:"comCode"`
	Name      string `json:"name"`
}

func (s *Service) recogniseKuaidi100(ctx context.Context, p params) any {
	if no := s.keyKuaidi100(ctx, p.text("key")); no != nil {
		return *no
	}
	list := []kuaidi100Candidate{}
	number := firstText(p.text("num"), p.text("text"))
	n, err := track.NormalNumber(number)
	if err != nil {
		return list
	}
	for _, c := range s.cfg.Candidates(ctx, string(n)) {
		chinese, _ := carrier.Names(c.Carrier)
		list = append(list, kuaidi100Candidate{utf8.RuneCountInString(string(n)), carrier.CodeOf(carrier.PlatformKuaidi100, c.Carrier), chinese})
	}
	return list
}

// kuaidi100Web is the answer of the old web form, which needs no key.
type kuaidi100Web struct {
	ComCode string              `json:"comCode"`
	Num     string              `json:"num"`
	Auto    []kuaidi100WebGuess `json:"auto"`
}

type kuaidi100WebGuess struct {
	ComCode   string `json:"comCode"`
	ID        string `json:"id"`
	NoCount   int    `json:"noCount"`
	NoPre     string `json:"noPre"`
	StartTime string `json:"startTime"`
}

func (s *Service) recogniseKuaidi100Web(ctx context.Context, p params) any {
	number := firstText(p.text("text"), p.text("num"))
	out := kuaidi100Web{Num: number, Auto: []kuaidi100WebGuess{}}
	n, err := track.NormalNumber(number)
	if err != nil {
		return out
	}
	const prefix = 2
	for _, c := range s.cfg.Candidates(ctx, string(n)) {
		out.Auto = append(out.Auto, kuaidi100WebGuess{ComCode: carrier.CodeOf(carrier.PlatformKuaidi100, c.Carrier), NoCount: 1, NoPre: string([]rune(string(n))[:prefix])})
	}
	return out
}
