package compat

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/track"
)

// kdniaoAnswer is the answer to a subscription, and every refusal. The fields that
// are pointers are those of the answer that was hoped for: clients read them before
// they look at Success.
type kdniaoAnswer struct {
	EBusinessID           string
	UpdateTime            string
	Success               bool
	Reason                string
	ResultCode            string `json:",omitempty"`
	OrderCode             string
	ShipperCode           string
	LogisticCode          string
	EstimatedDeliveryTime string
	State                 string              `json:",omitempty"`
	Traces                *[]push.KdniaoTrace `json:",omitempty"`
	Code                  string              `json:",omitempty"`
	Shippers              *[]kdniaoShipper    `json:",omitempty"`
}

// kdniaoQueryAnswer is the answer to a detailed query, with fields that a push has
// only when there is something in them.
type kdniaoQueryAnswer struct {
	push.KdniaoItem
	Station        string
	StationTel     string
	StationAdd     string
	DeliveryMan    string
	DeliveryManTel string
	NextCity       string
}

// kdniaoShippers is the answer to a recognition.
type kdniaoShippers struct {
	EBusinessID  string
	LogisticCode string
	Success      bool
	Code         string
	Reason       string
	Shippers     []kdniaoShipper
}

type kdniaoShipper struct{ ShipperCode, ShipperName string }

// The reasons, in Kdniao's words where they are known: what is wrong follows.
const (
	kdniaoNotYou       = "非法参数[请核实ID和key是否正确]"
	kdniaoAway         = "系统繁忙，请稍后再试"
	kdniaoNoCallback   = "业务错误[没有可用的推送地址]"
	kdniaoSpent        = "业务错误[没有可用套餐]"
	kdniaoNeedsPhone   = "手机尾号不能为空"
	kdniaoBadSignature = "102" // ResultCode
	kdniaoMissing      = "101"
	kdniaoOther        = "105"
	kdniaoOverQuota    = "405"
)

func kdniaoInvalid(field, value string) string {
	if value == "" {
		return "无效的输入[【" + field + "】不能为空]"
	}
	return "无效的输入[【" + field + "】" + value + "不正确]"
}

// kdniaoCall is a verified request.
type kdniaoCall struct {
	account *pg.PlatformAccount
	kind    string // RequestType
	data    object
}

// kdniao answers every request of a Kdniao client. All answers have the status
// 200, as Kdniao's: what went wrong is said by Reason.
func (s *Service) kdniao(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	p, err := readParams(w, r)
	if err != nil {
		s.refuseKdniao(w, nil, "非法参数["+err.Error()+"]", kdniaoOther)
		return
	}
	if len(p.spellings("RequestData")) == 0 {
		s.refuseKdniao(w, p, "非法参数[RequestData不能为空]", kdniaoMissing)
		return
	}
	call, err := s.verifyKdniao(ctx, p)
	if err == nil {
		err = s.admit(ctx, call.account)
	}
	switch {
	case errors.Is(err, pg.ErrNoAccount):
		s.refuseKdniao(w, p, kdniaoNotYou, kdniaoBadSignature)
	case errors.Is(err, errNoObject):
		s.refuseKdniao(w, p, "非法参数[RequestData格式不正确]", kdniaoOther)
	case errors.Is(err, errSpent):
		s.refuseKdniao(w, p, kdniaoSpent, kdniaoOverQuota)
	case errors.Is(err, errBusy):
		s.refuseKdniao(w, p, kdniaoAway, kdniaoOther)
	case err != nil:
		s.away(ctx, err)
		s.refuseKdniao(w, p, kdniaoAway, kdniaoOther)
	default:
		s.serveKdniao(ctx, w, p, call)
	}
}

