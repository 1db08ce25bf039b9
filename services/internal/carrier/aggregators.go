package carrier

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// webhookWindow is how old a push may be whose time is signed. It is long: a
// repeat may have the first try's time, and a push played back tells nothing
// new.
const webhookWindow = 72 * time.Hour

// statusGroup is what stands before the underscore of a code such as
// InTransit_PickedUp: its main status.
func statusGroup(code string) string {
	for i := range len(code) {
		if code[i] == '_' {
			return code[:i]
		}
	}
	return ""
}

// legOf is another carrier's number that an event is of; zero when it is the
// waybill's own.
func legOf(w track.Waybill, c track.Carrier, number string) track.Waybill {
	for _, l := range linkTo(track.LinkLastMile, w, c, number) {
		return l.Waybill
	}
	return track.Waybill{}
}
