package carrier

import (
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// aftership takes AfterShip's webhooks, 2021 to 2026-07.
func aftership() Source {
	s := define(spec{
		code: "aftership", kind: track.SourceAggregatorPush,
		cut: cutAfterShip, read: readAfterShip, codes: two("subtag", "tag"),
	}, Facts{
		Name:    "AfterShip",
		Reports: "webhooks tracking_update and edd_revise, versions of 2021 to 2026-07",
		Account: "a name of yours, and the webhook's secret",
		Verify:  "header `aftership-hmac-sha256` = base64(HMAC-SHA256(secret, body))",
		Answer:  "HTTP 200",
		Times:   "`checkpoint_time`, mostly without an offset, which then is unknown",
		Notes:   []string{"`zip` became `postal_code` in 2026-01; both are read.", "first_mile and last_mile become links."},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			given := r.Header("aftership-hmac-sha256")
			if given == "" {
				given = r.Header("as-signature-hmac-sha256")
			}
			return same(strings.TrimSpace(given), macBase64(secret, r.Body))
		})
	})
	return s
}

type aftershipPush struct {
	Event text
	Msg   *struct {
		TrackingNumber text `json:"tracking_number"`
		Slug           text
		SignedBy       text `json:"signed_by"`
		Checkpoints    []struct {
			Time     text `json:"checkpoint_time"`
			Location text
			City     text
			State    text
			Zip      text
			Postal   text `json:"postal_code"`
			Country  text `json:"country_region"`
			ISO3     text `json:"country_iso3"`
			Message  text
			Tag      text
			Subtag   text
			Slug     text
			RawTag   text `json:"raw_tag"`
		}
		Expected struct {
			Date text `json:"estimated_delivery_date"`
			Min  text `json:"estimated_delivery_date_min"`
			Max  text `json:"estimated_delivery_date_max"`
		} `json:"aftership_estimated_delivery_date"`
		FirstMile *aftershipLeg `json:"first_mile"`
		LastMile  *aftershipLeg `json:"last_mile"`
	}
}

type aftershipLeg struct {
	Slug   text
	Number text `json:"tracking_number"`
}

func cutAfterShip(doc []byte) ([]Part, error) {
	var p aftershipPush
	if wrong := unmarshal("body", doc, &p); wrong != nil {
		return nil, wrong
	}
	if p.Msg == nil {
		return nil, &FieldError{"msg", "is missing"}
	}
	c := carrierNamed(p.Msg.Slug.String())
	part := partOf(c, "msg.tracking_number", p.Msg.TrackingNumber.String(), doc)
	if c == "" {
		part.Err = &FieldError{"msg.slug", "is empty"}
	}
	return []Part{part}, nil
}

func readAfterShip(raw *Raw) (told, *FieldError) {
	var p aftershipPush
	if wrong := unmarshal("body", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	var t told
	if p.Msg == nil {
		return t, nil
	}
	for i := range p.Msg.Checkpoints {
		c := &p.Msg.Checkpoints[i]
		postcode, country := c.Postal, c.Country
		if postcode == "" {
			postcode = c.Zip
		}
		if country == "" {
			country = c.ISO3
		}
		event := track.Event{
			RawCode: c.Subtag.String(), RawSubCode: c.Tag.String(), Text: c.Message.String(), Location: address(c.City, c.State, postcode, country),
			Attributes: attributes("carrier_code", c.RawTag),
		}
		if l := c.Location.String(); l != "" {
			event.Location.Text = l
		}
		if c.Tag.String() == "Delivered" {
			event.Signer = p.Msg.SignedBy.String()
		}
		t.events = append(t.events, said{field: fmt.Sprintf("msg.checkpoints[%d].checkpoint_time", i), time: c.Time.String(), event: event})
	}
	if x := p.Msg.Expected; x.Date != "" {
		from, to := x.Min, x.Max
		if from == "" {
			from, to = x.Date, x.Date
		}
		t.expected = &expected{field: "estimated_delivery_date", from: from.String(), to: to.String()}
	}
	for role, leg := range map[track.LinkRole]*aftershipLeg{track.LinkParent: p.Msg.FirstMile, track.LinkLastMile: p.Msg.LastMile} {
		if leg != nil && leg.Number != "" && leg.Slug != "" {
			t.links = append(t.links, linkTo(role, raw.Waybill, carrierNamed(leg.Slug.String()), leg.Number.String())...)
		}
	}
	sortLinks(t.links)
	return t, nil
}
