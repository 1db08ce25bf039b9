package track

// NormalNumber is a waybill number in normal form.
func NormalNumber(s string) (Number, error) { panic("not built") }

// NormalCarrier is a carrier's code in normal form.
func NormalCarrier(s string) (Carrier, error) { panic("not built") }

// IDParts are what an id is derived from.
type IDParts struct {
	Waybill  Waybill
	SourceID string // the source's own stable id of the event; the others are ignored when it is given
	Time     string // as given
	Code     string
	Location string
	Text     string
}

// DeriveID makes a stable id.
func DeriveID(p IDParts) EventID { panic("not built") }
