package carrier

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// trackingmore takes TrackingMore's webhooks.
func trackingmore() Source {
	s := define(spec{
		code: "trackingmore", kind: track.SourceAggregatorPush, newestFirst: true,
		cut: cutTrackingMore, read: readTrackingMore, codes: two("substatus", "substatus"),
	}, Facts{
		Name:       "TrackingMore",
		Reports:    "webhooks v3 and v4",
		Account:    "a name of yours, and the webhook's key",
		Verify:     "`verifyInfo` in the body: signature = hex(HMAC-SHA256(key, timeStr)), at most 72 hours old; or the key in the path, which is better, since that signature says nothing of the body",
		Answer:     "HTTP 200",
		Times:      "wall clock without an offset, which is unknown",
		Notes:      []string{"origin_info is the waybill's carrier, destination_info the carrier's in the country of destination; events of the latter are of a leg."},
		Unverified: []string{"the layout, the names of its fields and the signature: none of it was confirmed with TrackingMore. Use the key in the path"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			if r.keyed(secret) {
				return true
			}
			var p struct {
				VerifyInfo struct{ TimeStr, Timestamp, Signature text }
				Verify     struct{ TimeStr, Timestamp, Signature text }
			}
			if unmarshal("body", r.Body, &p) != nil {
				return false
			}
			v := p.VerifyInfo
			if v.Signature == "" {
				v = p.Verify
			}
			at := v.TimeStr.String()
			if at == "" {
				at = v.Timestamp.String()
			}
			return fresh(r.Now, at, webhookWindow) && same(strings.ToLower(v.Signature.String()), macHex(secret, []byte(at)))
		})
	})
	return s
}

type trackingmoreInfo struct {
	CourierCode    text `json:"courier_code"`
	TrackingNumber text `json:"tracking_number"`
	Trackinfo      []struct {
		Date      text `json:"checkpoint_date"`
		OldDate   text `json:"Date"`
		Status    text `json:"checkpoint_delivery_status"`
		OldStatus text `json:"checkpoint_status"`
		Substatus text `json:"checkpoint_delivery_substatus"`
		Detail    text `json:"tracking_detail"`
		OldDetail text `json:"StatusDescription"`
		Location  text
		City      text
		State     text
		Zip       text
		Country   text `json:"country_iso2"`
	}
}

type trackingmoreTracking struct {
	TrackingNumber  text              `json:"tracking_number"`
	CourierCode     text              `json:"courier_code"`
	CarrierCode     text              `json:"carrier_code"`
	Expected        text              `json:"scheduled_delivery_date"`
	SignedBy        text              `json:"signed_by"`
	OriginInfo      *trackingmoreInfo `json:"origin_info"`
	DestinationInfo *trackingmoreInfo `json:"destination_info"`
}

func cutTrackingMore(doc []byte) ([]Part, error) {
	var push struct{ Data json.RawMessage }
	if wrong := unmarshal("body", doc, &push); wrong != nil {
		return nil, wrong
	}
	bodies := []json.RawMessage{push.Data}
	if len(push.Data) == 0 || !isJSON(push.Data) {
		return nil, &FieldError{"data", "is missing"}
	}
	if push.Data[0] == '[' {
		if wrong := unmarshal("data", push.Data, &bodies); wrong != nil {
			return nil, wrong
		}
	}
	parts := make([]Part, len(bodies))
	for i, body := range bodies {
		var t trackingmoreTracking
		if wrong := unmarshal("data", body, &t); wrong != nil {
			parts[i] = Part{Body: body, Err: wrong}
			continue
		}
		c := carrierNamed(t.CourierCode.String(), t.CarrierCode.String())
		parts[i] = partOf(c, "data.tracking_number", t.TrackingNumber.String(), body)
		if c == "" {
			parts[i].Err = &FieldError{"data.courier_code", "is empty"}
		}
	}
	return parts, nil
}

func readTrackingMore(raw *Raw) (told, *FieldError) {
	var p trackingmoreTracking
	if wrong := unmarshal("data", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	var t told
	for _, name := range []string{"origin_info", "destination_info"} {
		info := p.OriginInfo
		if name == "destination_info" {
			info = p.DestinationInfo
		}
		if info == nil {
			continue
		}
		var leg track.Waybill
		if name == "destination_info" && info.CourierCode != "" {
			number := info.TrackingNumber
			if number == "" {
				number = p.TrackingNumber
			}
			leg = legOf(raw.Waybill, carrierNamed(info.CourierCode.String()), number.String())
			if info.TrackingNumber != "" && leg != (track.Waybill{}) {
				t.links = append(t.links, track.Link{Role: track.LinkLastMile, Waybill: leg})
			}
		}
		for i := range info.Trackinfo {
			c := &info.Trackinfo[i]
			event := track.Event{
				RawCode: first(c.Substatus, ""), RawSubCode: first(c.Status, c.OldStatus), Text: first(c.Detail, c.OldDetail), Leg: leg,
				Location: address(c.City, c.State, c.Zip, c.Country),
			}
			if l := c.Location.String(); l != "" {
				event.Location.Text = l
			}
			t.events = append(t.events, said{field: fmt.Sprintf("data.%s.trackinfo[%d].checkpoint_date", name, i), time: first(c.Date, c.OldDate), event: event})
		}
	}
	if p.Expected != "" {
		t.expected = &expected{field: "scheduled_delivery_date", from: p.Expected.String()}
	}
	return t, nil
}

// first is the first text that isn't empty.
func first(list ...text) string {
	for _, s := range list {
		if s := s.String(); s != "" {
			return s
		}
	}
	return ""
}
