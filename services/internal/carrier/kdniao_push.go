package carrier

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// kdniao takes Kdniao's pushes 101 and 102.
func kdniao() Source {
	return Source{
		Code: kdniaoCode, Kind: track.SourceAggregatorPush, Split: splitKdniao, Map: mapKdniao,
		Push: &Receiver{Verify: verifyKdniao, Accept: acceptKdniao, Refuse: refuseKdniao, AnyPath: true},
		remap: func(e *track.Event) []string {
			var unknown unmapped
			mapAction(e, e.RawCode, &unknown)
			return unknown
		},
		Facts: Facts{
			Name:    "Kdniao (快递鸟)",
			Reports: "pushes 101 and 102; answers of 1002 and 8001 in a push's envelope",
			Account: "EBusinessID and AppKey; the path names none",
			Verify:  "`DataSign` = base64(md5hex(RequestData + AppKey))",
			Answer:  "`{\"EBusinessID\":…,\"UpdateTime\":…,\"Success\":true,\"Reason\":\"\"}`",
			Times:   "wall clock in China, unless an event has a Timezone",
			Notes:   []string{"A push 107, about money, is answered and not taken in.", "Refusals are answered with HTTP 200, as Kdniao expects."},
		},
	}
}

const kdniaoPayout = "107" // tells of money, not of parcels

func verifyKdniao(r *Request) (Document, *Refusal) {
	p := r.Form()
	data, sign := p.Get("RequestData"), p.Get("DataSign")
	if data == "" {
		return Document{}, missing("RequestData")
	}
	// Some clients encode twice; what verifies is what was meant.
	for _, text := range decodings(data) {
		account := kdniaoAccount(text, p.Get("EBusinessID"))
		key, known := r.Accounts[account]
		if !known {
			continue
		}
		for _, s := range decodings(sign) {
			if same(strings.TrimSpace(s), kdniaoSign(text, key)) {
				return Document{Account: account, Text: []byte(text), Nothing: p.Get("RequestType") == kdniaoPayout}, nil
			}
		}
	}
	return Document{}, &Refusal{Status: StatusOK, Reason: "bad_signature", Field: "DataSign", Description: "非法参数[请核实ID和key是否正确]"}
}

// kdniaoSign is the base64 of the lower-case hexadecimal MD5 of text and key.
func kdniaoSign(text, key string) string {
	return base64.StdEncoding.EncodeToString([]byte(md5Hex(text + key)))
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

type kdniaoAnswer struct {
	EBusinessID string
	UpdateTime  string
	Success     bool
	Reason      string
}

func acceptKdniao(doc Document, now time.Time) Answer {
	return answerJSON(StatusOK, kdniaoAnswer{EBusinessID: doc.Account, UpdateTime: chinaTime(now), Success: true})
}

// refuseKdniao answers 200 as Kdniao does, unless HTTP itself has something to
// say.
func refuseKdniao(doc Document, no *Refusal, now time.Time) Answer {
	return answerJSON(formStatus(no.Status), kdniaoAnswer{EBusinessID: doc.Account, UpdateTime: chinaTime(now), Reason: no.Description})
}

// formStatus is HTTP's status for a source that looks at the body alone.
func formStatus(status int) int {
	if status == StatusBadRequest || status == StatusUnprocessable {
		return StatusOK
	}
	return status
}

func chinaTime(t time.Time) string {
	return t.In(time.FixedZone("CST", int(china/time.Second))).Format(time.DateTime)
}
