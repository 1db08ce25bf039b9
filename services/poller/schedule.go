package poller

import (
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pg"
)

const (
	day = 24 * time.Hour
	// newborn is how long a number that nobody knows is asked for often: carriers
	// often know it only hours after its label was printed.
	newborn = 3 * day
	// giveUpUnknown and giveUpSilent are when it is no longer asked for: a number
	// that was never known, and one without news.
	giveUpUnknown = 30 * day
	giveUpSilent  = 60 * day
	// patient is how many answers in a row without news slow asking down by one.
	patient = 6
	// slowest is the most that silence slows asking down by.
	slowest = 6
	// spread is the share of a pause by which it is longer or shorter by chance, so
	// that what began together doesn't stay together.
	spread = 0.2
	// firstRetry and lastRetry bound the pause after a failure.
	firstRetry = 2 * time.Minute
	lastRetry  = 6 * time.Hour
)

// need is what decides when a waybill is asked for next.
type need struct {
	status   status.Status // Unknown when nothing is known
	terminal bool
	tier     int16
	silent   int           // answers in a row without news
	failures int           // in a row
	age      time.Duration // since the last news, or since it came to the queue
	known    bool          // whether there ever was news
	least    time.Duration // that the source wants between two questions
}

// next is how long until a waybill is asked for again; false for never. chance is
// from 0 to 1.
func (n need) next(chance float64) (time.Duration, bool) {
	switch {
	case n.terminal && n.failures == 0:
		return 0, false
	case !n.known && n.age > giveUpUnknown, n.known && n.age > giveUpSilent:
		return 0, false
	}
	pause := n.usual()
	switch n.tier {
	case pg.TierFast:
		pause /= 2
	case pg.TierEconomy:
		pause *= 3
	}
	pause *= time.Duration(min(1+n.silent/patient, slowest))
	if n.failures > 0 {
		pause = min(firstRetry<<min(n.failures-1, 16), lastRetry)
	}
	pause = max(pause, n.least)
	return pause + time.Duration(float64(pause)*spread*(2*chance-1)), true
}

// usual is the pause by what is going on with the parcel.
func (n need) usual() time.Duration {
	switch n.status {
	case status.Unknown, status.Pending:
		if n.age < newborn {
			return 2 * time.Hour
		}
		return day / 2
	case status.OutForDelivery:
		return 30 * time.Minute
	case status.AvailableForPickup:
		return 6 * time.Hour
	case status.Exception, status.DeliveryFailed:
		return 2 * time.Hour
	default:
		return 4 * time.Hour
	}
}
