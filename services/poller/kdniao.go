package poller

import (
	"context"
	"crypto/md5" //nolint:gosec // what Kdniao signs with
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// kdniao is Kdniao's instant query 8001: the form of all its calls, answered 200
// whatever happened. Its documents give 20 questions a second.
//
// An account without a contract for 8001 asks 1002, whose answers have no codes of
// single events; the account's id is then written "1002:<EBusinessID>".
func kdniao() Adapter {
	return Adapter{
		Code: "kdniao", Kind: track.SourceAggregatorPoll, BaseURL: "https://api.kdniao.com", Rate: 15, Least: 30 * time.Minute,
		Carriers: carrier.AskedBy("kdniao"), Secrets: "EBusinessID and AppKey", Ask: askKdniao, Read: readKdniao,
	}
}

func askKdniao(ctx context.Context, q Question) (*http.Request, error) {
	kind, id, ok := strings.Cut(q.Account.ID, ":")
	if !ok {
		kind, id = "8001", q.Account.ID
	}
	data, err := json.Marshal(struct {
		OrderCode, ShipperCode, LogisticCode string
		CustomerName                         string `json:",omitempty"`
	}{ShipperCode: q.Code, LogisticCode: string(q.Waybill.Number), CustomerName: q.Phone})
	if err != nil {
		return nil, err
	}
	sum := md5.Sum([]byte(string(data) + q.Account.Secret)) //nolint:gosec // what Kdniao signs with
	return postForm(ctx, q.Base+"/Ebusiness/EbusinessOrderHandle.aspx", url.Values{
		"RequestData": {string(data)}, "EBusinessID": {id}, "RequestType": {kind}, "DataType": {"2"},
		"DataSign": {base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))},
	})
}

func readKdniao(_ Question, r Reply) Answer {
	if a, done := byStatus(r); done {
		return a
	}
	var said struct {
		Success bool
		Reason  *string
		State   json.RawMessage
		Traces  []json.RawMessage
	}
	if err := json.Unmarshal(r.Body, &said); err != nil {
		return Answer{Verdict: Failed, Reason: "the answer isn't Kdniao's: " + err.Error()}
	}
	if len(said.Traces) > 0 {
		// An answer is what an entry of a push is.
		return Answer{Verdict: Told, Doc: []byte(`{"Data":[` + string(r.Body) + `]}`)}
	}
	reason := ""
	if said.Reason != nil {
		reason = *said.Reason
	}
	switch {
	case strings.Contains(reason, "非法参数"), strings.Contains(reason, "套餐"), strings.Contains(reason, "过期"), strings.Contains(reason, "余额"):
		return Answer{Verdict: Refused, Reason: reason}
	case strings.Contains(reason, "频繁"), strings.Contains(reason, "超限"), strings.Contains(reason, "次数"):
		return Answer{Verdict: Throttled, Reason: reason}
	case strings.Contains(reason, "手机"), strings.Contains(reason, "ShipperCode"), strings.Contains(reason, "无效的输入"):
		return Answer{Verdict: Unanswerable, Reason: reason}
	}
	return Answer{Verdict: Nothing, Reason: reason}
}

// postForm makes the request of a form.
func postForm(ctx context.Context, address string, form url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	return req, nil
}
