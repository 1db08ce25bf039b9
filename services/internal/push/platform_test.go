package push

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

// The vectors are those of the platforms' documents.
func TestSign_AgreesWithThePlatformsVectors(t *testing.T) {
	t.Parallel()
	const zero, demo = "00000000-0000-0000-0000-000000000000", "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"
	for _, v := range []struct{ data, key, want string }{
		{`{"OrderCode":null,"ShipperCode":"SF","LogisticCode":"118650888018"}`, zero, "YjQ4MmJlMjgzYjA0ZGY4ODUxYjgwMzc4MTY0YzY0MzU="},
		{`{"ShipperCode":"SF","LogisticCode":"118650888018"}`, zero, "ZDliODlmOTc1YmJhNWFkN2JkODkyZGIwODQ5ZmFhMTU="},
		{`{'OrderCode':'','ShipperCode':'SF','LogisticCode':'118461988807'}`, demo, "ODMzZjFhYmE1NzA4YmEzZTA2ODU2MmVlZjJlMGNkZTI="},
		{`{"OrderCode":"订单1","ShipperCode":"YTO","LogisticCode":"12345678"}`, demo, "MzU1MTZiYjdjYTVhM2UxOTU5ZTdlODllMWM0OWM2ZDg="},
		{`{"LogisticCode":"550000609031770"}`, demo, "MTljNDNmNjJmMDk1NTJiNWVkYjgyYWFhNzAyMmU4ZDI="},
	} {
		if got := SignKdniao(v.data, v.key); got != v.want {
			t.Errorf("DataSign of %s is %s, want %s", v.data, got, v.want)
		}
	}
	const abort = `{"status":"abort","billstatus":"","message":"3天查询无记录","autoCheck":"0","comOld":"","comNew":"","lastResult":{"message":"快递公司参数异常：单号不存在或者已经过期","nu":"4310508235533","ischeck":"0","condition":"","com":"yunda","status":"201","state":"0","data":[]}}`
	for _, v := range []struct{ param, salt, want string }{
		{abort, "testsalt", "BBF8B9D721EBE01D561065A12CE23630"},
		{abort, "", "4A79B63346812EAA80A09BE7D9E88550"},
		{
			`{"com":"yuantong","num":"YT2500000000001","phone":"","from":"","to":"","resultv2":"4","show":"0","order":"desc"}`,
			"TESTKEY0123456TESTCUSTOMER", "FA2B02603D0920AF429B83EF0D940D31",
		},
	} {
		if got := SignKuaidi100(v.param, v.salt); got != v.want {
			t.Errorf("sign is %s, want %s", got, v.want)
		}
	}
}

