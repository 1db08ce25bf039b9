package payload

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// plainPush has Push's fields and none of its methods: encoding/json writes it
// by reflection.
type plainPush Push

func TestAppendJSON_SaysWhatEncodingJSONSays(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		checkAppend(t, seed, "")
	}
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range awkward {
		f.Add(uint64(len(s)), s)
	}
	f.Fuzz(checkAppend)
}

// awkward are texts that a writer of JSON can get wrong.
var awkward = []string{
	"", "plain", "顺丰速运：快件已签收", `quo"te and back\slash`, "\x00\x01\x1f\x7f\b\f\n\r\t", "<a href='x'>&amp;",
	"\u2028line\u2029", "\u2027\u202a", "\ufffd", "\xff\xfe", "cut \xe4\xb8", "\xed\xa0\x80", "\xf0\x9f\x93\xa6 📦", "a\xc3", "/slash/",
}

func checkAppend(t *testing.T, seed uint64, text string) {
	t.Helper()
	var p Push
	fill(rand.New(rand.NewPCG(seed, 1)), text, reflect.ValueOf(&p).Elem())
	if seed%3 == 0 {
		p.Trace = nil
	}
	// Appended to something, as a buffer that is used again.
	got := p.AppendJSON([]byte("before"))
	got, ok := bytes.CutPrefix(got, []byte("before"))
	if !ok {
		t.Fatalf("seed %d: AppendJSON overwrote what was there", seed)
	}
	want, err := json.Marshal(plainPush(p))
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if g, w := decode(t, got), decode(t, want); !reflect.DeepEqual(g, w) {
		t.Fatalf("seed %d: AppendJSON\n%s\nencoding/json\n%s", seed, got, want)
	}
	// What is read back says the same.
	var read Push
	if err := json.Unmarshal(got, &read); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if again := read.AppendJSON(nil); !reflect.DeepEqual(decode(t, again), decode(t, got)) {
		t.Fatalf("seed %d: read and written again\n%s\nat first\n%s", seed, again, got)
	}
	through, err := json.Marshal(p)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if !reflect.DeepEqual(decode(t, through), decode(t, got)) {
		t.Fatalf("seed %d: json.Marshal\n%s\nAppendJSON\n%s", seed, through, got)
	}
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if d.More() {
		t.Fatalf("more than one value in\n%s", data)
	}
	return v
}

// fill sets every field that v has, so that one added later isn't forgotten.
func fill(r *rand.Rand, text string, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(randomTime(r)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(r, text, f)
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, text, v.Elem())
		}
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, text, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(40) {
			v.SetMapIndex(reflect.ValueOf(randomText(r, text)), reflect.ValueOf(randomText(r, text)))
		}
	case reflect.String:
		v.SetString(randomText(r, text))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int32:
		v.SetInt(int64(int32(r.Uint32())))
	case reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64))
	case reflect.Float64:
		v.SetFloat((r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(60)-30)))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

func randomText(r *rand.Rand, text string) string {
	parts := make([]string, r.IntN(3))
	for i := range parts {
		if parts[i] = awkward[r.IntN(len(awkward))]; r.IntN(4) == 0 {
			parts[i] = text
		}
	}
	return strings.ToValidUTF8(strings.Join(parts, ""), "") + strings.Join(parts, "-")
}

func randomTime(r *rand.Rand) time.Time {
	t := time.Unix(r.Int64N(253402300799-86400)-1000000000, 0)
	if r.IntN(2) == 0 {
		t = t.Add(time.Duration(r.IntN(1e9)))
	}
	return t.In(time.FixedZone("", (r.IntN(28*4)-14*4)*15*60))
}

func TestAppendJSON_LeavesNothingOut(t *testing.T) {
	t.Parallel()
	got := string((&Push{Events: make([]Event, 1)}).AppendJSON(nil))
	const want = `{"type":"","push_id":"","subscription_id":"","tenant_id":"","metadata":{},"after_revision":0,"revision":0,` +
		`"waybill":{"carrier_code":"","waybill_number":"","revision":0,"status":"","sub_status":"",` +
		`"status_name":{"en":"","zh":""},"sub_status_name":{"en":"","zh":""},"status_time":null,"status_event_id":"","terminal":false,` +
		`"signer":"","estimate":null,"milestones":[],"links":[],"event_count":0,` +
		`"create_time":"0001-01-01T00:00:00Z","update_time":"0001-01-01T00:00:00Z"},` +
		`"events":[{"id":"","kind":"","target_event_id":"","voided_by":"","corrected_by":"","duplicate_of":"","revision":0,` +
		`"event_time":"0001-01-01T00:00:00Z","local_time":"","utc_offset_seconds":null,"offset_source":"","precision":"",` +
		`"receive_time":"0001-01-01T00:00:00Z","order_hint":0,"status":"","sub_status":"","text":"","language":"",` +
		`"location":{"text":"","city":"","region":"","country":"","postcode":"","latitude":null,"longitude":null,` +
		`"facility_code":"","facility_name":"","facility_type":""},"next_location":null,"courier":null,"signer":"",` +
		`"reason_code":"","raw_code":"","raw_sub_code":"","transport_mode":"","vehicle":"","piece":"","leg":null,"proof_urls":[],` +
		`"estimate":null,"source":"","attributes":{}}],"trace":null}`
	if got != want {
		t.Errorf("an empty push is\n%s\nwant\n%s", got, want)
	}
	if got := string((&Push{Trace: []Event{}}).AppendJSON(nil)); !strings.HasSuffix(got, `"events":[],"trace":[]}`) {
		t.Errorf("an empty trace isn't null: %s", got)
	}
}

