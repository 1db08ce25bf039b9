package poller

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Adapter is how a source is asked.
type Adapter struct {
	// Code of the source, whose mapping reads its answers.
	Code string
	Kind track.SourceKind
	// BaseURL is where it is asked unless the configuration says otherwise.
	BaseURL string
	// Rate is how many questions a second it takes, Least what it wants between two
	// for the same number.
	Rate  float64
	Least time.Duration
	// Carriers that it knows, with its code of each.
	Carriers map[track.Carrier]string
	// Secrets names what an account's parts are, for error messages: "key" or "client
	// id and secret".
	Secrets string
	// Ask makes the request. Its URL begins with the question's base.
	Ask func(ctx context.Context, q Question) (*http.Request, error)
	// Read tells answers apart. It gets every answer that has a body.
	Read func(q Question, a Reply) Answer
	// Play, when it is set, answers without asking anybody.
	Play func(q Question) (doc []byte, next time.Duration)
}

// Question is what a source is asked.
type Question struct {
	Base    string
	Account Account
	Waybill track.Waybill
	// Code is the source's of the carrier.
	Code string
	// Phone is the end of the sender's or receiver's number; often empty.
	Phone string
	Now   time.Time
	// Since is when the waybill came to the queue.
	Since time.Time
	// Token is the bearer token of sources that use OAuth; see token.go.
	Token string
}

// Account is who asks: a name or id, and a secret. Either may be empty, as the
// source has it.
type Account struct{ ID, Secret string }

// Reply is an HTTP answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Verdict says what an answer is.
type Verdict int

// The verdicts. The zero value isn't valid.
const (
	// Told: Doc is the source's document.
	Told Verdict = iota + 1
	// Nothing: the number isn't known, or nothing has happened yet.
	Nothing
	// Unanswerable: not for this waybill, as when a phone number is missing.
	Unanswerable
	// Refused: not for this account. Asking on makes it worse.
	Refused
	// Throttled: too often.
	Throttled
	// Failed: a fault of the source; later it may answer.
	Failed
)

func (v Verdict) String() string {
	return [...]string{"", "told", "nothing", "unanswerable", "refused", "throttled", "failed"}[v]
}

// Answer is a reply that is understood.
type Answer struct {
	Verdict Verdict
	// Doc is for the source's mapping.
	Doc []byte
	// After is when to come again after Throttled; 0 when the source doesn't say.
	After time.Duration
	// Reason is the source's, in its words.
	Reason string
}

// byStatus tells answers apart by HTTP's status, as most carriers do: a body is
// left for the caller when there is something to read in it.
func byStatus(a Reply) (Answer, bool) {
	const maxReason = 200
	reason := func() string { return strconv.Itoa(a.Status) + " " + string(a.Body[:min(len(a.Body), maxReason)]) }
	switch {
	case a.Status == http.StatusNotFound:
		return Answer{Verdict: Nothing}, true
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return Answer{Verdict: Refused, Reason: reason()}, true
	case a.Status == http.StatusTooManyRequests, a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
		return Answer{Verdict: Throttled, After: retryAfter(a.Header), Reason: reason()}, true
	case a.Status >= 500:
		return Answer{Verdict: Failed, Reason: reason()}, true
	case a.Status == http.StatusBadRequest, a.Status == http.StatusUnprocessableEntity:
		return Answer{Verdict: Unanswerable, Reason: reason()}, true
	case a.Status != http.StatusOK:
		return Answer{Verdict: Failed, Reason: reason()}, true
	}
	return Answer{}, false
}

// retryAfter reads seconds; a date is left to the breaker's own pause.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, day)
}

// has says whether a JSON document has a list at a path that isn't empty.
func has(doc []byte, path ...string) bool {
	if len(path) == 0 {
		var list []json.RawMessage
		return json.Unmarshal(doc, &list) == nil && len(list) > 0
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(doc, &fields) != nil {
		return false
	}
	return has(fields[path[0]], path[1:]...)
}
