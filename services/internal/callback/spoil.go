package callback

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/posthaste/posthaste/services/internal/fault"
)

// What follows plants faults for the ledger to find; in an ordinary build it
// returns what it is given. See package fault.

var (
	spoiled      sync.Map // ids that were posted
	spoiledSince = time.Now()
)

func spoilRequest(r Request) Request {
	if !fault.RetryID && !fault.BodyRerendered {
		return r
	}
	if _, again := spoiled.LoadOrStore(r.PushID, true); !again {
		return r
	}
	if fault.RetryID {
		r.PushID += "r"
		return r
	}
	var fields map[string]any
	if json.Unmarshal(r.Body, &fields) == nil {
		if body, err := json.Marshal(fields); err == nil {
			r.Body = body // the same said, in another order
		}
	}
	return r
}

func spoilTime(t time.Time) time.Time {
	if fault.StaleSignature {
		return spoiledSince
	}
	return t
}

func spoilResult(res Result) Result {
	switch {
	case fault.GoneIgnored && res.Status == http.StatusGone, fault.RepeatsAcknowledged && res.Status/100 == 2 && fault.Now():
		res.Status = http.StatusInternalServerError
	}
	return res
}
