package demo

import (
	"encoding/json"
	"fmt"
	"time"
)

const kuaidi100Source = "kuaidi100"

// kuaidi100Push is the document of a push with resultv2=4, in the platform's
// order of fields.
type kuaidi100Push struct {
	Status     string          `json:"status"`
	Billstatus string          `json:"billstatus"`
	Message    string          `json:"message"`
	AutoCheck  string          `json:"autoCheck"`
	ComOld     string          `json:"comOld"`
	ComNew     string          `json:"comNew"`
	LastResult kuaidi100Result `json:"lastResult"`
}

type kuaidi100Result struct {
	Message   string          `json:"message"`
	Nu        string          `json:"nu"`
	Ischeck   string          `json:"ischeck"`
	Condition string          `json:"condition"`
	Com       string          `json:"com"`
	Status    string          `json:"status"`
	State     string          `json:"state"`
	Data      []kuaidi100Node `json:"data"`
}

type kuaidi100Node struct {
	Time       string  `json:"time"`
	Context    string  `json:"context"`
	Ftime      string  `json:"ftime"`
	AreaCode   string  `json:"areaCode"`
	AreaName   string  `json:"areaName"`
	Status     string  `json:"status"`
	Location   string  `json:"location"`
	AreaCenter *string `json:"areaCenter"`
	AreaPinYin *string `json:"areaPinYin"`
	StatusCode string  `json:"statusCode"`
}

// kuaidi100Steps are the pushes of a journey: each holds the whole trace so
// far, the newest first.
func kuaidi100Steps(doc []byte, now time.Time) ([][]byte, error) {
	var whole kuaidi100Push
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, fmt.Errorf("read journey: %w", err)
	}
	nodes := whole.LastResult.Data
	days, err := daysSince(nodes[0].Time, now)
	if err != nil {
		return nil, err
	}
	steps := make([][]byte, 0, len(nodes))
	for i := len(nodes) - 1; i >= 0; i-- {
		n := &nodes[i]
		if n.Time, err = addDays(n.Time, days); err != nil {
			return nil, err
		}
		n.Ftime = n.Time
		whole.LastResult.Data = nodes[i:]
		whole.LastResult.State = n.StatusCode
		whole.Status, whole.LastResult.Ischeck = "polling", "0"
		if n.StatusCode[0] == '3' || n.StatusCode == "4" { // signed for, by whomever
			whole.Status, whole.LastResult.Ischeck = "shutdown", "1"
		}
		step, err := encode(whole)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}