// Every status and sub-status has a code of each platform, and that code means
// the same status there, or a neighbour's that is listed here with the reason.
func TestDownMapping_IsTotalAndMeansTheSame(t *testing.T) {
	t.Parallel()
	// Where a platform has no word for a status, another's stands in.
	kdniaoNeighbours := map[status.Status][]status.Status{
		status.Unknown:            {status.InTransit},                        // on its way, somehow
		status.AvailableForPickup: {status.AvailableForPickup},               //
		status.DeliveryFailed:     {status.DeliveryFailed},                   //
		status.Expired:            {status.Exception},                        // not updated in time
		status.OutForDelivery:     {status.OutForDelivery},                   //
		status.InTransit:          {status.InTransit},                        //
		status.Exception:          {status.Exception, status.DeliveryFailed}, // an address problem is one word
	}
	kuaidi100Neighbours := map[status.Status][]status.Status{
		status.Unknown:   {status.InTransit},
		status.Pending:   {status.InTransit}, // state 0 is the only one for nothing yet
		status.Expired:   {status.Exception},
		status.Exception: {status.Exception, status.DeliveryFailed, status.AvailableForPickup}, // unclaimed is one word with overdue
	}
	check := func(platform string, s status.Status, sub status.Sub, code string, m carrier.Meaning, known bool, neighbours map[status.Status][]status.Status) {
		if code == "" || !known {
			t.Errorf("%s: %s %s has the code %q, which the platform doesn't know", platform, s, sub, code)
			return
		}
		if m.Status == s {
			return
		}
		if slices.Contains(neighbours[s], m.Status) {
			return
		}
		t.Errorf("%s: %s %s becomes %s, which means %s %s", platform, s, sub, code, m.Status, m.Sub)
	}
	count := 0
	for _, s := range status.All() {
		for _, sub := range append([]status.Sub{0}, s.Subs()...) {
			count++
			e := &track.Event{Status: s, Sub: sub}
			code := kdniaoCode(e)
			m, known := carrier.KdniaoMeaning(code)
			check("kdniao", s, sub, code, m, known, kdniaoNeighbours)
			code = kuaidi100Code(e)
			m, known = carrier.Kuaidi100Meaning(code)
			check("kuaidi100", s, sub, code, m, known, kuaidi100Neighbours)
			if kuaidi100Names[code] == "" {
				t.Errorf("kuaidi100: %s has no name", code)
			}
			if basic := kuaidi100Basic(code); len(basic) != 1 {
				t.Errorf("kuaidi100: %s folds to %s, want a basic code", code, basic)
			}
		}
	}
	if want := 15 + 109; count != want {
		t.Errorf("there are %d statuses and sub-statuses, want %d", count, want)
	}
	if len(kdniaoSub) != 109 || len(kuaidi100Sub) != 109 || len(kdniaoStatus) != 15 || len(kuaidi100Status) != 15 {
		t.Error("a table isn't total")
	}
	// What neither end knows doesn't fail.
	for _, e := range []*track.Event{{Status: 99}, {Status: status.InTransit, Sub: 9999}} {
		if kdniaoCode(e) == "" || kuaidi100Code(e) == "" {
			t.Errorf("%v has no code", e.Status)
		}
	}
}

// A platform's own code comes back to it as it was.
func TestDownMapping_GivesAPlatformItsOwnCodeBack(t *testing.T) {
	t.Parallel()
	for _, code := range carrier.KdniaoCodes() {
		m, _ := carrier.KdniaoMeaning(code)
		e := &track.Event{Status: m.Status, Sub: m.Sub, RawCode: code, Provenance: track.Provenance{Source: "kdniao"}}
		if got := kdniaoCode(e); got != code {
			t.Errorf("Kdniao's %s comes back as %s", code, got)
		}
	}
	for _, code := range carrier.Kuaidi100Codes() {
		m, _ := carrier.Kuaidi100Meaning(code)
		e := &track.Event{Status: m.Status, Sub: m.Sub, RawCode: code, Provenance: track.Provenance{Source: "kuaidi100"}}
		if got := kuaidi100Code(e); got != code {
			t.Errorf("Kuaidi100's %s comes back as %s", code, got)
		}
		// The same figures mean something else at the other platform.
		e.Provenance.Source = "kdniao"
		if m, _ := carrier.Kuaidi100Meaning(kuaidi100Code(e)); m.Status != e.Status && e.Status != status.Exception {
			t.Errorf("Kdniao's %s was taken for Kuaidi100's", code)
		}
	}
}

func TestKuaidi100Basic_FoldsAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"101": "1", "102": "1", "103": "1", "1001": "0", "1002": "0", "1003": "0", "501": "5", "301": "3", "302": "3", "303": "3", "304": "3",
		"201": "2", "202": "2", "203": "2", "204": "2", "205": "2", "206": "2", "207": "2", "208": "2", "209": "2", "210": "2", "401": "4",
		"10": "8", "11": "8", "12": "8", "13": "8", "14": "4", "0": "0", "1": "1", "2": "2", "3": "3", "4": "4", "5": "5", "6": "6", "7": "7", "8": "8",
	}
	if len(want) != len(kuaidi100Names) {
		t.Errorf("%d codes are tested, and there are %d", len(want), len(kuaidi100Names))
	}
	for code, basic := range want {
		if got := kuaidi100Basic(code); got != basic {
			t.Errorf("%s folds to %s, want %s", code, got, basic)
		}
	}
}

