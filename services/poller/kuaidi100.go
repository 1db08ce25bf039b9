package poller

import (
	"context"
	"crypto/md5" //nolint:gosec // what Kuaidi100 signs with
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// kuaidi100 is Kuaidi100's instant query, poll/query.do. Its documents allow the
// same number once in 30 minutes.
func kuaidi100() Adapter {
	return Adapter{
		Code: "kuaidi100", Kind: track.SourceAggregatorPoll, BaseURL: "https://poll.kuaidi100.com", Rate: 10, Least: 35 * time.Minute,
		Carriers: carrier.AskedBy("kuaidi100"), Secrets: "customer and key", Ask: askKuaidi100, Read: readKuaidi100,
	}
}

func askKuaidi100(ctx context.Context, q Question) (*http.Request, error) {
	param, err := json.Marshal(struct {
		Com      string `json:"com"`
		Num      string `json:"num"`
		Phone    string `json:"phone"`
		Resultv2 string `json:"resultv2"`
		Show     string `json:"show"`
		Order    string `json:"order"`
	}{q.Code, string(q.Waybill.Number), q.Phone, "4", "0", "desc"})
	if err != nil {
		return nil, err
	}
	sum := md5.Sum([]byte(string(param) + q.Account.Secret + q.Account.ID)) //nolint:gosec // what Kuaidi100 signs with
	return postForm(ctx, q.Base+"/poll/query.do", url.Values{
		"customer": {q.Account.ID}, "param": {string(param)}, "sign": {strings.ToUpper(hex.EncodeToString(sum[:]))},
	})
}

func readKuaidi100(_ Question, r Reply) Answer {
	if a, done := byStatus(r); done {
		return a
	}
	var said struct {
		ReturnCode string
		Message    string
		Status     string
		Data       []json.RawMessage
	}
	if err := json.Unmarshal(r.Body, &said); err != nil {
		return Answer{Verdict: Failed, Reason: "the answer isn't Kuaidi100's: " + err.Error()}
	}
	if len(said.Data) > 0 {
		// An answer is what a push has for its result.
		return Answer{Verdict: Told, Doc: []byte(`{"status":"polling","lastResult":` + string(r.Body) + `}`)}
	}
	reason := said.ReturnCode + " " + said.Message
	switch said.ReturnCode {
	case "", "500": // nothing known
		return Answer{Verdict: Nothing, Reason: reason}
	case "503", "601", "600":
		return Answer{Verdict: Refused, Reason: reason}
	case "400", "408":
		return Answer{Verdict: Unanswerable, Reason: reason}
	case "502":
		return Answer{Verdict: Throttled, Reason: reason}
	default:
		return Answer{Verdict: Failed, Reason: reason}
	}
}
