package carrier

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// seventeenTrack takes 17TRACK's webhooks v2.
func seventeenTrack() Source {
	s := define(spec{
		code: "17track", kind: track.SourceAggregatorPush, newestFirst: true,
		cut: cut17, read: read17, codes: func(sub, stage string) []coded {
			return []coded{{"sub_status", sub}, {"sub_status", statusGroup(sub)}, {"stage", stage}}
		},
	}, Facts{
		Name:    "17TRACK",
		Reports: "webhooks v2, TRACKING_UPDATED",
		Account: "a name of yours, and the API key",
		Verify:  "header `sign` = hex(sha256(body + \"/\" + key))",
		Answer:  "HTTP 200",
		Times:   "`time_iso`, with an offset; `time_utc` where that is empty",
		Notes: []string{
			"TRACKING_STOPPED tells nothing of the parcel, and no time: it is answered and has no effect.",
			"Events of another carrier than the number's are of a leg; `local_number` becomes a link.",
		},
		Unverified: []string{"which number stands for which carrier, beyond aliases.csv: another is known by its name"},
	})
	s.Push = byStatus(func(r *Request) (Document, *Refusal) {
		return bodyDocument(r, func(secret string) bool {
			h := sha256.New()
			_, _ = h.Write(r.Body) // it never fails
			_, _ = h.Write([]byte("/" + secret))
			return same(strings.ToLower(strings.TrimSpace(r.Header("sign"))), hex.EncodeToString(h.Sum(nil)))
		})
	})
	return s
}

type push17 struct {
	Event text
	Data  struct {
		Number, Carrier text
		TrackInfo       *struct {
			LatestStatus struct {
				Status    text
				SubStatus text `json:"sub_status"`
			} `json:"latest_status"`
			TimeMetrics struct {
				Expected struct{ From, To text } `json:"estimated_delivery_date"`
			} `json:"time_metrics"`
			MiscInfo struct {
				LocalNumber   text `json:"local_number"`
				LocalProvider text `json:"local_provider"`
				LocalKey      text `json:"local_key"`
			} `json:"misc_info"`
			Tracking struct {
				Providers []struct {
					Provider struct{ Key, Name, Alias text }
					Events   []event17
				}
			}
		} `json:"track_info"`
	}
}

type event17 struct {
	TimeISO     text `json:"time_iso"`
	TimeUTC     text `json:"time_utc"`
	Description text
	Location    text
	Stage       text
	SubStatus   text `json:"sub_status"`
	Address     struct {
		Country, State, City text
		PostalCode           text `json:"postal_code"`
	}
}

func (p *push17) carrier() track.Carrier {
	names := []string{"17track:" + p.Data.Carrier.String()}
	if p.Data.TrackInfo != nil {
		for _, provider := range p.Data.TrackInfo.Tracking.Providers {
			if provider.Provider.Key == p.Data.Carrier {
				names = append(names, provider.Provider.Alias.String(), provider.Provider.Name.String())
			}
		}
	}
	return carrierNamed(names...)
}

func cut17(doc []byte) ([]Part, error) {
	var p push17
	if wrong := unmarshal("body", doc, &p); wrong != nil {
		return nil, wrong
	}
	if p.Data.TrackInfo == nil && p.Event.String() != "TRACKING_UPDATED" {
		return nil, nil // TRACKING_STOPPED, or what 17TRACK thinks of later
	}
	return []Part{partOf(p.carrier(), "data.number", p.Data.Number.String(), doc)}, nil
}

func read17(raw *Raw) (told, *FieldError) {
	var p push17
	if wrong := unmarshal("body", raw.Body, &p); wrong != nil {
		return told{}, wrong
	}
	var t told
	info := p.Data.TrackInfo
	if info == nil {
		return t, nil
	}
	local := carrierNamed("17track:"+info.MiscInfo.LocalKey.String(), info.MiscInfo.LocalProvider.String())
	if info.MiscInfo.LocalNumber != "" && info.MiscInfo.LocalProvider != "" {
		t.links = linkTo(track.LinkLastMile, raw.Waybill, local, info.MiscInfo.LocalNumber.String())
	}
	for i, provider := range info.Tracking.Providers {
		var leg track.Waybill
		if key := provider.Provider.Key; key != p.Data.Carrier && key != "" {
			number := raw.Waybill.Number
			if key == info.MiscInfo.LocalKey && info.MiscInfo.LocalNumber != "" {
				number = track.Number(info.MiscInfo.LocalNumber)
			}
			leg = legOf(raw.Waybill, carrierNamed("17track:"+key.String(), provider.Provider.Alias.String(), provider.Provider.Name.String()), string(number))
		}
		for j := range provider.Events {
			e := &provider.Events[j]
			when := e.TimeISO
			if when == "" {
				when = e.TimeUTC
			}
			event := track.Event{
				RawCode: e.SubStatus.String(), RawSubCode: e.Stage.String(), Text: e.Description.String(), Leg: leg,
				Location: address(e.Address.City, e.Address.State, e.Address.PostalCode, e.Address.Country),
			}
			if l := e.Location.String(); l != "" {
				event.Location.Text = l
			}
			t.events = append(t.events, said{
				field: fmt.Sprintf("data.track_info.tracking.providers[%d].events[%d].time_iso", i, j), time: when.String(), event: event,
			})
		}
	}
	if x := info.TimeMetrics.Expected; x.From != "" || x.To != "" {
		from := x.From
		if from == "" {
			from = x.To
		}
		t.expected = &expected{field: "estimated_delivery_date", from: from.String(), to: x.To.String()}
	}
	return t, nil
}
