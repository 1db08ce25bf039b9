package carrier

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

// outcome is what a waybill of a sample must become: how many events count,
// how many are notices or estimates, and the newest one's status.
type outcome struct {
	Waybill string
	Events  int
	Others  int
	Status  string
}

// samplePushes says what each recorded or constructed push means.
var samplePushes = map[string]map[string][]outcome{
	"kdniao": {
		"push-101-two-waybills-2015": {
			{"ems/5042260908504", 8, 0, "in_transit.moving"}, {"ems/5042260943004", 8, 0, "in_transit.moving"},
		},
		"push-102-cross-border-customs":    {{"usps/LX250000004CN", 7, 0, "customs.cleared"}},
		"push-102-locker-step-1":           {{"yto-express/YT2500000000001", 7, 0, "available_for_pickup.pickup_point"}},
		"push-102-locker-step-2-collected": {{"yto-express/YT2500000000001", 9, 0, "delivered.collected"}},
		"push-102-not-found-yet":           {{"zto-express/78250000000003", 0, 0, ""}},
		"push-102-out-for-delivery":        {{"yto-express/YT2500000000001", 6, 1, "out_for_delivery.on_vehicle"}},
		"push-102-refused-and-returned":    {{"sto-express/773250000000002", 10, 0, "returned.to_sender"}},
		"push-107-payment":                 nil, // about money
		"query-8001-zto-delivered-2018":    {{"zto-express/73152346708212", 11, 0, "delivered.recipient"}},
		"query-1002-no-trace":              {{"sf-express/118461988807", 0, 0, ""}},
	},
	"kuaidi100": {
		"push-abort-3-days-no-record":             {{"yunda-express/4310508235533", 0, 0, ""}},
		"push-auto-correct-step-1-abort":          {{"yto-express/1136281381675", 0, 0, ""}},
		"push-auto-correct-step-2-polling":        {{"ems/1136281381675", 2, 0, "in_transit.moving"}},
		"push-customs":                            {{"usps/LX250000004CN", 4, 0, "customs.cleared"}},
		"push-locker-overdue":                     {{"yto-express/YT2500000000001", 6, 0, "available_for_pickup.overdue"}},
		"push-official-company-corrected":         {{"yto-express/V030344422", 2, 0, "in_transit.moving"}},
		"push-official-international-two-legs":    {{"yto-express/V030344422", 2, 0, "in_transit.moving"}, {"singapore-speedpost/EX015142583SG", 1, 0, "delivered.unspecified"}},
		"push-polling-advanced-2021":              {{"yto-express/YT6186594166532", 4, 0, "in_transit.moving"}},
		"push-refused-return-shutdown":            {{"sto-express/773250000000002", 7, 0, "returned.to_sender"}},
		"query-response-shentong-in-transit-2024": {{"sto-express/156156131846523189", 6, 0, "in_transit.moving"}},
		"query-response-yuantong-locker-2022":     {{"yto-express/YT6247854916511", 12, 0, "delivered.collected"}},
	},
	"17track": {
		"webhook-delivered":      {{"ups/1Z2617V10397725789", 5, 0, "delivered.unspecified"}},
		"webhook-export-customs": {{"china-post-parcel/LX000000005CN", 4, 0, "in_transit.moving"}},
		"webhook-stopped":        nil,
	},
	"aftership": {
		"webhook-accepted-2026-07":         {{"usps/9405516902697649303570", 2, 1, "picked_up.accepted"}},
		"webhook-edd-revise":               {{"usps/9405516902697649303570", 6, 1, "in_transit.departed"}},
		"webhook-in-transit-7-checkpoints": {{"usps/9405516902697649303570", 7, 1, "in_transit.arrived"}},
	},
	"asendia": {
		"tracking": {{"asendia/ASENDIA123456789", 3, 0, "delivered.unspecified"}},
	},
	"australiapost": {
		"tracking-error": {{"australia-post/7XX1000", 0, 0, ""}},
		"tracking":       {{"australia-post/ET123456789AU", 8, 0, "in_transit.moving"}, {"australia-post/LX123456789US", 9, 0, "delivered.safe_place"}, {"australia-post/00123456789000123400", 10, 0, "delivered.unspecified"}},
	},
	"canadapost": {
		"not-found": nil,
		"tracking":  {{"canada-post/7023210039414604", 4, 3, "out_for_delivery.on_vehicle"}},
	},
	"chronopost": {
		"tracking-soap": {{"chronopost/89108749065090", 9, 0, "delivered.unspecified"}},
	},
	"dhl_express": {
		"not-found":          nil,
		"tracking-delivered": {{"dhl/3180831640", 15, 1, "delivered.unspecified"}, {"dhl/7740842550", 1, 0, "picked_up.collected"}, {"dhl/1815115363", 1, 1, "picked_up.collected"}},
	},
	"dhl_parcel_de": {
		"tracking": {{"dhl-de/00340434161094015902", 7, 0, "delivered.other_person"}},
	},
	"dhl_universal": {
		"not-found": nil,
		"tracking":  {{"dhl/7777777770", 1, 1, "info_received.order_created"}},
	},
	"dicom": {
		"tracking": {{"kdn-dicomexpress/W1234567", 1, 0, "delivered.unspecified"}},
	},
	"easypost": {
		"tracker-query":               {{"usps/EZ1000000001", 2, 1, "info_received.label_created"}},
		"webhook-tracker-in-transit":  {{"usps/9400100105807075196993", 6, 1, "in_transit.moving"}},
		"webhook-tracker-pre-transit": {{"usps/9400100110368070372253", 2, 1, "info_received.label_created"}},
	},
	"fedex": {
		"tracking-duplicate-number": {{"fedex/776094337676", 16, 2, "delivered.unspecified"}},
		"tracking":                  {{"fedex/123456789012", 1, 1, "picked_up.collected"}, {"fedex/39936862321", 0, 0, ""}},
	},
	"geodis": {
		"tracking": {{"geodis/1G6CPLT3JB5U", 5, 3, "in_transit.redirected"}},
	},
	"hay_post": {
		"tracking": {{"haypost/PAS105759416AM", 1, 0, "info_received.order_created"}},
	},
	"hermes": {
		"tracking": {{"hermes/H1234567890123456789", 4, 1, "delivered.unspecified"}},
	},
	"jtexpress": {
		"push-pickup-and-out-for-delivery": {{"jt-express-cn/UT0000264445622", 1, 0, "picked_up.collected"}, {"jt-express-cn/UT0000264445622", 1, 0, "out_for_delivery.on_vehicle"}},
		"push-problem":                     {{"jt-express-cn/UT0000264445622", 1, 0, "delivery_failed.recipient_unreachable"}},
	},
	"landmark": {
		"tracking-delivered":        {{"landmarkglobal/LTN49100231N3", 5, 0, "delivered.unspecified"}},
		"tracking-in-transit":       {{"landmarkglobal/LTN48392101N1", 4, 0, "in_transit.moving"}},
		"tracking-midnight-sorting": {{"landmarkglobal/LTN408798880N1", 16, 0, "delivered.unspecified"}},
		"tracking-out-for-delivery": {{"landmarkglobal/LTN49831232N2", 5, 0, "out_for_delivery.on_vehicle"}},
	},
	"laposte": {
		"tracking": {{"la-poste-colissimo/EW112720413FR", 9, 0, "delivered.unspecified"}},
	},
	"mydhl": {
		"tracking": {{"dhl/9356579890", 2, 1, "delivered.unspecified"}},
	},
	"parcelone": {
		"no-events": {{"parcelone/P1000000001", 0, 0, ""}},
		"tracking":  {{"parcelone/P1000000001", 5, 0, "delivered.unspecified"}},
	},
	"roadie": {
		"tracking": {{"roadie/RETHNKW354W3H438", 2, 0, "delivered.unspecified"}, {"roadie/RETHNKW354W3H438", 2, 0, "delivered.unspecified"}},
	},
	"royalmail": {
		"tracking-query": {{"royal-mail/FQ087430672GB", 1, 1, "exception.missorted"}},
	},
	"seko": {
		"tracking-1": {{"seko/999880931315", 10, 0, "delivered.unspecified"}},
	},
	"sf": {
		"push-json-journey-2017":    {{"sf-express/238836512256", 1, 0, "picked_up.collected"}, {"sf-express/238836512256", 1, 0, "picked_up.collected"}, {"sf-express/238836512256", 1, 0, "in_transit.departed"}, {"sf-express/238836512256", 1, 0, "in_transit.arrived"}, {"sf-express/238836512256", 1, 0, "in_transit.departed"}, {"sf-express/238836512256", 1, 0, "in_transit.arrived"}, {"sf-express/238836512256", 1, 0, "in_transit.departed"}, {"sf-express/238836512256", 1, 0, "in_transit.arrived"}, {"sf-express/238836512256", 1, 0, "in_transit.departed"}, {"sf-express/238836512256", 1, 0, "in_transit.arrived"}},
		"push-xml-arrived":          {{"sf-express/231627640143", 1, 0, "in_transit.arrived"}},
		"push-xml-batch-3":          {{"sf-express/444003079772", 1, 0, "picked_up.collected"}, {"sf-express/444003079772", 1, 0, "in_transit.departed"}, {"sf-express/444003079772", 1, 0, "in_transit.arrived"}},
		"push-xml-received":         {{"sf-express/444824538316", 1, 0, "picked_up.collected"}},
		"query-routes-journey-2017": {{"sf-express/238836512256", 13, 1, "delivered.unspecified"}},
	},
	"ship24": {
		"webhook-delivered":  {{"usps/9400111202544843610364", 1, 1, "delivered.unspecified"}},
		"webhook-in-transit": {{"usps/9400111202544843610364", 1, 1, "in_transit.moving"}},
		"webhook-origin-leg": {{"china-post-parcel/9400115901047177598206", 1, 1, "in_transit.moving"}},
		"webhook-pod":        nil,
	},
	"smartkargo": {
		"tracking-partner": {{"smartkargo/ABC-12345678", 1, 1, "in_transit.line_haul_departed"}, {"smartkargo/ABC-12345678", 1, 1, "picked_up.accepted"}},
		"tracking":         {{"smartkargo/AXB-00006510", 1, 1, "delivered.unspecified"}, {"smartkargo/AXB-00006510", 1, 1, "info_received.order_created"}},
	},
	"sto": {
		"push-departed": {{"sto-express/773000000000001", 1, 0, "in_transit.departed"}},
		"push-got":      {{"sto-express/773000000000001", 1, 0, "picked_up.collected"}},
		"push-station":  {{"sto-express/773000000000001", 1, 0, "available_for_pickup.pickup_point"}},
	},
	"teleship": {
		"tracking": {{"teleship/TELESHIP12345678901", 5, 1, "out_for_delivery.on_vehicle"}},
	},
	"tnt": {
		"tracking": {{"tnt/123456782", 1, 0, "delivered.unspecified"}, {"tnt/123456782", 15, 0, "delivered.unspecified"}, {"tnt/22222222", 0, 0, ""}},
	},
	"ups": {
		"not-found":                    nil,
		"track-alert-out-for-delivery": {{"ups/1Z204W4R0308071865", 1, 1, "out_for_delivery.on_vehicle"}},
		"tracking-query":               {{"ups/1Z023E2X0214323462", 1, 0, "customs.in_clearance"}},
	},
	"usps": {
		"error":          nil,
		"tracking-query": {{"usps/9400109104250532908587", 12, 0, "delivered.unspecified"}},
	},
	"yto": {
		"push-accept":    {{"yto-express/YT0000000000017", 1, 0, "info_received.order_created"}},
		"push-got":       {{"yto-express/YT0000000000017", 1, 0, "picked_up.collected"}},
		"push-sent-scan": {{"yto-express/YT0000000000017", 1, 0, "out_for_delivery.on_vehicle"}},
	},
	"zto": {
		"push-arrival":               {{"zto-express/73100196611386", 1, 0, "in_transit.arrived"}},
		"push-sequence-out-of-order": {{"zto-express/73100196611386", 1, 0, "delivered.collected"}, {"zto-express/73100196611386", 1, 0, "available_for_pickup.pickup_point"}, {"zto-express/73100196611386", 1, 0, "available_for_pickup.pickup_point"}, {"zto-express/73100196611386", 1, 0, "out_for_delivery.on_vehicle"}, {"zto-express/73100196611386", 1, 0, "delivered.unspecified"}, {"zto-express/73100196611386", 1, 0, "delivered.unspecified"}, {"zto-express/73100196611386", 1, 0, "in_transit.arrived"}, {"zto-express/73100196611386", 1, 0, "picked_up.collected"}},
	},
}

