package push

// Verdict is what an answer means for a push.
type Verdict uint8

// The verdicts; zero is none of them.
const (
	Acknowledged Verdict = iota + 1
	Again                // not acknowledged; perhaps later
	Gone                 // the endpoint says that it is no more
)

const (
	statusGone        = 410
	statusTooMany     = 429
	statusUnavailable = 503
)

// Slower says that an answer asks for fewer attempts at once.
func Slower(httpStatus int) bool {
	return httpStatus == statusTooMany || httpStatus == statusUnavailable
}

// Judge says what the answer to an attempt means by its HTTP status, 0 for none.
// Only a 2xx acknowledges, whatever becomes of the body behind it: the endpoint
// decided before it wrote the status, and to repeat what it took because of a
// torn body would repeat it at every attempt. A redirection is never followed
// and so doesn't acknowledge.
func Judge(httpStatus int) Verdict {
	switch {
	case httpStatus == statusGone:
		return Gone
	case httpStatus >= 200 && httpStatus < 300:
		return Acknowledged
	default:
		return Again
	}
}
