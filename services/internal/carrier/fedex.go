package carrier

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// fedex takes FedEx's Advanced Integrated Visibility, whose body is that of the
// Track API's answer.
func fedex() Source {
	s := define(spec{
		code: "fedex", kind: track.SourceCarrierPush, carrier: "fedex", newestFirst: true,
		cut: cutFedEx, read: readFedEx, codes: two("eventType", "eventType"),
	}, Facts{
		Name:    "FedEx",
		Reports: "Advanced Integrated Visibility webhooks; answers of the Track API",
		Account: "a name of yours, and the webhook's security token",
		Verify:  "header `fdx-signature` = base64(HMAC-SHA256(security token, body)), or the token as the key in the path",
		Answer:  "HTTP 200",
		Times:   "with an offset; 00:00:00 of an estimate stands for no time",
		Notes: []string{
			"One number can have several results, such as a second way from where a parcel was held: they are one trace, and each event names its result as an attribute.",
			"After three failed tries FedEx keeps what it missed for 7 days and sends it when asked to.",
		},
		Unverified: []string{"the signature's form: FedEx's text is unclear, several receivers agree on this"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			return same(strings.TrimSpace(r.Header("fdx-signature")), macBase64(secret, r.Body)) || r.keyed(secret)
		})
	})
	return s
}

type fedexResult struct {
	TrackingNumber text
	TrackResults   []fedexTrack
}

type fedexTrack struct {
	TrackingNumberInfo struct{ TrackingNumber, TrackingNumberUniqueID text }
	ScanEvents         []struct {
		Date, EventType, EventDescription   text
		ExceptionCode, ExceptionDescription text
		DerivedStatusCode, LocationID       text
		LocationType                        text
		ScanLocation                        struct{ City, StateOrProvinceCode, PostalCode, CountryCode text }
	}
	DeliveryDetails             struct{ ReceivedByName, SignedByName text }
	EstimatedDeliveryTimeWindow struct{ Window struct{ Begins, Ends text } }
}

// name tells a result from others of its number; empty when it is alone.
func (t *fedexTrack) name(of int) text {
	if of < 2 {
		return ""
	}
	return t.TrackingNumberInfo.TrackingNumberUniqueID
}

func cutFedEx(doc []byte) ([]Part, error) {
	var answer struct {
		Output *struct{ CompleteTrackResults []json.RawMessage }
		// A push may have the results without the envelope.
		CompleteTrackResults []json.RawMessage
	}
	if wrong := unmarshal("body", doc, &answer); wrong != nil {
		return nil, wrong
	}
	results, path := answer.CompleteTrackResults, "completeTrackResults"
	if answer.Output != nil {
		results, path = answer.Output.CompleteTrackResults, "output.completeTrackResults"
	}
	if results == nil {
		return nil, &FieldError{path, "is missing"}
	}
	parts := make([]Part, len(results))
	for i, body := range results {
		var r fedexResult
		field := fmt.Sprintf("%s[%d]", path, i)
		if wrong := unmarshal(field, body, &r); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		number := r.TrackingNumber
		if number == "" && len(r.TrackResults) > 0 {
			number = r.TrackResults[0].TrackingNumberInfo.TrackingNumber
		}
		parts[i] = partOf("fedex", field+".trackingNumber", number.String(), body)
	}
	return parts, nil
}

func readFedEx(raw *Raw) (told, *FieldError) {
	var r fedexResult
	if wrong := unmarshal("result", raw.Body, &r); wrong != nil {
		return told{}, wrong
	}
	var t told
	for i := range r.TrackResults {
		result := &r.TrackResults[i]
		for j := range result.ScanEvents {
			s := &result.ScanEvents[j]
			l := &s.ScanLocation
			event := track.Event{
				RawCode: s.EventType.String(), RawSubCode: s.DerivedStatusCode.String(), ReasonCode: s.ExceptionCode.String(),
				Text: s.EventDescription.String(), Language: "en", Location: address(l.City, l.StateOrProvinceCode, l.PostalCode, l.CountryCode),
				Attributes: attributes("exception", s.ExceptionDescription, "result", result.name(len(r.TrackResults))),
			}
			event.Location.FacilityCode, event.Location.FacilityType = s.LocationID.String(), strings.ToLower(s.LocationType.String())
			if event.RawCode == "DL" {
				event.Signer = words("", result.DeliveryDetails.SignedByName)
				if event.Signer == "" {
					event.Signer = result.DeliveryDetails.ReceivedByName.String()
				}
			}
			t.events = append(t.events, said{field: fmt.Sprintf("scanEvents[%d].date", j), time: s.Date.String(), event: event})
		}
		if w := result.EstimatedDeliveryTimeWindow.Window; w.Begins != "" || w.Ends != "" {
			from := w.Begins
			if from == "" {
				from = w.Ends
			}
			t.expected = &expected{field: "estimatedDeliveryTimeWindow", from: from.String(), to: w.Ends.String()}
		}
	}
	return t, nil
}