// TestSources_UnderstandTheSamples reads the samples where they are.
func TestSources_UnderstandTheSamples(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for _, source := range Sources() {
		names, err := filepath.Glob(filepath.Join(dir, source.Code, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			base := strings.TrimSuffix(filepath.Base(name), ".form.txt")
			base = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(base, ".json"), ".xml"), ".http")
			if notDocuments.MatchString(filepath.Base(name)) {
				continue
			}
			t.Run(source.Code+"/"+filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				want, known := samplePushes[source.Code][base]
				if !known {
					t.Errorf("nobody has said what this sample means")
				}
				var got []outcome
				for _, doc := range sampleDocuments(t, source, name) {
					got = append(got, outcomes(t, source, doc)...)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// notDocuments are samples of what we send, or that are about no trace.
var notDocuments = regexp.MustCompile(`^(INDEX|signatures|push-(ack|reply)|(subscribe|recognise|autonumber)|query-(1002-request|error))`)

// sampleDocuments are the documents of a sample: bare, of a form, or several
// pushes. Verification is asked too, where the sample has what it needs. A
// query's answer of the two platforms is put into a push's envelope, because it
// is the same object.
func sampleDocuments(t *testing.T, source Source, name string) [][]byte {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var pushes struct {
		AppSecret string `json:"app_secret"`
		Pushes    []struct{ Form map[string]string }
		Headers   map[string]string
		Form      map[string]string
		Key       string `json:"private_key"`
	}
	base := filepath.Base(name)
	switch {
	case strings.HasSuffix(base, ".form.txt"):
		form, err := url.ParseQuery(strings.TrimSpace(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if field := map[string]string{kdniaoCode: "RequestData", kuaidi100Code: "param"}[source.Code]; field != "" {
			return [][]byte{[]byte(form.Get(field))}
		}
		return [][]byte{verifiedSample(t, source, source.Code+"-test-secret", nil, form)}
	case strings.HasSuffix(base, ".http.json"), base == "push-sequence-out-of-order.json":
		if err := json.Unmarshal(body, &pushes); err != nil {
			t.Fatal(err)
		}
		if pushes.Form != nil {
			return [][]byte{verifiedSample(t, source, pushes.Key, pushes.Headers, values(pushes.Form))}
		}
		var docs [][]byte
		for _, p := range pushes.Pushes {
			docs = append(docs, verifiedSample(t, source, pushes.AppSecret, nil, values(p.Form)))
		}
		return docs
	case source.Code == kdniaoCode && strings.HasPrefix(base, "query-"), source.Code == kuaidi100Code && strings.HasPrefix(base, "query-"):
		envelope := map[string]any{"Data": []json.RawMessage{body}}
		if source.Code == kuaidi100Code {
			envelope = map[string]any{"status": "polling", "lastResult": json.RawMessage(body)}
		}
		if body, err = json.Marshal(envelope); err != nil {
			t.Fatal(err)
		}
	}
	return [][]byte{body}
}

func values(m map[string]string) url.Values {
	form := url.Values{}
	for name, v := range m {
		form.Set(name, v)
	}
	return form
}

// verifiedSample is the document of a push that is verified.
func verifiedSample(t *testing.T, source Source, secret string, headers map[string]string, form url.Values) []byte {
	t.Helper()
	doc, no := source.Push.Verify(&Request{
		Accounts: map[string]string{"other": "another secret", "ours": secret},
		Header:   func(name string) string { return headers[name] }, Form: func() url.Values { return form }, Now: received,
	})
	if no != nil {
		t.Fatalf("the recorded push is refused: %+v", no)
	}
	if doc.Account != "ours" {
		t.Errorf("it is said to be of %q", doc.Account)
	}
	return doc.Text
}

func outcomes(t *testing.T, source Source, doc []byte) []outcome {
	t.Helper()
	var all []outcome
	for _, g := range mapAll(t, source, doc) {
		if g.Error != "" || len(g.Unmapped) > 0 {
			t.Errorf("%s: %s; unmapped %v", g.Waybill, g.Error, g.Unmapped)
		}
		o := outcome{Waybill: g.Waybill}
		for _, e := range g.Events {
			if e.Kind != track.KindEvent {
				o.Others++
				continue
			}
			o.Events++
			o.Status = e.Status
		}
		all = append(all, o)
	}
	return all
}