func TestAppendJSON_WritesWhatJSONCannotSayAsNearAsItCan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		time      time.Time
		latitude  float64
		want      string
		wantFloat string
	}{
		{"year too late", time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), math.NaN(), "9999-12-31T23:59:59Z", "null"},
		{"year too early", time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), math.Inf(1), "0000-01-01T00:00:00Z", "null"},
		{"local mean time", time.Date(1900, 1, 1, 8, 5, 43, 0, time.FixedZone("LMT", 29143)), 1e22, "1900-01-01T00:00:00Z", "1e+22"},
		{"offset of a day", time.Date(2025, 1, 2, 0, 0, 0, 0, time.FixedZone("", 86400)), 1e-7, "2025-01-01T00:00:00Z", "1e-07"},
		{"offset of half an hour", time.Date(2025, 1, 2, 3, 4, 5, 600, time.FixedZone("", 19800)), -12.5, "2025-01-02T03:04:05.0000006+05:30", "-12.5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := Event{EventTime: tt.time, Location: Location{Latitude: &tt.latitude}}
			var got struct {
				EventTime string `json:"event_time"`
				Location  struct {
					Latitude json.RawMessage `json:"latitude"`
				} `json:"location"`
			}
			if err := json.Unmarshal(e.appendJSON(nil), &got); err != nil {
				t.Fatal(err)
			}
			if got.EventTime != tt.want {
				t.Errorf("%v is written as %s, want %s", tt.time, got.EventTime, tt.want)
			}
			if string(got.Location.Latitude) != tt.wantFloat {
				t.Errorf("%v is written as %s, want %s", tt.latitude, got.Location.Latitude, tt.wantFloat)
			}
		})
	}
}

//nolint:paralleltest // what other tests allocate would be counted too
func TestAppendJSON_AllocatesNothing(t *testing.T) {
	p := typical()
	b := p.AppendJSON(nil)
	if n := testing.AllocsPerRun(100, func() { b = p.AppendJSON(b[:0]) }); n != 0 {
		t.Errorf("AppendJSON into a buffer that is large enough allocates %v times", n)
	}
}

// typical is a push of one new event, as most are.
func typical() Push {
	zone := time.FixedZone("", 8*3600)
	at := time.Date(2025, 3, 1, 10, 2, 11, 0, zone)
	offset := int32(8 * 3600)
	return Push{
		Type: TypeTraceUpdated, PushID: "psh_018f3c5e7b2a7c3d9e4f5a6b7c8d9e0f_7",
		SubscriptionID: "sub_018f3c5e7b2a7c3d9e4f5a6b7c8d9e0f", TenantID: "default",
		Metadata: map[string]string{"order_id": "A-1001", "shop": "main"}, AfterRevision: 6, Revision: 7,
		Waybill: Waybill{
			CarrierCode: "sf", WaybillNumber: "SF1234567890123", Revision: 7, Status: "in_transit", SubStatus: "in_transit.departed",
			StatusName: Name{"In transit", "运输中"}, SubStatusName: Name{"Left a facility", "离开网点"}, StatusTime: &at, StatusEventID: "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
			Milestones: []Milestone{{"info_received", at, "second"}, {"picked_up", at, "second"}, {"in_transit", at, "second"}},
			EventCount: 7, CreateTime: at, UpdateTime: at,
		},
		Events: []Event{{
			ID: "9f8e7d6c5b4a39281706f5e4d3c2b1a0", Kind: "event", Revision: 7, EventTime: at, LocalTime: "2025-03-01T10:02:11",
			UTCOffsetSeconds: &offset, OffsetSource: "carrier_default", Precision: "second", ReceiveTime: at, Status: "in_transit",
			SubStatus: "in_transit.departed", Text: "快件已发车，离开【深圳福田集散中心】，下一站【广州白云集散中心】", Language: "zh",
			Location: Location{Text: "深圳市", City: "深圳市", Region: "广东省", Country: "CN"}, RawCode: "30", Source: "kdniao",
		}},
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	p := typical()
	buf := p.AppendJSON(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendJSON(buf[:0])
	}
}

// BenchmarkEncodingJSON is what AppendJSON is measured against.
func BenchmarkEncodingJSON(b *testing.B) {
	p := plainPush(typical())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(p); err != nil {
			b.Fatal(err)
		}
	}
}