// verifyKdniao finds the account and the spelling of RequestData that its
// signature is of. A stranger and a wrong signature are the same to the caller.
func (s *Service) verifyKdniao(ctx context.Context, p params) (*kdniaoCall, error) {
	documents, signs := p.spellings("RequestData"), p.spellings("DataSign")
	id := p.text("EBusinessID")
	for _, d := range documents {
		if o, err := parseObject(d); id == "" && err == nil {
			id = o.text("EBusinessID")
		}
	}
	account, err := s.account(ctx, push.Kdniao, id)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		if !signedKdniao(d, account.Key, signs) {
			continue
		}
		data, err := parseObject(d)
		if err != nil {
			return nil, err
		}
		return &kdniaoCall{account: &account, kind: p.text("RequestType"), data: data}, nil
	}
	return nil, pg.ErrNoAccount
}

func signedKdniao(document, key string, signs []string) bool {
	for _, d := range charsets(document) {
		want := push.SignKdniao(d, key)
		if slices.ContainsFunc(signs, func(sign string) bool { return sameSign(want, sign) }) {
			return true
		}
	}
	return false
}

// sameSign compares DataSign; some clients write the hexadecimal in it in upper
// case.
func sameSign(want, got string) bool {
	got = strings.TrimSpace(got)
	if subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1 {
		return true
	}
	hex, err := base64.StdEncoding.DecodeString(got)
	if err != nil {
		return false
	}
	got = base64.StdEncoding.EncodeToString([]byte(strings.ToLower(string(hex))))
	return subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

// refuseKdniao refuses in the form of the answer that was hoped for.
func (s *Service) refuseKdniao(w http.ResponseWriter, p params, reason, code string) {
	out := kdniaoAnswer{EBusinessID: p.text("EBusinessID"), UpdateTime: push.ChinaTime(s.cfg.Now()), Reason: reason, ResultCode: code}
	switch p.text("RequestType") {
	case kdniaoQuery, kdniaoQueryDetailed, kdniaoQueryAny, kdniaoQueryMap:
		out.State, out.Traces = "0", &[]push.KdniaoTrace{}
	case kdniaoRecognise:
		out.Code, out.Shippers = code, &[]kdniaoShipper{}
	}
	answer(w, out)
}

// The types of requests that are served.
const (
	kdniaoQuery           = "1002"
	kdniaoSubscribeBatch  = "1005"
	kdniaoSubscribe       = "1008"
	kdniaoRecognise       = "2002"
	kdniaoSubscribeAbroad = "7008"
	kdniaoQueryDetailed   = "8001"
	kdniaoQueryAny        = "8002"
	kdniaoQueryMap        = "8003"
	kdniaoSubscribeMap    = "8005"
	kdniaoSubscribeDetail = "8008"
)

func (s *Service) serveKdniao(ctx context.Context, w http.ResponseWriter, p params, c *kdniaoCall) {
	switch c.kind {
	case kdniaoSubscribe, kdniaoSubscribeDetail, kdniaoSubscribeMap, kdniaoSubscribeAbroad:
		s.subscribeKdniao(ctx, w, c)
	case kdniaoSubscribeBatch:
		s.subscribeKdniaoBatch(ctx, w, c)
	case kdniaoQuery, kdniaoQueryDetailed, kdniaoQueryAny, kdniaoQueryMap:
		s.queryKdniao(ctx, w, c)
	case kdniaoRecognise:
		s.recogniseKdniao(ctx, w, c)
	case "":
		s.refuseKdniao(w, p, "非法参数[RequestType不能为空]", kdniaoMissing)
	default:
		s.refuseKdniao(w, p, "非法参数[不支持的RequestType："+c.kind+"]", kdniaoOther)
	}
}

// terms are what a request says of how it wants to be answered or pushed to.
func (c *kdniaoCall) terms() push.KdniaoTerms {
	t := push.KdniaoTerms{
		Basic:       c.kind == kdniaoQuery || c.kind == kdniaoSubscribe || c.kind == kdniaoSubscribeBatch,
		ShipperCode: c.data.text("ShipperCode"), LogisticCode: c.data.text("LogisticCode"), OrderCode: c.data.text("OrderCode"),
		NewestFirst: c.data.text("Sort") == "1", CustomerName: c.data.text("CustomerName"),
	}
	// Both spellings are in use; it is given back byte for byte.
	t.CallBack = written(c.data.find("CallBack", "Callback"))
	if _, exact := c.data["Callback"]; exact {
		t.AlsoCallback = true
	}
	return t
}

// phone is the end of the phone number that a carrier asks for: as the document has
// it, or the recipient's or the sender's, which clients give for other reasons.
func (c *kdniaoCall) phone() string {
	texts := []string{c.data.text("CustomerName")}
	for _, who := range []string{"Receiver", "Sender"} {
		o := c.data.object(who)
		texts = append(texts, o.text("Mobile"), o.text("Tel"))
	}
	for _, text := range texts {
		if end, ok := track.PhoneEnd(text); ok {
			return end
		}
	}
	return ""
}

// waybill reads which waybill a request is about. The reason is Kdniao's, empty
// when all is well. Without a carrier the waybill has none.
func (c *kdniaoCall) waybill() (track.Waybill, string) {
	code, number := c.data.text("ShipperCode"), c.data.text("LogisticCode")
	var w track.Waybill
	if code != "" {
		var known bool
		if w.Carrier, known = carrier.Named(carrier.PlatformKdniao, code); !known {
			return w, kdniaoInvalid("ShipperCode", code)
		}
	}
	if number == "" {
		return w, kdniaoInvalid("LogisticCode", "")
	}
	var err error
	if w.Number, err = track.NormalNumber(number); err != nil {
		return w, kdniaoInvalid("LogisticCode", number)
	}
	return w, ""
}

func (s *Service) subscribeKdniao(ctx context.Context, w http.ResponseWriter, c *kdniaoCall) {
	out := kdniaoAnswer{
		EBusinessID: c.account.ID, UpdateTime: push.ChinaTime(s.cfg.Now()), OrderCode: c.data.text("OrderCode"),
		ShipperCode: c.data.text("ShipperCode"), LogisticCode: c.data.text("LogisticCode"),
	}
	waybill, reason := c.waybill()
	if reason == "" && waybill.Carrier == "" {
		reason = kdniaoInvalid("ShipperCode", "")
	}
	if reason == "" {
		reason = s.followKdniao(ctx, c, waybill, c.terms())
	}
	out.Success, out.Reason = reason == "", reason
	if !out.Success {
		out.ResultCode = kdniaoOther
	}
	answer(w, out)
}

// followKdniao subscribes; subscribing again is no error, and changes the terms.
// The reason is empty when all is well.
func (s *Service) followKdniao(ctx context.Context, c *kdniaoCall, waybill track.Waybill, terms push.KdniaoTerms) string {
	err := s.follow(ctx, wish{account: c.account, waybill: waybill, callback: c.data.text("CallbackUrl"), terms: terms, again: true, phone: c.phone()})
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errCallback):
		return kdniaoNoCallback + "：" + err.Error()
	case errors.Is(err, errSpent):
		return kdniaoSpent
	default:
		s.away(ctx, err)
		return kdniaoAway
	}
}

