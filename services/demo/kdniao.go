package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const kdniaoSource = "kdniao"

// kdniaoPush is the document of a push 102, in the platform's order of fields.
type kdniaoPush struct {
	PushTime    string
	EBusinessID string
	Data        []kdniaoItem
	Count       string
}

type kdniaoItem struct {
	EBusinessID  string
	OrderCode    string
	ShipperCode  string
	LogisticCode string
	Success      bool
	Reason       string
	State        string
	StateEx      string
	Location     string
	CallBack     string
	Traces       []kdniaoTrace
}

type kdniaoTrace struct{ AcceptTime, AcceptStation, Location, Action string }

// kdniaoSteps are the pushes of a journey: each holds the whole trace so far.
func kdniaoSteps(doc []byte, account string, now time.Time) ([][]byte, error) {
	var whole kdniaoPush
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, fmt.Errorf("read journey: %w", err)
	}
	whole.EBusinessID = account
	item := &whole.Data[0]
	item.EBusinessID = account
	traces := item.Traces
	days, err := daysSince(traces[len(traces)-1].AcceptTime, now)
	if err != nil {
		return nil, err
	}
	steps := make([][]byte, 0, len(traces))
	for i := range traces {
		t := &traces[i]
		if t.AcceptTime, err = addDays(t.AcceptTime, days); err != nil {
			return nil, err
		}
		item.Traces = traces[:i+1]
		item.StateEx, item.Location, whole.PushTime = t.Action, t.Location, t.AcceptTime
		item.State = kdniaoState(item.Traces)
		step, err := encode(whole)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// kdniaoState is the coarse state: once a parcel was a problem, it stays one
// until it is signed for.
func kdniaoState(traces []kdniaoTrace) string {
	state := traces[len(traces)-1].Action[:1]
	for _, t := range traces {
		if state != "3" && strings.HasPrefix(t.Action, "4") {
			return "4"
		}
	}
	return state
}
