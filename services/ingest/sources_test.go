package ingest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/posthaste/posthaste/services/ingest"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

const secret = "a-secret-of-ours"

// The signatures are written here once more, from the sources' documents.
func md5b64(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, "")))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func hmacOf(key string, parts ...string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(strings.Join(parts, "")))
	return h.Sum(nil)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// push is a request to a source's receiver.
type push struct {
	path   string
	header map[string]string
	body   string
}

// pushed is how a source sends and is answered.
type pushed struct {
	document string // in the mapping's test data
	sign     func(doc, secret string) push
	ok       string
	numbers  []string
	refusal  string // is in the answer to a wrong signature
}

func formPush(path string, pairs ...string) push {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return push{path: path, header: map[string]string{"Content-Type": formType}, body: form.Encode()}
}

func jsonPush(path, doc string, headers ...string) push {
	p := push{path: path, header: map[string]string{"Content-Type": jsonType}, body: doc}
	for i := 0; i < len(headers); i += 2 {
		p.header[headers[i]] = headers[i+1]
	}
	return p
}

var stamp = strconv.FormatInt(received.Unix(), 10)

func pushes() map[string]pushed {
	return map[string]pushed{
		"sf": {
			document: "sf/push.raw", numbers: []string{"SF1000000000017", "SF1000000000017", "SF1000000000018", "SF1000000000019"},
			sign:    func(doc, secret string) push { return formPush("/v1/sources/sf/shop/"+secret, "content", doc) },
			ok:      `<Response service="RoutePushService"><Head>OK</Head></Response>`,
			refusal: `4001`,
		},
		"zto": {
			document: "zto/got.raw", numbers: []string{"78250000000101"},
			sign: func(doc, secret string) push {
				return formPush("/v1/sources/zto", "data", doc, "data_digest", md5b64(doc, secret), "company_id", "shop", "msg_type", "Traces")
			},
			ok: `{"status":true,"message":"","result":"success","statusCode":"0"}`, refusal: `"status":false`,
		},
		"yto": {
			document: "yto/signed.raw", numbers: []string{"YT2500000000101"},
			sign: func(doc, secret string) push {
				return formPush("/v1/sources/yto", "logistics_interface", doc, "data_digest", md5b64(doc, secret), "clientId", "K1", "type", "online")
			},
			ok:      `<Response><logisticProviderID>YTO</logisticProviderID><txLogisticID>PH-1</txLogisticID><success>true</success></Response>`,
			refusal: `<success>false</success>`,
		},
		"sto": {
			document: "sto/got.raw", numbers: []string{"773250000000101"},
			sign: func(doc, secret string) push {
				return formPush("/v1/sources/sto/shop", "content", doc, "data_digest", md5b64(doc, secret), "api_name", "STO_TRACE_PLATFORM_PUSH")
			},
			ok: `{"success":"true","errorCode":"","errorMsg":""}`, refusal: `"success":"false"`,
		},
		"jtexpress": {
			document: "jtexpress/push.raw",
			numbers:  []string{"JT2500000000101", "JT2500000000102", "JT2500000000101", "JT2500000000101", "JT2500000000101", "JT2500000000101"},
			sign: func(doc, secret string) push {
				p := formPush("/v1/sources/jtexpress", "bizContent", doc)
				p.header["apiAccount"], p.header["digest"], p.header["timestamp"] = "shop", md5b64(doc, secret), "1594862775000"
				return p
			},
			ok: `{"code":"1","msg":"success","data":"SUCCESS"}`, refusal: `"code":"0"`,
		},
		"ups": {
			document: "ups/delivered.raw", numbers: []string{"1Z999AA10123456784"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push { return jsonPush("/v1/sources/ups/shop", doc, "credential", secret) },
		},
		"fedex": {
			document: "fedex/push.raw", numbers: []string{"770000000017"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/fedex/shop", doc, "fdx-signature", b64(hmacOf(secret, doc)))
			},
		},
		"usps": {
			document: "usps/push.raw", numbers: []string{"9400100000000000000017"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/usps/shop", doc, "X-Timestamp", stamp, "X-HMAC", b64(hmacOf(secret, stamp, doc)))
			},
		},
		"dhl": {
			document: "dhl/push.raw", numbers: []string{"7000000017", "340434000000000017"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push { return jsonPush("/v1/sources/dhl/shop", doc, "X-API-Key", secret) },
		},
		"17track": {
			document: "17track/updated.raw", numbers: []string{"LX000000017CN"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				sum := sha256.Sum256([]byte(doc + "/" + secret))
				return jsonPush("/v1/sources/17track/shop", doc, "sign", hex.EncodeToString(sum[:]))
			},
		},
		"aftership": {
			document: "aftership/update.raw", numbers: []string{"9400100000000000000024"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/aftership/shop", doc, "aftership-hmac-sha256", b64(hmacOf(secret, doc)))
			},
		},
		"easypost": {
			document: "easypost/updated.raw", numbers: []string{"9400100000000000000031"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/easypost/shop", doc, "X-Hmac-Signature", "hmac-sha256-hex="+hex.EncodeToString(hmacOf(secret, doc)))
			},
		},
		"ship24": {
			document: "ship24/events.raw", numbers: []string{"9400100000000000000048", "LX000000048CN", "LX000000048CN"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/ship24/shop", doc, "Authorization", "Bearer "+secret)
			},
		},
		"trackingmore": {
			document: "trackingmore/push.raw", numbers: []string{"LX000000055CN"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				doc = strings.Replace(doc, `"timeStr": 1748900000`, `"timeStr": `+stamp, 1)
				doc = strings.Replace(doc, `"signature": "x"`, `"signature": "`+hex.EncodeToString(hmacOf(secret, stamp))+`"`, 1)
				return jsonPush("/v1/sources/trackingmore/shop", doc)
			},
		},
		"shippo": {
			document: "shippo/updated.raw", numbers: []string{"9400100000000000000062"}, ok: `{}`, refusal: `"error"`,
			sign: func(doc, secret string) push {
				return jsonPush("/v1/sources/shippo/shop", doc, "Shippo-Auth-Signature", "t="+stamp+",v1="+hex.EncodeToString(hmacOf(secret, stamp, ".", doc)))
			},
		},
	}
}

func accounts(source string) func(*ingest.Config) {
	return func(cfg *ingest.Config) {
		cfg.Accounts[source] = map[string]string{"shop": secret, "other": "of another"}
	}
}

func document(t testing.TB, name string) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "internal", "carrier", "testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// bring sends a push.
func (w *world) bring(p push) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+p.path, strings.NewReader(p.body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, v := range p.header {
		req.Header.Set(name, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func TestSources_EveryOneThatPushesIsTested(t *testing.T) {
	t.Parallel()
	for _, s := range carrier.Sources() {
		_, tested := pushes()[s.Code]
		if platform := s.Code == "kdniao" || s.Code == "kuaidi100"; s.Push != nil && !tested && !platform {
			t.Errorf("%s pushes, and nothing here tests it", s.Code)
		}
	}
}

// TestSources_TakeWhatIsSigned: the good waybills of a push are in RAW, the bad
// ones in REJECTED with the field, and the source gets its own success.
func TestSources_TakeWhatIsSigned(t *testing.T) {
	t.Parallel()
	for source, p := range pushes() {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, accounts(source))
			if got := w.bring(p.sign(document(t, p.document), secret)); got.status != http.StatusOK || got.body != p.ok {
				t.Errorf("the answer is %d %s", got.status, got.body)
			}
			w.wantNumbers(p.numbers...)
			for _, m := range w.raws() {
				if m.M.GetSource() != source || m.M.GetAccount() != "shop" || m.M.GetCarrierCode() == "" {
					t.Errorf("a raw trace is of %s, account %s, carrier %q", m.M.GetSource(), m.M.GetAccount(), m.M.GetCarrierCode())
				}
			}
			s, _ := carrier.Lookup(source)
			parts, err := s.Split([]byte(document(t, p.document)))
			if err != nil {
				t.Fatal(err)
			}
			if bad := w.rejections(); len(bad) != len(parts)-len(p.numbers) {
				t.Errorf("%d parts are rejected", len(bad))
			} else {
				for _, b := range bad {
					if b.M.GetField() == "" || b.M.GetDescription() == "" || b.M.GetReason() != "bad_field" {
						t.Errorf("a rejection says %v", b.M)
					}
				}
			}
		})
	}
}

func TestSources_RefuseWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	for source, p := range pushes() {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, accounts(source))
			doc := document(t, p.document)
			forged := p.sign(doc, "guessed")
			changed := p.sign(doc, secret)
			changed.body = strings.Replace(changed.body, "2025", "2024", 1)
			all := []push{forged}
			switch source {
			case "sf", "ups", "dhl", "ship24", "trackingmore": // they don't sign the body
			default:
				all = append(all, changed)
			}
			all = append(all, []push{{path: forged.path, body: doc}, {path: strings.Replace(forged.path, "shop", "nobody", 1), header: forged.header, body: forged.body}}...)
			for _, one := range all {
				got := w.bring(one)
				if got.status != http.StatusUnauthorized && got.status != http.StatusNotFound || !strings.Contains(got.body, p.refusal) {
					t.Errorf("the answer is %d %s", got.status, got.body)
				}
			}
			w.wantNothing()
		})
	}
}

