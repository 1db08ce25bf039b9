package normalizer

import (
	"maps"
	"time"

	"github.com/posthaste/posthaste/services/internal/strict"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Times outside these are mistakes: of a clock, or of a program that writes a zero.
const ahead = 48 * time.Hour

var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// implausible is the attribute of an event whose time can't be.
const implausible = "posthaste.time"

// screen makes an event fit to be stored and shown, whoever told it: texts lose
// controls and marks of direction, and an event of a time that can't be stays in the
// history without a say in the status. A parcel that was delivered in the year 2199
// would stay delivered until then.
func screen(e *track.Event) {
	for _, s := range []*string{
		&e.ReasonCode, &e.RawCode, &e.RawSubCode, &e.Text, &e.Language, &e.Courier.Name, &e.Courier.Phone, &e.Signer, &e.TransportMode, &e.Vehicle, &e.Piece,
		&e.Location.Text, &e.Location.City, &e.Location.Region, &e.Location.Postcode, &e.Location.FacilityCode, &e.Location.FacilityName, &e.Location.FacilityType,
		&e.NextLocation.Text, &e.NextLocation.City, &e.NextLocation.Region, &e.NextLocation.Postcode, &e.NextLocation.FacilityCode, &e.NextLocation.FacilityName, &e.NextLocation.FacilityType,
	} {
		*s = strict.Text(*s)
	}
	at := e.Time.Instant()
	if e.Kind != track.KindEvent || !at.Before(earliest) && !at.After(e.ReceiveTime.Add(ahead)) {
		return
	}
	e.Kind = track.KindInfo
	attributes := map[string]string{implausible: "implausible"}
	maps.Copy(attributes, e.Attributes)
	e.Attributes = attributes
}