// parse reads a posted form.
func parse(t *testing.T, a Attempt) url.Values {
	t.Helper()
	if a.ContentType != "application/x-www-form-urlencoded;charset=utf-8" {
		t.Errorf("content type is %s", a.ContentType)
	}
	if strings.ContainsAny(string(a.Body), " +\"{}") {
		t.Errorf("the form isn't encoded: %s", a.Body)
	}
	v, err := url.ParseQuery(string(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func chinese(wall string) track.Time {
	w, err := time.Parse(time.DateTime, wall)
	if err != nil {
		panic(err)
	}
	return track.Time{Wall: w, Offset: 8 * time.Hour, OffsetSource: track.OffsetCarrierDefault, Precision: track.PrecisionSecond}
}

// parcel is collected, and then with the courier.
func parcel() *track.Trace {
	at := time.Date(2025, 3, 3, 4, 5, 0, 0, time.UTC)
	return &track.Trace{
		Waybill: track.Waybill{Carrier: "yto-express", Number: "YT2500000000001"}, Revision: 2, CreateTime: at, UpdateTime: at,
		State: track.State{Status: status.OutForDelivery, Sub: status.OutForDeliveryOnVehicle, Since: chinese("2025-03-03 09:10:22"), EventID: "e2"},
		Events: []track.Event{
			{
				ID: "e1", Kind: track.KindEvent, Revision: 1, Time: chinese("2025-03-01 10:02:11"), Status: status.PickedUp, Sub: status.PickedUpCollected,
				Text: "【深圳市】已揽收 <1> & \"2\"", Location: track.Location{Text: "广东,深圳市,福田区", Region: "广东", City: "深圳市"}, Attributes: map[string]string{"area_code": "CN440300000000"},
			},
			{ID: "e0", Kind: track.KindInfo, Revision: 1, Time: chinese("2025-03-02 10:02:11")},
			{
				ID: "e2", Kind: track.KindEvent, Revision: 2, Time: chinese("2025-03-03 09:10:22"), Status: status.OutForDelivery, Sub: status.OutForDeliveryOnVehicle,
				Text: "【武汉市】正在派件", Location: track.Location{Text: "武汉市", City: "武汉市"}, Courier: track.Person{Name: "张三", Phone: "13800000008"},
			},
			{ID: "e3", Kind: track.KindEvent, Revision: 2, VoidedBy: "e4", Time: chinese("2025-03-03 10:10:22"), Status: status.Delivered, Text: "签收"},
			{ID: "e4", Kind: track.KindVoid, Target: "e3", Revision: 2, Time: chinese("2025-03-03 10:10:22")},
		},
	}
}

func TestKdniao_PushIsByteForByteThePlatforms(t *testing.T) {
	t.Parallel()
	a := Account{ID: "1237100", Key: "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"}
	for name, c := range map[string]struct {
		terms KdniaoTerms
		kind  string
		want  string
	}{
		"8008": {
			KdniaoTerms{OrderCode: "A&1", CallBack: "order-7"},
			"102",
			`{"PushTime":"2025-03-03 12:05:00","EBusinessID":"1237100","Data":[{"EBusinessID":"1237100","OrderCode":"A&1","ShipperCode":"YTO","LogisticCode":"YT2500000000001",` +
				`"Success":true,"Reason":"","State":"2","StateEx":"202","Location":"武汉市","CallBack":"order-7","DeliveryMan":"张三","DeliveryManTel":"13800000008","Traces":[` +
				`{"AcceptTime":"2025-03-01 10:02:11","AcceptStation":"【深圳市】已揽收 <1> & \"2\"","Location":"深圳市","Action":"1","Remark":""},` +
				`{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Location":"武汉市","Action":"202","Remark":""}]}],"Count":"1"}`,
		},
		"1008": {
			KdniaoTerms{Basic: true, ShipperCode: "yto", LogisticCode: "yt2500000000001", NewestFirst: true, AlsoCallback: true},
			"101",
			`{"PushTime":"2025-03-03 12:05:00","EBusinessID":"1237100","Data":[{"EBusinessID":"1237100","OrderCode":"","ShipperCode":"yto","LogisticCode":"yt2500000000001",` +
				`"Success":true,"Reason":"","State":"2","CallBack":"","Callback":"","Traces":[` +
				`{"AcceptTime":"2025-03-03 09:10:22","AcceptStation":"【武汉市】正在派件","Remark":""},` +
				`{"AcceptTime":"2025-03-01 10:02:11","AcceptStation":"【深圳市】已揽收 <1> & \"2\"","Remark":""}]}],"Count":"1"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terms, err := json.Marshal(c.terms)
			if err != nil {
				t.Fatal(err)
			}
			kept := Kdniao.Render(Subscription{ID: "sub_1", AccountID: a.ID, Terms: terms}, parcel(), 1)
			out := Kdniao.Attempt(kept, "http://receiver.example/cb?x=1", a)
			if out.URL != "http://receiver.example/cb?x=1" {
				t.Errorf("the URL is %s", out.URL)
			}
			got := parse(t, out)
			want := url.Values{
				"RequestData": {c.want}, "RequestType": {c.kind}, "DataSign": {SignKdniao(c.want, a.Key)}, "EBusinessID": {a.ID}, "DataType": {"2"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("push (-want +got):\n%s", diff)
			}
			a := a
			a.JSONBody = true
			if out := Kdniao.Attempt(kept, "http://receiver.example/cb", a); string(out.Body) != c.want || !strings.HasPrefix(out.ContentType, "application/json") {
				t.Errorf("as JSON it is %s %s", out.ContentType, out.Body)
			}
		})
	}
}

func TestKuaidi100_PushIsByteForByteThePlatforms(t *testing.T) {
	t.Parallel()
	const (
		head   = `{"status":"updateall","billstatus":"got","message":"","autoCheck":"0","comOld":"","comNew":"","lastResult":{"message":"ok","nu":"YT2500000000001","ischeck":"0","condition":"00","com":"yuantong","status":"200","state":"5","data":[`
		second = `{"time":"2025-03-03 09:10:22","context":"【武汉市】正在派件","ftime":"2025-03-03 09:10:22"`
		first  = `{"time":"2025-03-01 10:02:11","context":"【深圳市】已揽收 <1> & \"2\"","ftime":"2025-03-01 10:02:11"`
	)
	salt := "testsalt"
	for name, c := range map[string]struct {
		terms Kuaidi100Terms
		want  string
		sign  bool
	}{
		"plain": {Kuaidi100Terms{Salt: &salt, Query: "orderId=1%20a&b=订单"}, head + second + `},` + first + `}]}}`, true},
		"1": {
			Kuaidi100Terms{Level: 1}, head +
				second + `,"areaCode":null,"areaName":"武汉市","status":"派件"},` +
				first + `,"areaCode":"CN440300000000","areaName":"广东,深圳市,福田区","status":"揽收"}]}}`, false,
		},
		"4": {
			Kuaidi100Terms{Level: 4, Salt: new(""), To: "武汉"}, head +
				second + `,"areaCode":null,"areaName":"武汉市","status":"派件","location":"","areaCenter":null,"areaPinYin":null,"statusCode":"5"},` +
				first + `,"areaCode":"CN440300000000","areaName":"广东,深圳市,福田区","status":"揽收","location":"","areaCenter":null,"areaPinYin":null,"statusCode":"1"}],` +
				`"routeInfo":{"from":{"number":"CN440300000000","name":"广东,深圳市,福田区"},"cur":{"number":null,"name":"武汉市"},"to":{"number":null,"name":"武汉"}},"isLoop":false}}`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terms, err := json.Marshal(c.terms)
			if err != nil {
				t.Fatal(err)
			}
			kept := Kuaidi100.Render(Subscription{ID: "sub_1", Terms: terms}, parcel(), 1)
			if salt := c.terms.Salt; salt != nil && *salt != "" && strings.Contains(string(kept), *salt) {
				t.Error("the salt is kept with the push")
			}
			out := Kuaidi100.Attempt(kept, "http://receiver.example/cb", Account{ID: "C", Key: "K", Salt: "the account's"})
			wantURL := "http://receiver.example/cb"
			if q := c.terms.Query; q != "" {
				wantURL += "?" + q
			}
			if out.URL != wantURL {
				t.Errorf("the URL is %s, want %s", out.URL, wantURL)
			}
			want := url.Values{"param": {c.want}}
			if c.sign {
				want.Set("sign", SignKuaidi100(c.want, *c.terms.Salt))
			}
			if diff := cmp.Diff(want, parse(t, out)); diff != "" {
				t.Errorf("push (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("of another way to subscribe", func(t *testing.T) {
		t.Parallel()
		kept := Kuaidi100.Render(Subscription{ID: "sub_1"}, parcel(), 1)
		got := parse(t, Kuaidi100.Attempt(kept, "http://r.example", Account{Salt: "s"}))
		if got.Get("sign") != SignKuaidi100(got.Get("param"), "s") {
			t.Error("the account's salt doesn't sign")
		}
		got = parse(t, Kuaidi100.Attempt(kept, "http://r.example", Account{Salt: "s", LowerSign: true}))
		if got.Get("sign") != strings.ToLower(SignKuaidi100(got.Get("param"), "s")) {
			t.Error("the signature isn't in lower case")
		}
	})
}

func TestKuaidi100_SaysWhetherItFollows(t *testing.T) {
	t.Parallel()
	with := func(change func(*track.Trace)) *track.Trace {
		tr := parcel()
		change(tr)
		return tr
	}
	state := func(s status.Status, sub status.Sub) func(*track.Trace) {
		return func(tr *track.Trace) {
			tr.State.Status, tr.State.Sub, tr.State.EventID, tr.State.Terminal = s, sub, "", status.Terminal(s, sub)
		}
	}
	for name, c := range map[string]struct {
		trace *track.Trace
		after track.Revision
		terms Kuaidi100Terms
		want  kuaidi100Push // of it the fields beside the result
		check string
	}{
		"polling":   {parcel(), 0, Kuaidi100Terms{}, kuaidi100Push{Status: "polling", Billstatus: "got", AutoCheck: "0"}, "0"},
		"signed":    {with(state(status.Delivered, status.DeliveredRecipient)), 1, Kuaidi100Terms{}, kuaidi100Push{Status: "shutdown", Billstatus: "check", AutoCheck: "0"}, "1"},
		"returned":  {with(state(status.Returned, status.ReturnedToSender)), 1, Kuaidi100Terms{}, kuaidi100Push{Status: "shutdown", Billstatus: "check", AutoCheck: "0"}, "1"},
		"cancelled": {with(state(status.Cancelled, status.CancelledBySender)), 1, Kuaidi100Terms{}, kuaidi100Push{Status: "abort", Billstatus: "got", Message: "销单", AutoCheck: "0"}, "0"},
		"given up":  {with(state(status.Expired, status.ExpiredNoUpdates)), 1, Kuaidi100Terms{}, kuaidi100Push{Status: "abort", Billstatus: "got", Message: "60天无变化", AutoCheck: "0"}, "0"},
		"nothing": {
			with(func(tr *track.Trace) { state(status.Expired, status.ExpiredNoUpdates)(tr); tr.Events = nil }), 0,
			Kuaidi100Terms{},
			kuaidi100Push{Status: "abort", Message: "3天查询无记录", AutoCheck: "0"},
			"0",
		},
		"of another carrier": {
			with(func(tr *track.Trace) {
				tr.Links = []track.Link{{Role: track.LinkCorrected, Waybill: track.Waybill{Carrier: "ems", Number: "YT2500000000001"}}}
			}), 0,
			Kuaidi100Terms{Company: "yuantong"},
			kuaidi100Push{Status: "abort", Billstatus: "got", Message: "3天查询无记录", AutoCheck: "1", ComOld: "yuantong", ComNew: "ems"},
			"0",
		},
		"corrected": {
			with(func(tr *track.Trace) { tr.Waybill.Carrier = "ems" }), 0,
			Kuaidi100Terms{Company: "yuantong"},
			kuaidi100Push{Status: "polling", Billstatus: "got", AutoCheck: "1", ComOld: "yuantong", ComNew: "ems"},
			"0",
		},
		"recognised, and corrected": {
			with(func(tr *track.Trace) { tr.Waybill.Carrier = "ems" }), 0,
			Kuaidi100Terms{AutoCom: true, Recognized: "yuantong"},
			kuaidi100Push{Status: "polling", Billstatus: "got", AutoCheck: "1", ComOld: "yuantong", ComNew: "ems"},
			"0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := kuaidi100PushOf(c.terms, c.trace, c.after)
			if got.LastResult.Ischeck != c.check {
				t.Errorf("ischeck is %s, want %s", got.LastResult.Ischeck, c.check)
			}
			if name == "corrected" && got.LastResult.Com != "ems" {
				t.Errorf("com is %s, want the right carrier's", got.LastResult.Com)
			}
			got.LastResult = Kuaidi100Result{}
			if diff := cmp.Diff(encodeText(c.want), encodeText(got)); diff != "" {
				t.Errorf("push (-want +got):\n%s", diff)
			}
		})
	}
}

func encodeText(v any) string { return string(encode(v)) }

func TestKuaidi100_TheDestinationsLegIsAResultOfItsOwn(t *testing.T) {
	t.Parallel()
	tr := parcel()
	leg := track.Waybill{Carrier: "speedpost", Number: "EX015142583SG"}
	tr.Events = append(tr.Events, track.Event{ID: "e5", Kind: track.KindEvent, Leg: leg, Time: chinese("2025-03-09 14:00:00"), Status: status.Delivered, Text: "Delivered"})
	got := kuaidi100PushOf(Kuaidi100Terms{InterCom: true}, tr, 0)
	if got.DestResult == nil || got.DestResult.Nu != "EX015142583SG" || got.DestResult.Com != "speedpost" || len(got.DestResult.Data) != 1 {
		t.Errorf("destResult is %+v", got.DestResult)
	}
	if got := kuaidi100PushOf(Kuaidi100Terms{}, tr, 0); got.DestResult != nil {
		t.Error("destResult is there, and wasn't asked for")
	}
}

func TestJudge_PlatformsAskForAWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format Format
		status int
		body   string
		want   Verdict
	}{
		{Kdniao, 200, `{"EBusinessID":"1237100","UpdateTime":"2025-03-03 09:12:01","Success":true,"Reason":""}`, Acknowledged},
		{Kdniao, 200, "\ufeff {\" EBusinessID\":1237100,\" UpdateTime\":\"2025-03-03T09:12:01\",\" Success\":\"true\",\" Reason\":\"\"}\r\n", Acknowledged},
		{Kdniao, 200, `{"success":"True"}`, Acknowledged},
		{Kdniao, 200, `{"Success":false,"Reason":"缺少RequestData参数"}`, Again},
		{Kdniao, 200, `{"Success":"false"}`, Again},
		{Kdniao, 200, `{"Reason":"Success"}`, Again},
		{Kdniao, 200, `{"Success":null}`, Again},
		{Kdniao, 200, `success`, Again},
		{Kdniao, 200, ``, Again},
		{Kdniao, 500, `{"Success":true}`, Again},
		{Kdniao, 410, `{"Success":true}`, Gone},
		{Kuaidi100, 200, `{"result":true,"returnCode":"200","message":"成功"}`, Acknowledged},
		{Kuaidi100, 200, `{"result":"true","returnCode":200,"message":"成功"}`, Acknowledged},
		{Kuaidi100, 200, `{"result":true}`, Acknowledged},
		{Kuaidi100, 200, `{"result":false,"returnCode":"500","message":"失败"}`, Again},
		{Kuaidi100, 200, `{"returnCode":"500"}`, Again},
		{Kuaidi100, 200, `ok`, Again},
		{Kuaidi100, 503, `{"result":true}`, Again},
		{JSON, 200, ``, Acknowledged},
		{0, 204, `{"result":false}`, Acknowledged},
	} {
		if got := c.format.Judge(c.status, c.body); got != c.want {
			t.Errorf("format %d: %d %q is judged %d, want %d", c.format, c.status, c.body, got, c.want)
		}
	}
}

// The platforms' own acknowledgements, as recorded.
func TestJudge_ReadsRecordedAcknowledgements(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for file, c := range map[string]struct {
		format Format
		want   Verdict
	}{
		"kdniao/push-ack-ok.json": {Kdniao, Acknowledged}, "kdniao/push-ack-failed.json": {Kdniao, Again},
		"kuaidi100/push-ack-ok.json": {Kuaidi100, Acknowledged}, "kuaidi100/push-ack-ok-strings.json": {Kuaidi100, Acknowledged},
		"kuaidi100/push-ack-failed.json": {Kuaidi100, Again},
	} {
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.format.Judge(200, string(body)); got != c.want {
			t.Errorf("%s is judged %d, want %d", file, got, c.want)
		}
	}
}

// What Posthaste pushes in a platform's form, Posthaste takes in as the
// platform's, and it tells the same journey: the two ends agree about the form.
func TestPlatforms_APushTakenInTellsTheSame(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]Format{"kdniao": Kdniao, "kuaidi100": Kuaidi100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, _ := carrier.Lookup(name)
			rapid.Check(t, func(t *rapid.T) {
				tr := drawTrace(t)
				tr.Waybill = track.Waybill{Carrier: "yto-express", Number: "YT10001"}
				for i := range tr.Events { // of years in which there are parcels
					at := &tr.Events[i].Time
					at.Wall = time.Unix(1_600_000_000+at.Wall.Unix()%100_000_000, 0).UTC()
				}
				kept := format.Render(Subscription{ID: "sub_1", AccountID: "1"}, tr, 0)
				if again := format.Render(Subscription{ID: "sub_1", AccountID: "1"}, tr, 0); string(again) != string(kept) {
					t.Fatal("rendered twice, it isn't the same")
				}
				out := format.Attempt(kept, "http://r.example", Account{ID: "1", Key: "k"})
				form, err := url.ParseQuery(string(out.Body))
				if err != nil {
					t.Fatal(err)
				}
				parts, err := source.Split([]byte(form.Get("RequestData") + form.Get("param")))
				if err != nil {
					t.Fatal(err)
				}
				if len(parts) == 0 || parts[0].Err != nil || parts[0].Carrier != "yto-express" || parts[0].Number != "YT10001" {
					t.Fatalf("the parts are %+v", parts)
				}
				report, err := source.Map(carrier.Raw{Waybill: tr.Waybill, Body: parts[0].Body, Context: parts[0].Context})
				if err != nil {
					t.Fatal(err)
				}
				told := map[string]bool{}
				for _, e := range report.Events {
					told[e.Text] = true
				}
				for _, e := range listed(tr) {
					// What can't be stored is taken out of what is taken in.
					said := strings.TrimSpace(strings.ReplaceAll(words(e), "\x00", ""))
					if !told[said] && said != "" {
						t.Fatalf("%q is missing in %v", words(e), maps.Keys(told))
					}
				}
			})
		})
	}
}
