package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// ups takes UPS Track Alert v2, and the answer of the Track API.
func ups() Source {
	s := define(spec{
		code: "ups", kind: track.SourceCarrierPush, carrier: "ups", newestFirst: true,
		cut: cutUPS, read: readUPS, agree: upsAgrees,
		codes: func(code, sub string) []coded {
			kind, description := cut(sub)
			if _, known := meanings()["ups"][coded{"descriptionCode", description}]; !known {
				description = "" // most aren't documented
			}
			return []coded{{"descriptionCode", description}, {"code", code}, {"type", kind}}
		},
	}, Facts{
		Name:    "UPS",
		Reports: "Track Alert v2, one event a push; answers of the Track API",
		Account: "a name of yours, and the credential that you gave UPS for the webhook",
		Verify:  "the credential in the header `Authorization` (bare or behind Bearer) or `credential`, or as the key in the path; UPS signs no bodies",
		Answer:  "HTTP 200",
		Times:   "local and GMT side by side, which gives the offset; without GMT it is unknown",
		Notes: []string{
			"A subscription lives 14 days, then it has to be made again.",
			"The two-letter codes are a first guess; where one disagrees with `activityStatus.type`, the type holds.",
		},
		Unverified: []string{"which header the credential comes in", "the meaning of most two-letter codes"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool { return r.bears(secret, "Authorization", "credential") || r.keyed(secret) })
	})
	return s
}

