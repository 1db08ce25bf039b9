package workload

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what both platforms sign with
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// said is what an operation's answer was.
type said struct {
	outcome record.Outcome
	status  string
	refused []string
}

// carrierCodes are the platforms' own.
var carrierCodes = map[string]string{"sf-express": "SF", "yto-express": "yuantong"}

func kdniaoForm(j *journey, events []int, poison string) url.Values {
	type entry struct{ AcceptTime, AcceptStation, Location, Action string }
	type item struct {
		EBusinessID, ShipperCode, LogisticCode string
		Success                                bool
		Reason, State, StateEx, Location       string
		Traces                                 []entry
	}
	it := item{EBusinessID: world.KdniaoAccount, ShipperCode: carrierCodes[j.carrier], LogisticCode: j.number, Success: true}
	for _, n := range events {
		e := &j.events[n]
		it.Traces = append(it.Traces, entry{e.Time.Format(time.DateTime), e.text, "杭州市", e.code})
		it.State, it.StateEx, it.Location = "2", e.code, "杭州市"
		if e.Status == "" {
			it.State = "" // it would give a status to what the plan gives none
		}
	}
	data := encode(map[string]any{"PushTime": it.Traces[len(it.Traces)-1].AcceptTime, "EBusinessID": world.KdniaoAccount, "Count": "1", "Data": []item{it}})
	key := world.KdniaoKey
	switch poison {
	case "garbage":
		data = data[:len(data)/2] + `"]` // with the token, signed well, and no JSON
	case "signature":
		key = "somebody else's"
	}
	sum := md5.Sum([]byte(data + key)) //nolint:gosec // what Kdniao signs with
	return url.Values{
		"RequestData": {data}, "RequestType": {"102"}, "EBusinessID": {world.KdniaoAccount},
		"DataSign": {base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))},
	}
}

func kuaidi100Form(j *journey, events []int, poison string) url.Values {
	type node struct {
		Time       string `json:"time"`
		Ftime      string `json:"ftime"`
		Context    string `json:"context"`
		AreaName   string `json:"areaName"`
		StatusCode string `json:"statusCode"`
	}
	var nodes []node
	for _, event := range slices.Backward(events) { // the newest first
		e := &j.events[event]
		nodes = append(nodes, node{e.Time.Format(time.DateTime), e.Time.Format(time.DateTime), e.text, "浙江,杭州市", e.code})
	}
	param := encode(map[string]any{"status": "polling", "message": "", "autoCheck": "0", "lastResult": map[string]any{
		"message": "ok", "nu": j.number, "ischeck": "0", "com": carrierCodes[j.carrier], "status": "200", "state": nodes[0].StatusCode, "data": nodes,
	}})
	salt := world.KuaidiSalt
	switch poison {
	case "garbage":
		param = param[:len(param)/2] + `"]`
	case "signature":
		salt = "somebody else's"
	}
	sum := md5.Sum([]byte(param + salt)) //nolint:gosec // what Kuaidi100 signs with
	return url.Values{"param": {param}, "sign": {strings.ToUpper(hex.EncodeToString(sum[:]))}}
}

func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // plain data
	return strings.TrimSuffix(b.String(), "\n")
}

// post pushes a form as a platform does, and reads the answer in the platform's
// own form.
func (p *Player) post(ctx context.Context, source string, form url.Values) said {
	path := "/v1/sources/kdniao"
	if source == Kuaidi100 {
		path = "/v1/sources/kuaidi100/" + world.KuaidiAccount
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.world.Sources+path, strings.NewReader(form.Encode()))
	if err != nil {
		return said{outcome: record.Fail, status: err.Error()}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.http.Do(req)
	if err != nil {
		return said{outcome: record.Unknown, status: "no answer"}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return said{outcome: record.Unknown, status: "half an answer"}
	}
	status := fmt.Sprint("http ", resp.StatusCode)
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == 408, resp.StatusCode == 425, resp.StatusCode == 429:
		return said{outcome: record.Unknown, status: status}
	case resp.StatusCode != http.StatusOK:
		return said{outcome: record.Fail, status: status}
	}
	var answer struct {
		Success, Result bool
		ReturnCode      string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return said{outcome: record.Unknown, status: "an answer that can't be read"}
	}
	if answer.Success || answer.Result {
		return said{outcome: record.OK, status: status}
	}
	return said{outcome: record.Fail, status: status + " refused " + answer.ReturnCode}
}

var teamStatuses = map[string]struct {
	status status.Status
	sub    status.Sub
}{
	"picked_up": {status.PickedUp, status.PickedUpCollected}, "in_transit": {status.InTransit, status.InTransitDeparted},
	"out_for_delivery": {status.OutForDelivery, status.OutForDeliveryOnVehicle}, "delivered": {status.Delivered, status.DeliveredRecipient},
}

// report reports over gRPC as a team does.
func (p *Player) report(ctx context.Context, j *journey, events []int) said {
	reported := make([]client.ReportedEvent, len(events))
	for i, n := range events {
		e := &j.events[n]
		s := teamStatuses[e.code]
		reported[i] = client.ReportedEvent{
			Waybill: trace.ID{CarrierCode: j.carrier, WaybillNumber: j.number}, EventID: e.Token, Time: e.Time,
			Status: s.status, SubStatus: s.sub, Text: e.text, Language: "zh", OrderHint: e.hint,
		}
		if e.Replaces != "" {
			reported[i].Kind, reported[i].TargetEventID = trace.KindCorrection, e.Replaces
		}
		if e.Bad {
			reported[i].SubStatus = status.DeliveredRecipient // of another status
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := p.reports.ReportEvents(ctx, reported)
	if err != nil {
		return failure(err)
	}
	s := said{outcome: record.OK, status: "ok"}
	for _, no := range r.Rejections {
		if no.Index < len(events) {
			s.refused = append(s.refused, j.events[events[no.Index]].Token)
		}
	}
	if len(s.refused) == len(events) {
		s.outcome, s.status = record.Fail, "refused"
	}
	return s
}

// newSecret is a secret that a seed makes.
func newSecret(seed uint64) string {
	key := sha256.Sum256(fmt.Appendf(nil, "ledger %d", seed))
	return "whsec_" + base64.StdEncoding.EncodeToString(key[:])
}
