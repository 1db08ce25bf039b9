package poller

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// Adapters lists all, in order of their code. Those of carriers are built from the
// carriers' public descriptions, not with accounts of our own; a detail that is
// wrong is one line.
func Adapters() []Adapter {
	return []Adapter{
		australiaPost(), canadaPost(), dhlUniversal(), fedex(), kdniao(), kuaidi100(), laPoste(), myDHL(), royalMail(), ups(), usps(),
	}
}

// asked are the carriers that a carrier's own interface knows.
func asked(carriers ...track.Carrier) map[track.Carrier]string {
	all := make(map[track.Carrier]string, len(carriers))
	for _, c := range carriers {
		all[c] = string(c)
	}
	return all
}

// get makes a request with headers in pairs.
func get(ctx context.Context, address string, headers ...string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req, nil
}

func basic(a Account) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.ID+":"+a.Secret))
}

// listAt reads answers that are told apart by HTTP's status, and tell something
// when they have a list at a path.
func listAt(path ...string) func(Question, Reply) Answer {
	return func(_ Question, r Reply) Answer {
		if a, done := byStatus(r); done {
			return a
		}
		if !has(r.Body, path...) {
			return Answer{Verdict: Nothing}
		}
		return Answer{Verdict: Told, Doc: r.Body}
	}
}

// dhlUniversal is DHL's Shipment Tracking – Unified: one question in five seconds,
// and 250 a day, unless the account has more.
func dhlUniversal() Adapter {
	return Adapter{
		Code: "dhl_universal", Kind: track.SourceCarrierPoll, BaseURL: "https://api-eu.dhl.com", Rate: 0.2, Least: time.Hour,
		Carriers: asked("dhl", "dhl-de", "dhlecommerce"), Secrets: "any name and the API key",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			return get(ctx, q.Base+"/track/shipments?trackingNumber="+url.QueryEscape(string(q.Waybill.Number)), "DHL-API-Key", q.Account.Secret)
		},
		Read: listAt("shipments"),
	}
}

// myDHL is DHL Express's own interface, MyDHL API.
func myDHL() Adapter {
	return Adapter{
		Code: "mydhl", Kind: track.SourceCarrierPoll, BaseURL: "https://express.api.dhl.com", Rate: 2, Least: time.Hour,
		Carriers: asked("dhl"), Secrets: "user and password",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			address := q.Base + "/mydhlapi/shipments/" + url.PathEscape(string(q.Waybill.Number)) + "/tracking?trackingView=all-checkpoints"
			return get(ctx, address, "Authorization", basic(q.Account))
		},
		Read: listAt("shipments"),
	}
}

// laPoste is La Poste's Suivi v2, for La Poste, Colissimo and Chronopost.
func laPoste() Adapter {
	return Adapter{
		Code: "laposte", Kind: track.SourceCarrierPoll, BaseURL: "https://api.laposte.fr", Rate: 2, Least: time.Hour,
		Carriers: asked("la-poste-colissimo", "chronopost"), Secrets: "any name and the Okapi key",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			return get(ctx, q.Base+"/suivi/v2/idships/"+url.PathEscape(string(q.Waybill.Number))+"?lang=fr_FR", "X-Okapi-Key", q.Account.Secret, "Accept", "application/json")
		},
		Read: func(_ Question, r Reply) Answer {
			if a, done := byStatus(r); done {
				return a
			}
			return Answer{Verdict: Told, Doc: r.Body}
		},
	}
}

// royalMail is Royal Mail's Tracking v2.
func royalMail() Adapter {
	return Adapter{ //nolint:gosec // a name of ours, not a secret; or what a tool of tests is told
		Code: "royalmail", Kind: track.SourceCarrierPoll, BaseURL: "https://api.royalmail.net", Rate: 2, Least: time.Hour,
		Carriers: asked("royal-mail"), Secrets: "client id and client secret",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			return get(ctx, q.Base+"/mailpieces/v2/"+url.PathEscape(string(q.Waybill.Number))+"/events",
				"X-IBM-Client-Id", q.Account.ID, "X-IBM-Client-Secret", q.Account.Secret, "X-Accept-RMG-Terms", "yes", "Accept", "application/json")
		},
		Read: listAt("mailPieces", "events"),
	}
}