// subscribeKdniaoBatch is the obsolete 1005: a carrier and a list of numbers,
// each with the text to give back.
func (s *Service) subscribeKdniaoBatch(ctx context.Context, w http.ResponseWriter, c *kdniaoCall) {
	code, items := c.data.text("Code", "ShipperCode"), c.data.list("Item", "Items")
	reason := ""
	if len(items) == 0 {
		reason = kdniaoInvalid("Item", "")
	}
	for _, v := range items {
		item := asObject(v)
		one := &kdniaoCall{account: c.account, kind: c.kind, data: object{
			"ShipperCode": code, "LogisticCode": item.text("No", "LogisticCode"), "CallBack": item.text("Bk", "CallBack"),
		}}
		waybill, wrong := one.waybill()
		if wrong == "" && waybill.Carrier == "" {
			wrong = kdniaoInvalid("Code", "")
		}
		if wrong == "" {
			wrong = s.followKdniao(ctx, one, waybill, one.terms())
		}
		if reason == "" {
			reason = wrong
		}
	}
	out := kdniaoAnswer{EBusinessID: c.account.ID, UpdateTime: push.ChinaTime(s.cfg.Now()), Success: reason == "", Reason: reason, ShipperCode: code}
	if reason != "" {
		out.ResultCode = kdniaoOther
	}
	answer(w, out)
}

