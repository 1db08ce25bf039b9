package carrier

import (
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// kuaidi100 takes Kuaidi100's pushes.
func kuaidi100() Source {
	return Source{
		Code: kuaidi100Code, Kind: track.SourceAggregatorPush, Split: splitKuaidi100, Map: mapKuaidi100,
		Push: &Receiver{Verify: verifyKuaidi100, Accept: acceptKuaidi100, Refuse: refuseKuaidi100, NeedsAccount: true},
		remap: func(e *track.Event) []string {
			var unknown unmapped
			node := kuaidi100Node{StatusCode: text(e.RawCode)} // or the status by name
			if _, named := kuaidi100Names[e.RawCode]; named {
				node = kuaidi100Node{Status: text(e.RawCode)}
			}
			node.mapStatus(e, &unknown)
			return unknown
		},
		Facts: Facts{
			Name:    "Kuaidi100 (快递100)",
			Reports: "pushes; answers of a query in a push's envelope",
			Account: "a name of yours, which the path must have, and the salt of its subscriptions; an empty salt takes unsigned pushes",
			Verify:  "`sign` = upper-case md5hex(param + salt)",
			Answer:  "`{\"result\":true,\"returnCode\":\"200\",\"message\":\"成功\"}`",
			Times:   "wall clock in China, or of the country in an event's areaCode where that has one",
			Notes:   []string{"A push names no account: the path does.", "Refusals are answered with HTTP 200, as Kuaidi100 expects."},
		},
	}
}

func verifyKuaidi100(r *Request) (Document, *Refusal) {
	salt, known := r.Accounts[r.Account]
	if !known {
		return Document{}, &Refusal{Status: StatusNotFound, Reason: "unknown_account", Description: "unknown account"}
	}
	doc := Document{Account: r.Account}
	p := r.Form()
	param := p.Get("param")
	if param == "" {
		return doc, missing("param")
	}
	sign := p.Get("sign")
	// Without a salt in the subscription pushes are not signed.
	if unsigned := salt == "" && sign == ""; unsigned {
		doc.Text = []byte(param)
		return doc, nil
	}
	for _, text := range decodings(param) {
		if same(strings.ToUpper(strings.TrimSpace(sign)), kuaidi100Sign(text, salt)) {
			doc.Text = []byte(text)
			return doc, nil
		}
	}
	return doc, &Refusal{Status: StatusOK, Reason: "bad_signature", Field: "sign", Description: "签名错误"}
}

// kuaidi100Sign is the upper-case hexadecimal MD5 of text and salt.
func kuaidi100Sign(text, salt string) string { return strings.ToUpper(md5Hex(text + salt)) }

type kuaidi100Answer struct {
	Result     bool   `json:"result"`
	ReturnCode string `json:"returnCode"`
	Message    string `json:"message"`
}

func acceptKuaidi100(Document, time.Time) Answer {
	return answerJSON(StatusOK, kuaidi100Answer{Result: true, ReturnCode: "200", Message: "成功"})
}

func refuseKuaidi100(_ Document, no *Refusal, _ time.Time) Answer {
	return answerJSON(formStatus(no.Status), kuaidi100Answer{ReturnCode: "500", Message: no.Description})
}
