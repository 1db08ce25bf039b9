package demo

import "encoding/json"

// accepted reads the answer of either platform's form.
func accepted(source string, body []byte) bool {
	if source != kdniaoSource && source != kuaidi100Source {
		return true // the others refuse by the status
	}
	var answer struct{ Success, Result bool } // "Success" of Kdniao, "result" of Kuaidi100
	return json.Unmarshal(body, &answer) == nil && (answer.Success || answer.Result)
}
