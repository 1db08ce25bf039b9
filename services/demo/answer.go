package demo

import "encoding/json"

// accepted reads the answer of either platform's form.
func accepted(body []byte) bool {
	var answer struct{ Success, Result bool } // "Success" of Kdniao, "result" of Kuaidi100
	return json.Unmarshal(body, &answer) == nil && (answer.Success || answer.Result)
}
