package webhook

import (
	"context"
	"crypto/md5" //nolint:gosec // what both platforms sign with
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// chinaZone is what both platforms' clocks show.
var chinaZone = time.FixedZone("CST", 8*60*60)

const chinaLayout = "2006-01-02 15:04:05"

// KdniaoConfig says how [KdniaoHandler] checks pushes.
type KdniaoConfig struct {
	// EBusinessID and AppKey are the account's. Both are required: without a key
	// anyone could push.
	EBusinessID string
	AppKey      string
	// Verifier also checks Posthaste's own headers, which come with every push of
	// an endpoint of the format. Give it when no other sender pushes here: an MD5
	// of a secret is a weak signature and knows no time. Nil doesn't check.
	Verifier *Verifier
}

// KdniaoPush is a push of type 101 or 102.
type KdniaoPush struct {
	// PushID is the same on every attempt: see package inbox. It is empty without
	// a Verifier, since then nothing vouches for it.
	PushID string `json:"-"`
	// RequestType is "101", or "102" with states in detail.
	RequestType string       `json:"-"`
	EBusinessID string       `json:"EBusinessID"`
	PushTime    string       `json:"PushTime"` // China time
	Count       string       `json:"Count"`
	Data        []KdniaoItem `json:"Data"`
}

// KdniaoItem is where one waybill stands, with its whole trace.
type KdniaoItem struct {
	EBusinessID  string        `json:"EBusinessID"`
	OrderCode    string        `json:"OrderCode"`
	ShipperCode  string        `json:"ShipperCode"`
	LogisticCode string        `json:"LogisticCode"`
	Success      bool          `json:"Success"`
	Reason       string        `json:"Reason"`
	State        string        `json:"State"`
	StateEx      string        `json:"StateEx"`
	Location     string        `json:"Location"`
	CallBack     string        `json:"CallBack"`
	Traces       []KdniaoTrace `json:"Traces"`
}

// KdniaoTrace is one node.
type KdniaoTrace struct {
	AcceptTime    string `json:"AcceptTime"` // China time
	AcceptStation string `json:"AcceptStation"`
	Location      string `json:"Location"`
	Action        string `json:"Action"`
	Remark        string `json:"Remark"`
}

type kdniaoAnswer struct {
	EBusinessID string `json:"EBusinessID"`
	UpdateTime  string `json:"UpdateTime"`
	Success     bool   `json:"Success"`
	Reason      string `json:"Reason"`
}

// KdniaoHandler takes pushes in Kdniao's form, from Posthaste or Kdniao: it
// checks DataSign and EBusinessID, calls handle, and answers as Kdniao asks:
//
//	200 {"EBusinessID":"…","UpdateTime":"…","Success":true,"Reason":""}
//
// With Success false, and a reason, when the push is refused or handle returns
// an error, which isn't shown; then it comes again. 405 and 413 are as those of
// [Handler]. It panics without EBusinessID or AppKey.
func KdniaoHandler(cfg KdniaoConfig, handle func(ctx context.Context, p KdniaoPush) error) http.Handler {
	if cfg.EBusinessID == "" || cfg.AppKey == "" {
		panic("webhook: a handler for Kdniao's form needs EBusinessID and AppKey")
	}
	return platformHandler(
		func(r *http.Request, body []byte) error {
			p, err := readKdniao(&cfg, r, body)
			if err != nil {
				return err
			}
			return handled(handle(r.Context(), p))
		},
		func(err error) any {
			a := kdniaoAnswer{EBusinessID: cfg.EBusinessID, UpdateTime: time.Now().In(chinaZone).Format(chinaLayout), Success: err == nil}
			if err != nil {
				a.Reason = err.Error()
			}
			return a
		})
}

func readKdniao(cfg *KdniaoConfig, r *http.Request, body []byte) (p KdniaoPush, err error) {
	id, err := verifiedID(cfg.Verifier, r, body)
	if err != nil {
		return p, err
	}
	data, kind := string(body), "102"
	if isJSON(r) {
		// The document itself, which some receivers ask for, has no signature of the
		// platform's.
		if cfg.Verifier == nil {
			return p, errors.New("a push as JSON has no DataSign and can't be checked without a verifier")
		}
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return p, errors.New("the body isn't a form")
		}
		data, kind = form.Get("RequestData"), form.Get("RequestType")
		want := KdniaoSign(data, cfg.AppKey)
		if data == "" || !equal(form.Get("DataSign"), want) || !equal(form.Get("EBusinessID"), cfg.EBusinessID) {
			return p, errors.New("DataSign or EBusinessID is wrong")
		}
		if kind != "101" && kind != "102" {
			return p, fmt.Errorf("RequestType %q isn't a push of traces", kind)
		}
	}
	if err := json.Unmarshal([]byte(data), &p); err != nil {
		return p, errors.New("RequestData isn't the document of a push")
	}
	if p.EBusinessID != cfg.EBusinessID || len(p.Data) == 0 {
		return p, errors.New("RequestData is of another account, or empty")
	}
	p.PushID, p.RequestType = id, kind
	return p, nil
}

