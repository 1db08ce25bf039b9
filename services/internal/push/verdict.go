package push

// Verdict is what an answer means for a push.
type Verdict uint8

// The verdicts; zero is none of them.
const (
	Acknowledged Verdict = iota + 1
	Again                // not acknowledged; perhaps later
	Gone                 // the endpoint says that it is no more
)

const statusGone = 410

// Judge says what the answer to an attempt means: an HTTP status, 0 for none,
// and whether anything else went wrong with it. Only a 2xx acknowledges; a
// redirection is never followed and so doesn't.
func Judge(httpStatus int, broken bool) Verdict {
	switch {
	case httpStatus == statusGone:
		return Gone
	case httpStatus >= 200 && httpStatus < 300 && !broken:
		return Acknowledged
	default:
		return Again
	}
}