func TestSources_SayWhatIsWrongInTheirForm(t *testing.T) {
	t.Parallel()
	for source, p := range pushes() {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, accounts(source))
			const broken = `{"this": is no document`
			got := w.bring(p.sign(broken, secret))
			if source == "trackingmore" { // its signature is in the document
				return
			}
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, p.refusal) {
				t.Errorf("the answer is %d %s", got.status, got.body)
			}
			if r := w.rejections(); len(r) != 1 || r[0].M.GetField() == "" || r[0].M.GetAccount() != "shop" {
				t.Errorf("the rejections are %v", r)
			}
			large := p.sign(document(t, p.document), secret)
			large.body = strings.Repeat(" ", 4<<20+1) + large.body
			if got := w.bring(large); got.status != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, p.refusal) {
				t.Errorf("the answer to a large body is %d %.100s", got.status, got.body)
			}
		})
	}
}

// TestSources_TakeGBKAndGzip: what some carriers write and some senders pack.
func TestSources_TakeGBKAndGzip(t *testing.T) {
	t.Parallel()
	t.Run("gbk", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, accounts("zto"))
		doc, err := simplifiedchinese.GBK.NewEncoder().String(document(t, "zto/got.raw"))
		if err != nil {
			t.Fatal(err)
		}
		p := pushes()["zto"]
		w.want(w.bring(p.sign(doc, secret)), http.StatusOK, p.ok)
		w.wantNumbers(p.numbers...)
		if body := string(w.raws()[0].M.GetBody()); !strings.Contains(body, "杭州市") {
			t.Errorf("the body is %s", body)
		}
	})
	t.Run("gzip", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, accounts("fedex"))
		p := pushes()["fedex"]
		one := p.sign(document(t, p.document), secret)
		pack := func(s string) string {
			var b bytes.Buffer
			g := gzip.NewWriter(&b)
			if _, err := g.Write([]byte(s)); err != nil || g.Close() != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		plain := one.body
		one.header["Content-Encoding"] = "gzip"
		one.body = pack(strings.Repeat(" ", 5<<20)) // small on the way, large here
		if got := w.bring(one); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("the answer to a bomb is %d", got.status)
		}
		one.body = plain
		if got := w.bring(one); got.status != http.StatusBadRequest {
			t.Errorf("the answer to what isn't gzip is %d", got.status)
		}
		one.body = pack(plain)
		w.want(w.bring(one), http.StatusOK, p.ok)
		w.wantNumbers(p.numbers...)
	})
}