func (s *Service) queryKdniao(ctx context.Context, w http.ResponseWriter, c *kdniaoCall) {
	terms := c.terms()
	waybill, reason := c.waybill()
	if reason == "" && waybill.Carrier == "" && c.kind != kdniaoQueryAny {
		reason = kdniaoInvalid("ShipperCode", "")
	}
	var t *track.Trace
	if reason == "" {
		var err error
		if waybill, t, err = s.look(ctx, waybill.Carrier, waybill.Number, c.phone()); err != nil {
			s.away(ctx, err)
			reason = kdniaoAway
		} else if waybill.Carrier == "" {
			reason = kdniaoInvalid("ShipperCode", "")
		}
	}
	item := push.KdniaoItemOf(c.account.ID, terms, waybill, t)
	item.LogisticCode = terms.LogisticCode
	switch {
	case reason != "":
		item.Reason, item.ShipperCode = reason, terms.ShipperCode
	case !item.Success && terms.CustomerName == "" && asksForPhone(waybill.Carrier):
		item.Reason = kdniaoNeedsPhone
	}
	if terms.Basic {
		answer(w, item)
		return
	}
	answer(w, kdniaoQueryAnswer{KdniaoItem: item, DeliveryMan: item.DeliveryMan, DeliveryManTel: item.DeliveryManTel, NextCity: item.NextCity})
}

// asksForPhone says whether a carrier tells nothing without digits of a phone
// number.
func asksForPhone(c track.Carrier) bool {
	switch c {
	case "sf-express", "sf-freight", "zto-express", "kye-express", "fengwang":
		return true
	}
	return false
}

// Codes of a recognition.
const (
	kdniaoRecognised      = "100"
	kdniaoNumberMissing   = "402"
	kdniaoNumberHasOthers = "403"
	kdniaoNumberLength    = "404"
	maxKdniaoNumber       = 30
)

func (s *Service) recogniseKdniao(ctx context.Context, w http.ResponseWriter, c *kdniaoCall) {
	number := c.data.text("LogisticCode")
	out := kdniaoShippers{EBusinessID: c.account.ID, LogisticCode: number, Shippers: []kdniaoShipper{}}
	normal, err := track.NormalNumber(number)
	switch {
	case number == "":
		out.Code, out.Reason = kdniaoNumberMissing, kdniaoInvalid("LogisticCode", "")
	case strings.ContainsAny(number, `'"#&+<>%\`):
		out.Code, out.Reason = kdniaoNumberHasOthers, "单号含有特殊字符"
	case err != nil, len(number) > maxKdniaoNumber:
		out.Code, out.Reason = kdniaoNumberLength, "单号长度不正确"
	default:
		for _, candidate := range s.cfg.Candidates(ctx, string(normal)) {
			chinese, _ := carrier.Names(candidate.Carrier)
			out.Shippers = append(out.Shippers, kdniaoShipper{carrier.CodeOf(carrier.PlatformKdniao, candidate.Carrier), chinese})
		}
		out.Code, out.Success = kdniaoRecognised, len(out.Shippers) > 0
		if !out.Success {
			out.Code, out.Reason = kdniaoOther, "未识别到快递公司"
		}
	}
	answer(w, out)
}

// away logs why a call couldn't be served. The caller is told to try again.
func (s *Service) away(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.cfg.Log.ErrorContext(ctx, "a platform's client can't be served", obs.KeyError, err)
	}
}
