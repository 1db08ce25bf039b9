package carrier

import (
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
)

// sureWords is how sure a text is.
const sureWords = 40

// phrases are what texts in English say, the most telling first. They are for
// carriers that give no codes, or codes that nobody lists; a negation stands
// before what it denies.
var phrases = []struct {
	words string
	sub   status.Sub
}{
	{"returned to sender", status.ReturnedToSender},
	{"return to sender", status.ReturningInTransit},
	{"returning to sender", status.ReturningInTransit},
	{"being returned", status.ReturningInTransit},
	{"refused", status.DeliveryFailedRefused},
	{"unable to deliver", status.DeliveryFailedAttempted},
	{"could not be delivered", status.DeliveryFailedAttempted},
	{"not delivered", status.DeliveryFailedAttempted},
	{"undelivered", status.DeliveryFailedAttempted},
	{"attempted delivery", status.DeliveryFailedAttempted},
	{"delivery attempt", status.DeliveryFailedAttempted},
	{"ready for collection", status.AvailableForPickupPickupPoint},
	{"ready for pickup", status.AvailableForPickupPickupPoint},
	{"available for pickup", status.AvailableForPickupPickupPoint},
	{"awaiting collection", status.AvailableForPickupPickupPoint},
	{"will be delivered", status.InTransitMoving},
	{"to be delivered", status.InTransitMoving},
	{"out for delivery", status.OutForDeliveryOnVehicle},
	{"onboard for delivery", status.OutForDeliveryOnVehicle},
	{"with delivery courier", status.OutForDeliveryOnVehicle},
	{"safe place", status.DeliveredSafePlace},
	{"delivered", status.DeliveredUnspecified},
	{"damaged", status.ExceptionDamaged},
	{"held by customs", status.CustomsHeld},
	{"cleared customs", status.CustomsCleared},
	{"customs cleared", status.CustomsCleared},
	{"cleared by customs", status.CustomsCleared},
	{"clearance completed", status.CustomsCleared},
	{"customs", status.CustomsInClearance},
	{"delayed", status.ExceptionDelayed},
	{"picked up", status.PickedUpCollected},
	{"collected from", status.PickedUpCollected},
	{"label created", status.InfoReceivedLabelCreated},
	{"information received", status.InfoReceivedOrderCreated},
	{"arrived", status.InTransitArrived},
	{"departed", status.InTransitDeparted},
	{"processed", status.InTransitProcessed},
	{"in transit", status.InTransitMoving},
}

// byWords finds what a text says, and the words that said it.
func byWords(s string) (rule, string, bool) {
	s = strings.ToLower(s)
	for _, p := range phrases {
		if strings.Contains(s, p.words) {
			return of(p.sub), p.words, true
		}
	}
	return rule{}, "", false
}