// cut takes what stands before and behind a bar.
func cut(s string) (before, behind string) {
	for i := range len(s) {
		if s[i] == '|' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// upsAgrees says whether a code may speak where there is a type: about the same
// status, or about what the type covers besides.
func upsAgrees(fine meaning, coarse coded) bool {
	if coarse.space == "code" { // a description's code, which is documented
		return true
	}
	kind, known := meanings()["ups"][coarse]
	if !known || kind.status == fine.status {
		return true
	}
	switch coarse.code {
	case "X":
		return fine.status == status.Customs || fine.status == status.DeliveryFailed || fine.status == status.Returning
	case "I":
		return fine.status == status.Customs
	case "D":
		return fine.status == status.OutForDelivery
	}
	return false
}

// upsAlert is a Track Alert.
type upsAlert struct {
	TrackingNumber                         text
	LocalActivityDate, LocalActivityTime   text
	GmtActivityDate, GmtActivityTime       text
	GmtOffset                              text
	ActivityLocation                       struct{ City, StateProvince, PostalCode, Country text }
	ActivityStatus                         struct{ Type, Code, Description, DescriptionCode text }
	ScheduledDeliveryDate, ReceivedBy      text
	DeliveryStartTime, DeliveryEndTime     text
	DeliveryPhoto, DeliveryTimeDescription text
	// Of the Track API.
	TrackResponse json.RawMessage
}

type upsPackage struct {
	TrackingNumber, InquiryNumber text
	Activity                      []struct {
		Date, Time, GmtDate, GmtTime, GmtOffset text
		Location                                struct {
			Slic    text
			Address struct{ City, StateProvince, PostalCode, Country, CountryCode text }
		}
		Status struct{ Type, Code, Description, StatusCode text }
	}
	AlternateTrackingNumber []struct{ Number, Type text }
	DeliveryInformation     struct{ ReceivedBy text }
}

func cutUPS(doc []byte) ([]Part, error) {
	var alert upsAlert
	if wrong := unmarshal("body", doc, &alert); wrong != nil {
		return nil, wrong
	}
	if alert.TrackResponse == nil {
		return []Part{partOf("ups", "trackingNumber", alert.TrackingNumber.String(), doc)}, nil
	}
	var answer struct {
		Shipment []struct {
			InquiryNumber text
			Package       []json.RawMessage
		}
	}
	if wrong := unmarshal("trackResponse", alert.TrackResponse, &answer); wrong != nil {
		return nil, wrong
	}
	var parts []Part
	for i, shipment := range answer.Shipment {
		for j, body := range shipment.Package {
			var p upsPackage
			field := fmt.Sprintf("trackResponse.shipment[%d].package[%d]", i, j)
			if wrong := unmarshal(field, body, &p); wrong != nil {
				parts = append(parts, Part{Body: body, Err: wrong})
				continue
			}
			number := p.TrackingNumber.String()
			if number == "" || number == "string" {
				number = shipment.InquiryNumber.String()
			}
			parts = append(parts, partOf("ups", field+".trackingNumber", number, body))
		}
	}
	return parts, nil
}

func readUPS(raw *Raw) (told, *FieldError) {
	var both struct {
		upsAlert

		Package upsPackage `json:"-"`
	}
	if wrong := unmarshal("body", raw.Body, &both.upsAlert); wrong != nil {
		return told{}, wrong
	}
	a := &both.upsAlert
	if a.LocalActivityDate == "" && a.GmtActivityDate == "" && a.ActivityStatus.Type == "" {
		return readUPSPackage(raw)
	}
	when, z := upsTime(a.LocalActivityDate, a.LocalActivityTime, a.GmtActivityDate, a.GmtActivityTime, a.GmtOffset)
	l := &a.ActivityLocation
	event := track.Event{
		RawCode: a.ActivityStatus.Code.String(), RawSubCode: join(a.ActivityStatus.Type, a.ActivityStatus.DescriptionCode),
		Text: a.ActivityStatus.Description.String(), Language: "en", Signer: a.ReceivedBy.String(),
		Location:   address(l.City, l.StateProvince, l.PostalCode, l.Country),
		Attributes: attributes("delivery_time", a.DeliveryTimeDescription),
	}
	if photo := a.DeliveryPhoto.String(); len(photo) > 8 && photo[:8] == "https://" {
		event.ProofURLs = []string{photo}
	}
	t := told{events: []said{{field: "localActivityDate", time: when, zone: z, event: event}}}
	if day := a.ScheduledDeliveryDate.String(); day != "" {
		t.expected = &expected{field: "scheduledDeliveryDate", from: day, zone: zone{}}
	}
	return t, nil
}

func readUPSPackage(raw *Raw) (told, *FieldError) {
	var p upsPackage
	if wrong := unmarshal("package", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	var t told
	for i := range p.Activity {
		a := &p.Activity[i]
		when, z := upsTime(a.Date, a.Time, a.GmtDate, a.GmtTime, a.GmtOffset)
		l := &a.Location.Address
		country := l.CountryCode
		if country == "" {
			country = l.Country
		}
		event := track.Event{
			RawCode: a.Status.Code.String(), RawSubCode: a.Status.Type.String(), Text: a.Status.Description.String(), Language: "en",
			Location: address(l.City, l.StateProvince, l.PostalCode, country),
		}
		event.Location.FacilityCode = a.Location.Slic.String()
		t.events = append(t.events, said{field: fmt.Sprintf("activity[%d].date", i), time: when, zone: z, event: event})
	}
	for _, n := range p.AlternateTrackingNumber {
		if n.Type.String() == "USPS_PIC" {
			t.links = append(t.links, linkTo(track.LinkLastMile, raw.Waybill, "usps", n.Number.String())...)
		}
	}
	return t, nil
}

// upsTime joins UPS's dates and times, 20240423 and 091519. Local and GMT
// together tell the offset; where GMT is alone, it is the time.
func upsTime(day, hour, gmtDay, gmtHour, offset text) (string, zone) {
	local, gmt := day.String()+hour.String(), gmtDay.String()+gmtHour.String()
	if day == "" {
		return gmt, zone{0, track.OffsetGiven}
	}
	at, err := parseTime(local, zone{})
	utc, err2 := parseTime(gmt, zone{})
	if err == nil && err2 == nil && len(gmt) == 14 && len(local) == 14 {
		if d := at.Wall.Sub(utc.Wall); d.Abs() <= maxOffset {
			return local, zone{d, track.OffsetGiven}
		}
	}
	// "-04.00" is their form of -04:00.
	o := []byte(offset.String())
	for i := range o {
		if o[i] == '.' {
			o[i] = ':'
		}
	}
	return local, givenZone(string(o), zone{})
}

// join puts two codes into one; [cut] takes them apart.
func join(a, b text) string {
	if b.String() == "" {
		return a.String()
	}
	return a.String() + "|" + b.String()
}

// address is a place of parts. The text is those that are there.
func address(city, region, postcode, country text) track.Location {
	return track.Location{
		Text: words(", ", city, region, postcode, country),
		City: city.String(), Region: region.String(), Postcode: postcode.String(), Country: countryCode(country.String()),
	}
}