// TestSources_RefuseOldSignatures: a source that signs its time can't be played
// back for ever.
func TestSources_RefuseOldSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, accounts("usps"))
	doc := document(t, "usps/push.raw")
	for _, at := range []string{"1735689600", "", "99999999999999", "x"} {
		got := w.bring(jsonPush("/v1/sources/usps/shop", doc, "X-Timestamp", at, "X-HMAC", b64(hmacOf(secret, at, doc))))
		if got.status != http.StatusUnauthorized {
			t.Errorf("the answer to one of %q is %d", at, got.status)
		}
	}
	w.wantNothing()
}

// TestSources_AgreeWithRecordedSignatures checks what others signed.
func TestSources_AgreeWithRecordedSignatures(t *testing.T) {
	t.Parallel()
	dir := testkit.SamplesDir(t)
	for source, v := range map[string]struct{ key, header string }{
		"17track": {"17track-test-key", "sign"}, "aftership": {"aftership-test-secret", "aftership-hmac-sha256"},
		"easypost": {"sécret", "X-Hmac-Signature"}, "fedex": {"fedex-test-token", "fdx-signature"},
	} {
		lines, err := os.ReadFile(filepath.Join(dir, source, "signatures.txt"))
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(cfg *ingest.Config) { cfg.Accounts[source] = map[string]string{"shop": v.key} })
		for line := range strings.Lines(string(lines)) {
			name, sign, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			body, err := os.ReadFile(filepath.Join(dir, source, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := w.bring(jsonPush("/v1/sources/"+source, string(body), v.header, sign)); got.status != http.StatusOK {
				t.Errorf("%s/%s: the answer is %d %s", source, name, got.status, got.body)
			}
		}
	}
}