// australiaPost is Australia Post's Shipping & Tracking: ten questions a minute. An
// unknown number is an error inside an answer of 200. The account's id is
// "<account number>:<API key>".
func australiaPost() Adapter {
	return Adapter{
		Code: "australiapost", Kind: track.SourceCarrierPoll, BaseURL: "https://digitalapi.auspost.com.au", Rate: 0.15, Least: time.Hour,
		Carriers: asked("australia-post"), Secrets: "account number:API key, and password",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			number, key, _ := strings.Cut(q.Account.ID, ":")
			return get(ctx, q.Base+"/shipping/v1/track?tracking_ids="+url.QueryEscape(string(q.Waybill.Number)),
				"Authorization", basic(Account{key, q.Account.Secret}), "Account-Number", number, "Accept", "application/json")
		},
		Read: func(q Question, r Reply) Answer {
			if a := listAt("tracking_results")(q, r); a.Verdict != Told {
				return a
			}
			if strings.Contains(string(r.Body), `"ESB-10001"`) {
				return Answer{Verdict: Nothing, Reason: "invalid tracking id"}
			}
			return Answer{Verdict: Told, Doc: r.Body}
		},
	}
}

// canadaPost is Canada Post's tracking details, in XML.
func canadaPost() Adapter {
	return Adapter{
		Code: "canadapost", Kind: track.SourceCarrierPoll, BaseURL: "https://soa-gw.canadapost.ca", Rate: 1, Least: time.Hour,
		Carriers: asked("canada-post"), Secrets: "user and password",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			return get(ctx, q.Base+"/vis/track/pin/"+url.PathEscape(string(q.Waybill.Number))+"/detail",
				"Authorization", basic(q.Account), "Accept", "application/vnd.cpc.track-v2+xml", "Accept-Language", "en-CA")
		},
		Read: func(_ Question, r Reply) Answer {
			text := string(r.Body)
			// "No Pin History" comes with 404 or 200.
			if strings.Contains(text, "No Pin History") {
				return Answer{Verdict: Nothing, Reason: "no pin history"}
			}
			if a, done := byStatus(r); done {
				return a
			}
			if !strings.Contains(text, "<occurrence>") {
				return Answer{Verdict: Nothing}
			}
			return Answer{Verdict: Told, Doc: r.Body}
		},
	}
}

// usps is USPS Tracking v3, with OAuth.
func usps() Adapter {
	return Adapter{
		Code: "usps", Kind: track.SourceCarrierPoll, BaseURL: "https://apis.usps.com", Rate: 1, Least: time.Hour,
		Carriers: asked("usps"), Secrets: "consumer key and consumer secret",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			return get(ctx, q.Base+"/tracking/v3/tracking/"+url.PathEscape(string(q.Waybill.Number))+"?expand=DETAIL", "Authorization", "Bearer "+q.Token)
		},
		Read: listAt("trackingEvents"),
	}
}

// ups is UPS Tracking v1, with OAuth. UPS wants each question to have an id.
func ups() Adapter {
	return Adapter{ //nolint:gosec // a name of ours, not a secret; or what a tool of tests is told
		Code: "ups", Kind: track.SourceCarrierPoll, BaseURL: "https://onlinetools.ups.com", Rate: 2, Least: time.Hour,
		Carriers: asked("ups"), Secrets: "client id and client secret",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			id := q.Now.UTC().Format("20060102150405.000000")
			return get(ctx, q.Base+"/api/track/v1/details/"+url.PathEscape(string(q.Waybill.Number))+"?locale=en_US",
				"Authorization", "Bearer "+q.Token, "transId", id, "transactionSrc", "posthaste")
		},
		Read: listAt("trackResponse", "shipment"),
	}
}

// fedex is FedEx's Track API v1, with OAuth.
func fedex() Adapter {
	return Adapter{ //nolint:gosec // a name of ours, not a secret; or what a tool of tests is told
		Code: "fedex", Kind: track.SourceCarrierPoll, BaseURL: "https://apis.fedex.com", Rate: 2, Least: time.Hour,
		Carriers: asked("fedex"), Secrets: "API key and secret key",
		Ask: func(ctx context.Context, q Question) (*http.Request, error) {
			body := `{"includeDetailedScans":true,"trackingInfo":[{"trackingNumberInfo":{"trackingNumber":` + quote(string(q.Waybill.Number)) + `}}]}`
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.Base+"/track/v1/trackingnumbers", strings.NewReader(body))
			if err != nil {
				return nil, err
			}
			req.Header.Set("Authorization", "Bearer "+q.Token)
			req.Header.Set("Content-Type", "application/json")
			return req, nil
		},
		Read: func(q Question, r Reply) Answer {
			if a := listAt("output", "completeTrackResults")(q, r); a.Verdict != Told {
				return a
			}
			if text := string(r.Body); strings.Contains(text, "TRACKING.TRACKINGNUMBER.NOTFOUND") && !strings.Contains(text, `"scanEvents"`) {
				return Answer{Verdict: Nothing, Reason: "tracking number not found"}
			}
			return Answer{Verdict: Told, Doc: r.Body}
		},
	}
}