// Kuaidi100Config says how [Kuaidi100Handler] checks pushes.
type Kuaidi100Config struct {
	// Salt is what the subscription gave; required unless there is a Verifier.
	Salt string
	// Verifier is as that of [KdniaoConfig].
	Verifier *Verifier
}

// Kuaidi100Push is a push to one subscription.
type Kuaidi100Push struct {
	// PushID is as that of [KdniaoPush].
	PushID string `json:"-"`
	// Status is "polling", "shutdown" when the journey ended, "abort", or
	// "updateall".
	Status     string           `json:"status"`
	Message    string           `json:"message"`
	LastResult Kuaidi100Result  `json:"lastResult"`
	DestResult *Kuaidi100Result `json:"destResult"`
}

// Kuaidi100Result is where a waybill stands, with its whole trace, newest first.
type Kuaidi100Result struct {
	Number    string          `json:"nu"`
	Company   string          `json:"com"`
	State     string          `json:"state"`
	Signed    string          `json:"ischeck"` // "1" when it is
	Condition string          `json:"condition"`
	Status    string          `json:"status"`
	Message   string          `json:"message"`
	Data      []Kuaidi100Node `json:"data"`
}

// Kuaidi100Node is one node.
type Kuaidi100Node struct {
	Time       string `json:"time"`
	LocalTime  string `json:"ftime"` // China time
	Text       string `json:"context"`
	AreaCode   string `json:"areaCode"`
	AreaName   string `json:"areaName"`
	Status     string `json:"status"`
	StatusCode string `json:"statusCode"`
	Location   string `json:"location"`
}

type kuaidi100Answer struct {
	Result     bool   `json:"result"`
	ReturnCode string `json:"returnCode"`
	Message    string `json:"message"`
}

// Kuaidi100Handler takes pushes in Kuaidi100's form, from Posthaste or
// Kuaidi100: it checks sign, in either case of letters, calls handle, and
// answers as Kuaidi100 asks:
//
//	200 {"result":true,"returnCode":"200","message":"成功"}
//
// With result false and code "500" when the push is refused or handle returns an
// error, which isn't shown; then it comes again. 405 and 413 are as those of
// [Handler]. It panics without a salt and a verifier.
func Kuaidi100Handler(cfg Kuaidi100Config, handle func(ctx context.Context, p Kuaidi100Push) error) http.Handler {
	if cfg.Salt == "" && cfg.Verifier == nil {
		panic("webhook: a handler for Kuaidi100's form needs a salt or a verifier")
	}
	return platformHandler(
		func(r *http.Request, body []byte) error {
			p, err := readKuaidi100(&cfg, r, body)
			if err != nil {
				return err
			}
			return handled(handle(r.Context(), p))
		},
		func(err error) any {
			if err != nil {
				return kuaidi100Answer{ReturnCode: "500", Message: err.Error()}
			}
			return kuaidi100Answer{Result: true, ReturnCode: "200", Message: "成功"}
		})
}

func readKuaidi100(cfg *Kuaidi100Config, r *http.Request, body []byte) (p Kuaidi100Push, err error) {
	id, err := verifiedID(cfg.Verifier, r, body)
	if err != nil {
		return p, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return p, errors.New("the body isn't a form")
	}
	param := form.Get("param")
	if cfg.Salt != "" && !equal(strings.ToLower(form.Get("sign")), hexMD5(param+cfg.Salt)) {
		return p, errors.New("sign is wrong")
	}
	if err := json.Unmarshal([]byte(param), &p); err != nil || p.Status == "" {
		return p, errors.New("param isn't the document of a push")
	}
	p.PushID = id
	return p, nil
}

// platformHandler reads a body, has it taken, and answers in the platform's
// form, whose status is 200 whatever became of it.
func platformHandler(take func(r *http.Request, body []byte) error, answer func(err error) any) http.Handler {
	return posted(func(w http.ResponseWriter, r *http.Request, body []byte) {
		b, err := json.Marshal(answer(take(r, body)))
		if err != nil {
			http.Error(w, "the answer can't be written", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		_, _ = w.Write(b)
	})
}

// handled hides what went wrong in a receiver: it isn't the sender's business.
func handled(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("the receiver couldn't handle the push")
}

// verifiedID is a push's id if something vouches for it.
func verifiedID(v *Verifier, r *http.Request, body []byte) (string, error) {
	if v == nil {
		return "", nil
	}
	return r.Header.Get(HeaderID), v.Verify(r.Header, body)
}

func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

func equal(given, want string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(want)) == 1
}

// KdniaoSign is DataSign: the base64 of the lower-case hexadecimal MD5 of a
// document and the AppKey.
func KdniaoSign(document, appKey string) string {
	return base64.StdEncoding.EncodeToString([]byte(hexMD5(document + appKey)))
}

// Kuaidi100Sign is a push's sign: the upper-case hexadecimal MD5 of param and
// salt.
func Kuaidi100Sign(param, salt string) string { return strings.ToUpper(hexMD5(param + salt)) }

func hexMD5(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // what both platforms sign with
	return hex.EncodeToString(sum[:])
}
